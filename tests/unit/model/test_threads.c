/* SPDX-License-Identifier: Apache-2.0
 * test_threads.c - two threads score with one model, each with its own scratch and rows: every
 * kernel, every batch size from 1 to 130, the bits of `walk` on one thread. And models that are
 * replaced while threads score. */
#include "models.h"

#include "model/group.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

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

/* ---- models that are replaced under load ---- */

enum { SCORERS = 3, CONTENTS = 4, MEMBERS = 3, SWAPS = 24, BATCHES_BETWEEN = 5 };

/* What a batch takes: models as one object, which never changes. */
struct version {
    unsigned content;
    struct qn_model *models[MEMBERS];
    struct qn_model_group *group;
};

static struct {
    struct qn_buf texts[CONTENTS][MEMBERS];
    double want[CONTENTS][MEMBERS][ROWS];
    _Atomic(struct version *) current;        /* the swap is a store here              */
    _Atomic(struct version *) taken[SCORERS]; /* by the batch that a thread scores now */
    atomic_ulong batches;
    atomic_bool ends;
} load;

static struct version *version_new(unsigned content)
{
    struct version *v = qn_mem_zalloc(1, sizeof(*v));
    struct qn_model_group_member members[MEMBERS];

    assert_non_null(v);
    v->content = content;
    for (unsigned k = 0; k < MEMBERS; k++) {
        assert_int_equal(qn_model_load_bytes(models_bytes(&load.texts[content][k]), "m", NULL,
                                             &v->models[k], NULL),
                         QN_OK);
        members[k] = (struct qn_model_group_member){v->models[k], NULL};
    }
    assert_int_equal(qn_model_group_new(members, MEMBERS, INPUTS, &v->group, NULL), QN_OK);
    return v;
}

static void version_free(struct version *v)
{
    qn_model_group_free(v->group);
    for (unsigned k = 0; k < MEMBERS; k++)
        qn_model_free(v->models[k]);
    qn_mem_free(v);
}

/* The current version, which cannot go before it is given back. */
static struct version *take(unsigned scorer)
{
    struct version *v;

    do {
        v = atomic_load(&load.current);
        atomic_store(&load.taken[scorer], v);
    } while (atomic_load(&load.current) != v);
    return v;
}

static bool is_taken(const struct version *v)
{
    for (unsigned i = 0; i < SCORERS; i++) {
        if (atomic_load(&load.taken[i]) == v)
            return true;
    }
    return false;
}

static size_t scratch_of(const struct version *v)
{
    size_t most = qn_model_group_scratch_bytes(v->group);

    for (unsigned k = 0; k < MEMBERS; k++) {
        const size_t bytes = qn_model_scratch_bytes(v->models[k], BATCH_MAX);

        most = bytes > most ? bytes : most;
    }
    return (most + 63) / 64 * 64;
}

/* Batches of all sizes, each by the version that it took and no other, grouped or one by one. The
 * result is the number of batches with a wrong row. */
static void *score_under_load(void *argument)
{
    const unsigned scorer = *(const unsigned *)argument;
    uintptr_t wrong = 0;

    for (uint32_t n = 0; !atomic_load(&load.ends); n++) {
        const uint32_t batch = 1 + (n * 37 + scorer) % BATCH_MAX;
        const uint32_t first = (n * 11) % (ROWS - batch);
        struct version *v = take(scorer);
        void *scratch = qn_mem_aligned(64, scratch_of(v));
        double got[MEMBERS][BATCH_MAX] = {0};
        double *margins[MEMBERS];
        const double *columns[INPUTS];

        for (unsigned i = 0; i < INPUTS; i++)
            columns[i] = column_values[i] + first;
        for (unsigned k = 0; k < MEMBERS; k++) {
            margins[k] = got[k];
            if (n % 2 == 1)
                qn_model_score(v->models[k], columns, batch, scratch, got[k], NULL, batch);
        }
        if (n % 2 == 0)
            qn_model_group_score(v->group, columns, batch, scratch, margins, NULL, batch);
        for (unsigned k = 0; k < MEMBERS; k++)
            wrong += memcmp(got[k], load.want[v->content][k] + first, batch * sizeof(double)) != 0;
        qn_mem_free(scratch);
        atomic_store(&load.taken[scorer], NULL);
        atomic_fetch_add(&load.batches, 1);
    }
    return (void *)wrong;
}

static void wait_for_batches(void)
{
    const unsigned long end = atomic_load(&load.batches) + BATCHES_BETWEEN;

    while (atomic_load(&load.batches) < end)
        sched_yield();
}

/* The answers of each content, by one thread. */
static void fill_load(void)
{
    const double *columns[INPUTS];

    for (unsigned i = 0; i < INPUTS; i++) {
        columns[i] = column_values[i];
        for (unsigned r = 0; r < ROWS; r++)
            column_values[i][r] = models_draw(20) == 0 ? (double)NAN : models_cut(40);
    }
    for (unsigned c = 0; c < CONTENTS; c++) {
        struct version *v;
        void *scratch;

        for (unsigned k = 0; k < MEMBERS; k++) {
            const struct model_shape shape = {
                .trees = 12 + 3 * c, .leaves = 6, .inputs = INPUTS, .outputs = 1, .values = 40};

            (k == 1 ? models_lightgbm : models_xgboost)(&load.texts[c][k], &shape);
        }
        v = version_new(c);
        scratch = qn_mem_aligned(64, scratch_of(v));
        assert_non_null(scratch);
        for (unsigned k = 0; k < MEMBERS; k++)
            qn_model_score(v->models[k], columns, ROWS, scratch, load.want[c][k], NULL, ROWS);
        qn_mem_free(scratch);
        version_free(v);
    }
    assert_memory_not_equal(load.want[0], load.want[1], sizeof(load.want[0]));
}

/* Every row is answered by the version that its batch took; the old version is freed as soon as no
 * batch has it, and nobody waits for anybody but the one who frees. */
static void test_a_swap_under_load(void **state)
{
    pthread_t threads[SCORERS];
    unsigned numbers[SCORERS];

    models_seed();
    fill_load();
    atomic_store(&load.current, version_new(0));
    for (unsigned i = 0; i < SCORERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, score_under_load, &numbers[i]), 0);
    }
    for (unsigned n = 1; n <= SWAPS; n++) {
        struct version *next = version_new(n % CONTENTS), *old;

        wait_for_batches();
        old = atomic_exchange(&load.current, next); /* the whole swap */
        while (is_taken(old))
            sched_yield();
        version_free(old);
    }
    wait_for_batches();
    atomic_store(&load.ends, true);
    for (unsigned i = 0; i < SCORERS; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    printf("%lu batches, %d swaps\n", atomic_load(&load.batches), SWAPS);
    version_free(atomic_load(&load.current));
    for (unsigned c = 0; c < CONTENTS; c++) {
        for (unsigned k = 0; k < MEMBERS; k++)
            qn_buf_fini(&load.texts[c][k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lightgbm),
                                       cmocka_unit_test(test_xgboost),
                                       cmocka_unit_test(test_a_swap_under_load)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
