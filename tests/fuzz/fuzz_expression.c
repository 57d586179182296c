/* SPDX-License-Identifier: Apache-2.0
 * fuzz_expression.c - any bytes as an expression and as a feature sentence.
 *
 * Holds: no mistake without a diagnostic that lies inside the text; what compiles gives values that
 * are 0 or 1 where bool, finite where double, in one piece as in two; null rows' values, which
 * point nowhere, are never followed. */
#include "base/check.h"
#include "feature/feature.h"

#include <float.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS = 8, FIELDS = 9 };
#define STR(text)                                                                                  \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }

static const struct qn_field fields[FIELDS] = {
    {.name = STR("i"), .kind = {QN_INT64, 0}},   {.name = STR("j"), .kind = {QN_INT64, 0}},
    {.name = STR("d"), .kind = {QN_DOUBLE, 0}},  {.name = STR("m"), .kind = {QN_DECIMAL, 2}},
    {.name = STR("n"), .kind = {QN_DECIMAL, 9}}, {.name = STR("s"), .kind = {QN_STRING, 0}},
    {.name = STR("b"), .kind = {QN_BOOL, 0}},    {.name = STR("t"), .kind = {QN_TIMESTAMP, 0}},
    {.name = STR("l"), .kind = {QN_LIST, 0}},
};

static void fill(struct qn_col *c, struct qn_kind kind, struct qn_arena *arena)
{
    static const int64_t ints[ROWS] = {0,         1, -1,       INT64_MAX,
                                       INT64_MIN, 7, -1000000, 1522540831000001};
    static const double reals[ROWS] = {0, 1, -1, 1e308, -1e-308, 0.5, 9223372036854775808.0, -2.5};
    static const char *const texts[ROWS] = {"", "a", "A", "abc", "\xc3\xa9", "US", "zz", "0"};
    static const double values[2] = {1, 2};

    QN_ASSERT(qn_col_init(c, kind, ROWS, arena, NULL) == QN_OK);
    for (uint32_t r = 0; r < ROWS; r++) {
        c->valid[r] = (r + kind.type) % 4 != 0;
        if (kind.type == QN_STRING)
            c->str[r] = c->valid[r] ? qn_str_of(texts[r]) : (struct qn_str){(const char *)8, 99999};
        else if (kind.type == QN_LIST)
            c->list[r] = (struct qn_list){values, r % 3};
        else if (kind.type == QN_DOUBLE)
            c->f64[r] = c->valid[r] ? reals[r] : __builtin_nan("");
        else
            c->i64[r] = kind.type == QN_BOOL && c->valid[r] ? r % 2 : ints[r];
    }
}

static void check_diags(const struct qn_diags *d, size_t size)
{
    for (unsigned i = 0; i < d->count; i++) {
        QN_ASSERT(d->list[i].text[0] != '\0');
        QN_ASSERT(d->list[i].at.col >= 1 && d->list[i].at.col <= size + 1);
    }
}

static void as_expression(struct qn_str text, struct qn_arena *arena)
{
    struct qn_name names[FIELDS];
    const struct qn_scope scope = {names, FIELDS, "field"};
    struct qn_col cols[FIELDS], whole, halves;
    const struct qn_col *shown[FIELDS];
    struct qn_diags diags = {.arena = arena};

    for (uint32_t i = 0; i < FIELDS; i++) {
        names[i] = (struct qn_name){fields[i].name, fields[i].kind, i};
        fill(&cols[i], fields[i].kind, arena);
        shown[i] = &cols[i];
    }
    struct qn_expr *e = qn_expr_parse(text, (struct qn_pos){1, 1, 0}, &scope, arena, &diags);

    QN_ASSERT((e == NULL) == (diags.errors > 0));
    check_diags(&diags, text.len);
    if (e == NULL)
        return;
    const struct qn_kind kind = qn_expr_kind(e);

    QN_ASSERT(qn_col_init(&whole, kind, ROWS, arena, NULL) == QN_OK);
    QN_ASSERT(qn_col_init(&halves, kind, ROWS, arena, NULL) == QN_OK);
    QN_ASSERT(qn_expr_run(e, shown, 0, ROWS, &whole, arena, NULL) == QN_OK);
    QN_ASSERT(qn_expr_run(e, shown, 0, 3, &halves, arena, NULL) == QN_OK);
    QN_ASSERT(qn_expr_run(e, shown, 3, ROWS, &halves, arena, NULL) == QN_OK);
    for (uint32_t r = 0; r < ROWS; r++) {
        QN_ASSERT(whole.valid[r] <= 1);
        QN_ASSERT(whole.valid[r] == halves.valid[r]);
        if (!whole.valid[r] || kind.type == QN_LIST)
            continue;
        if (kind.type == QN_STRING) {
            QN_ASSERT(qn_str_eq(whole.str[r], halves.str[r]));
            continue;
        }
        QN_ASSERT(whole.i64[r] == halves.i64[r]);
        if (kind.type == QN_BOOL)
            QN_ASSERT(whole.i64[r] == 0 || whole.i64[r] == 1);
        if (kind.type == QN_DOUBLE)
            QN_ASSERT(__builtin_fabs(whole.f64[r]) <= DBL_MAX);
    }
}

static void as_feature(struct qn_str text, struct qn_arena *arena)
{
    const struct qn_schema schemas[2] = {
        {.name = STR("one"), .fields = fields, .field_count = FIELDS, .time = 7},
        {.name = STR("two"), .fields = fields, .field_count = FIELDS, .time = 7},
    };
    const struct qn_feature_text texts[2] = {
        {{"x", 1}, {1, 1, 1}, text, {1, 1, 0}},
        {{"y", 1}, {1, 1, 1}, STR("i + 1"), {2, 1, 0}},
    };
    struct qn_diags diags = {.arena = arena};
    struct qn_features *f;

    QN_ASSERT(qn_features_new(texts, 2, schemas, 2, 0, arena, &diags, &f, NULL) == QN_OK);
    QN_ASSERT((f == NULL) == (diags.errors > 0));
    check_diags(&diags, text.len);
    qn_features_free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_arena arena = {0};
    const struct qn_str text = {(const char *)data, (uint32_t)size};

    if (size > 4096)
        return 0;
    as_expression(text, &arena);
    as_feature(text, &arena);
    qn_arena_fini(&arena);
    return 0;
}
