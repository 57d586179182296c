/* SPDX-License-Identifier: Apache-2.0
 * test_threads.c - two threads score with one model, each with its own scratch and rows: every
 * kernel, every batch size from 1 to 130, the bits of `walk` on one thread. */
#include "models.h"

#include <pthread.h>

enum { ROWS = 260, INPUTS = 7, BATCH_MAX = 130 };

static double column_values[INPUTS][ROWS];

struct half {
    const struct qn_model *model;
    uint32_t first, end, batch;
    double *margin;
    void *scratch;
};

static void *score_half(void *argument)
{
    const struct half *h = argument;
    const double *columns[INPUTS];

    for (uint32_t first = h->first; first < h->end; first += h->batch) {
        const uint32_t n = h->end - first < h->batch ? h->end - first : h->batch;

        for (unsigned i = 0; i < INPUTS; i++)
            columns[i] = column_values[i] + first;
        qn_model_score(h->model, columns, n, h->scratch, h->margin + first, NULL, ROWS);
    }
    return NULL;
}

static void score(const struct qn_model *m, uint32_t batch, unsigned threads, double *margin)
{
    pthread_t thread[2];
    struct half half[2];

    for (unsigned i = 0; i < threads; i++) {
        half[i] =
            (struct half){m,
                          i * (ROWS / threads),
                          (i + 1) * (ROWS / threads),
                          batch,
                          margin,
                          qn_mem_aligned(64, (qn_model_scratch_bytes(m, batch) + 63) / 64 * 64)};
        assert_non_null(half[i].scratch);
        assert_int_equal(pthread_create(&thread[i], NULL, score_half, &half[i]), 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        qn_mem_free(half[i].scratch);
    }
}

static void check(void (*make)(struct qn_buf *, const struct model_shape *), unsigned leaves)
{
    const struct model_shape shape = {
        .trees = 70, .leaves = leaves, .inputs = INPUTS, .outputs = 1, .values = 40};
    static double want[ROWS], got[ROWS];
    struct qn_buf text = {0};
    struct qn_model *m = NULL;
    unsigned kernels = 0;

    models_seed();
    make(&text, &shape);
    assert_int_equal(qn_model_load_bytes(models_bytes(&text), "m", NULL, &m, NULL), QN_OK);
    for (unsigned i = 0; i < INPUTS; i++) {
        for (unsigned r = 0; r < ROWS; r++)
            column_values[i][r] = models_draw(20) == 0 ? (double)NAN : models_cut(40);
    }
    assert_true(qn_model_force_kernel(m, "walk"));
    score(m, ROWS, 1, want);
    for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
        if (!qn_model_force_kernel(m, qn_model_kernel_name(k)))
            continue;
        kernels++;
        for (uint32_t batch = 1; batch <= BATCH_MAX; batch++) {
            memset(got, 0, sizeof(got));
            score(m, batch, 2, got);
            if (memcmp(got, want, sizeof(got)) != 0)
                fail_msg("kernel %s differs at batch %u", qn_model_kernel_name(k), batch);
        }
    }
    printf("%u kernels\n", kernels);
    assert_true(kernels >= 3);
    qn_model_free(m);
    qn_buf_fini(&text);
}

static void test_lightgbm(void **state)
{
    check(models_lightgbm, 6); /* shallow enough for every kernel */
    check(models_lightgbm, 24);
}

static void test_xgboost(void **state)
{
    check(models_xgboost, 6);
    check(models_xgboost, 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lightgbm),
                                       cmocka_unit_test(test_xgboost)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
