/* SPDX-License-Identifier: Apache-2.0
 * fuzz_avro.c - any bytes as an Avro schema, a zero byte, and a record.
 *
 * Holds: what is made of a record is one JSON value, the same each time; what is refused has a
 * reason and says why. */
#include "base/check.h"
#include "event/avro.h"
#include "event/decode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    const size_t split = zero != NULL ? (size_t)(zero - data) : size;
    const size_t left = zero != NULL ? size - split - 1 : 0;
    char *schema = malloc(split + 1), *bytes = malloc(left + 1);
    struct qn_str text = {schema, (uint32_t)split}, record = {bytes, (uint32_t)left};
    struct qn_buf out = {0}, again = {0};
    const struct qn_avro *avro;
    struct qn_wire_fault fault = {0};
    struct qn_err err = {0};
    struct qn_arena a;

    QN_ASSERT(schema != NULL && bytes != NULL);
    memcpy(schema, data, split);
    if (left > 0)
        memcpy(bytes, zero + 1, left);
    qn_arena_init(&a, 0);
    if (qn_avro_read(&text, 1, &a, &avro, &err) != QN_OK) {
        QN_ASSERT(err.code == QN_INVALID && err.text[0] != '\0');
    } else if (qn_avro_json(avro, record, &out, &fault)) {
        QN_ASSERT(qn_json_valid((struct qn_str){out.data, (uint32_t)out.len}));
        QN_ASSERT(qn_avro_json(avro, record, &again, &fault));
        QN_ASSERT(again.len == out.len && memcmp(again.data, out.data, out.len) == 0);
    } else {
        QN_ASSERT(fault.reason != QN_REASON_NONE && fault.why[0] != '\0');
    }
    qn_buf_fini(&out);
    qn_buf_fini(&again);
    qn_arena_fini(&a);
    free(schema);
    free(bytes);
    return 0;
}
