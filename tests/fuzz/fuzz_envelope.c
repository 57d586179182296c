/* SPDX-License-Identifier: Apache-2.0
 * fuzz_envelope.c - any bytes as a record in an envelope: a byte says which, a byte how many bytes
 * of headers follow, as the log encodes them, then the value.
 *
 * Holds: an opened event is one JSON value, the same each time and whatever was opened before; all
 * vector forms agree; what is refused is refused with a reason, and a broken envelope with words.
 */
#include "base/check.h"
#include "event/decode.h"
#include "event/envelope.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS = 16, KINDS = 3 };

static struct {
    struct qn_arena boot;
    struct qn_field fields[FIELDS];
    struct qn_str paths[FIELDS][2];
    struct qn_schema schemas[KINDS]; /* CloudEvents; changes, deletes dropped; and as events */
    struct qn_opener *used;
    uint32_t count;
} x;

static void add(const char *a, const char *b, enum qn_type type, enum qn_time_unit unit)
{
    x.paths[x.count][0] = qn_str_of(a);
    x.paths[x.count][1] = qn_str_of(b != NULL ? b : "");
    x.fields[x.count] = (struct qn_field){.name = x.paths[x.count][0],
                                          .from = x.paths[x.count][0],
                                          .path = x.paths[x.count],
                                          .path_count = b != NULL ? 2 : 1,
                                          .kind = {type, type == QN_DECIMAL ? 2 : 0},
                                          .unit = unit,
                                          .is_optional = true};
    x.count++;
}

static void ready(void)
{
    add("a", NULL, QN_DECIMAL, 0);
    add("b", NULL, QN_DOUBLE, 0);
    add("c", NULL, QN_STRING, 0);
    add("t", NULL, QN_TIMESTAMP, QN_TIME_TEXT);
    add("u", NULL, QN_TIMESTAMP, QN_TIME_MS);
    add("n", "m", QN_INT64, 0);
    add("ce", "id", QN_STRING, 0);
    add("ce", "n", QN_INT64, 0);
    add("ce", "b", QN_BOOL, 0);
    add("data", "a", QN_STRING, 0);
    add("op", NULL, QN_STRING, 0);
    add("ts_ms", NULL, QN_TIMESTAMP, QN_TIME_MS);
    add("source", "lsn", QN_INT64, 0);
    add("before", "a", QN_DECIMAL, 0);
    add("after", "t", QN_TIMESTAMP, QN_TIME_S);
    add("row", "op", QN_STRING, 0);
    for (int i = 0; i < KINDS; i++) {
        x.schemas[i] =
            (struct qn_schema){.name = qn_str_of("s"),
                               .fields = x.fields,
                               .field_count = x.count,
                               .id = -1,
                               .key = -1,
                               .time = 3,
                               .envelope = i == 0 ? QN_ENVELOPE_CLOUDEVENTS : QN_ENVELOPE_DEBEZIUM,
                               .deletes = i == 2};
        QN_ASSERT(qn_decode_json_prepare(&x.schemas[i], &x.boot, NULL) == QN_OK);
    }
    QN_ASSERT(qn_opener_new(&x.used, NULL) == QN_OK);
}

/* Opens once, and holds the answer against the first one. */
static void open_again(struct qn_opener *o, const struct qn_schema *s, struct qn_str value,
                       struct qn_str headers, enum qn_reason want, const struct qn_buf *first)
{
    struct qn_str event;
    bool no_memory;

    QN_ASSERT(qn_envelope_open(o, s, value, headers, &event, &no_memory) == want && !no_memory);
    QN_ASSERT(want != QN_REASON_NONE ||
              (event.len == first->len && memcmp(event.p, first->data, event.len) == 0));
}

static void check_words(const struct qn_schema *s, struct qn_str value, struct qn_str headers)
{
    uint8_t reason = QN_REASON_BAD_ENVELOPE;
    struct qn_batch b = {.rows = 1, .raw = &value, .headers = &headers, .reason = &reason};
    struct qn_buf why = {0};

    qn_envelope_explain(&b, 0, s, &why);
    QN_ASSERT(why.len > 0 && why.len < QN_ENVELOPE_WHY_BYTES && qn_utf8_valid(why.data, why.len));
    qn_buf_fini(&why);
}

static void check(const struct qn_schema *s, struct qn_str value, struct qn_str headers)
{
    static const char *const forms[] = {"portable", "avx2", "avx512", "neon"};
    struct qn_opener *fresh = NULL;
    struct qn_buf first = {0};
    enum qn_reason reason;
    struct qn_str event;
    bool no_memory;

    QN_ASSERT(qn_opener_new(&fresh, NULL) == QN_OK);
    reason = qn_envelope_open(fresh, s, value, headers, &event, &no_memory);
    QN_ASSERT(!no_memory);
    if (reason == QN_REASON_NONE) {
        QN_ASSERT(qn_json_valid(event) && event.p[0] == '{');
        qn_buf_add(&first, event.p, event.len);
    } else if (reason == QN_REASON_BAD_ENVELOPE) {
        check_words(s, value, headers);
    }
    for (int k = 0; k < 4; k++)
        if (qn_decode_force(forms[k]))
            open_again(fresh, s, value, headers, reason, &first);
    qn_decode_force(NULL);
    open_again(x.used, s, value, headers, reason, &first);
    qn_buf_fini(&first);
    qn_opener_free(fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_str value, headers = {NULL, 0};
    char *text, *before = NULL;
    uint32_t kind, length;

    if (size < 2 || size > 1 << 16)
        return 0;
    if (x.count == 0)
        ready();
    kind = data[0] % KINDS;
    length = data[1] <= size - 2 ? data[1] : 0;
    if (length > 0) {
        before = malloc(length);
        QN_ASSERT(before != NULL);
        memcpy(before, data + 2, length);
        headers = (struct qn_str){before, length};
    }
    data += 2 + length;
    size -= 2 + length;
    text = malloc(size + QN_DECODE_PAD);
    QN_ASSERT(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    memset(text + size, '"', QN_DECODE_PAD);
    value = (struct qn_str){text, (uint32_t)size};
    check(&x.schemas[kind], value, headers);
    free(text);
    free(before);
    return 0;
}
