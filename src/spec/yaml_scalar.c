/* SPDX-License-Identifier: Apache-2.0
 * yaml_scalar.c - what a scalar means by YAML 1.2 core rules, and the values of numbers.
 *
 * Whatever libyaml (YAML 1.1) would make of a scalar, these rules decide; one is stricter than 1.2:
 * digits with a leading zero (012) are text, because readers disagree about them. Thread: any.
 * Nothing is allocated. */
#include "spec/yaml_node.h"

#include "base/number.h"

static bool is_one_of(struct qn_str s, const char *a, const char *b, const char *c)
{
    return qn_str_is(s, a) || qn_str_is(s, b) || qn_str_is(s, c);
}

static uint32_t digits(struct qn_str s, uint32_t at)
{
    uint32_t n = 0;

    while (at + n < s.len && s.p[at + n] >= '0' && s.p[at + n] <= '9')
        n++;
    return n;
}

static bool is_based(struct qn_str s)
{
    if (s.len < 3 || s.p[0] != '0' || (s.p[1] != 'x' && s.p[1] != 'o'))
        return false;
    for (uint32_t i = 2; i < s.len; i++) {
        char c = s.p[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');

        if (s.p[1] == 'x' ? !hex : c < '0' || c > '7')
            return false;
    }
    return true;
}

static bool is_number(struct qn_str s)
{
    uint32_t i = 0, whole, part = 0;

    if (is_based(s))
        return true;
    if (i < s.len && (s.p[i] == '-' || s.p[i] == '+'))
        i++;
    if (is_one_of((struct qn_str){s.p + i, s.len - i}, ".inf", ".Inf", ".INF"))
        return true;
    if (is_one_of(s, ".nan", ".NaN", ".NAN"))
        return true;
    whole = digits(s, i);
    if (whole > 1 && s.p[i] == '0')
        return false; /* 012 is a text: octal to some, decimal to others */
    i += whole;
    if (i < s.len && s.p[i] == '.') {
        part = digits(s, ++i);
        i += part;
    }
    if (whole + part == 0)
        return false;
    if (i < s.len && (s.p[i] == 'e' || s.p[i] == 'E')) {
        uint32_t power;

        i++;
        if (i < s.len && (s.p[i] == '-' || s.p[i] == '+'))
            i++;
        power = digits(s, i);
        if (power == 0)
            return false;
        i += power;
    }
    return i == s.len;
}

enum qn_yaml_kind qn_yaml_resolve(struct qn_str plain)
{
    if (plain.len == 0 || qn_str_is(plain, "~") || is_one_of(plain, "null", "Null", "NULL"))
        return QN_YAML_NULL;
    if (is_one_of(plain, "true", "True", "TRUE") || is_one_of(plain, "false", "False", "FALSE"))
        return QN_YAML_BOOL;
    return is_number(plain) ? QN_YAML_NUMBER : QN_YAML_TEXT;
}

static bool read_based(struct qn_str s, int64_t *out)
{
    uint64_t v = 0;
    unsigned shift = s.p[1] == 'x' ? 4 : 3;

    for (uint32_t i = 2; i < s.len; i++) {
        char c = s.p[i];
        unsigned digit = c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a' + 10);

        if (v >> (63 - shift) != 0)
            return false;
        v = v << shift | digit;
    }
    *out = (int64_t)v;
    return true;
}

bool qn_yaml_double(const struct qn_yaml_node *n, double *out)
{
    struct qn_str s = n->text;
    int64_t based;

    if (n->kind != QN_YAML_NUMBER)
        return false;
    if (is_based(s)) {
        if (!read_based(s, &based))
            return false;
        *out = (double)based;
        return true;
    }
    if (s.p[s.len - 1] == 'f' || s.p[s.len - 1] == 'F') {
        *out = s.p[0] == '-' ? -__builtin_inf() : __builtin_inf();
        return true;
    }
    if (s.p[s.len - 1] == 'n' || s.p[s.len - 1] == 'N') {
        *out = __builtin_nan("");
        return true;
    }
    return qn_text_double(s, out) && __builtin_isfinite(*out);
}

bool qn_yaml_scaled(const struct qn_yaml_node *n, unsigned scale, int64_t *out)
{
    if (n->kind != QN_YAML_NUMBER)
        return false;
    if (is_based(n->text)) {
        if (!read_based(n->text, out))
            return false;
        for (unsigned i = 0; i < scale; i++) {
            if (__builtin_mul_overflow(*out, 10, out))
                return false;
        }
        return true;
    }
    return qn_text_scaled(n->text, scale, out);
}

const struct qn_yaml_item *qn_yaml_get(const struct qn_yaml_node *map, const char *key)
{
    if (map->kind != QN_YAML_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->count; i++) {
        if (qn_str_is(map->items[i].key->text, key))
            return &map->items[i];
    }
    return NULL;
}
