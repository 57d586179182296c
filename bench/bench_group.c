/* SPDX-License-Identifier: Apache-2.0
 * bench_group.c - nanoseconds per row and model of 1, 10 and 100 models over the same columns, one
 * after the other and as a group.
 *
 *   bench_group [CPU]
 *
 * CPU: portable, neon, avx2 or avx512, what may be used; default all.
 * The models are XGBoost files made here: depth 6, about 48 leaves a tree, 30 columns. `bins`: all
 * cut at the same 250 numbers a column, as models that a histogram trainer made from one table;
 * `own`: each model at numbers of its own, as if from tables of their own. Rows rotate through
 * 4,096, values at and beside cuts, 3 % missing. Passes alternate; printed is the median of some
 * with minimum and maximum, in CPU time. Fails where a bit of a group differs. */
#include "base/buffer.h"
#include "base/check.h"
#include "base/number.h"
#include "model/group.h"
#include "model/model_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { INPUTS = 30, BINS = 250, ROWS = 4096, MODELS = 100, PASSES = 9, NODES = 127, LEAVES = 48 };
static const uint32_t BATCHES[] = {1, 16, 64, 1024};
enum { BATCH_COUNT = sizeof(BATCHES) / sizeof(BATCHES[0]) };

static uint64_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % below);
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- models ---- */

static void put_numbers(struct qn_buf *b, const char *name, const double *values, unsigned count)
{
    char text[QN_NUMBER_MAX];

    qn_buf_printf(b, ",\"%s\":[", name);
    for (unsigned i = 0; i < count; i++) {
        qn_buf_text(b, i > 0 ? "," : "");
        qn_buf_add(b, text, qn_print_double(text, values[i]));
    }
    qn_buf_byte(b, ']');
}

/* A tree of depth 6 that lacks some of its 64 leaves. */
static void put_tree(struct qn_buf *b, unsigned number, double shift)
{
    double left[NODES], right[NODES], column[NODES], value[NODES], missing[NODES],
        zero[NODES] = {0};
    unsigned level[NODES] = {0}, count = 1;

    for (unsigned i = 0; i < count; i++) {
        const bool is_leaf = level[i] == 6 || (level[i] > 3 && draw(100) < 20);

        left[i] = right[i] = -1;
        column[i] = missing[i] = 0;
        value[i] = (double)(float)(((int)draw(20001) - 10000) / 79190.0);
        if (is_leaf)
            continue;
        left[i] = count;
        right[i] = count + 1;
        level[count] = level[count + 1] = level[i] + 1;
        count += 2;
        column[i] = draw(INPUTS);
        missing[i] = draw(2);
        value[i] = (double)(float)(draw(BINS) + shift);
    }
    qn_buf_printf(b,
                  "%s{\"categories\":[],\"categories_nodes\":[],\"categories_segments\":[],"
                  "\"categories_sizes\":[],\"id\":%u",
                  number > 0 ? "," : "", number);
    put_numbers(b, "left_children", left, count);
    put_numbers(b, "right_children", right, count);
    put_numbers(b, "split_indices", column, count);
    put_numbers(b, "split_conditions", value, count);
    put_numbers(b, "default_left", missing, count);
    put_numbers(b, "split_type", zero, count);
    qn_buf_text(b, "}");
}

static struct qn_model *make_model(unsigned trees, double shift)
{
    struct qn_buf b = {0};
    struct qn_model *m = NULL;
    struct qn_err err = {0};

    qn_buf_printf(&b, "{\"learner\":{\"gradient_booster\":{\"model\":{\"tree_info\":[");
    for (unsigned t = 0; t < trees; t++)
        qn_buf_text(&b, t > 0 ? ",0" : "0");
    qn_buf_text(&b, "],\"trees\":[");
    for (unsigned t = 0; t < trees; t++)
        put_tree(&b, t, shift);
    qn_buf_printf(&b,
                  "]},\"name\":\"gbtree\"},\"learner_model_param\":{\"base_score\":\"5E-1\","
                  "\"num_class\":\"0\",\"num_feature\":\"%d\"},"
                  "\"objective\":{\"name\":\"reg:squarederror\"}},\"version\":[2,1,4]}",
                  INPUTS);
    QN_ASSERT(!b.failed);
    if (qn_model_load_bytes((struct qn_str){b.data, (uint32_t)b.len}, "made here", NULL, &m,
                            &err) != QN_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    qn_buf_fini(&b);
    return m;
}

/* ---- passes ---- */

struct run {
    struct qn_model *models[MODELS];
    unsigned count;
    struct qn_model_group *group;
    double *columns[INPUTS];
    void *scratch;
    double *margins[MODELS], *grouped[MODELS];
};

static double pass(const struct run *r, uint32_t batch, bool as_group)
{
    const uint32_t limit = r->count * batch < 1600 && batch < ROWS / 8 ? ROWS / 8 : ROWS;
    double start = now_ns();

    for (uint32_t first = 0; first + batch <= limit; first += batch) {
        const double *at[INPUTS];

        for (unsigned i = 0; i < INPUTS; i++)
            at[i] = r->columns[i] + first;
        if (as_group)
            qn_model_group_score(r->group, at, batch, r->scratch, r->grouped, NULL, batch);
        else
            for (unsigned k = 0; k < r->count; k++)
                qn_model_score(r->models[k], at, batch, r->scratch, r->margins[k], NULL, batch);
    }
    return (now_ns() - start) / (limit / batch * batch) / r->count;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure(const struct run *r, uint32_t batch, const char *cuts, unsigned trees)
{
    double alone[PASSES], grouped[PASSES];

    for (unsigned p = 0; p < PASSES; p++) {
        alone[p] = pass(r, batch, false);
        grouped[p] = pass(r, batch, true);
    }
    for (unsigned k = 0; k < r->count; k++) {
        if (memcmp(r->margins[k], r->grouped[k], batch * sizeof(double)) != 0) {
            fprintf(stderr, "model %u of the group has other bits\n", k);
            exit(1);
        }
    }
    qsort(alone, PASSES, sizeof(*alone), by_value);
    qsort(grouped, PASSES, sizeof(*grouped), by_value);
    printf("%-4s %3u models of %3u trees  batch %4u  alone %6.1f (%.1f .. %.1f)  grouped %6.1f "
           "(%.1f .. %.1f) ns/row and model\n",
           cuts, r->count, trees, batch, alone[PASSES / 2], alone[0], alone[PASSES - 1],
           grouped[PASSES / 2], grouped[0], grouped[PASSES - 1]);
    fflush(stdout);
}

static void bench(struct run *r, unsigned trees, bool own_cuts)
{
    const unsigned counts[] = {1, 10, MODELS};
    struct qn_model_group_member members[MODELS];
    struct qn_err err = {0};
    size_t scratch = 0;

    for (unsigned k = 0; k < MODELS; k++) {
        r->models[k] = make_model(trees, own_cuts ? k / (double)MODELS : 0);
        members[k] = (struct qn_model_group_member){r->models[k], NULL};
        if (qn_model_scratch_bytes(r->models[k], 1024) > scratch)
            scratch = qn_model_scratch_bytes(r->models[k], 1024);
    }
    for (unsigned c = 0; c < 3; c++) {
        const struct qn_model_group_info *info;
        size_t bytes;
        double start = now_ns();

        r->count = counts[c];
        if (qn_model_group_new(members, r->count, INPUTS, &r->group, &err) != QN_OK) {
            fprintf(stderr, "%s\n", err.text);
            exit(1);
        }
        info = qn_model_group_info(r->group);
        printf("%-4s %3u models of %3u trees, kernel %s: %u bundles, %u columns coded instead of "
               "%u, %zu KB, made in %.1f ms\n",
               own_cuts ? "own" : "bins", r->count, trees, qn_model_info(r->models[0])->kernel,
               info->bundles, info->coded_columns, info->coded_if_alone, info->bytes / 1024,
               (now_ns() - start) / 1e6);
        bytes = qn_model_group_scratch_bytes(r->group);
        bytes = bytes > scratch ? bytes : scratch;
        r->scratch = qn_mem_aligned(64, (bytes + 63) / 64 * 64);
        QN_ASSERT(r->scratch != NULL);
        for (unsigned b = 0; b < BATCH_COUNT; b++)
            measure(r, BATCHES[b], own_cuts ? "own" : "bins", trees);
        qn_mem_free(r->scratch);
        qn_model_group_free(r->group);
    }
    for (unsigned k = 0; k < MODELS; k++)
        qn_model_free(r->models[k]);
}

int main(int argc, char **argv)
{
    static struct run r;

    if (argc > 1 && !qn_model_cap(argv[1])) {
        fprintf(stderr, "bench_group [portable|neon|avx2|avx512]\n");
        return 2;
    }
    for (unsigned i = 0; i < INPUTS; i++) {
        /* not a power of two apart, or all columns compete for the same lines of the cache */
        r.columns[i] = qn_mem_aligned(64, (ROWS + 8) * sizeof(double));
        QN_ASSERT(r.columns[i] != NULL);
        for (unsigned row = 0; row < ROWS; row++)
            r.columns[i][row] =
                draw(100) < 3 ? (double)NAN : draw(BINS + 1) - 0.5 + draw(4096) / 4096.0;
    }
    for (unsigned k = 0; k < MODELS; k++) {
        r.margins[k] = qn_mem_zalloc(1024, sizeof(double));
        r.grouped[k] = qn_mem_zalloc(1024, sizeof(double));
        QN_ASSERT(r.margins[k] != NULL && r.grouped[k] != NULL);
    }
    bench(&r, 100, false);
    bench(&r, 10, false);
    bench(&r, 100, true);
    bench(&r, 10, true);
    for (unsigned i = 0; i < INPUTS; i++)
        qn_mem_free(r.columns[i]);
    for (unsigned k = 0; k < MODELS; k++) {
        qn_mem_free(r.margins[k]);
        qn_mem_free(r.grouped[k]);
    }
    return 0;
}
