/* SPDX-License-Identifier: Apache-2.0
 * fuzz_json_reader.c - walks any bytes as a JSON document, twice: event by event, and by skipping.
 *
 * Holds: the walk ends, depth stays within bounds, opens and closes match, texts are UTF-8, an
 * error stays an error, and skipping the outermost value accepts exactly what walking it accepts.
 */
#include "base/check.h"
#include "base/json.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool walk(struct qn_str text, struct qn_arena *a)
{
    struct qn_json_reader r;
    enum qn_json_kind kind;
    uint32_t depth = 0;
    size_t events = 0;

    qn_json_open(&r, text, a);
    for (;;) {
        kind = qn_json_next(&r);
        QN_ASSERT(++events <= (size_t)text.len + 2);
        QN_ASSERT(qn_json_offset(&r) <= text.len);
        if (kind == QN_JSON_END || kind == QN_JSON_ERROR)
            break;
        if (kind == QN_JSON_OBJECT || kind == QN_JSON_ARRAY)
            depth++;
        if (kind == QN_JSON_CLOSE)
            depth--;
        QN_ASSERT(r.depth == depth);
        QN_ASSERT(depth <= QN_JSON_DEPTH_MAX);
        QN_ASSERT(!r.has_key || qn_utf8_valid(r.key.p, r.key.len));
        QN_ASSERT(kind != QN_JSON_STRING || qn_utf8_valid(r.text.p, r.text.len));
        QN_ASSERT(kind != QN_JSON_NUMBER || r.number.text.len > 0);
    }
    QN_ASSERT(qn_json_next(&r) == kind);
    QN_ASSERT(kind == QN_JSON_ERROR || depth == 0);
    QN_ASSERT(kind == QN_JSON_END || r.error != NULL);
    return kind == QN_JSON_END;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_str text = {(const char *)data, (uint32_t)size};
    struct qn_arena a = {0};
    struct qn_json_reader r;
    bool good, skipped;

    good = walk(text, &a);
    qn_json_open(&r, text, &a);
    skipped = qn_json_skip(&r, qn_json_next(&r)) && qn_json_next(&r) == QN_JSON_END;
    QN_ASSERT(good == skipped);
    qn_arena_fini(&a);
    return 0;
}
