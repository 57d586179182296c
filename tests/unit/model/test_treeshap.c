/* SPDX-License-Identifier: Apache-2.0
 * test_treeshap.c - contributions against their definition: Shapley values over all subsets of the
 * inputs, for random small forests, in parts and level by level; the same bits on every CPU, batch
 * and with tables or without; what is refused; linear models. */
#include "base/check.h"
#include "model/treeshap.h"
#include "models.h"

enum { INPUTS = 9, ROWS = 70, TWIN_STEP = 6, PARTS_MAX = 3 * (INPUTS + 1) };

/* ---- the twin ---- */

static bool twin_right(const struct qn_model *m, const struct qn_node *n, double x)
{
    x = qn_model_convert(m, x);
    if (isnan(x) || ((n->flags & QN_NODE_ZERO_MISSING) && fabs(x) <= QN_MODEL_ZERO))
        return n->flags & QN_NODE_MISSING_RIGHT;
    if (n->flags & QN_NODE_CATEGORY)
        return qn_model_set_has(&m->forest, n->set, x) == ((n->flags & QN_NODE_MEMBER_RIGHT) != 0);
    return x >= n->value;
}

/* What a tree says where only the inputs of `known` are known: at the others both ways count by
 * their share. */
static double twin_value(const struct qn_model *m, const struct qn_tree *t, const double *x,
                         unsigned known)
{
    const struct qn_forest *f = &m->forest;
    double *weight = qn_mem_zalloc(t->nodes, sizeof(double)), value = 0;

    assert_non_null(weight);
    weight[0] = 1;
    for (uint32_t i = 0; i < t->nodes; i++) {
        const struct qn_node *n = &f->nodes[t->root + i];

        if (n->flags & QN_NODE_LEAF) {
            value += weight[i] * n->value;
            continue;
        }
        for (uint32_t side = 0; side < 2; side++) {
            const double share = known >> n->column & 1
                                     ? twin_right(m, n, x[n->column]) == (side == 1)
                                     : f->shares[n->left + side];

            weight[n->left + side - t->root] = weight[i] * share;
        }
    }
    qn_mem_free(weight);
    return value;
}

/* out[output * (inputs + 1) + input] by the definition, in long double. */
static void twin_explain(const struct qn_model *m, const double *x, long double *out)
{
    static const long double factorial[] = {1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880};
    const unsigned inputs = m->info.inputs;

    for (uint32_t k = 0; k < m->info.outputs; k++)
        out[k * (inputs + 1) + inputs] = m->start[k];
    for (size_t t = 0; t < m->forest.tree_count; t++) {
        const struct qn_tree *tree = &m->forest.trees[t];
        long double *to = out + tree->output * (inputs + 1), value[1 << INPUTS];

        for (unsigned s = 0; s < 1u << inputs; s++)
            value[s] = twin_value(m, tree, x, s);
        to[inputs] += value[0];
        for (unsigned s = 0; s < 1u << inputs; s++) {
            const unsigned size = (unsigned)__builtin_popcount(s);

            for (unsigned i = 0; i < inputs; i++) {
                if (!(s >> i & 1))
                    to[i] += factorial[size] * factorial[inputs - size - 1] / factorial[inputs] *
                             (value[s | 1u << i] - value[s]);
            }
        }
    }
}

/* ---- random forests ---- */

/* The random models have no covers: gives every pair of brothers shares, some of them 0, as an edge
 * that no row of the training set took. */
static void give_shares(struct qn_model *m)
{
    struct qn_forest *f = &m->forest;

    f->lacks_covers = false;
    for (size_t i = 0; i < f->node_count; i++) {
        if (f->nodes[i].flags & QN_NODE_LEAF)
            continue;
        f->shares[f->nodes[i].left] = models_draw(8) == 0 ? 0 : models_draw(1001) / 1000.0;
        f->shares[f->nodes[i].left + 1] = 1 - f->shares[f->nodes[i].left];
    }
    m->explain = (struct qn_model_explain){0};
    assert_int_equal(qn_model_explain_init(m, NULL), QN_OK);
    assert_null(qn_model_explain_obstacle(m));
}

static double draw_value(void)
{
    static const double special[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 1e-36, 3, 5};

    return models_draw(3) == 0 ? special[models_draw(8)] : (int)models_draw(200) * 0.1 - 10;
}

static void explain(const struct qn_model *m, const struct qn_explain_tables *tables,
                    const double *const *columns, uint32_t rows, double *out, uint32_t stride)
{
    void *scratch = qn_mem_aligned(64, (qn_model_explain_scratch_bytes(m) + 63) / 64 * 64);

    assert_non_null(scratch);
    qn_model_explain(m, tables, columns, rows, scratch, out, stride);
    qn_mem_free(scratch);
}

struct rows {
    double values[INPUTS][ROWS], got[PARTS_MAX][ROWS];
    const double *columns[INPUTS];
};

static void check_definition(const struct qn_model *m, const struct rows *rows)
{
    const size_t parts = (size_t)m->info.outputs * (m->info.inputs + 1);

    for (unsigned r = 0; r < ROWS; r += TWIN_STEP) {
        long double want[PARTS_MAX] = {0}, size = 1;
        double x[INPUTS];

        for (unsigned i = 0; i < m->info.inputs; i++)
            x[i] = rows->values[i][r];
        twin_explain(m, x, want);
        for (size_t p = 0; p < parts; p++)
            size += fabsl(want[p]);
        for (size_t p = 0; p < parts; p++) {
            if (!(fabsl(rows->got[p][r] - want[p]) <= 1e-12L * size))
                fail_msg("row %u part %zu: %.17g, by definition %.17Lg", r, p, rows->got[p][r],
                         want[p]);
        }
    }
}

/* In batches of so many rows. */
static void check_same(const struct qn_model *m, const struct qn_explain_tables *tables,
                       const struct rows *rows, uint32_t batch)
{
    const size_t parts = (size_t)m->info.outputs * (m->info.inputs + 1);
    double out[PARTS_MAX][ROWS];

    for (uint32_t first = 0; first < ROWS; first += batch) {
        const uint32_t n = ROWS - first < batch ? ROWS - first : batch;
        const double *columns[INPUTS];

        for (unsigned i = 0; i < m->info.inputs; i++)
            columns[i] = rows->values[i] + first;
        explain(m, tables, columns, n, &out[0][first], ROWS);
    }
    for (size_t p = 0; p < parts; p++)
        assert_memory_equal(out[p], rows->got[p], sizeof(out[p]));
}

static void check_model(struct qn_model *m)
{
    const enum qn_model_cpu best = m->explain.cpu;
    const struct qn_explain_tables *tables = NULL;
    struct qn_arena boot = {0};
    struct rows rows;

    assert_true(m->info.inputs <= INPUTS && m->info.outputs <= 3);
    assert_int_equal(qn_model_explain_tables(m, &boot, &tables, NULL), QN_OK);
    for (unsigned i = 0; i < INPUTS; i++) {
        rows.columns[i] = rows.values[i];
        for (unsigned r = 0; r < ROWS; r++)
            rows.values[i][r] = draw_value();
    }
    explain(m, tables, rows.columns, ROWS, rows.got[0], ROWS);
    check_definition(m, &rows);
    for (enum qn_model_cpu cpu = QN_CPU_PORTABLE; cpu <= best; cpu++) {
        m->explain.cpu = cpu;
        check_same(m, tables, &rows, 1);
        check_same(m, NULL, &rows, 1);
        check_same(m, tables, &rows, 3);
        check_same(m, NULL, &rows, 33);
        check_same(m, tables, &rows, ROWS);
        check_same(m, NULL, &rows, ROWS);
    }
    m->explain.cpu = best;
    qn_arena_fini(&boot);
}

/* Without a plan the nodes decide on the inputs themselves, and no tree runs in parts. */
static void check_raw(struct qn_model *m)
{
    m->plan.is_used = false;
    m->explain = (struct qn_model_explain){0};
    assert_int_equal(qn_model_explain_init(m, NULL), QN_OK);
    check_model(m);
    m->plan.is_used = true;
}

static void test_forests(void **state)
{
    struct qn_buf b = {0};

    models_seed();
    for (unsigned i = 0; i < 36; i++) {
        const struct model_shape s = {.trees = 1 + models_draw(6),
                                      .leaves = i % 3 == 0 ? 100 : 12,
                                      .inputs = (const unsigned[]){1, 2, 5, INPUTS}[i / 3 % 4],
                                      .outputs = i % 4 == 3 ? 3 : 1,
                                      .values = 20,
                                      .has_categories = i % 2,
                                      .has_zero_missing = true};
        struct model_shape whole = s;
        struct qn_model *m = NULL;
        struct qn_err err = {0};

        whole.trees *= s.outputs;
        if (i % 2 == 0)
            models_lightgbm(&b, &whole);
        else
            models_xgboost(&b, &whole);
        if (qn_model_load_bytes(models_bytes(&b), "m", NULL, &m, &err) != QN_OK)
            fail_msg("%s", err.text);
        if (m->forest.depth_max > 0)
            assert_non_null(strstr(qn_model_explain_obstacle(m), "no covers"));
        give_shares(m);
        check_model(m);
        check_raw(m);
        qn_model_free(m);
    }
    qn_buf_fini(&b);
}

/* ---- memory ---- */

/* The n-th allocation fails, or all from it on, for every n until the tables are made: always
 * NOMEM, never a leak, and the model explains as before. */
static void fail_each(struct qn_model *m)
{
    qn_status rc = QN_NOMEM;

    for (uint64_t nth = 1; rc != QN_OK; nth++) {
        const struct qn_explain_tables *tables = NULL;
        struct qn_arena boot = {0};
        struct qn_err err = {0};

        assert_true(nth < 1000);
        qn_mem_fail_at(nth, nth % 2 == 0);
        rc = qn_model_explain_tables(m, &boot, &tables, &err);
        qn_mem_fail_at(0, false);
        if (rc != QN_OK && (rc != QN_NOMEM || tables != NULL || strstr(err.text, "memory") == NULL))
            fail_msg("allocation %llu: %s", (unsigned long long)nth, err.text);
        qn_arena_fini(&boot);
    }
    check_model(m);
}

static void test_no_memory(void **state)
{
    struct model_shape shape = {
        .trees = 20, .leaves = 12, .inputs = INPUTS, .outputs = 1, .values = 20};
    struct qn_buf b = {0};
    struct qn_model *m = NULL;

    models_seed();
    models_xgboost(&b, &shape);
    assert_int_equal(qn_model_load_bytes(models_bytes(&b), "m", NULL, &m, NULL), QN_OK);
    give_shares(m);
    fail_each(m); /* in parts, */
    m->plan.is_used = false;
    m->explain = (struct qn_model_explain){0};
    assert_int_equal(qn_model_explain_init(m, NULL), QN_OK);
    fail_each(m); /* level by level */
    m->plan.is_used = true;
    qn_model_free(m);
    qn_buf_fini(&b);
}

/* ---- covers of files ---- */

static const char STUMP[] =
    "{\"learner\":{\"gradient_booster\":{\"model\":{\"gbtree_model_param\":{},\"tree_info\":[0],"
    "\"trees\":[{\"left_children\":[1,-1,-1],\"right_children\":[2,-1,-1],\"split_indices\":[0,0,0]"
    ",\"default_left\":[1,0,0],\"split_conditions\":[3,-1,2],\"sum_hessian\":[%s]}]},\"name\":"
    "\"gbtree\"},\"learner_model_param\":{\"base_score\":\"0.25\",\"num_feature\":\"2\"},"
    "\"objective\":{\"name\":\"reg:squarederror\"}},\"version\":[3,2,0]}";

static struct qn_model *stump(const char *covers)
{
    char text[sizeof(STUMP) + 64];

    snprintf(text, sizeof(text), STUMP, covers);
    return models_load(text);
}

static void test_stump(void **state)
{
    struct qn_model *m = stump("8,6,2");
    const double x[2][2] = {{1, 5}, {7, 7}};
    const double *columns[2] = {x[0], x[1]};
    double out[3 * 2];

    /* mean: -1 * 6/8 + 2 * 2/8 = -0.25; the unused input adds exactly nothing */
    explain(m, NULL, columns, 2, out, 2);
    assert_float_equal(out[4], 0.25 - 0.25, 1e-15);
    assert_float_equal(out[0], -0.75, 1e-15);
    assert_float_equal(out[1], 2.25, 1e-15);
    assert_true(out[2] == 0 && out[3] == 0);
    qn_model_free(m);
}

static void test_bad_covers(void **state)
{
    static const char *const covers[] = {"0,0,0", "8,-6,2", "1,6,2", "-8,-6,-2"};

    for (size_t i = 0; i < sizeof(covers) / sizeof(covers[0]); i++) {
        struct qn_model *m = stump(covers[i]);

        assert_non_null(strstr(qn_model_explain_obstacle(m), "no covers"));
        qn_model_free(m);
    }
}

/* ---- linear ---- */

static void test_linear(void **state)
{
    struct qn_model *m =
        models_load("{\"format\":\"quern-linear\",\"version\":1,\"inputs\":[\"a\",\"b\"],"
                    "\"coefficients\":[[0.5,-2],[3,4]],\"intercepts\":[0.25,1],\"mean\":[10,1],"
                    "\"scale\":[2,4],\"fill\":[null,9],\"link\":\"softmax\"}");
    const double a = 14, b = NAN;
    const double *columns[2] = {&a, &b};
    double out[6];
    const double want[6] = {0.5 * 2, -2 * 2.0, 0.25, 3 * 2, 4 * 2.0, 1};

    assert_null(qn_model_explain_obstacle(m));
    explain(m, NULL, columns, 1, out, 1);
    for (unsigned i = 0; i < 6; i++)
        assert_float_equal(out[i], want[i], 1e-15);
    qn_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forests), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_stump),   cmocka_unit_test(test_bad_covers),
        cmocka_unit_test(test_linear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
