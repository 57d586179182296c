/* SPDX-License-Identifier: Apache-2.0
 * test_kernel_columns.c - every kernel against `walk` on random forests, at every batch size from 1
 * to 130. */
#include "models.h"

enum { ROWS = 130, INPUTS_MAX = 12, OUTPUTS_MAX = 3 };

static double column_values[INPUTS_MAX][ROWS];

static void fill_rows(const struct qn_model *m)
{
    static const double special[] = {NAN,   INFINITY, -INFINITY, 0,    -0.0, 1e-36,
                                     1e-40, -1,       -0.5,      1e10, 63,   64};
    const struct qn_forest *f = &m->forest;

    for (unsigned i = 0; i < m->info.inputs; i++) {
        for (unsigned r = 0; r < ROWS; r++) {
            const struct qn_node *n = &f->nodes[models_draw((uint32_t)f->node_count)];
            unsigned way = models_draw(5);

            column_values[i][r] = special[models_draw(12)];
            if (way == 0 || isnan(n->value))
                continue;
            column_values[i][r] = way == 1   ? (double)models_draw(70)
                                  : way == 2 ? n->value
                                  : way == 3 ? (double)nextafterf((float)n->value, -INFINITY)
                                             : nextafter(n->value, -INFINITY);
        }
    }
}

static void score_in_batches(const struct qn_model *m, uint32_t batch, double *margin,
                             double *prediction)
{
    void *scratch = qn_mem_aligned(64, (qn_model_scratch_bytes(m, batch) + 63) / 64 * 64);
    const double *columns[INPUTS_MAX];

    assert_non_null(scratch);
    for (uint32_t first = 0; first < ROWS; first += batch) {
        uint32_t n = ROWS - first < batch ? ROWS - first : batch;

        for (unsigned i = 0; i < m->info.inputs; i++)
            columns[i] = column_values[i] + first;
        memset(scratch, 0xa5, qn_model_scratch_bytes(m, batch));
        qn_model_score(m, columns, n, scratch, margin + first, prediction + first, ROWS);
    }
    qn_mem_free(scratch);
}

static unsigned check_model(struct qn_model *m)
{
    static double want[OUTPUTS_MAX * ROWS], want_p[OUTPUTS_MAX * ROWS];
    static double got[OUTPUTS_MAX * ROWS], got_p[OUTPUTS_MAX * ROWS];
    const size_t bytes = (size_t)m->info.outputs * ROWS * sizeof(double);
    unsigned kernels = 0;

    fill_rows(m);
    assert_true(qn_model_force_kernel(m, "walk"));
    score_in_batches(m, ROWS, want, want_p);
    for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
        if (!qn_model_force_kernel(m, qn_model_kernel_name(k)))
            continue;
        kernels++;
        for (uint32_t batch = 1; batch <= ROWS; batch++) {
            memset(got, 0, bytes);
            score_in_batches(m, batch, got, got_p);
            if (memcmp(got, want, bytes) != 0 || memcmp(got_p, want_p, bytes) != 0)
                fail_msg("kernel %s differs at batch %u", qn_model_kernel_name(k), batch);
        }
    }
    return kernels;
}

static const struct model_shape SHAPES[] = {
    {.trees = 7, .leaves = 2, .inputs = 3, .outputs = 1, .values = 5},
    {.trees = 12, .leaves = 8, .inputs = 5, .outputs = 1, .values = 20},
    {.trees = 10, .leaves = 60, .inputs = 4, .outputs = 1, .values = 1000},
    {.trees = 9, .leaves = 30, .inputs = 1, .outputs = 1, .values = 5000},
    {.trees = 12, .leaves = 16, .inputs = 6, .outputs = 3, .values = 50},
    {.trees = 10, .leaves = 24, .inputs = 4, .outputs = 1, .values = 30, .has_categories = true},
    {.trees = 10, .leaves = 24, .inputs = 4, .outputs = 1, .values = 30, .has_zero_missing = true},
    {.trees = 2, .leaves = 500, .inputs = 1, .outputs = 1, .values = 100000},
    {.trees = 12,
     .leaves = 10,
     .inputs = 12,
     .outputs = 2,
     .values = 9,
     .has_categories = true,
     .has_zero_missing = true},
};

static void check_all(void (*make)(struct qn_buf *, const struct model_shape *))
{
    struct qn_buf text = {0};
    unsigned kernels = 0;

    models_seed();
    for (size_t i = 0; i < sizeof(SHAPES) / sizeof(SHAPES[0]); i++) {
        struct qn_model *m = NULL;
        struct qn_err err = {0};

        make(&text, &SHAPES[i]);
        if (qn_model_load_bytes(models_bytes(&text), "m", NULL, &m, &err) != QN_OK)
            fail_msg("shape %zu: %s", i, err.text);
        kernels += check_model(m);
        qn_model_free(m);
    }
    /* columns16, walk8 and walk nearly everywhere, or the comparison proves nothing */
    assert_true(kernels >= 2 * sizeof(SHAPES) / sizeof(SHAPES[0]) + 5);
    qn_buf_fini(&text);
}

static void test_lightgbm(void **state)
{
    check_all(models_lightgbm);
}

static void test_xgboost(void **state)
{
    check_all(models_xgboost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lightgbm),
                                       cmocka_unit_test(test_xgboost)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
