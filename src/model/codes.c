/* SPDX-License-Identifier: Apache-2.0
 * codes.c - compiles a verified forest into integer codes, and turns a block of inputs into those
 * codes.
 *
 * Every comparison of a forest is "x >= cut". With the cuts of a column sorted, the number of cuts
 * <= x decides all of them, so each input is searched once per row and a node is left with
 * comparing two bytes. Missing values are codes of their own (0 or 255), sets of categories are 0/1
 * codes; the walk knows neither. A column with more than 254 cuts has several codes, each for its
 * own stretch of cuts. The layout of all parts: model_int.h. Invariant: a plan takes the same turns
 * as kernel `walk` on every input; model.c probes that at load. Thread: compile at load, quantise
 * anywhere. Memory: the plan lies in the model's arena. */
#include "base/check.h"
#include "model/model_int.h"

#include <math.h>
#include <stdlib.h>

enum {
    CUTS_PER_CODE = 254,
    CODES_MAX = 4096,
    LOOKUP_BYTES_MAX = 16 << 20,
    CATEGORY_MAX = 65000, /* class numbers are uint16 */
    LIMIT_NEVER = 127,    /* above every code         */
    LIMIT_MISSING = 126,  /* only code 255 - 128      */
    RUN_MIN = 8,          /* trees that add to one output, for their sum to stay in a register */
    KINDS = 3             /* numeric, numeric with zero as missing, category */
};

/* One test of the forest; sorted, tests of the same column and cut or set stand together. */
struct test {
    uint32_t column; /* plan column                                        */
    uint32_t node;
    uint32_t set; /* category: number of the set, equal sets have one number */
    double cut;
    uint8_t flags;
};

struct compile {
    struct qn_model *m;
    struct test *tests;
    size_t test_count;
    uint32_t *set_number; /* per set of the forest                        */
    uint32_t *sets_sorted;
    const char *reason; /* why there is no plan                         */
};

static unsigned kind_of(const struct qn_node *n)
{
    return (n->flags & QN_NODE_CATEGORY) ? 2 : (n->flags & QN_NODE_ZERO_MISSING) ? 1 : 0;
}

static int compare_u32(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int compare_set(const void *pa, const void *pb, void *context)
{
    const struct qn_forest *f = context;
    const struct qn_category_set *a = &f->sets[*(const uint32_t *)pa];
    const struct qn_category_set *b = &f->sets[*(const uint32_t *)pb];

    if (a->count != b->count)
        return compare_u32(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        if (f->members[a->first + i] != f->members[b->first + i])
            return compare_u32(f->members[a->first + i], f->members[b->first + i]);
    }
    return 0;
}

/* Gives equal sets one number. */
static bool number_sets(struct compile *c)
{
    struct qn_forest *f = &c->m->forest;
    const uint32_t n = (uint32_t)f->set_count;

    c->set_number = qn_mem_zalloc(n, sizeof(uint32_t));
    c->sets_sorted = qn_mem_zalloc(n, sizeof(uint32_t));
    if (c->set_number == NULL || c->sets_sorted == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++)
        c->sets_sorted[i] = i;
    if (n > 1)
        qsort_r(c->sets_sorted, n, sizeof(uint32_t), compare_set, f);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t set = c->sets_sorted[i];

        if (i > 0 && compare_set(&c->sets_sorted[i - 1], &set, f) == 0)
            c->set_number[set] = c->set_number[c->sets_sorted[i - 1]];
        else
            c->set_number[set] = set;
    }
    return true;
}

/* Place of a test among those of its column: numeric by cut (none last), categories by set and
 * rule.
 */
static uint64_t key_of(const struct test *t)
{
    const double cut = t->cut == 0 ? 0.0 : t->cut; /* -0 is 0 */
    uint64_t bits;

    if (t->flags & QN_NODE_CATEGORY)
        return (uint64_t)t->set << 8 | (t->flags & (QN_NODE_MISSING_RIGHT | QN_NODE_MEMBER_RIGHT));
    if (isnan(cut))
        return UINT64_MAX;
    memcpy(&bits, &cut, sizeof(bits));
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

struct place {
    uint64_t key;
    uint32_t column, at;
};

/* One pass of a radix sort, by byte `shift / 8` of the key, or of the column from shift 64 on.
 * False where all agree and nothing was moved. */
static bool sort_pass(const struct place *from, struct place *to, size_t n, unsigned shift)
{
    uint32_t start[256] = {0};
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i++)
        start[(shift < 64 ? from[i].key >> shift : from[i].column >> (shift - 64)) & 255]++;
    for (unsigned b = 0; b < 256; b++) {
        const uint32_t count = start[b];

        if (count == n)
            return false;
        start[b] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++)
        to[start[(shift < 64 ? from[i].key >> shift : from[i].column >> (shift - 64)) & 255]++] =
            from[i];
    return true;
}

/* Sorts the tests by column and key; equal ones keep their order. */
static bool sort_tests(struct compile *c)
{
    const size_t n = c->test_count;
    struct place *a = qn_mem_alloc((n + 1) * sizeof(*a)), *b = qn_mem_alloc((n + 1) * sizeof(*b));
    struct test *sorted = qn_mem_zalloc(n + 1, sizeof(*sorted));
    const bool ok = a != NULL && b != NULL && sorted != NULL;

    if (ok) {
        for (size_t i = 0; i < n; i++)
            a[i] = (struct place){key_of(&c->tests[i]), c->tests[i].column, (uint32_t)i};
        for (unsigned shift = 0; shift < 96; shift += 8) {
            if (sort_pass(a, b, n, shift)) {
                struct place *swap = a;

                a = b;
                b = swap;
            }
        }
        for (size_t i = 0; i < n; i++)
            sorted[i] = c->tests[a[i].at];
        qn_mem_free(c->tests);
        c->tests = sorted;
    } else {
        qn_mem_free(sorted);
    }
    qn_mem_free(a);
    qn_mem_free(b);
    return ok;
}

/* Lists the forest's tests, sorted, and makes the plan's columns, in order of input. */
static bool list_tests(struct compile *c)
{
    struct qn_model *m = c->m;
    const struct qn_forest *f = &m->forest;
    const size_t keys = (size_t)m->info.inputs * KINDS;
    uint32_t *column_of = qn_mem_zalloc(keys, sizeof(uint32_t));
    uint32_t count = 0;

    c->tests = qn_mem_zalloc(f->node_count, sizeof(*c->tests));
    if (column_of == NULL || c->tests == NULL) {
        qn_mem_free(column_of);
        return false;
    }
    for (size_t i = 0; i < f->node_count; i++) {
        if (!(f->nodes[i].flags & QN_NODE_LEAF))
            column_of[f->nodes[i].column * KINDS + kind_of(&f->nodes[i])] = 1;
    }
    for (size_t k = 0; k < keys; k++)
        count += column_of[k];
    m->plan.columns = QN_NEW_N(&m->arena, struct qn_plan_column, count);
    for (size_t k = 0; k < keys && m->plan.columns != NULL; k++) {
        if (column_of[k] == 0)
            continue;
        m->plan.columns[m->plan.column_count] =
            (struct qn_plan_column){.column = (uint32_t)(k / KINDS),
                                    .zero_missing = k % KINDS == 1,
                                    .is_category = k % KINDS == 2};
        column_of[k] = m->plan.column_count++;
    }
    for (size_t i = 0; i < f->node_count; i++) {
        const struct qn_node *n = &f->nodes[i];
        const bool is_category = (n->flags & QN_NODE_CATEGORY) != 0;

        if (n->flags & QN_NODE_LEAF)
            continue;
        c->tests[c->test_count++] =
            (struct test){.column = column_of[n->column * KINDS + kind_of(n)],
                          .node = (uint32_t)i,
                          .set = is_category ? c->set_number[n->set] : 0,
                          .cut = is_category ? 0 : n->value,
                          .flags = n->flags};
    }
    qn_mem_free(column_of);
    return m->plan.columns != NULL && sort_tests(c);
}

/* One more code; its number, or CODES_MAX when there are too many. */
static uint32_t add_code(struct qn_plan *p, struct qn_plan_code code)
{
    if (p->code_count == CODES_MAX)
        return CODES_MAX;
    p->codes[p->code_count] = code;
    return p->code_count++;
}

/* The cuts in level order of a search tree (Eytzinger), padded with NaN, which nothing reaches. */
static bool make_pivots(struct qn_model *m, struct qn_plan_column *pc, const double *cuts,
                        uint32_t count)
{
    double *pivots;
    uint32_t levels = 0;

    while (((uint64_t)1 << levels) < (uint64_t)count + 1)
        levels++;
    pivots = qn_arena_aligned(&m->arena, 64, sizeof(double) << levels);
    if (pivots == NULL)
        return false;
    pivots[0] = NAN;
    for (uint32_t level = 0; level < levels; level++) {
        for (uint32_t i = 0; i < (uint32_t)1 << level; i++) {
            uint64_t place = ((2 * (uint64_t)i + 1) << (levels - level - 1)) - 1;

            pivots[((size_t)1 << level) + i] = place < count ? cuts[place] : NAN;
        }
    }
    pc->levels = (uint8_t)levels;
    pc->pivots = pivots;
    return true;
}

static void set_split(struct qn_plan *p, uint32_t node, uint32_t code, int limit)
{
    p->nodes[node].code = (uint16_t)code;
    p->nodes[node].limit = (int16_t)limit;
}

/* Codes of a numeric column with the tests [0, n), sorted by cut. `cuts` has room for n. */
static bool plan_numeric(struct compile *c, struct qn_plan_column *pc, struct test *tests, size_t n,
                         double *cuts)
{
    struct qn_plan *p = &c->m->plan;
    uint32_t cut_count = 0;
    uint32_t code_of[2] = {CODES_MAX, CODES_MAX}, block_of[2] = {0, 0};
    uint32_t none_code[2] = {CODES_MAX, CODES_MAX}; /* a code of the first block serves "no cut" */

    for (size_t i = 0; i < n; i++) {
        const unsigned side = (tests[i].flags & QN_NODE_MISSING_RIGHT) != 0;
        const bool is_none = isnan(tests[i].cut);
        uint32_t *code = is_none ? &none_code[side] : &code_of[side], block = 0;

        if (!is_none && (cut_count == 0 || tests[i].cut > cuts[cut_count - 1]))
            cuts[cut_count++] = tests[i].cut;
        if (!is_none)
            block = (cut_count - 1) / CUTS_PER_CODE;
        if (*code == CODES_MAX || (!is_none && block != block_of[side])) {
            *code = add_code(p, (struct qn_plan_code){block * CUTS_PER_CODE, side ? 255 : 0, NULL});
            block_of[side] = block;
        }
        if (*code == CODES_MAX) {
            c->reason = "its columns have too many cuts";
            return true;
        }
        if (block == 0)
            none_code[side] = *code;
        set_split(p, tests[i].node, *code,
                  !is_none ? (int)((cut_count - 1) % CUTS_PER_CODE) - 128
                  : side   ? LIMIT_MISSING
                           : LIMIT_NEVER);
    }
    return make_pivots(c->m, pc, cuts, cut_count);
}

/* Numbers the categories that any set of the column names: 1, 2, ... in pc->class_of. */
static bool number_classes(struct compile *c, struct qn_plan_column *pc, const struct test *tests,
                           size_t n, size_t *lookup_bytes)
{
    const struct qn_forest *f = &c->m->forest;
    uint16_t *class_of;

    for (size_t i = 0; i < n; i++) {
        const struct qn_category_set *s = &f->sets[tests[i].set];

        if (s->count > 0 && f->members[s->first + s->count - 1] > pc->category_max)
            pc->category_max = f->members[s->first + s->count - 1];
    }
    if (pc->category_max > CATEGORY_MAX) {
        c->reason = "it has categories above 65,000";
        return true;
    }
    *lookup_bytes += ((size_t)pc->category_max + 1) * sizeof(*class_of);
    if (*lookup_bytes > LOOKUP_BYTES_MAX) {
        c->reason = "it has categories in too many columns";
        return true;
    }
    class_of = QN_NEW_N(&c->m->arena, uint16_t, pc->category_max + 1);
    if (class_of == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct qn_category_set *s = &f->sets[tests[i].set];

        if (i > 0 && tests[i].set == tests[i - 1].set)
            continue;
        for (uint32_t j = 0; j < s->count; j++) {
            if (class_of[f->members[s->first + j]] == 0)
                class_of[f->members[s->first + j]] = (uint16_t)++pc->class_count;
        }
    }
    pc->class_of = class_of;
    return true;
}

/* One 0/1 code per distinct set and rule; lookup[class], the last class is "missing". */
static bool plan_category(struct compile *c, struct qn_plan_column *pc, struct test *tests,
                          size_t n, size_t *lookup_bytes)
{
    struct qn_plan *p = &c->m->plan;
    const struct qn_forest *f = &c->m->forest;
    uint32_t code = 0;

    if (!number_classes(c, pc, tests, n, lookup_bytes))
        return false;
    for (size_t i = 0; i < n && c->reason == NULL; i++) {
        const struct qn_category_set *s = &f->sets[tests[i].set];
        const bool member_right = (tests[i].flags & QN_NODE_MEMBER_RIGHT) != 0;
        const size_t bytes = (size_t)pc->class_count + 2;
        int8_t *lookup;

        if (i == 0 || key_of(&tests[i - 1]) != key_of(&tests[i])) {
            *lookup_bytes += bytes;
            if (*lookup_bytes > LOOKUP_BYTES_MAX || p->code_count == CODES_MAX) {
                c->reason = "it has too many sets of categories";
                return true;
            }
            lookup = qn_arena_alloc(&c->m->arena, bytes);
            if (lookup == NULL)
                return false;
            memset(lookup, member_right ? -128 : -127, bytes);
            for (uint32_t j = 0; j < s->count; j++)
                lookup[pc->class_of[f->members[s->first + j]]] = member_right ? -127 : -128;
            lookup[bytes - 1] = (tests[i].flags & QN_NODE_MISSING_RIGHT) ? -127 : -128;
            code = add_code(p, (struct qn_plan_code){0, 0, lookup});
        }
        set_split(p, tests[i].node, code, -128);
    }
    return true;
}

static bool plan_columns(struct compile *c)
{
    struct qn_plan *p = &c->m->plan;
    double *cuts = qn_mem_zalloc(c->test_count, sizeof(double));
    size_t at = 0, lookup_bytes = 0;
    bool ok = cuts != NULL;

    for (uint32_t k = 0; k < p->column_count && ok && c->reason == NULL; k++) {
        struct qn_plan_column *pc = &p->columns[k];
        size_t end = at;

        while (end < c->test_count && c->tests[end].column == k)
            end++;
        pc->first_code = p->code_count;
        if (pc->is_category)
            ok = plan_category(c, pc, c->tests + at, end - at, &lookup_bytes);
        else
            ok = plan_numeric(c, pc, c->tests + at, end - at, cuts);
        pc->code_count = p->code_count - pc->first_code;
        p->quantise_steps += 3u + pc->levels + pc->code_count;
        at = end;
    }
    qn_mem_free(cuts);
    return ok;
}

static void put_leaf(const struct qn_model *m, void *values, size_t i, double v)
{
    if (m->info.is_float)
        ((float *)values)[i] = (float)v;
    else
        ((double *)values)[i] = v;
}

static bool plan_nodes(struct qn_model *m)
{
    const struct qn_forest *f = &m->forest;
    const size_t bytes = m->info.is_float ? sizeof(float) : sizeof(double);
    void *values = qn_arena_aligned(&m->arena, 64, f->node_count * bytes + 1);

    if (values == NULL)
        return false;
    for (size_t i = 0; i < f->node_count; i++) {
        m->plan.nodes[i].left = f->nodes[i].left;
        if (f->nodes[i].flags & QN_NODE_LEAF)
            set_split(&m->plan, (uint32_t)i, 0, LIMIT_NEVER);
        put_leaf(m, values, i, f->nodes[i].value);
    }
    m->plan.leaf_values = values;
    return true;
}

static bool plan_perfect_tree(struct qn_model *m, const struct qn_tree *t,
                              struct qn_plan_perfect *out)
{
    const size_t n = (size_t)1 << t->depth;
    const struct qn_forest *f = &m->forest;
    struct qn_plan_split *splits = qn_arena_aligned(&m->arena, 64, n * sizeof(*splits));
    uint32_t *offsets = qn_arena_aligned(&m->arena, 64, n * sizeof(*offsets));
    int8_t *limits = qn_arena_aligned(&m->arena, 64, n * 16);
    void *leaves = qn_arena_aligned(&m->arena, 64, n * sizeof(double));
    uint32_t node_at[2 << QN_MODEL_PERFECT_DEPTH];

    if (splits == NULL || offsets == NULL || limits == NULL || leaves == NULL)
        return false;
    splits[0] = (struct qn_plan_split){0, LIMIT_NEVER};
    offsets[0] = 0;
    memset(limits, LIMIT_NEVER, 16);
    node_at[1] = t->root;
    for (size_t i = 1; i < n; i++) {
        const struct qn_plan_node *node = &m->plan.nodes[node_at[i]];
        const bool is_leaf = (f->nodes[node_at[i]].flags & QN_NODE_LEAF) != 0;

        splits[i] = (struct qn_plan_split){node->code, node->limit};
        offsets[i] = (uint32_t)node->code * QN_MODEL_BLOCK;
        memset(limits + i * 16, node->limit, 16);
        node_at[2 * i] = node->left;
        node_at[2 * i + 1] = node->left + (is_leaf ? 0 : 1);
    }
    for (size_t i = 0; i < n; i++)
        put_leaf(m, leaves, i, f->nodes[node_at[n + i]].value);
    *out = (struct qn_plan_perfect){splits, offsets, limits, leaves};
    return true;
}

static bool plan_trees(struct qn_model *m)
{
    struct qn_plan *p = &m->plan;
    size_t changes = 0;

    if (!plan_nodes(m))
        return false;
    p->perfect = QN_NEW_N(&m->arena, struct qn_plan_perfect, m->forest.tree_count);
    p->full_run = QN_NEW_N(&m->arena, uint8_t, m->forest.tree_count + 1);
    if (p->perfect == NULL || p->full_run == NULL)
        return false;
    for (size_t t = m->forest.tree_count; t-- > 0;) {
        if (m->forest.trees[t].depth == QN_MODEL_PERFECT_DEPTH)
            p->full_run[t] = p->full_run[t + 1] < 255 ? p->full_run[t + 1] + 1 : 255;
    }
    for (size_t t = 0; t < m->forest.tree_count; t++) {
        changes += t > 0 && m->forest.trees[t].output != m->forest.trees[t - 1].output;
        p->walk_steps += m->forest.trees[t].depth;
        if (m->forest.trees[t].depth > QN_MODEL_PERFECT_DEPTH)
            continue;
        if (!plan_perfect_tree(m, &m->forest.trees[t], &p->perfect[t]))
            return false;
        p->perfect_count++;
    }
    p->has_runs = changes * RUN_MIN <= m->forest.tree_count;
    return true;
}

qn_status qn_model_plan(struct qn_model *m, const char **reason, struct qn_err *err)
{
    struct compile c = {.m = m};
    struct qn_plan *p = &m->plan;
    bool ok;

    *reason = NULL;
    if (m->forest.linear_count > 0) {
        *reason = "its leaves are linear functions";
        return QN_OK;
    }
    p->codes = QN_NEW_N(&m->arena, struct qn_plan_code, CODES_MAX);
    p->nodes = QN_NEW_N(&m->arena, struct qn_plan_node, m->forest.node_count);
    ok = p->codes != NULL && p->nodes != NULL && number_sets(&c) && list_tests(&c) &&
         plan_columns(&c) && (c.reason != NULL || plan_trees(m));
    qn_mem_free(c.tests);
    qn_mem_free(c.set_number);
    qn_mem_free(c.sets_sorted);
    if (!ok)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    *reason = c.reason;
    p->is_used = c.reason == NULL;
    return QN_OK;
}

/* ---- inputs to codes ---- */

/* One input of a block of rows, converted. Loops without calls, which the compiler turns into
 * vector code. */
static void convert(const struct qn_model *m, const double *in, uint32_t rows, double *out)
{
    if (m->info.is_float) {
        for (uint32_t r = 0; r < rows; r++)
            out[r] = (double)(float)in[r];
    } else {
        memcpy(out, in, rows * sizeof(double));
    }
    if (m->has_missing) {
        for (uint32_t r = 0; r < rows; r++)
            out[r] = out[r] == m->missing ? (double)NAN : out[r];
    }
    if (m->forest.snaps_zero) {
        for (uint32_t r = 0; r < rows; r++)
            out[r] = fabs(out[r]) <= QN_MODEL_ZERO ? 0.0 : out[r];
    }
}

/* rank[r] = number of the column's cuts that are <= x[r]. Eight searches in step hide the latency
 * of each. */
static void search_block(const struct qn_plan_column *pc, const double *x, uint32_t rows,
                         uint32_t *rank)
{
    const double *pivots = pc->pivots;
    const unsigned levels = pc->levels;
    const uint32_t base = (uint32_t)1 << levels;

    for (uint32_t r = 0; r < rows; r += 8) {
        uint32_t k0 = 1, k1 = 1, k2 = 1, k3 = 1, k4 = 1, k5 = 1, k6 = 1, k7 = 1;
        const double *v = x + r;

        for (unsigned level = 0; level < levels; level++) {
            k0 = 2 * k0 + (v[0] >= pivots[k0]);
            k1 = 2 * k1 + (v[1] >= pivots[k1]);
            k2 = 2 * k2 + (v[2] >= pivots[k2]);
            k3 = 2 * k3 + (v[3] >= pivots[k3]);
            k4 = 2 * k4 + (v[4] >= pivots[k4]);
            k5 = 2 * k5 + (v[5] >= pivots[k5]);
            k6 = 2 * k6 + (v[6] >= pivots[k6]);
            k7 = 2 * k7 + (v[7] >= pivots[k7]);
        }
        rank[r] = k0 - base, rank[r + 1] = k1 - base, rank[r + 2] = k2 - base;
        rank[r + 3] = k3 - base, rank[r + 4] = k4 - base, rank[r + 5] = k5 - base;
        rank[r + 6] = k6 - base, rank[r + 7] = k7 - base;
    }
}

static uint32_t class_of(const struct qn_model *m, const struct qn_plan_column *pc, double x)
{
    if (isnan(x))
        return pc->class_count + 1;
    if (!(x > -1.0) || !(x < (double)pc->category_max + 1.0) ||
        (x < 0 && !m->forest.truncates_negative) || (m->forest.is_whole_only && x != trunc(x)))
        return 0;
    return pc->class_of[(uint32_t)x];
}

static void put_codes(const struct qn_plan *p, const struct qn_plan_column *pc,
                      const uint32_t *rank, const double *x, uint32_t rows, uint32_t stride,
                      int8_t *codes)
{
    for (uint32_t k = pc->first_code; k < pc->first_code + pc->code_count; k++) {
        const struct qn_plan_code *code = &p->codes[k];
        const int32_t base = (int32_t)code->base;
        int8_t *out = codes + (size_t)k * stride;

        if (code->lookup != NULL) {
            for (uint32_t r = 0; r < rows; r++)
                out[r] = code->lookup[rank[r]];
            continue;
        }
        for (uint32_t r = 0; r < rows; r++) {
            int32_t v = (int32_t)rank[r] - base;

            v = v < 0 ? 0 : v;
            v = v > CUTS_PER_CODE ? CUTS_PER_CODE : v;
            out[r] = (int8_t)(v - 128);
        }
        if (code->missing != 0) {
            for (uint32_t r = 0; r < rows; r++)
                out[r] = x[r] != x[r] ? 127 : out[r];
        }
    }
}

/* One row of one column; neighbouring searches overlap in the CPU. */
static void quantise_one(const struct qn_model *m, const struct qn_plan_column *pc, double in,
                         int8_t *codes)
{
    const struct qn_plan *p = &m->plan;
    const uint32_t end = pc->first_code + pc->code_count;
    double x = qn_model_convert(m, in);
    uint32_t rank = 1;

    if (pc->zero_missing && fabs(x) <= QN_MODEL_ZERO)
        x = NAN;
    if (pc->is_category) {
        rank = class_of(m, pc, x);
        for (uint32_t c = pc->first_code; c < end; c++)
            codes[c] = p->codes[c].lookup[rank];
        return;
    }
    for (unsigned level = 0; level < pc->levels; level++)
        rank = 2 * rank + (x >= pc->pivots[rank]);
    rank -= (uint32_t)1 << pc->levels;
    for (uint32_t c = pc->first_code; c < end; c++) {
        int32_t v = (int32_t)rank - (int32_t)p->codes[c].base;

        v = v < 0 ? 0 : v;
        v = v > CUTS_PER_CODE ? CUTS_PER_CODE : v;
        v = x != x ? p->codes[c].missing : v;
        codes[c] = (int8_t)(v - 128);
    }
}

/* Kernels look at 16 rows at a time; what lies behind the last row must be a code all the same. */
static void quantise_block(const struct qn_model *m, const struct qn_plan_column *pc,
                           const double *in, uint32_t rows, int8_t *codes)
{
    const uint32_t padded = (rows + 15) / 16 * 16;
    double x[QN_MODEL_BLOCK];
    uint32_t rank[QN_MODEL_BLOCK];

    for (uint32_t r = rows; r < padded; r++)
        x[r] = 0;
    convert(m, in, rows, x);
    if (pc->zero_missing) {
        for (uint32_t r = 0; r < padded; r++)
            x[r] = fabs(x[r]) <= QN_MODEL_ZERO ? NAN : x[r];
    }
    if (pc->is_category) {
        for (uint32_t r = 0; r < padded; r++)
            rank[r] = class_of(m, pc, x[r]);
    } else {
        search_block(pc, x, padded, rank);
    }
    put_codes(&m->plan, pc, rank, x, padded, QN_MODEL_BLOCK, codes);
}

void qn_model_quantise_column(const struct qn_model *m, const struct qn_plan_column *pc,
                              const double *const *columns, uint32_t first, uint32_t rows,
                              uint32_t stride, int8_t *codes)
{
    if (stride == 1)
        quantise_one(m, pc, columns[pc->column][first], codes);
    else
        quantise_block(m, pc, columns[pc->column] + first, rows, codes);
}

void qn_model_quantise(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, uint32_t stride, int8_t *codes)
{
    const struct qn_plan *p = &m->plan;

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    QN_ASSERT(stride == QN_MODEL_BLOCK || (stride == 1 && rows == 1));
    if (p->code_count == 0)
        memset(codes, 0, stride); /* one-leaf trees still look at code 0 */
    if (stride == 1) {
        for (uint32_t k = 0; k < p->column_count; k++)
            quantise_one(m, &p->columns[k], columns[p->columns[k].column][first], codes);
        return;
    }
    for (uint32_t k = 0; k < p->column_count; k++)
        quantise_block(m, &p->columns[k], columns[p->columns[k].column] + first, rows, codes);
}
