/* SPDX-License-Identifier: Apache-2.0
 * proto_wire.c - tags, varints and lengths of Protobuf's wire format. See proto_int.h.
 *
 * Lengths are held against what is left. Groups are passed over without recursion. Thread: any; no
 * state. */
#include "event/proto_int.h"

enum { GROUPS_MAX = 64 };

bool qn_proto_varint(struct qn_proto_reader *r, uint64_t *out, const char **why)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        unsigned char c;

        if (r->p == r->end) {
            *why = "a number that is cut off";
            return false;
        }
        c = *r->p++;
        if (shift == 63 && c > 1)
            break;
        v |= (uint64_t)(c & 0x7F) << shift;
        if ((c & 0x80) == 0) {
            *out = v;
            return true;
        }
    }
    *why = "a number of more than 64 bits";
    return false;
}

static bool fixed(struct qn_proto_reader *r, uint32_t bytes, uint64_t *out, const char **why)
{
    *out = 0;
    if ((size_t)(r->end - r->p) < bytes) {
        *why = "a number that is cut off";
        return false;
    }
    for (uint32_t i = bytes; i-- > 0;)
        *out = *out << 8 | r->p[i];
    r->p += bytes;
    return true;
}

/* One tag, and what is behind it where that is no group. */
static bool next_one(struct qn_proto_reader *r, struct qn_proto_piece *out, const char **why)
{
    uint64_t tag, len;

    if (!qn_proto_varint(r, &tag, why))
        return false;
    out->number = (uint32_t)(tag >> 3);
    out->wire = (enum qn_proto_wire)(tag & 7);
    if (tag >> 3 == 0 || tag >> 3 > QN_PROTO_NUMBER_MAX) {
        *why = "a field whose number cannot be";
        return false;
    }
    switch (out->wire) {
    case QN_PROTO_VARINT:
        return qn_proto_varint(r, &out->value, why);
    case QN_PROTO_64:
        return fixed(r, 8, &out->value, why);
    case QN_PROTO_32:
        return fixed(r, 4, &out->value, why);
    case QN_PROTO_BYTES_WIRE:
        if (!qn_proto_varint(r, &len, why))
            return false;
        if (len > (uint64_t)(r->end - r->p)) {
            *why = "a field that is cut off";
            return false;
        }
        out->p = r->p;
        out->len = (uint32_t)len;
        r->p += len;
        return true;
    case QN_PROTO_GROUP_WIRE:
    case QN_PROTO_GROUP_END:
        return true;
    }
    *why = "a field of a wire type that cannot be";
    return false;
}

/* Up to the end of the group of that number. */
static bool pass_group(struct qn_proto_reader *r, uint32_t number, const char **why)
{
    uint32_t open[GROUPS_MAX], depth = 1;
    struct qn_proto_piece inside;

    open[0] = number;
    while (depth > 0) {
        if (r->p == r->end) {
            *why = "a group that is cut off";
            return false;
        }
        if (!next_one(r, &inside, why))
            return false;
        if (inside.wire == QN_PROTO_GROUP_END) {
            if (open[--depth] != inside.number)
                break;
        } else if (inside.wire == QN_PROTO_GROUP_WIRE) {
            if (depth == GROUPS_MAX)
                break;
            open[depth++] = inside.number;
        } else {
            continue;
        }
        if (depth == 0)
            return true;
    }
    *why = "groups that do not fit into each other";
    return false;
}

bool qn_proto_next(struct qn_proto_reader *r, struct qn_proto_piece *out, const char **why)
{
    if (!next_one(r, out, why))
        return false;
    if (out->wire == QN_PROTO_GROUP_WIRE)
        return pass_group(r, out->number, why);
    if (out->wire == QN_PROTO_GROUP_END) {
        *why = "the end of a group that did not begin";
        return false;
    }
    return true;
}
