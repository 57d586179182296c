/* SPDX-License-Identifier: Apache-2.0
 * probe.c - runs kernels on rows at and beside the cuts of a model that was just loaded.
 *
 * The chosen kernel must give the bits of `walk`: a difference would be a bug of ours and refuses
 * the model, since a wrong score is worse than none. And where two kernels fit, the quicker one is
 * chosen by a short measurement; it decides about time only, as all give the same bits. Thread: the
 * loader's. Memory: freed at the end. */
#include "base/clock.h"
#include "model/half_space_int.h"
#include "model/model_int.h"
#include "model/treeshap.h"

#include <math.h>

enum { RACE_ROUNDS = 5, COST_ROUNDS = 20, COST_NS_MAX = 2000000 };

static double cut_neighbour(const struct qn_model *m, double cut, unsigned which)
{
    if (m->info.is_float)
        return which == 0   ? (double)nextafterf((float)cut, -INFINITY)
               : which == 1 ? cut
                            : (double)nextafterf((float)cut, INFINITY);
    return which == 0 ? nextafter(cut, -INFINITY) : which == 1 ? cut : nextafter(cut, INFINITY);
}

/* Fills a block of probe rows: cuts and members of random nodes in their columns, the cuts'
 * neighbours, special values. `step` is a fixed generator (Knuth's MMIX), so a load is repeatable.
 */
static void fill_probe(const struct qn_model *m, uint64_t *step, double *values)
{
    static const double special[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 1e-36, -1, 1e10};
    const struct qn_forest *f = &m->forest;
    const size_t used = f->node_count < m->info.inputs * 2u ? f->node_count : m->info.inputs * 2u;

    if (f->node_count == 0) /* no trees: numbers will do */
        return;
    for (size_t i = 0; i < used * QN_MODEL_BLOCK; i++) {
        const struct qn_node *n;
        double *value;

        *step = *step * 6364136223846793005u + 1442695040888963407u;
        n = &f->nodes[(*step >> 24) % f->node_count];
        value = &values[(size_t)n->column * QN_MODEL_BLOCK + (*step >> 58)];
        if (n->flags & QN_NODE_LEAF)
            continue;
        if ((*step >> 20) % 4 == 0) {
            *value = special[(*step >> 22) % 8];
        } else if (n->flags & QN_NODE_CATEGORY) {
            const struct qn_category_set *s = &f->sets[n->set];

            if (s->count > 0)
                *value = f->members[s->first + (*step >> 40) % s->count];
        } else if (!isnan(n->value)) {
            *value = cut_neighbour(m, n->value, (unsigned)(*step >> 50) % 3);
        }
    }
}

/* Room for a block of rows and two answers. */
struct probe {
    double *values;
    const double **columns;
    char *got, *want, *scratch;
    uint64_t step;
};

static void probe_fini(struct probe *p)
{
    qn_mem_free(p->values);
    qn_mem_free(p->columns);
    qn_mem_free(p->got);
    qn_mem_free(p->want);
    qn_mem_free(p->scratch);
}

static qn_status probe_init(struct probe *p, const struct qn_model *m,
                            const struct qn_model_kernel *a, const struct qn_model_kernel *b,
                            struct qn_err *err)
{
    const size_t sums = (size_t)m->info.outputs * QN_MODEL_BLOCK * sizeof(double);
    const size_t inputs = m->info.inputs;
    size_t scratch = a->scratch_bytes(m);

    if (b->scratch_bytes(m) > scratch)
        scratch = b->scratch_bytes(m);
    *p = (struct probe){.values = qn_mem_zalloc(inputs * QN_MODEL_BLOCK + 1, sizeof(double)),
                        .columns = qn_mem_zalloc(inputs + 1, sizeof(*p->columns)),
                        .got = qn_mem_aligned(64, sums),
                        .want = qn_mem_aligned(64, sums),
                        .scratch = qn_mem_aligned(64, (scratch + 127) / 64 * 64),
                        .step = 1};
    if (p->values == NULL || p->columns == NULL || p->got == NULL || p->want == NULL ||
        p->scratch == NULL) {
        probe_fini(p);
        return qn_err_set(err, QN_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < inputs; i++)
        p->columns[i] = p->values + i * QN_MODEL_BLOCK;
    return QN_OK;
}

qn_status qn_model_probe(const struct qn_model *m, struct qn_err *err)
{
    const struct qn_model_kernel *oracle = &qn_model_kernel_walk;
    const size_t width = m->info.is_float ? sizeof(float) : sizeof(double);
    const size_t sums = (size_t)m->info.outputs * QN_MODEL_BLOCK * sizeof(double);
    struct probe p;
    qn_status rc = QN_OK;

    QN_TRY(probe_init(&p, m, m->kernel, oracle, err));
    /* blocks: full, parts of one, single rows */
    for (unsigned block = 0; block < 6; block++) {
        static const uint32_t rows_of[] = {64, 64, 27, 13, 5, 1};
        const uint32_t rows = rows_of[block];

        fill_probe(m, &p.step, p.values);
        memset(p.got, 0, sums);
        memset(p.want, 0, sums);
        m->kernel->score(m, p.columns, 0, rows, p.scratch, p.got);
        oracle->score(m, p.columns, 0, rows, p.scratch, p.want);
        for (size_t k = 0; k < m->info.outputs; k++) {
            if (memcmp(p.got + k * QN_MODEL_BLOCK * width, p.want + k * QN_MODEL_BLOCK * width,
                       rows * width) != 0)
                rc = qn_err_set(err, QN_CORRUPT,
                                "kernel '%s' does not reproduce this model: a bug of Quern, please "
                                "report it with the model",
                                m->kernel->name);
        }
    }
    probe_fini(&p);
    return rc;
}

/* Nanoseconds that a kernel takes for a block. */
static int64_t time_of(const struct qn_model *m, const struct qn_model_kernel *k, struct probe *p)
{
    const int64_t start = qn_clock_system.mono_ns(qn_clock_system.st);

    k->score(m, p->columns, 0, QN_MODEL_BLOCK, p->scratch, p->got);
    return qn_clock_system.mono_ns(qn_clock_system.st) - start;
}

qn_status qn_model_race(const struct qn_model *m, const struct qn_model_kernel *a,
                        const struct qn_model_kernel *b, bool *is_b_quicker, struct qn_err *err)
{
    int64_t best_a = INT64_MAX, best_b = INT64_MAX;
    struct probe p;

    QN_TRY(probe_init(&p, m, a, b, err));
    fill_probe(m, &p.step, p.values);
    memset(p.got, 0, (size_t)m->info.outputs * QN_MODEL_BLOCK * sizeof(double));
    /* in turn, and the best of each: whoever takes the CPU away slows one round */
    for (unsigned round = 0; round < RACE_ROUNDS; round++) {
        const int64_t took_a = time_of(m, a, &p), took_b = time_of(m, b, &p);

        best_a = took_a < best_a ? took_a : best_a;
        best_b = took_b < best_b ? took_b : best_b;
    }
    *is_b_quicker = best_b < best_a;
    probe_fini(&p);
    return QN_OK;
}

/* Two digits: what is measured once is not known better. */
static uint64_t rounded(double ns)
{
    double unit = 1;

    while (ns / unit >= 100)
        unit *= 10;
    return ns < 1 ? 1 : (uint64_t)(floor(ns / unit + 0.5) * unit);
}

bool qn_model_cost(const struct qn_model *m, uint64_t *alone_ns, uint64_t *batched_ns)
{
    int64_t best_batched = INT64_MAX, best_alone = INT64_MAX, spent = 0;
    struct probe p;

    if (m->half_space != NULL) {
        double alone, batched;

        if (!qn_half_space_cost(m->half_space, &alone, &batched))
            return false;
        *alone_ns = rounded(alone);
        *batched_ns = rounded(batched);
        return true;
    }
    if (probe_init(&p, m, m->kernel, m->kernel, NULL) != QN_OK)
        return false;
    fill_probe(m, &p.step, p.values);
    memset(p.got, 0, (size_t)m->info.outputs * QN_MODEL_BLOCK * sizeof(double));
    for (unsigned round = 0; round < COST_ROUNDS && spent < COST_NS_MAX; round++) {
        const int64_t batched = time_of(m, m->kernel, &p);
        const int64_t start = qn_clock_system.mono_ns(qn_clock_system.st);
        int64_t alone;

        for (uint32_t r = 0; r < QN_MODEL_BLOCK; r++)
            qn_model_kernel_for(m, 1)->score(m, p.columns, r, 1, p.scratch, p.got);
        alone = qn_clock_system.mono_ns(qn_clock_system.st) - start;
        best_batched = batched < best_batched ? batched : best_batched;
        best_alone = alone < best_alone ? alone : best_alone;
        spent += batched + alone;
    }
    probe_fini(&p);
    *alone_ns = rounded((double)best_alone / QN_MODEL_BLOCK);
    *batched_ns = rounded((double)best_batched / QN_MODEL_BLOCK);
    return true;
}

/* ---- contributions ---- */

/* What a measurement of contributions needs beside a probe. */
struct explained {
    struct qn_arena boot;
    const struct qn_explain_tables *tables;
    void *scratch;
    double *out;
};

static bool explained_init(struct explained *e, const struct qn_model *m)
{
    const size_t parts = (size_t)m->info.outputs * (m->info.inputs + 1);

    *e = (struct explained){.scratch = qn_mem_aligned(64, qn_model_explain_scratch_bytes(m)),
                            .out = qn_mem_zalloc(parts * QN_MODEL_BLOCK, sizeof(double))};
    return e->scratch != NULL && e->out != NULL &&
           qn_model_explain_tables(m, &e->boot, &e->tables, NULL) == QN_OK;
}

static void explained_fini(struct explained *e)
{
    qn_arena_fini(&e->boot);
    qn_mem_free(e->scratch);
    qn_mem_free(e->out);
}

/* Nanoseconds for a block of probe rows, so many at once. */
static int64_t time_of_explained(const struct qn_model *m, const struct probe *p,
                                 const struct explained *e, uint32_t at_once, uint32_t rows)
{
    const int64_t start = qn_clock_system.mono_ns(qn_clock_system.st);

    for (uint32_t r = 0; r < rows; r += at_once) {
        for (uint32_t i = 0; i < m->info.inputs; i++)
            p->columns[i] = p->values + (size_t)i * QN_MODEL_BLOCK + r;
        qn_model_explain(m, e->tables, p->columns, at_once, e->scratch, e->out, QN_MODEL_BLOCK);
    }
    return qn_clock_system.mono_ns(qn_clock_system.st) - start;
}

bool qn_model_explain_cost(const struct qn_model *m, uint64_t *alone_ns, uint64_t *batched_ns)
{
    enum { ROUNDS = 5, ALONE = 16, NS_MAX = 20000000 };
    int64_t best_batched = INT64_MAX, best_alone = INT64_MAX, spent = 0;
    struct explained e;
    struct probe p;
    bool is_done = false;

    if (qn_model_explain_obstacle(m) != NULL ||
        probe_init(&p, m, m->kernel, m->kernel, NULL) != QN_OK)
        return false;
    fill_probe(m, &p.step, p.values);
    if (explained_init(&e, m)) {
        for (unsigned round = 0; round < ROUNDS && spent < NS_MAX; round++) {
            const int64_t batched = time_of_explained(m, &p, &e, QN_MODEL_BLOCK, QN_MODEL_BLOCK);
            const int64_t alone = time_of_explained(m, &p, &e, 1, ALONE);

            best_batched = batched < best_batched ? batched : best_batched;
            best_alone = alone < best_alone ? alone : best_alone;
            spent += batched + alone;
        }
        *alone_ns = rounded((double)best_alone / ALONE);
        *batched_ns = rounded((double)best_batched / QN_MODEL_BLOCK);
        is_done = true;
    }
    explained_fini(&e);
    probe_fini(&p);
    return is_done;
}
