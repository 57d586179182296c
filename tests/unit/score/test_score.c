/* SPDX-License-Identifier: Apache-2.0
 * test_score.c - the scorer: which rows get a score, and a model that changes while others score: a
 * pointer, between two batches. */
#include "../model/models.h"

#include "base/threads.h"
#include "score/score.h"

enum { ROWS = 200, INPUTS = 5, MODELS = 3, BATCHES = 60, WORKERS = 2 };

static struct qn_model *random_model(unsigned trees)
{
    const struct model_shape shape = {
        .trees = trees, .leaves = 12, .inputs = INPUTS, .outputs = 1, .values = 30};
    struct qn_model *m = NULL;
    struct qn_err err = {0};
    struct qn_buf b = {0};

    models_xgboost(&b, &shape);
    if (qn_model_load_bytes(models_bytes(&b), "m", NULL, &m, &err) != QN_OK)
        fail_msg("%s", err.text);
    qn_buf_fini(&b);
    return m;
}

/* Columns that every test scores. */
struct table {
    double values[INPUTS][ROWS];
    uint8_t valid[ROWS], want[ROWS];
    struct qn_col columns[INPUTS];
    const struct qn_col *pointers[INPUTS];
    uint32_t inputs[INPUTS];
};

static void fill(struct table *t)
{
    for (uint32_t i = 0; i < INPUTS; i++) {
        for (uint32_t r = 0; r < ROWS; r++)
            t->values[i][r] = models_cut(30);
        t->columns[i] =
            (struct qn_col){.kind = {.type = QN_DOUBLE}, .valid = t->valid, .f64 = t->values[i]};
        t->pointers[i] = &t->columns[i];
        t->inputs[i] = i;
    }
    memset(t->valid, 1, sizeof(t->valid));
    for (uint32_t r = 0; r < ROWS; r++)
        t->want[r] = models_draw(4) != 0;
}

static void score_all(struct qn_scorer *s, struct table *t, uint32_t worker, uint32_t first,
                      uint32_t end, double *out)
{
    double margins[ROWS];
    double *const margin[1] = {margins}, *const score[1] = {out};

    qn_scorer_run(s, t->pointers, t->want, first, end, worker, margin, score);
}

static void test_only_wanted_rows(void **state)
{
    static struct table t;
    struct qn_arena boot = {0};
    struct qn_scorer *s = NULL;
    struct qn_err err = {0};
    struct qn_model *m = random_model(9);
    double out[ROWS], alone;

    fill(&t);
    assert_int_equal(qn_scorer_new(m, t.inputs, 1, ROWS, &boot, &s, &err), QN_OK);
    for (uint32_t r = 0; r < ROWS; r++)
        out[r] = -7;
    score_all(s, &t, 0, 0, ROWS, out);
    for (uint32_t r = 0; r < ROWS; r++) {
        double x[INPUTS];

        for (uint32_t i = 0; i < INPUTS; i++)
            x[i] = t.values[i][r];
        models_score(m, x, &alone);
        assert_true(out[r] == (t.want[r] ? alone : -7));
    }
    qn_arena_fini(&boot);
    qn_model_free(m);
}

/* ---- a model that changes under load ---- */

struct swap {
    struct table table;
    struct qn_scorer *scorers[MODELS];
    struct qn_scorer *current; /* what a batch reads, once, at its start */
    double want[MODELS][ROWS], got[ROWS];
};

static void score_slice(void *arg, unsigned worker, unsigned workers)
{
    struct swap *w = arg;
    uint32_t first, end;

    qn_team_slice(ROWS, worker, workers, &first, &end);
    score_all(w->current, &w->table, worker, first, end, w->got);
}

static void test_a_swap_is_a_pointer_between_batches(void **state)
{
    static struct swap w;
    struct qn_arena boot = {0};
    struct qn_err err = {0};
    struct qn_model *models[MODELS];
    struct qn_team *team = NULL;
    uint64_t allocated;

    fill(&w.table);
    memset(w.table.want, 1, sizeof(w.table.want));
    for (unsigned i = 0; i < MODELS; i++) {
        models[i] = random_model(5 + 10 * i);
        assert_int_equal(
            qn_scorer_new(models[i], w.table.inputs, WORKERS, ROWS, &boot, &w.scorers[i], &err),
            QN_OK);
        score_all(w.scorers[i], &w.table, 0, 0, ROWS, w.want[i]);
    }
    assert_memory_not_equal(w.want[0], w.want[1], sizeof(w.want[0]));
    assert_int_equal(qn_team_new(WORKERS, &team, &err), QN_OK);
    allocated = qn_mem_count();
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        const unsigned which = models_draw(MODELS);

        w.current = w.scorers[which]; /* the whole swap */
        qn_team_run(team, score_slice, &w);
        assert_memory_equal(w.got, w.want[which], sizeof(w.got));
    }
    assert_int_equal(qn_mem_count(), allocated);
    qn_team_free(team);
    qn_arena_fini(&boot);
    for (unsigned i = 0; i < MODELS; i++)
        qn_model_free(models[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_only_wanted_rows),
                                       cmocka_unit_test(test_a_swap_is_a_pointer_between_batches)};

    models_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
