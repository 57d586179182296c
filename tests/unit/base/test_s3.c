/* SPDX-License-Identifier: Apache-2.0
 * test_s3.c - what a bucket's answers mean, and which names and endpoints are good. Requests
 * themselves are tried against a real server, in tests/e2e/test_s3.py. */
#include "base/s3.h"
#include "base/s3_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void collect(void *arg, const char *name)
{
    qn_buf_printf(arg, "%s ", name);
}

/* Reads a list; what it told, as one text, and the next token behind '|'. */
static qn_status read_list(const char *xml, struct qn_buf *out)
{
    struct qn_buf next = {0};
    qn_status rc;

    qn_buf_clear(out);
    rc = qn_s3_list_read(qn_str_of(xml), qn_str_of("p/"), collect, out, &next, NULL);
    qn_buf_printf(out, "|%.*s", (int)next.len, next.len > 0 ? next.data : "");
    qn_buf_byte(out, '\0');
    qn_buf_fini(&next);
    return rc;
}

#define HEAD "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/\">"
#define TAIL "</ListBucketResult>"

static void test_lists(void **state)
{
    struct qn_buf out = {0};

    assert_int_equal(read_list(HEAD "<Name>b</Name><IsTruncated>false</IsTruncated>" TAIL, &out),
                     QN_OK);
    assert_string_equal(out.data, "|");
    assert_int_equal(read_list(HEAD "<IsTruncated>true</IsTruncated>"
                                    "<Contents><Key>p/a</Key><Size>1</Size></Contents>"
                                    "<Contents><Size>1</Size><Key>p/b&amp;c</Key></Contents>"
                                    "<NextContinuationToken>1&#x2F;=</NextContinuationToken>" TAIL,
                               &out),
                     QN_OK);
    assert_string_equal(out.data, "a b&c |1/=");
    /* what was not asked for: other prefixes, keys elsewhere, a token behind the last page */
    assert_int_equal(read_list(HEAD "<Key>p/x</Key><CommonPrefixes><Prefix>p/d/</Prefix>"
                                    "<Key>p/y</Key></CommonPrefixes><Contents><Key>q/z</Key>"
                                    "<Owner><Key>p/o</Key></Owner></Contents>"
                                    "<Contents><Key>p/a</Key></Contents>"
                                    "<NextContinuationToken>t</NextContinuationToken>" TAIL,
                               &out),
                     QN_OK);
    assert_string_equal(out.data, "a |");
    qn_buf_fini(&out);
}

static void test_no_lists(void **state)
{
    static const char *const all[] = {"",
                                      "<html><body>p/</body></html>",
                                      HEAD,
                                      HEAD "<IsTruncated>true</IsTruncated>" TAIL,
                                      HEAD "<IsTruncated>true</IsTruncated>"
                                           "<NextContinuationToken/>" TAIL,
                                      HEAD "<Contents><Key>p/&nbsp;</Key></Contents>" TAIL,
                                      "<Error><Code>NoSuchBucket</Code></Error>"};
    struct qn_buf out = {0};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_int_equal(read_list(all[i], &out), QN_INVALID);
    qn_buf_fini(&out);
}

static void test_problems(void **state)
{
    static const struct {
        long status;
        const char *xml, *text;
        qn_status rc;
        bool is_passing;
    } all[] = {
        {404, "<Error><Code>NoSuchKey</Code><Message>The key is not there</Message></Error>",
         "answered 404 NoSuchKey: The key is not there", QN_NOT_FOUND, false},
        {404, "<Error><Code>NoSuchBucket</Code></Error>",
         "answered 404 NoSuchBucket; make the bucket, or correct its name", QN_NOT_FOUND, false},
        {403,
         "<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>no&#10;way"
         "</Message><StringToSign>s</StringToSign></Error>",
         "answered 403 SignatureDoesNotMatch: no?way; is the secret the one of this key?",
         QN_DENIED, false},
        {503, "<Error><Code>SlowDown</Code></Error>", "answered 503 SlowDown", QN_IO, true},
        {409, "<Error><Code>ConditionalRequestConflict</Code></Error>",
         "answered 409 ConditionalRequestConflict", QN_IO, true},
        {400, "<Error><Code>RequestTimeout</Code></Error>", "answered 400 RequestTimeout", QN_IO,
         true},
        {400, "<Error><Code>InvalidRequest</Code></Error>", "answered 400 InvalidRequest",
         QN_INVALID, false},
        {502, "<html>Bad Gateway</html>", "answered 502", QN_IO, true},
        {301, "", "answered 301; is the region right?", QN_INVALID, false},
        {412, "<Error><Code>PreconditionFailed</Code>",
         "answered 412 PreconditionFailed; another process writes to the same place", QN_INVALID,
         false},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct qn_s3_problem p;
        struct qn_err err = {0};

        qn_s3_problem_read(qn_str_of(all[i].xml), &p);
        assert_int_equal(qn_s3_status(all[i].status, &p, &err), all[i].rc);
        assert_string_equal(err.text, all[i].text);
        assert_int_equal(qn_s3_is_passing(all[i].status, &p), all[i].is_passing);
    }
}

static void test_long_problems_are_cut(void **state)
{
    struct qn_buf xml = {0};
    struct qn_s3_problem p;

    qn_buf_text(&xml, "<Error><Code>");
    for (int i = 0; i < 1000; i++)
        qn_buf_text(&xml, "\xc3\xa9");
    qn_buf_text(&xml, "</Code></Error>");
    qn_s3_problem_read((struct qn_str){xml.data, (uint32_t)xml.len}, &p);
    assert_int_equal(strlen(p.code), sizeof p.code - 1);
    assert_int_equal(strspn(p.code, "?"), sizeof p.code - 1);
    qn_buf_fini(&xml);
}

static void test_names(void **state)
{
    static const char *const good[] = {"abc", "my-bucket", "a.b.c", "0ab", "old_name"};
    static const char *const bad[] = {
        "",    "ab",  "Abc", "-ab",
        "ab-", "a b", "a/b", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz012345678901"};
    static const char *const endpoints[] = {"http://127.0.0.1:9000", "https://s3.example",
                                            "https://s3.example/", "https://[::1]:9000"};
    static const char *const no_endpoints[] = {"",
                                               "127.0.0.1:9000",
                                               "ftp://s3.example",
                                               "https://",
                                               "https://s3.example/bucket",
                                               "https://s3.example?x=1",
                                               "https://user:password@s3.example",
                                               "https://s3.example:99999"};

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_null(qn_s3_bucket_check(qn_str_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_non_null(qn_s3_bucket_check(qn_str_of(bad[i])));
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++)
        assert_null(qn_s3_endpoint_check(endpoints[i]));
    for (size_t i = 0; i < sizeof no_endpoints / sizeof no_endpoints[0]; i++)
        assert_non_null(qn_s3_endpoint_check(no_endpoints[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),    cmocka_unit_test(test_no_lists),
        cmocka_unit_test(test_problems), cmocka_unit_test(test_long_problems_are_cut),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
