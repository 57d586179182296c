/* SPDX-License-Identifier: Apache-2.0
 * fuzz_proto.c - any bytes as the text of a Protobuf schema, a zero byte, and a record; or behind a
 * byte 1 and two of length as its descriptor, and a record.
 *
 * Holds: what is made of a record is one JSON value, the same each time; what is refused has a
 * reason and says why. */
#include "base/check.h"
#include "event/decode.h"
#include "event/proto.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes of the schema behind `from`, and where the record begins. */
struct split {
    size_t from, end, record;
};

static struct split split(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    struct split s = {.end = size, .record = size};

    if (size > 2 && data[0] == 1) { /* a descriptor has zero bytes: two of length */
        s.from = 3;
        if (size - 3 > (size_t)(data[1] << 8 | data[2]))
            s.end = s.record = 3 + (size_t)(data[1] << 8 | data[2]);
    } else if (zero != NULL) {
        s.end = (size_t)(zero - data);
        s.record = s.end + 1;
    }
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct split at = split(data, size);
    struct qn_buf schema = {0}, out = {0}, again = {0}, room = {0};
    char *bytes = malloc(size - at.record + 1);
    struct qn_str record = {bytes, (uint32_t)(size - at.record)};
    struct qn_wire_fault fault = {0};
    const struct qn_proto *proto;
    struct qn_proto_text text;
    struct qn_err err = {0};
    struct qn_arena a;

    QN_ASSERT(bytes != NULL);
    if (at.from > 0)
        qn_base64(&schema, (struct qn_str){(const char *)data + 3, (uint32_t)(at.end - 3)});
    else
        qn_buf_add(&schema, data, at.end);
    text = (struct qn_proto_text){{"", 0}, {schema.data, (uint32_t)schema.len}};
    if (record.len > 0)
        memcpy(bytes, data + at.record, record.len);
    qn_arena_init(&a, 0);
    if (qn_proto_read(&text, 1, &a, &proto, &err) != QN_OK) {
        QN_ASSERT(err.code == QN_INVALID && err.text[0] != '\0');
    } else if (qn_proto_json(proto, record, &room, &out, &fault)) {
        QN_ASSERT(qn_json_valid((struct qn_str){out.data, (uint32_t)out.len}));
        QN_ASSERT(qn_proto_json(proto, record, &room, &again, &fault));
        QN_ASSERT(again.len == out.len && memcmp(again.data, out.data, out.len) == 0);
    } else {
        QN_ASSERT(fault.reason != QN_REASON_NONE && fault.why[0] != '\0');
    }
    qn_buf_fini(&schema);
    qn_buf_fini(&out);
    qn_buf_fini(&again);
    qn_buf_fini(&room);
    qn_arena_fini(&a);
    free(bytes);
    return 0;
}
