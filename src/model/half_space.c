/* SPDX-License-Identifier: Apache-2.0
 * half_space.c - draws half-space trees, walks events to their leaves, counts the leaves of a
 * window into a profile. See half_space.h.
 *
 * A tree is perfect, its nodes in level order from 1, children of i at 2i and 2i + 1. A profile
 * holds only nodes that a score can look at: below a node with less than a tenth of the window
 * nobody goes, so there are at most ten to go on from in a level, whatever the depth. Thread:
 * loading, one; the rest, any. */
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "model/half_space_int.h"
#include "model/model_int.h"

#include <math.h>

enum { TOGETHER = 8, SHARE = 10, COST_ROUNDS = 20, COST_ROWS = 64, COST_NS_MAX = 2000000 };

/* Where an input's cells lie in a tree's work space. */
struct space {
    double from, scale; /* cell = (z - from) * scale */
};

struct qn_half_space {
    struct qn_half_space_options opt;
    bool learns_ranges;
    uint16_t *inputs;     /* [trees][1 << depth] that a node splits, the first of a tree unused */
    struct space *spaces; /* [trees][inputs] */
};

/* ---- drawing ---- */

static void draw(struct qn_half_space *h)
{
    const uint32_t end = UINT32_C(1) << h->opt.depth;
    struct qn_rng rng;

    qn_rng_seed(&rng, h->opt.seed);
    for (uint32_t t = 0; t < h->opt.trees; t++) {
        struct space *spaces = h->spaces + (size_t)t * h->opt.inputs;
        uint16_t *inputs = h->inputs + (size_t)t * end;

        for (uint32_t q = 0; q < h->opt.inputs; q++) {
            const double middle = qn_rng_unit(&rng);
            const double reach = 2 * (middle > 1 - middle ? middle : 1 - middle);

            spaces[q] = (struct space){middle - reach, (double)end / (2 * reach)};
        }
        inputs[0] = 0;
        for (uint32_t i = 1; i < end; i++)
            inputs[i] = (uint16_t)qn_rng_below(&rng, h->opt.inputs);
    }
}

/* ---- making ---- */

static uint64_t hash_of(const struct qn_half_space_options *o)
{
    const uint64_t words[] = {o->inputs, o->trees, o->depth, o->window, o->seed, o->meaning};
    uint64_t hash = qn_hash(words, sizeof words, 0);

    for (uint32_t i = 0; i < o->inputs; i++) {
        /* one NaN for all of them */
        const double range[] = {isnan(o->low[i]) ? (double)NAN : o->low[i],
                                isnan(o->low[i]) ? (double)NAN : o->high[i]};

        hash = qn_hash(o->names[i].p, o->names[i].len, hash);
        hash = qn_hash(range, sizeof range, hash);
    }
    return hash;
}

static double *copy_doubles(struct qn_arena *arena, const double *from, uint32_t count)
{
    double *to = QN_NEW_N(arena, double, count);

    if (to != NULL)
        memcpy(to, from, count * sizeof *to);
    return to;
}

static qn_status fill(struct qn_model *m, const struct qn_half_space_options *opt,
                      struct qn_err *err)
{
    struct qn_half_space *h = QN_NEW(&m->arena, struct qn_half_space);
    const size_t nodes = (size_t)opt->trees << opt->depth;

    QN_TRY(qn_model_shape(m, opt->inputs, 1, err));
    QN_TRY(qn_model_names(m, opt->names, err));
    if (h == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for half-space trees");
    h->opt = *opt;
    h->opt.names = m->info.input_names;
    h->opt.low = copy_doubles(&m->arena, opt->low, opt->inputs);
    h->opt.high = copy_doubles(&m->arena, opt->high, opt->inputs);
    h->inputs = qn_arena_aligned(&m->arena, 64, nodes * sizeof *h->inputs);
    h->spaces = QN_NEW_N(&m->arena, struct space, (size_t)opt->trees * opt->inputs);
    if (!h->opt.low || !h->opt.high || !h->inputs || !h->spaces)
        return qn_err_set(err, QN_NOMEM, "out of memory for half-space trees");
    for (uint32_t i = 0; i < opt->inputs; i++)
        h->learns_ranges |= isnan(opt->low[i]);
    draw(h);
    m->half_space = h;
    return QN_OK;
}

qn_status qn_model_half_space_new(const struct qn_half_space_options *opt, struct qn_model **out,
                                  struct qn_err *err)
{
    struct qn_model *m = qn_mem_zalloc(1, sizeof *m);
    qn_status rc;

    *out = NULL;
    QN_ASSERT(opt->inputs > 0);
    QN_ASSERT(opt->trees > 0 && opt->trees <= QN_HALF_SPACE_TREES_MAX);
    QN_ASSERT(opt->depth > 0 && opt->depth <= QN_HALF_SPACE_DEPTH_MAX);
    QN_ASSERT(opt->window >= QN_HALF_SPACE_WINDOW_MIN && opt->window <= QN_HALF_SPACE_WINDOW_MAX);
    if (m == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for half-space trees");
    qn_arena_init(&m->arena, 0);
    rc = fill(m, opt, err);
    if (rc != QN_OK) {
        qn_model_free(m);
        return rc;
    }
    m->info.format = "half-space-trees";
    m->info.objective = "";
    m->info.version = "";
    m->info.predictions = 1;
    m->info.trees = m->info.trees_in_file = opt->trees;
    m->info.depth_max = opt->depth;
    m->info.nodes = opt->trees * ((UINT32_C(2) << opt->depth) - 1);
    m->info.leaves = opt->trees << opt->depth;
    m->info.kernel = "half-space";
    m->info.kernel_reason = "trees that learn from the stream";
    m->info.bytes = sizeof *m + m->arena.total_bytes;
    m->info.hash = hash_of(opt);
    m->transform = (struct qn_transform){.slope = 1, .divide = 1};
    m->explain.obstacle = "half-space trees know how rare a place is, and not what an input adds";
    *out = m;
    return QN_OK;
}

const struct qn_half_space *qn_model_half_space(const struct qn_model *m)
{
    return m->half_space;
}

const struct qn_half_space_options *qn_half_space_options(const struct qn_half_space *h)
{
    return &h->opt;
}

bool qn_half_space_learns_ranges(const struct qn_half_space *h)
{
    return h->learns_ranges;
}

/* ---- places ---- */

void qn_half_space_place(const struct qn_half_space *h, uint32_t input, double low, double width,
                         const double *x, uint32_t rows, double *z)
{
    const uint32_t inputs = h->opt.inputs;

    for (uint32_t r = 0; r < rows; r++)
        z[(size_t)r * inputs + input] = (x[r] - low) / width;
}

/* The cells of rows in a tree's work space, as the turns of their ways: the first one is bit 31. */
static void find_cells(const struct qn_half_space *h, const struct space *spaces, const double *z,
                       uint32_t rows, uint32_t *cells)
{
    const uint32_t inputs = h->opt.inputs, unused = 32 - h->opt.depth;
    const double most = (double)((UINT32_C(1) << h->opt.depth) - 1);

    for (uint32_t r = 0; r < rows; r++, z += inputs, cells += inputs)
        for (uint32_t q = 0; q < inputs; q++) {
            double cell = (z[q] - spaces[q].from) * spaces[q].scale;

            cell = cell >= 0 ? cell : 0; /* NaN, too */
            cell = cell < most ? cell : most;
            cells[q] = (uint32_t)cell << unused;
        }
}

/* Some rows in step: a row alone would wait for each node. Takes the cells' bits. */
static void walk_together(const uint16_t *tree, uint32_t *cells, uint32_t inputs, uint32_t depth,
                          uint32_t at[TOGETHER])
{
    for (uint32_t k = 0; k < TOGETHER; k++)
        at[k] = 1;
    for (uint32_t d = 0; d < depth; d++)
        for (uint32_t k = 0; k < TOGETHER; k++) {
            uint32_t *cell = &cells[(size_t)k * inputs + tree[at[k]]];

            at[k] = 2 * at[k] + (*cell >> 31);
            *cell <<= 1;
        }
}

void qn_half_space_leaves(const struct qn_half_space *h, const double *z, uint32_t rows,
                          const uint32_t *to, uint32_t *cells, uint16_t *leaves, uint32_t stride)
{
    const uint32_t inputs = h->opt.inputs, depth = h->opt.depth, end = UINT32_C(1) << depth;
    uint32_t at[TOGETHER];

    for (uint32_t t = 0; t < h->opt.trees; t++) {
        const uint16_t *tree = h->inputs + (size_t)t * end;
        uint16_t *out = leaves + (size_t)t * stride;
        uint32_t r = 0;

        find_cells(h, h->spaces + (size_t)t * inputs, z, rows, cells);
        for (; r + TOGETHER <= rows; r += TOGETHER) {
            walk_together(tree, cells + (size_t)r * inputs, inputs, depth, at);
            for (uint32_t k = 0; k < TOGETHER; k++)
                out[to[r + k]] = (uint16_t)(at[k] - end);
        }
        for (; r < rows; r++) {
            uint32_t i = 1;

            while (i < end) {
                uint32_t *cell = &cells[(size_t)r * inputs + tree[i]];

                i = 2 * i + (*cell >> 31);
                *cell <<= 1;
            }
            out[to[r]] = (uint16_t)(i - end);
        }
    }
}

/* ---- profiles ---- */

uint32_t qn_half_space_cells(const struct qn_half_space *h)
{
    return 1 + 2 * SHARE * h->opt.depth;
}

struct growth {
    struct qn_half_space_cell *cells;
    uint16_t *rest; /* [window] */
    uint32_t used, depth, window;
    uint32_t deepest;
};

/* `list` holds the leaves below the cell, in any order. */
static void grow(struct growth *g, uint32_t cell, uint16_t *list, uint32_t count, uint32_t level)
{
    uint32_t left = 0, right = 0, next;

    if (level == g->depth || count * SHARE < g->window) {
        g->cells[cell] =
            (struct qn_half_space_cell){.value = (uint64_t)count << level, .next = cell};
        g->deepest = level > g->deepest ? level : g->deepest;
        return;
    }
    for (uint32_t i = 0; i < count; i++) { /* without a branch: the turns are anybody's guess */
        const uint16_t leaf = list[i];
        const uint32_t turn = (leaf >> (g->depth - 1 - level)) & 1;

        list[left] = g->rest[right] = leaf;
        left += !turn;
        right += turn;
    }
    memcpy(list + left, g->rest, right * sizeof *list);
    next = g->used;
    g->cells[cell] = (struct qn_half_space_cell){.next = next, .turn = 1};
    g->used += 2;
    grow(g, next, list, left, level + 1);
    grow(g, next + 1, list + left, right, level + 1);
}

void qn_half_space_profile(const struct qn_half_space *h, const uint16_t *leaves, uint16_t *scratch,
                           struct qn_half_space_cell *profile)
{
    const uint32_t window = h->opt.window, cells = qn_half_space_cells(h);

    for (uint32_t t = 0; t < h->opt.trees; t++) {
        struct growth g = {.cells = profile + (size_t)t * cells,
                           .rest = scratch + window,
                           .used = 1,
                           .depth = h->opt.depth,
                           .window = window};

        memcpy(scratch, leaves + (size_t)t * window, window * sizeof *scratch);
        grow(&g, 0, scratch, window, 0);
        g.cells[0].level = (uint16_t)g.deepest;
        QN_ASSERT(g.used <= cells);
    }
}

/* Some rows in step, all of them as deep as the profile goes: whoever has come to his end stays. */
static void descend(const struct qn_half_space_cell *tree, const uint16_t *leaf, uint32_t depth,
                    uint64_t *mass)
{
    uint32_t at[TOGETHER] = {0};

    for (uint32_t level = 1; level <= tree->level; level++)
        for (uint32_t k = 0; k < TOGETHER; k++) {
            const struct qn_half_space_cell *c = &tree[at[k]];

            at[k] = c->next + ((uint32_t)(leaf[k] >> (depth - level)) & c->turn);
        }
    for (uint32_t k = 0; k < TOGETHER; k++)
        mass[k] += tree[at[k]].value;
}

void qn_half_space_mass(const struct qn_half_space *h, const struct qn_half_space_cell *profile,
                        const uint16_t *leaves, uint32_t stride, uint32_t first, uint32_t end,
                        uint64_t *mass)
{
    const uint32_t depth = h->opt.depth, cells = qn_half_space_cells(h);

    for (uint32_t r = first; r < end; r++)
        mass[r] = 0;
    for (uint32_t t = 0; t < h->opt.trees; t++) {
        const struct qn_half_space_cell *tree = profile + (size_t)t * cells;
        const uint16_t *leaf = leaves + (size_t)t * stride;

        uint32_t r = first;

        for (; r + TOGETHER <= end; r += TOGETHER)
            descend(tree, leaf + r, depth, mass + r);
        for (; r < end; r++) {
            uint32_t at = 0;

            for (uint32_t level = 1; tree[at].turn != 0; level++)
                at = tree[at].next + ((leaf[r] >> (depth - level)) & 1);
            mass[r] += tree[at].value;
        }
    }
}

/* The binary logarithm of x >= 1, straight between powers of two: no library's rounding in it. */
static double log2_straight(double x)
{
    int exponent;
    const double half = frexp(x, &exponent); /* 0.5 to 1 */

    return (double)(exponent - 1) + (2 * half - 1);
}

double qn_half_space_score(const struct qn_half_space *h, uint64_t mass)
{
    const uint64_t even = (uint64_t)h->opt.trees * h->opt.window;
    const double most = 1 + (double)(UINT32_C(1) << h->opt.depth);

    return 1 - log2_straight((double)(even + mass) / (double)even) / log2_straight(most);
}

/* ---- what a row costs ---- */

struct cost {
    double *z;
    uint32_t *cells;
    uint16_t *leaves, *window, *scratch;
    struct qn_half_space_cell *profile;
    uint64_t mass[COST_ROWS];
    uint32_t to[COST_ROWS];
};

static bool cost_init(struct cost *c, const struct qn_half_space *h)
{
    const struct qn_half_space_options *o = &h->opt;
    struct qn_rng rng;

    *c = (struct cost){
        .z = qn_mem_zalloc((size_t)COST_ROWS * o->inputs, sizeof(double)),
        .cells = qn_mem_zalloc((size_t)COST_ROWS * o->inputs, sizeof(uint32_t)),
        .leaves = qn_mem_zalloc((size_t)COST_ROWS * o->trees, sizeof(uint16_t)),
        .window = qn_mem_zalloc((size_t)o->window * o->trees, sizeof(uint16_t)),
        .scratch = qn_mem_zalloc(2 * (size_t)o->window, sizeof(uint16_t)),
        .profile = qn_mem_zalloc((size_t)qn_half_space_cells(h) * o->trees, sizeof *c->profile)};
    if (!c->z || !c->cells || !c->leaves || !c->window || !c->scratch || !c->profile)
        return false;
    qn_rng_seed(&rng, 1);
    for (size_t i = 0; i < (size_t)COST_ROWS * o->inputs; i++) /* around the middle */
        c->z[i] = (qn_rng_unit(&rng) + qn_rng_unit(&rng)) / 2;
    for (uint32_t r = 0; r < COST_ROWS; r++)
        c->to[r] = r;
    qn_half_space_leaves(h, c->z, COST_ROWS, c->to, c->cells, c->leaves, COST_ROWS);
    for (uint32_t t = 0; t < o->trees; t++)
        for (uint32_t i = 0; i < o->window; i++)
            c->window[(size_t)t * o->window + i] = c->leaves[t * COST_ROWS + i % COST_ROWS];
    return true;
}

static void cost_fini(struct cost *c)
{
    qn_mem_free(c->z);
    qn_mem_free(c->cells);
    qn_mem_free(c->leaves);
    qn_mem_free(c->window);
    qn_mem_free(c->scratch);
    qn_mem_free(c->profile);
}

static int64_t now_ns(void)
{
    return qn_clock_system.mono_ns(qn_clock_system.st);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

bool qn_half_space_cost(const struct qn_half_space *h, double *alone_ns, double *batched_ns)
{
    int64_t swap = INT64_MAX, batch = INT64_MAX, alone = INT64_MAX, spent = 0;
    struct cost c;
    bool is_good = cost_init(&c, h);

    for (unsigned round = 0; is_good && round < COST_ROUNDS && spent < COST_NS_MAX; round++) {
        const int64_t a = now_ns();
        int64_t b, d, e;

        qn_half_space_profile(h, c.window, c.scratch, c.profile);
        b = now_ns();
        qn_half_space_leaves(h, c.z, COST_ROWS, c.to, c.cells, c.leaves, COST_ROWS);
        qn_half_space_mass(h, c.profile, c.leaves, COST_ROWS, 0, COST_ROWS, c.mass);
        d = now_ns();
        for (uint32_t r = 0; r < COST_ROWS; r++) {
            qn_half_space_leaves(h, c.z + (size_t)r * h->opt.inputs, 1, c.to + r, c.cells, c.leaves,
                                 COST_ROWS);
            qn_half_space_mass(h, c.profile, c.leaves, COST_ROWS, r, r + 1, c.mass);
        }
        e = now_ns();
        swap = least(swap, b - a);
        batch = least(batch, d - b);
        alone = least(alone, e - d);
        spent += e - a;
    }
    cost_fini(&c);
    *alone_ns = (double)alone / COST_ROWS + (double)swap / h->opt.window;
    *batched_ns = (double)batch / COST_ROWS + (double)swap / h->opt.window;
    return is_good;
}
