/* SPDX-License-Identifier: Apache-2.0
 * test_xml.c - small XML documents as events, and what is refused. */
#include "base/xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The events of a document in one line: "<a" "text" "/a" "." or "!" where it is broken. */
static void assert_events(const char *xml, const char *expected)
{
    struct qn_xml x = {.text = qn_str_of(xml)};
    struct qn_buf out = {0};
    struct qn_str text;
    enum qn_xml_event e;

    do {
        e = qn_xml_next(&x, &text);
        if (e == QN_XML_TEXT)
            assert_true(qn_xml_decode(&x, text, &out));
        else
            qn_buf_printf(&out, "%s%.*s",
                          e == QN_XML_OPEN    ? "<"
                          : e == QN_XML_CLOSE ? "/"
                          : e == QN_XML_END   ? "."
                                              : "!",
                          QN_STR_ARG(text));
    } while (e != QN_XML_END && e != QN_XML_BROKEN);
    assert_int_equal(qn_xml_next(&x, &text), e); /* and it stays so */
    qn_buf_byte(&out, '\0');
    assert_string_equal(out.data, expected);
    qn_buf_fini(&out);
}

static void test_documents(void **state)
{
    assert_events("<a/>", "<a/a.");
    assert_events("<?xml version=\"1.0\"?>\n<a>x<b c='>' d=\"/>\"/>y</a>\n", "<ax<b/by/a.");
    assert_events("<a><!-- <b> -->1<!----><?p ?>2</a><!-- end -->", "<a12/a.");
    assert_events("<a>&lt;&amp;&#65;&#x1F600;&quot;&apos;&gt;</a>", "<a<&A\xf0\x9f\x98\x80\"'>/a.");
    assert_events("<a><![CDATA[<b>&amp;]]></a>", "<a<b>&amp;/a.");
    assert_events("<a xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><b></b ></a>", "<a<b/b/a.");
}

static void test_broken(void **state)
{
    static const char *const all[] = {"",
                                      " ",
                                      "x",
                                      "<",
                                      "<a",
                                      "<a>",
                                      "<a></b>",
                                      "<a></a",
                                      "<a/><b/>",
                                      "<a/>x",
                                      "</a>",
                                      "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
                                      "<a b></a>",
                                      "<a b=c></a>",
                                      "<a b=\"c></a>",
                                      "<a><![CDATA[x</a>",
                                      "<![CDATA[x]]>",
                                      "<a><!-- </a>",
                                      "<?xml",
                                      "< a/>",
                                      "<a><b></a></b>"};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct qn_xml x = {.text = qn_str_of(all[i])};
        struct qn_str text;
        enum qn_xml_event e;

        do
            e = qn_xml_next(&x, &text);
        while (e != QN_XML_END && e != QN_XML_BROKEN);
        assert_int_equal(e, QN_XML_BROKEN);
    }
}

static void test_depth(void **state)
{
    struct qn_buf deep = {0};
    struct qn_xml x;
    struct qn_str text;

    for (int i = 0; i <= QN_XML_DEPTH_MAX; i++)
        qn_buf_text(&deep, "<a>");
    x = (struct qn_xml){.text = {deep.data, (uint32_t)deep.len}};
    for (int i = 0; i < QN_XML_DEPTH_MAX; i++)
        assert_int_equal(qn_xml_next(&x, &text), QN_XML_OPEN);
    assert_int_equal(qn_xml_next(&x, &text), QN_XML_BROKEN);
    qn_buf_fini(&deep);
}

static void test_references(void **state)
{
    static const char *const bad[] = {"&",        "&amp",       "&b;",         "&;",
                                      "&#;",      "&#x;",       "&#xg;",       "&#0;",
                                      "&#xD800;", "&#1114112;", "&#99999999;", "&#-1;"};
    const struct qn_xml x = {.text = {"", 0}};
    struct qn_buf out = {0};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(qn_xml_decode(&x, qn_str_of(bad[i]), &out));
    qn_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_references),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
