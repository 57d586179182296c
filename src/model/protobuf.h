/* SPDX-License-Identifier: Apache-2.0
 * protobuf.h - the few things of a protobuf message that the readers of ONNX files need.
 *
 * A message is a list of fields {number << 3 | type as varint, value}; type 0 is a varint, 1 eight
 * bytes, 2 a length and so many bytes (text, a message, packed numbers), 5 four bytes. Nothing is
 * copied: a piece points into the file. Thread: any. Memory: none. */
#ifndef QN_MODEL_PROTOBUF_H
#define QN_MODEL_PROTOBUF_H

#include "base/status.h"

/* Part of the file: one message, one text, or packed numbers. */
struct qn_part {
    const uint8_t *p, *end;
};

struct qn_protobuf_field {
    uint32_t number, type; /* type: 0 varint, 1 eight bytes, 2 piece, 5 four bytes */
    uint64_t value;        /* of types 0 and 5 */
    struct qn_part piece;  /* the bytes of types 1, 2 and 5 */
};

/* The next field of a message; *more is false at its end. QN_CORRUPT where it is cut off. */
qn_status qn_protobuf_next(struct qn_part *in, struct qn_protobuf_field *f, bool *more,
                           struct qn_err *err);
/* Goes down one level: the last field `number` of a message. Empty where there is none. */
qn_status qn_protobuf_inside(struct qn_part in, uint32_t number, struct qn_part *out,
                             struct qn_err *err);
bool qn_protobuf_varint(struct qn_part *in, uint64_t *out); /* false: cut off, or too long */
uint32_t qn_protobuf_little32(const uint8_t *p);
bool qn_part_is(struct qn_part a, const char *text);
bool qn_part_same(struct qn_part a, struct qn_part b);

#endif
