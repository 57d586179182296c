/* SPDX-License-Identifier: Apache-2.0
 * fuzz_json.c - one JSON event against a schema with every type.
 *
 * Besides not crashing: all vector forms give the same row; the decoder, qn_json_valid and the pull
 * reader of base/json.h agree on what is JSON; and the time read alone is the time decoded. */
#include "base/check.h"
#include "base/json.h"
#include "event/decode.h"
#include "event/encode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS = 9 };

static struct {
    struct qn_arena boot;
    struct qn_schema schema;
    struct qn_field fields[FIELDS];
    struct qn_str paths[FIELDS][3];
    struct qn_batch b;
    bool is_ready;
} x;

static void add(const char *a, const char *b, enum qn_type type, enum qn_time_unit unit)
{
    uint32_t i = x.schema.field_count++;

    x.paths[i][0] = qn_str_of(a);
    if (b != NULL)
        x.paths[i][1] = qn_str_of(b);
    x.fields[i] = (struct qn_field){.name = qn_str_of(a),
                                    .from = qn_str_of(a),
                                    .path = x.paths[i],
                                    .path_count = b != NULL ? 2 : 1,
                                    .kind = {type, type == QN_DECIMAL ? 2 : 0},
                                    .unit = unit,
                                    .is_optional = true};
}

static void ready(void)
{
    x.schema = (struct qn_schema){
        .name = qn_str_of("s"), .fields = x.fields, .id = -1, .key = -1, .time = 3};
    add("b", NULL, QN_BOOL, 0);
    add("i", NULL, QN_INT64, 0);
    add("s", NULL, QN_STRING, 0);
    add("t", NULL, QN_TIMESTAMP, QN_TIME_TEXT);
    add("d", NULL, QN_DOUBLE, 0);
    add("m", NULL, QN_DECIMAL, 0);
    add("p", "s", QN_STRING, 0);
    add("p", "l", QN_LIST, 0);
    add("p", "e", QN_TIMESTAMP, QN_TIME_MS);
    QN_ASSERT(qn_batch_init(&x.b, &x.boot, &x.schema, 1, 1, 1, NULL) == QN_OK);
    QN_ASSERT(qn_decode_json_prepare(&x.schema, &x.boot, NULL) == QN_OK);
    x.is_ready = true;
}

/* The row as text. */
static void show(struct qn_buf *out)
{
    qn_buf_printf(out, "%d %d %d", x.b.verdict[0], x.b.reason[0], x.b.reason_field[0]);
    for (uint32_t c = 0; c < x.b.col_count; c++) {
        qn_buf_byte(out, ' ');
        qn_encode_json_value(out, &x.b.cols[c], 0);
    }
}

static void check_validity(struct qn_str text)
{
    enum qn_reason reason = (enum qn_reason)x.b.reason[0];
    bool is_valid = qn_json_valid(text), was_deep = false;
    struct qn_json_reader r;
    struct qn_arena a = {0};
    enum qn_json_kind kind;

    QN_ASSERT(!is_valid || (reason != QN_REASON_BAD_JSON && reason != QN_REASON_TOO_DEEP));
    QN_ASSERT(is_valid || reason == QN_REASON_BAD_JSON || reason == QN_REASON_BAD_UTF8 ||
              reason == QN_REASON_TOO_DEEP);
    qn_json_open(&r, text, &a);
    do {
        kind = qn_json_next(&r);
        was_deep |= r.depth > QN_JSON_EVENT_DEPTH_MAX;
    } while (kind != QN_JSON_END && kind != QN_JSON_ERROR);
    if (kind == QN_JSON_END && !was_deep &&
        !(text.len > 0 && text.p[0] == '\xEF')) /* a byte order mark */
        QN_ASSERT(is_valid);
    if (kind == QN_JSON_ERROR && memmem(text.p, text.len, "\\ud", 3) == NULL &&
        memmem(text.p, text.len, "\\uD", 3) == NULL)
        QN_ASSERT(
            !is_valid); /* halves of surrogate pairs are JSON to the one and not to the other */
    qn_arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const forms[] = {"portable", "avx2", "avx512", "neon"};
    struct qn_buf first = {0}, now = {0};
    char *text, *exact;
    int64_t us;

    if (size > 1 << 16)
        return 0;
    if (!x.is_ready)
        ready();
    text = malloc(size + QN_DECODE_PAD);
    exact = malloc(size + 1);
    if (size > 0) {
        memcpy(text, data, size);
        memcpy(exact, data, size);
    }
    memset(text + size, '"', QN_DECODE_PAD);
    for (int k = 0; k < 4; k++) {
        if (!qn_decode_force(forms[k]))
            continue;
        qn_batch_reset(&x.b);
        x.b.rows = 1;
        x.b.raw[0] = (struct qn_str){text, (uint32_t)size};
        qn_decode_json(&x.b, &x.schema, 0, 0, 1, 0);
        qn_buf_clear(&now);
        show(k == 0 ? &first : &now);
        QN_ASSERT(k == 0 || (now.len == first.len && memcmp(now.data, first.data, now.len) == 0));
    }
    check_validity((struct qn_str){exact, (uint32_t)size});
    if (qn_decode_json_time(&x.schema, x.b.raw[0], &us)) {
        QN_ASSERT(x.b.reason[0] != QN_REASON_BAD_JSON);
        QN_ASSERT(x.b.verdict[0] == QN_DEAD || (x.b.cols[3].valid[0] && x.b.cols[3].i64[0] == us));
    } else {
        QN_ASSERT(x.b.verdict[0] == QN_DEAD || !x.b.cols[3].valid[0]);
    }
    qn_buf_fini(&first);
    qn_buf_fini(&now);
    free(text);
    free(exact);
    return 0;
}
