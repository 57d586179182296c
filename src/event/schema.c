/* SPDX-License-Identifier: Apache-2.0
 * schema.c - names of types and look-up of fields.
 *
 * Boot only, apart from the names. Nothing is allocated; the schema itself is built by spec/.
 * Thread: any, read-only. */
#include "event/schema.h"

#include "base/check.h"
#include "base/number.h"

const char *qn_type_name(enum qn_type t)
{
    static const char *const names[QN_TYPE_COUNT] = {
#define QN_TYPE_TEXT(name, text) [QN_##name] = text,
        QN_TYPE_LIST(QN_TYPE_TEXT)
#undef QN_TYPE_TEXT
    };

    QN_ASSERT((unsigned)t < QN_TYPE_COUNT);
    return names[t];
}

const char *qn_kind_print(struct qn_kind k, char out[24])
{
    const char *name = qn_type_name(k.type);
    size_t n = strlen(name);

    memcpy(out, name, n);
    if (k.type == QN_LIST) {
        memcpy(out + n, "(double)", 8);
        n += 8;
    }
    if (k.type == QN_DECIMAL) {
        out[n++] = '(';
        n += qn_print_uint64(out + n, k.scale);
        out[n++] = ')';
    }
    out[n] = '\0';
    return out;
}

int qn_schema_find(const struct qn_schema *s, struct qn_str name)
{
    for (uint32_t i = 0; i < s->field_count; i++)
        if (qn_str_eq(s->fields[i].name, name))
            return (int)i;
    return -1;
}
