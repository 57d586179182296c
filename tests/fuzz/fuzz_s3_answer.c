/* SPDX-License-Identifier: Apache-2.0
 * fuzz_s3_answer.c - what a bucket answers: lists and errors, and the XML below both.
 *
 * Holds: a walk over a document ends, levels open and close in pairs; what a list tells are
 * NUL-ended names, and the same again; an error's words are printable and short. */
#include "base/check.h"
#include "base/hash.h"
#include "base/s3_answer.h"
#include "base/xml.h"

static void hash_name(void *arg, const char *name)
{
    uint64_t *hash = arg;

    *hash = qn_hash(name, strlen(name), *hash + 1);
}

static void walk(struct qn_str text)
{
    struct qn_xml x = {.text = text};
    struct qn_buf out = {0};
    struct qn_str part;
    uint32_t depth = 0, events = 0;
    enum qn_xml_event e;

    while ((e = qn_xml_next(&x, &part)) != QN_XML_END && e != QN_XML_BROKEN) {
        depth += e == QN_XML_OPEN;
        depth -= e == QN_XML_CLOSE;
        QN_ASSERT(depth <= QN_XML_DEPTH_MAX);
        QN_ASSERT(part.len <= text.len);
        QN_ASSERT(++events <= 2 * text.len + 2);
        if (e == QN_XML_TEXT)
            (void)qn_xml_decode(&x, part, &out);
    }
    QN_ASSERT(e == QN_XML_BROKEN || depth == 0);
    QN_ASSERT(out.len <= text.len);
    qn_buf_fini(&out);
}

static void check_words(const char *text, size_t room)
{
    QN_ASSERT(strlen(text) < room);
    for (; *text != '\0'; text++)
        QN_ASSERT(*text >= ' ' && *text <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct qn_str text = {(const char *)data, (uint32_t)size};
    struct qn_buf next = {0};
    struct qn_s3_problem problem;
    struct qn_err err = {0};
    uint64_t first = 0, second = 0;
    qn_status rc = qn_s3_list_read(text, qn_str_of("p/"), hash_name, &first, &next, &err);

    QN_ASSERT(rc == QN_OK || rc == QN_INVALID);
    QN_ASSERT(qn_s3_list_read(text, qn_str_of("p/"), hash_name, &second, &next, NULL) == rc);
    QN_ASSERT(first == second);
    qn_s3_problem_read(text, &problem);
    check_words(problem.code, sizeof problem.code);
    check_words(problem.message, sizeof problem.message);
    for (long status = 300; status < 600; status++)
        (void)qn_s3_status(status, &problem, &err);
    walk(text);
    qn_buf_fini(&next);
    return 0;
}
