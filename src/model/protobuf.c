/* SPDX-License-Identifier: Apache-2.0
 * protobuf.c - walks over the fields of protobuf messages, never beyond their ends.
 *
 * First step of every ONNX file; what the fields mean is the readers' affair (onnx.h). Lengths are
 * held against the bytes that are left before anything is looked at. Thread: any. Memory: none. */
#include "model/protobuf.h"

#include <string.h>

bool qn_part_is(struct qn_part a, const char *text)
{
    const size_t len = (size_t)(a.end - a.p);

    return len == strlen(text) && (len == 0 || memcmp(a.p, text, len) == 0);
}

bool qn_part_same(struct qn_part a, struct qn_part b)
{
    const size_t len = (size_t)(a.end - a.p);

    return len == (size_t)(b.end - b.p) && (len == 0 || memcmp(a.p, b.p, len) == 0);
}

bool qn_protobuf_varint(struct qn_part *in, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && in->p < in->end; shift += 7) {
        const uint8_t byte = *in->p++;

        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

uint32_t qn_protobuf_little32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static qn_status cut_off(struct qn_err *err)
{
    return qn_err_set(err, QN_CORRUPT, "ONNX: the file is damaged or cut off");
}

qn_status qn_protobuf_next(struct qn_part *in, struct qn_protobuf_field *f, bool *more,
                           struct qn_err *err)
{
    uint64_t key, len = 0;

    *more = in->p < in->end;
    if (!*more)
        return QN_OK;
    if (!qn_protobuf_varint(in, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX)
        return cut_off(err);
    *f = (struct qn_protobuf_field){.number = (uint32_t)(key >> 3), .type = (uint32_t)(key & 7)};
    if (f->type == 0 ? !qn_protobuf_varint(in, &f->value)
                     : f->type == 2 && !qn_protobuf_varint(in, &len))
        return cut_off(err);
    if (f->type != 0)
        len = f->type == 1 ? 8 : f->type == 5 ? 4 : len;
    if ((f->type != 0 && f->type != 1 && f->type != 2 && f->type != 5) ||
        len > (uint64_t)(in->end - in->p))
        return cut_off(err);
    if (f->type == 5)
        f->value = qn_protobuf_little32(in->p);
    f->piece = (struct qn_part){in->p, in->p + len};
    in->p += len;
    return QN_OK;
}

qn_status qn_protobuf_inside(struct qn_part in, uint32_t number, struct qn_part *out,
                             struct qn_err *err)
{
    struct qn_protobuf_field f = {0};
    bool more;

    *out = (struct qn_part){in.end, in.end};
    for (;;) {
        QN_TRY(qn_protobuf_next(&in, &f, &more, err));
        if (!more)
            return QN_OK;
        if (f.number == number && f.type == 2)
            *out = f.piece;
    }
}
