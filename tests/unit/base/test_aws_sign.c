/* SPDX-License-Identifier: Apache-2.0
 * test_aws_sign.c - signatures against those that AWS publishes: the examples of the S3 manual
 * ("Authenticating Requests: Using the Authorization Header") and requests of its test suite for
 * Signature Version 4. */
#include "base/aws_sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct qn_aws_keys manual = {"AKIAIOSFODNN7EXAMPLE",
                                          "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL};
static const struct qn_aws_keys suite = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                                         NULL};

static void assert_signed(const struct qn_aws_request *r, const struct qn_aws_keys *keys,
                          const char *expected)
{
    struct qn_buf out = {0};

    assert_int_equal(qn_aws_sign(r, keys, &out, NULL), QN_OK);
    qn_buf_byte(&out, '\0');
    assert_false(out.failed);
    assert_string_equal(out.data, expected);
    qn_buf_fini(&out);
}

static struct qn_aws_request manual_request(const char *method, const char *path, const char *query,
                                            const struct qn_aws_header *headers, uint32_t count)
{
    return (struct qn_aws_request){.method = method,
                                   .path = qn_str_of(path),
                                   .query = qn_str_of(query),
                                   .headers = headers,
                                   .header_count = count,
                                   .body_hash = EMPTY_HASH,
                                   .region = "us-east-1",
                                   .service = "s3",
                                   .date = "20130524T000000Z"};
}

#define MANUAL_CREDENTIAL                                                                          \
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "

static void test_get_object(void **state)
{
    static const struct qn_aws_header headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                                   {"range", "bytes=0-9"},
                                                   {"x-amz-content-sha256", EMPTY_HASH},
                                                   {"x-amz-date", "20130524T000000Z"}};
    const struct qn_aws_request r = manual_request("GET", "/test.txt", "", headers, 4);

    assert_signed(&r, &manual,
                  MANUAL_CREDENTIAL
                  "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
                  "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void test_put_object(void **state)
{
    static const char body[] = "Welcome to Amazon S3.";
    char hash[QN_AWS_HASH];
    const struct qn_aws_header headers[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                                            {"host", "examplebucket.s3.amazonaws.com"},
                                            {"x-amz-content-sha256", hash},
                                            {"x-amz-date", "20130524T000000Z"},
                                            {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
    struct qn_aws_request r;
    struct qn_buf path = {0};

    assert_int_equal(qn_aws_hash(body, sizeof body - 1, hash, NULL), QN_OK);
    assert_string_equal(hash, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
    qn_aws_encode(&path, qn_str_of("/test$file.text"), true);
    r = manual_request("PUT", "", "", headers, 5);
    r.path = (struct qn_str){path.data, (uint32_t)path.len};
    r.body_hash = hash;
    assert_signed(&r, &manual,
                  MANUAL_CREDENTIAL
                  "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, "
                  "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    qn_buf_fini(&path);
}

static void test_queries(void **state)
{
    static const struct qn_aws_header headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                                   {"x-amz-content-sha256", EMPTY_HASH},
                                                   {"x-amz-date", "20130524T000000Z"}};
    struct qn_aws_request r = manual_request("GET", "/", "lifecycle=", headers, 3);

    assert_signed(&r, &manual,
                  MANUAL_CREDENTIAL
                  "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
                  "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    r.query = qn_str_of("max-keys=2&prefix=J");
    assert_signed(&r, &manual,
                  MANUAL_CREDENTIAL
                  "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
                  "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

/* get-vanilla, get-vanilla-query-order-key-case, post-vanilla, get-vanilla-utf8-query */
static void test_suite(void **state)
{
    static const struct qn_aws_header headers[] = {{"host", "example.amazonaws.com"},
                                                   {"x-amz-date", "20150830T123600Z"}};
    static const struct {
        const char *method, *query, *signature;
    } all[] = {
        {"GET", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
        {"GET", "Param1=value1&Param2=value2",
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
        {"POST", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
        {"GET", "%E1%88%B4=bar",
         "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const struct qn_aws_request r = {.method = all[i].method,
                                         .path = qn_str_of("/"),
                                         .query = qn_str_of(all[i].query),
                                         .headers = headers,
                                         .header_count = 2,
                                         .body_hash = EMPTY_HASH,
                                         .region = "us-east-1",
                                         .service = "service",
                                         .date = "20150830T123600Z"};
        char expected[256];

        snprintf(expected, sizeof expected,
                 "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                 "SignedHeaders=host;x-amz-date, Signature=%s",
                 all[i].signature);
        assert_signed(&r, &suite, expected);
    }
}

static void test_parts(void **state)
{
    char date[QN_AWS_DATE], hash[QN_AWS_HASH];
    struct qn_buf out = {0};

    qn_aws_date(INT64_C(1369353600000000), date);
    assert_string_equal(date, "20130524T000000Z");
    qn_aws_date(INT64_C(1440938160999999), date);
    assert_string_equal(date, "20150830T123600Z");
    assert_int_equal(qn_aws_hash(NULL, 0, hash, NULL), QN_OK);
    assert_string_equal(hash, EMPTY_HASH);
    qn_aws_encode(&out, qn_str_of("dt=2026-05-01/a b+c~\xc3\xa9"), true);
    qn_buf_byte(&out, '|');
    qn_aws_encode(&out, qn_str_of("a/b"), false);
    qn_buf_byte(&out, '\0');
    assert_string_equal(out.data, "dt%3D2026-05-01/a%20b%2Bc~%C3%A9|a%2Fb");
    qn_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_object), cmocka_unit_test(test_put_object),
        cmocka_unit_test(test_queries),    cmocka_unit_test(test_suite),
        cmocka_unit_test(test_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
