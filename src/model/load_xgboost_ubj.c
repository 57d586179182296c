/* SPDX-License-Identifier: Apache-2.0
 * load_xgboost_ubj.c - XGBoost models in Universal Binary JSON (since 1.6), see load_xgboost.h.
 *
 *   value   '{' members '}' | '[' values ']' | '[' '#' count values
 *           | '[' '$' type '#' count numbers without their tags
 *           | 'S' count bytes | 'C' byte | 'T' | 'F' | 'Z' | number
 *   member  count bytes (the key, without 'S'), value; 'N' (no-op) may stand before a value
 *   number  tag, big-endian: 'i' int8, 'U' uint8, 'I' int16, 'l' int32, 'L' int64, 'd' float32,
 *           'D' float64
 *   count   an integer with its tag
 *
 * Draft 12 of the specification, as XGBoost's writer (src/common/json.cc) uses it. A count is
 * checked against the bytes that are left before anything is made of it. Thread: the loader's.
 * Memory: text is borrowed from the file. */
#include "model/load_xgboost.h"

enum { DEPTH_MAX = 64 };

struct ubj_level {
    bool is_object;
    bool is_counted; /* ends after `left` values, without a closing mark */
    uint8_t type;    /* of a typed array, 0 = each value has its tag     */
    uint64_t left;
};

struct ubj_doc {
    struct qn_doc doc; /* first */
    const uint8_t *start, *at, *end;
    struct ubj_level levels[DEPTH_MAX];
    uint32_t depth;
    bool is_done;
    bool is_real; /* the number just read is `real`, else `whole` */
    double real;
    float single; /* the number as float                          */
    int64_t whole;
};

static enum qn_json_kind ubj_fail(struct ubj_doc *u, const char *error)
{
    u->doc.error = error;
    return QN_JSON_ERROR;
}

/* Bytes of a number of that type, 0 = no number. */
static unsigned width_of(uint8_t type)
{
    switch (type) {
    case 'i':
    case 'U':
        return 1;
    case 'I':
        return 2;
    case 'l':
    case 'd':
        return 4;
    case 'L':
    case 'D':
        return 8;
    default:
        return 0;
    }
}

/* Takes the number behind its tag. */
static bool take_number(struct ubj_doc *u, uint8_t type)
{
    const unsigned width = width_of(type);
    uint64_t bits = 0;

    if (width == 0 || (size_t)(u->end - u->at) < width)
        return false;
    for (unsigned i = 0; i < width; i++)
        bits = bits << 8 | u->at[i];
    u->at += width;
    u->is_real = type == 'd' || type == 'D';
    if (type == 'd') {
        uint32_t b = (uint32_t)bits;

        memcpy(&u->single, &b, sizeof(b));
        u->real = (double)u->single;
    } else if (type == 'D') {
        memcpy(&u->real, &bits, sizeof(bits));
        u->single = (float)u->real;
    } else {
        u->whole = type == 'i'   ? (int8_t)bits
                   : type == 'U' ? (int64_t)bits
                   : type == 'I' ? (int16_t)bits
                   : type == 'l' ? (int32_t)bits
                                 : (int64_t)bits;
        u->single = (float)u->whole;
    }
    return true;
}

/* A count: an integer with its tag, not negative, at most what is left in the file. */
static bool take_count(struct ubj_doc *u, uint64_t *out)
{
    uint8_t type;

    if (u->at == u->end)
        return false;
    type = *u->at++;
    if (type == 'd' || type == 'D' || !take_number(u, type) || u->whole < 0 ||
        (uint64_t)u->whole > (uint64_t)(u->end - u->at))
        return false;
    *out = (uint64_t)u->whole;
    return true;
}

static bool take_text(struct ubj_doc *u, struct qn_str *out)
{
    uint64_t len;

    if (!take_count(u, &len))
        return false;
    *out = (struct qn_str){(const char *)u->at, (uint32_t)len};
    u->at += len;
    return qn_utf8_valid(out->p, out->len);
}

static enum qn_json_kind open_level(struct ubj_doc *u, bool is_object)
{
    struct ubj_level *l;

    if (u->depth == DEPTH_MAX)
        return ubj_fail(u, "nested too deeply");
    l = &u->levels[u->depth++];
    *l = (struct ubj_level){.is_object = is_object};
    if (u->at < u->end && *u->at == '$') {
        if (is_object || u->end - u->at < 3 || u->at[2] != '#' || width_of(u->at[1]) == 0)
            return ubj_fail(u, "a typed container that is no array of numbers");
        l->type = u->at[1];
        u->at += 2;
    }
    if (u->at < u->end && *u->at == '#') {
        u->at++;
        l->is_counted = true;
        if (!take_count(u, &l->left) ||
            (l->type != 0 && l->left > (uint64_t)(u->end - u->at) / width_of(l->type)))
            return ubj_fail(u, "an array claims more values than the file has");
    }
    return is_object ? QN_JSON_OBJECT : QN_JSON_ARRAY;
}

static enum qn_json_kind close_level(struct ubj_doc *u)
{
    u->depth--;
    u->is_done = u->depth == 0;
    return QN_JSON_CLOSE;
}

static enum qn_json_kind take_value(struct ubj_doc *u, uint8_t type)
{
    switch (type) {
    case '{':
        return open_level(u, true);
    case '[':
        return open_level(u, false);
    case 'S':
        return take_text(u, &u->doc.text) ? QN_JSON_STRING
                                          : ubj_fail(u, "text that is cut off or not UTF-8");
    case 'C':
        if (u->at == u->end || *u->at > 127)
            return ubj_fail(u, "a character that is cut off or not ASCII");
        u->doc.text = (struct qn_str){(const char *)u->at++, 1};
        return QN_JSON_STRING;
    case 'T':
        return QN_JSON_TRUE;
    case 'F':
        return QN_JSON_FALSE;
    case 'Z':
        return QN_JSON_NULL;
    default:
        return take_number(u, type)
                   ? QN_JSON_NUMBER
                   : ubj_fail(u, "a value of unknown type, or the file is cut off");
    }
}

static enum qn_json_kind ubj_next(struct qn_doc *d)
{
    struct ubj_doc *u = (struct ubj_doc *)d;
    struct ubj_level *l = u->depth > 0 ? &u->levels[u->depth - 1] : NULL;
    uint8_t type;

    if (d->error != NULL)
        return QN_JSON_ERROR;
    if (u->is_done)
        return u->at == u->end ? QN_JSON_END : ubj_fail(u, "something stands behind the document");
    if (l != NULL && l->is_counted && l->left-- == 0)
        return close_level(u);
    if (l != NULL && l->type != 0)
        return take_number(u, l->type) ? QN_JSON_NUMBER : ubj_fail(u, "the file is cut off");
    while (u->at < u->end && *u->at == 'N')
        u->at++;
    if (u->at == u->end)
        return ubj_fail(u, "the file is cut off");
    if (l != NULL && !l->is_counted && *u->at == (l->is_object ? '}' : ']')) {
        u->at++;
        return close_level(u);
    }
    if (l != NULL && l->is_object && !take_text(u, &d->key))
        return ubj_fail(u, "a key that is cut off or not UTF-8");
    if (u->at == u->end)
        return ubj_fail(u, "the file is cut off");
    type = *u->at++;
    return take_value(u, type);
}

static float ubj_float(const struct qn_doc *d)
{
    return ((const struct ubj_doc *)d)->single;
}

static bool ubj_int(const struct qn_doc *d, int64_t *out)
{
    const struct ubj_doc *u = (const struct ubj_doc *)d;

    *out = u->whole;
    return !u->is_real;
}

static size_t ubj_offset(const struct qn_doc *d)
{
    const struct ubj_doc *u = (const struct ubj_doc *)d;

    return (size_t)(u->at - u->start);
}

qn_status qn_model_load_xgboost_ubj(struct qn_model *m, struct qn_str bytes,
                                    const struct qn_model_options *opt, struct qn_err *err)
{
    struct ubj_doc u = {.doc = {.next = ubj_next,
                                .number_float = ubj_float,
                                .number_int = ubj_int,
                                .offset = ubj_offset}};

    u.start = u.at = (const uint8_t *)bytes.p;
    u.end = u.start + bytes.len;
    return qn_model_xgboost_document(m, &u.doc, opt, err);
}
