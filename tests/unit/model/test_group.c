/* SPDX-License-Identifier: Apache-2.0
 * test_group.c - models scored as a group: the bits of each alone, for every kernel, every batch
 * size, every kind of member; how much is shared; members that come and go out of memory. */
#include "models.h"

#include "model/group.h"

enum { COLUMNS = 30, ROWS = 260, BATCH_MAX = 130, MEMBERS_MAX = 100, OUTPUTS_MAX = 3 };

static double values[COLUMNS][ROWS];

/* Members, what each gives alone, and what it gives in the group. */
struct together {
    struct qn_model *models[MEMBERS_MAX];
    uint32_t columns[MEMBERS_MAX][COLUMNS];
    struct qn_model_group_member members[MEMBERS_MAX];
    uint32_t count;
    double want[MEMBERS_MAX][2][OUTPUTS_MAX * ROWS];
    double got[MEMBERS_MAX][2][OUTPUTS_MAX * ROWS];
};

static struct together all;

static void fill_values(unsigned cuts)
{
    static const double strange[] = {0.0,    -0.0,    INFINITY, -INFINITY, 1e-36,
                                     -1e-36, 4e-320,  -4e-320,  1e-45,     1.0000000001,
                                     7,      4294967, -0.5,     1e300,     -1e300};

    for (unsigned i = 0; i < COLUMNS; i++) {
        for (unsigned r = 0; r < ROWS; r++) {
            double v = models_cut(cuts);

            switch (models_draw(8)) {
            case 0:
                v = NAN;
                break;
            case 1:
                v = strange[models_draw(sizeof(strange) / sizeof(strange[0]))];
                break;
            case 2:
                v = nextafter(v, -INFINITY);
                break;
            case 3:
                v = (double)nextafterf((float)v, -INFINITY);
                break;
            case 4:
                v = models_draw(300);
                break;
            default:
                break;
            }
            values[i][r] = v;
        }
    }
}

/* Adds a model; its inputs are columns from `first` on in steps of `step`, which go round. */
static struct qn_model *add(const struct qn_buf *text, const struct qn_model_options *opt,
                            unsigned first, unsigned step)
{
    const uint32_t at = all.count++;
    struct qn_err err = {0};

    assert_in_range(at, 0, MEMBERS_MAX - 1);
    if (qn_model_load_bytes(models_bytes(text), "m", opt, &all.models[at], &err) != QN_OK)
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < qn_model_info(all.models[at])->inputs; i++)
        all.columns[at][i] = (first + step * i) % COLUMNS;
    all.members[at] = (struct qn_model_group_member){
        all.models[at], first == 0 && step == 1 ? NULL : all.columns[at]};
    return all.models[at];
}

static void free_all(void)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        qn_model_free(all.models[i]);
        all.models[i] = NULL;
    }
    all.count = 0;
}

static void *scratch_of(size_t bytes)
{
    void *scratch = qn_mem_aligned(64, (bytes + 63) / 64 * 64 + 64);

    assert_non_null(scratch);
    return scratch;
}

static void score_alone(uint32_t i)
{
    const struct qn_model *m = all.models[i];
    void *scratch = scratch_of(qn_model_scratch_bytes(m, ROWS));
    const double *columns[COLUMNS];

    for (uint32_t k = 0; k < qn_model_info(m)->inputs; k++)
        columns[k] = values[all.columns[i][k]];
    qn_model_score(m, columns, ROWS, scratch, all.want[i][0], all.want[i][1], ROWS);
    qn_mem_free(scratch);
}

static struct qn_model_group *make(void)
{
    struct qn_model_group *g = NULL;
    struct qn_err err = {0};

    if (qn_model_group_new(all.members, all.count, COLUMNS, &g, &err) != QN_OK)
        fail_msg("%s", err.text);
    return g;
}

/* `batch` rows from `first` on as a group: the numbers of each member alone, to the bit. */
static void check_batch(const struct qn_model_group *g, void *scratch, uint32_t first,
                        uint32_t batch)
{
    double *margins[MEMBERS_MAX], *predictions[MEMBERS_MAX];
    const double *columns[COLUMNS];

    for (unsigned i = 0; i < COLUMNS; i++)
        columns[i] = values[i] + first;
    for (uint32_t i = 0; i < all.count; i++) {
        margins[i] = all.got[i][0];
        predictions[i] = all.got[i][1];
    }
    qn_model_group_score(g, columns, batch, scratch, margins, predictions, batch);
    for (uint32_t i = 0; i < all.count; i++) {
        const struct qn_model_info *info = qn_model_info(all.models[i]);

        for (unsigned what = 0; what < 2; what++) {
            for (uint32_t k = 0; k < (what == 0 ? info->outputs : info->predictions); k++) {
                if (memcmp(all.got[i][what] + (size_t)k * batch,
                           all.want[i][what] + (size_t)k * ROWS + first,
                           batch * sizeof(double)) != 0)
                    fail_msg("member %u, kernel %s, batch %u: %s differs", i, info->kernel, batch,
                             what == 0 ? "margin" : "prediction");
            }
        }
    }
}

static void check_batches(const struct qn_model_group *g, uint32_t step)
{
    void *scratch = scratch_of(qn_model_group_scratch_bytes(g));

    for (uint32_t batch = 1; batch <= BATCH_MAX; batch += step)
        check_batch(g, scratch, ROWS - BATCH_MAX - batch % 7, batch);
    check_batch(g, scratch, 0, ROWS);
    qn_mem_free(scratch);
}

/* ---- awkward members ---- */

static const char LINEAR[] =
    "{\"format\":\"quern-linear\",\"version\":1,\"inputs\":[\"a\",\"b\",\"c\"],"
    "\"coefficients\":[[0.5,-2,3]],\"intercepts\":[0.25],\"link\":\"logistic\","
    "\"fill\":[1,2,3]}";

static void add_linear(void)
{
    struct qn_buf text = {0};

    qn_buf_text(&text, LINEAR);
    add(&text, NULL, 2, 9);
    qn_buf_fini(&text);
}

/* Two of everything, so that each kind has something to share with, and all kinds mixed. */
static void add_awkward(unsigned leaves)
{
    static const struct qn_model_options zero = {.has_missing = true, .missing = 0};
    static const struct qn_model_options odd = {.has_missing = true, .missing = 0.1};
    struct qn_buf text = {0};
    struct model_shape s = {.trees = 26, .leaves = leaves, .inputs = 7, .outputs = 1, .values = 40};

    for (unsigned i = 0; i < 2; i++) {
        models_xgboost(&text, &s);
        add(&text, NULL, 0, 1);
        add(&text, &zero, 3 * i, 2); /* what is missing is part of what a column means */
        models_lightgbm(&text, &s);
        add(&text, NULL, 1 + i, 1);
        s.has_zero_missing = true;
        models_lightgbm(&text, &s);
        add(&text, &odd, 29, 29);
        s.has_zero_missing = false;
        s.has_categories = true;
        models_lightgbm(&text, &s);
        add(&text, NULL, 4, 1);
        models_xgboost(&text, &s);
        add(&text, NULL, 4 + i, 1);
        s.has_categories = false;
        s.outputs = OUTPUTS_MAX;
        s.trees = 27;
        models_xgboost(&text, &s);
        add(&text, NULL, 5, 7);
        s.outputs = 1;
        s.trees = 70;
        s.values = 400; /* more cuts than a byte tells apart */
        models_xgboost(&text, &s);
        add(&text, NULL, 0, 1);
        s.values = 40;
        s.trees = 1; /* too few to code their inputs for, when alone */
        s.inputs = COLUMNS;
        models_xgboost(&text, &s);
        add(&text, NULL, 0, 1);
        add_linear();
        s.inputs = 7;
        s.trees = 26;
    }
    s.inputs = 1; /* the same column twice */
    models_xgboost(&text, &s);
    add(&text, NULL, 6, 1);
    s.inputs = 2;
    models_xgboost(&text, &s);
    add(&text, NULL, 6, 0);
    qn_buf_fini(&text);
}

static void check_as_loaded(void)
{
    struct qn_model_group *g = make();

    check_batches(g, 1);
    qn_model_group_free(g);
}

static void test_bits(void **state)
{
    static const unsigned leaves[] = {1, 6, 24, 70};

    for (unsigned shape = 0; shape < 4; shape++) {
        models_seed();
        add_awkward(leaves[shape]);
        fill_values(40);
        for (uint32_t i = 0; i < all.count; i++)
            score_alone(i);
        check_as_loaded();
        for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
            struct qn_model_group *g;
            unsigned forced = 0;

            for (uint32_t i = 0; i < all.count; i++)
                forced += qn_model_force_kernel(all.models[i], qn_model_kernel_name(k));
            if (forced == 0)
                continue;
            g = make();
            check_batches(g, shape == 1 ? 1 : 5);
            printf("%u leaves, %u members with kernel %s: %u share, %u bundles\n", leaves[shape],
                   forced, qn_model_kernel_name(k), qn_model_group_info(g)->shared,
                   qn_model_group_info(g)->bundles);
            qn_model_group_free(g);
        }
        free_all();
    }
}

/* ---- how much is shared ---- */

static void add_hundred(void)
{
    const struct model_shape s = {
        .trees = 60, .leaves = 7, .inputs = COLUMNS, .outputs = 1, .values = 200};
    struct qn_buf text = {0};

    for (unsigned i = 0; i < MEMBERS_MAX; i++) {
        models_xgboost(&text, &s);
        add(&text, NULL, i % 3, 1);
    }
    qn_buf_fini(&text);
}

/* 100 models over the same 30 columns, cut at 206 different numbers at most. */
static void test_a_hundred_models_share_columns(void **state)
{
    const struct qn_model_group_info *info;
    struct qn_model_group *g;

    models_seed();
    add_hundred();
    fill_values(200);
    for (uint32_t i = 0; i < all.count; i++) {
        score_alone(i);
        assert_true(qn_model_force_kernel(all.models[i], "columns16"));
    }
    g = make();
    info = qn_model_group_info(g);
    printf("%u of %u members share, %u bundles, %u columns coded instead of %u\n", info->shared,
           info->members, info->bundles, info->coded_columns, info->coded_if_alone);
    assert_int_equal(info->members, MEMBERS_MAX);
    assert_int_equal(info->shared, MEMBERS_MAX);
    assert_in_range(info->coded_if_alone, (COLUMNS - 5) * MEMBERS_MAX, COLUMNS * MEMBERS_MAX);
    /* a column is coded once per bundle, and a bundle has at least ten members */
    assert_in_range(info->coded_columns, COLUMNS - 5, info->bundles * COLUMNS);
    assert_in_range(info->bundles, 1, MEMBERS_MAX / 10);
    check_batches(g, 43);
    qn_model_group_free(g);
    /* and with what this CPU is best at */
    for (uint32_t i = 0; i < all.count; i++) {
        for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
            if (qn_model_force_kernel(all.models[i], qn_model_kernel_name(k)))
                break;
        }
    }
    g = make();
    assert_int_equal(qn_model_group_info(g)->shared, MEMBERS_MAX);
    check_batches(g, 43);
    qn_model_group_free(g);
    free_all();
}

/* Where cuts are too many for a byte, there are more bundles; where columns mean different things,
 * too. */
static void test_what_does_not_fit_is_split(void **state)
{
    struct model_shape s = {.trees = 60, .leaves = 7, .inputs = 3, .outputs = 1, .values = 200};
    static const struct qn_model_options zero = {.has_missing = true, .missing = 0};
    struct qn_model_group *g;
    struct qn_buf text = {0};

    models_seed();
    fill_values(200);
    for (unsigned i = 0; i < 8; i++) {
        s.values = 200 + 7 * i; /* the cuts move with their number: few are common */
        models_xgboost(&text, &s);
        add(&text, i == 5 || i == 6 ? &zero : NULL, 0, 1);
    }
    for (uint32_t i = 0; i < all.count; i++) {
        score_alone(i);
        assert_true(qn_model_force_kernel(all.models[i], "columns16"));
    }
    g = make();
    assert_in_range(qn_model_group_info(g)->bundles, 2, 4);
    check_batches(g, 13);
    qn_model_group_free(g);
    qn_buf_fini(&text);
    free_all();
}

/* ---- bad members, no memory ---- */

static void test_refusals(void **state)
{
    struct qn_model_group *g = NULL;
    struct qn_err err = {0};

    add_linear();
    assert_int_equal(qn_model_group_new(all.members, 1, 20, &g, &err), QN_INVALID);
    assert_string_equal(err.text, "input 2 of member 0 is column 20, the group has 20");
    assert_null(g);
    all.members[0].columns = NULL;
    assert_int_equal(qn_model_group_new(all.members, 1, 2, &g, &err), QN_INVALID);
    assert_string_equal(err.text, "member 0 of the group has 3 inputs, the group has 2 columns");
    assert_int_equal(qn_model_group_new(NULL, 0, 2, &g, &err), QN_OK);
    qn_model_group_score(g, NULL, 0, NULL, NULL, NULL, 0);
    qn_model_group_free(g);
    qn_model_group_free(NULL);
    free_all();
}

static void test_answers_may_be_left_out(void **state)
{
    const double *columns[COLUMNS];
    double *margins[4] = {0}, prediction[ROWS];
    double *predictions[4] = {NULL, prediction, NULL, NULL};
    struct qn_model_group *g;
    void *scratch;

    models_seed();
    add_awkward(6);
    all.count = 4;
    fill_values(40);
    score_alone(1);
    g = make();
    scratch = scratch_of(qn_model_group_scratch_bytes(g));
    for (unsigned i = 0; i < COLUMNS; i++)
        columns[i] = values[i];
    qn_model_group_score(g, columns, ROWS, scratch, margins, predictions, ROWS);
    assert_memory_equal(prediction, all.want[1][1], sizeof(prediction));
    qn_model_group_score(g, columns, ROWS, scratch, NULL, NULL, ROWS);
    qn_mem_free(scratch);
    qn_model_group_free(g);
    free_all();
}

static void test_out_of_memory(void **state)
{
    struct qn_model_group *g = NULL;
    struct qn_err err = {0};
    uint64_t nth = 0;

    models_seed();
    add_awkward(6);
    for (bool is_done = false; !is_done;) {
        qn_status rc;

        nth++;
        qn_mem_fail_at(nth, nth % 2 == 0);
        rc = qn_model_group_new(all.members, all.count, COLUMNS, &g, &err);
        qn_mem_fail_at(0, false);
        is_done = rc == QN_OK;
        if (is_done)
            qn_model_group_free(g);
        else
            assert_int_equal(rc, QN_NOMEM);
    }
    printf("%llu allocations\n", (unsigned long long)nth);
    assert_true(nth > 20);
    free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_a_hundred_models_share_columns),
        cmocka_unit_test(test_what_does_not_fit_is_split),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_answers_may_be_left_out),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
