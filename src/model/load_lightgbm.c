/* SPDX-License-Identifier: Apache-2.0
 * load_lightgbm.c - LightGBM models in text, versions v2 to v4.
 *
 *   tree             first line
 *   key=value        head: version, num_tree_per_iteration, max_feature_idx, objective,
 *   average_output   feature_names, tree_sizes, ...; this one has no value
 *   Tree=0           a block per tree: num_leaves, split_feature, threshold, decision_type,
 *   key=value        left_child, right_child, leaf_value, cat_boundaries, cat_threshold,
 *                    leaf_count, internal_count, is_linear, leaf_const, ...
 *   end of trees     the rest is not read; v2 may have "feature importances:" in its place
 *
 * A child c < 0 is leaf ~c. decision_type: bit 0 category, bit 1 default left, bits 2-3 missing
 * type (0 none, 1 zero, 2 NaN). Source: LightGBM src/io/tree.cpp, include/LightGBM/tree.h,
 * src/boosting/gbdt_model_text.cpp. All in double. Every array is bounded by the bytes of its line.
 * Thread: the loader's. Memory: freed at the end. */
#include "base/json.h"
#include "base/number.h"
#include "model/words.h"

#include <math.h>

enum key {
    KEY_NUM_LEAVES,
    KEY_NUM_CAT,
    KEY_SPLIT_FEATURE,
    KEY_THRESHOLD,
    KEY_DECISION_TYPE,
    KEY_LEFT_CHILD,
    KEY_RIGHT_CHILD,
    KEY_LEAF_VALUE,
    KEY_CAT_BOUNDARIES,
    KEY_CAT_THRESHOLD,
    KEY_IS_LINEAR,
    KEY_LEAF_CONST,
    KEY_NUM_FEATURES,
    KEY_LEAF_FEATURES,
    KEY_LEAF_COEFF,
    KEY_LEAF_COUNT,
    KEY_INTERNAL_COUNT,
    KEY_COUNT
};

static const char *const KEYS[KEY_COUNT] = {
    "num_leaves", "num_cat",       "split_feature", "threshold",      "decision_type",
    "left_child", "right_child",   "leaf_value",    "cat_boundaries", "cat_threshold",
    "is_linear",  "leaf_const",    "num_features",  "leaf_features",  "leaf_coeff",
    "leaf_count", "internal_count"};

struct lightgbm {
    struct qn_model *m;
    struct qn_err *err;
    const char *at, *end;
    uint32_t line; /* 1-based, of the line read last                   */
    uint64_t per_iteration;
    struct qn_str fields[KEY_COUNT]; /* of the tree being read; p NULL = absent     */
    double *numbers[KEY_COUNT];      /* the same as numbers, kept between trees          */
    size_t counts[KEY_COUNT], caps[KEY_COUNT];
    size_t first_set, set_count; /* of the tree being read, in the forest           */
    struct qn_raw_node *nodes;
    size_t node_cap;
    uint32_t *members;
    size_t member_cap;
};

/* ---- lines and lists ---- */

static qn_status bad_line(const struct lightgbm *g, const char *text)
{
    qn_status rc = qn_err_set(g->err, QN_CORRUPT, "%s", text);

    g->err->line = g->line;
    return rc;
}

static bool next_line(struct lightgbm *g, struct qn_str *out)
{
    const char *stop;

    if (g->at >= g->end)
        return false;
    stop = memchr(g->at, '\n', (size_t)(g->end - g->at));
    if (stop == NULL)
        stop = g->end;
    *out = (struct qn_str){g->at, (uint32_t)(stop - g->at)};
    if (out->len > 0 && out->p[out->len - 1] == '\r')
        out->len--;
    g->at = stop == g->end ? stop : stop + 1;
    g->line++;
    return true;
}

/* True if the line is "name=...", with the value. */
static bool has_name(struct qn_str line, const char *name, struct qn_str *value)
{
    const size_t n = strlen(name);

    if (line.len <= n || memcmp(line.p, name, n) != 0 || line.p[n] != '=')
        return false;
    *value = (struct qn_str){line.p + n + 1, line.len - (uint32_t)n - 1};
    return true;
}

/* The line behind the last tree; files before "end of trees" was written go on with the
 * importances. */
static bool is_end(struct qn_str line)
{
    return qn_str_is(line, "end of trees") || qn_str_is(line, "feature importances:");
}

/* The next piece between blanks; false at the end. */
static bool next_piece(struct qn_str *list, struct qn_str *out)
{
    while (list->len > 0 && (*list->p == ' ' || *list->p == '\t')) {
        list->p++;
        list->len--;
    }
    *out = (struct qn_str){list->p, 0};
    while (list->len > 0 && *list->p != ' ' && *list->p != '\t') {
        list->p++;
        list->len--;
        out->len++;
    }
    return out->len > 0;
}

/* Reads fields[key] into numbers[key]. */
static qn_status read_numbers(struct lightgbm *g, enum key key)
{
    struct qn_str rest = g->fields[key], piece;

    g->counts[key] = 0;
    while (next_piece(&rest, &piece)) {
        double v;

        if (!qn_text_double(piece, &v))
            return qn_err_set(g->err, QN_CORRUPT, "tree %zu: '%.*s' in %s is not a number",
                              g->m->forest.tree_count, (int)(piece.len > 40 ? 40 : piece.len),
                              piece.p, KEYS[key]);
        if (!qn_model_grow(&g->numbers[key], &g->caps[key], g->counts[key] + 1, sizeof(double)))
            return qn_err_set(g->err, QN_NOMEM, "out of memory");
        g->numbers[key][g->counts[key]++] = v;
    }
    return QN_OK;
}

static qn_status expect_count(const struct lightgbm *g, enum key key, size_t count)
{
    if (g->counts[key] == count)
        return QN_OK;
    return qn_err_set(g->err, QN_CORRUPT, "tree %zu: %s has %zu values, expected %zu",
                      g->m->forest.tree_count, KEYS[key], g->counts[key], count);
}

/* A number of the file as a whole number in [low, high]; anything else becomes low - 1. */
static int64_t whole(double v, int64_t low, int64_t high)
{
    if (!(v >= (double)low) || !(v <= (double)high) || v != floor(v))
        return low - 1;
    return (int64_t)v;
}

/* ---- trees ---- */

/* Set i of the tree: words [boundaries[i], boundaries[i + 1]) of bits. Boundaries ascend, so each
 * word belongs to one set and the memory is bounded. */
static qn_status add_set(struct lightgbm *g, size_t i)
{
    const double *bounds = g->numbers[KEY_CAT_BOUNDARIES];
    const int64_t words = (int64_t)g->counts[KEY_CAT_THRESHOLD];
    const int64_t first = whole(bounds[i], 0, words), end = whole(bounds[i + 1], first, words);
    uint32_t ignored;
    size_t n = 0;

    if (first < 0 || end < first || end - first > INT32_MAX / 32)
        return qn_err_set(g->err, QN_CORRUPT, "tree %zu: cat_boundaries are out of range",
                          g->m->forest.tree_count);
    for (int64_t w = first; w < end; w++) {
        const int64_t bits = whole(g->numbers[KEY_CAT_THRESHOLD][w], 0, UINT32_MAX);

        if (bits < 0)
            return qn_err_set(g->err, QN_CORRUPT, "tree %zu: cat_threshold is no 32-bit word",
                              g->m->forest.tree_count);
        if (!qn_model_grow(&g->members, &g->member_cap, n + 32, sizeof(*g->members)))
            return qn_err_set(g->err, QN_NOMEM, "out of memory");
        for (uint32_t bit = 0; bit < 32; bit++) {
            if (bits >> bit & 1)
                g->members[n++] = (uint32_t)(w - first) * 32 + bit;
        }
    }
    return qn_model_forest_set(&g->m->forest, g->members, n, &ignored, g->err);
}

static qn_status add_sets(struct lightgbm *g)
{
    QN_TRY(read_numbers(g, KEY_CAT_BOUNDARIES));
    QN_TRY(read_numbers(g, KEY_CAT_THRESHOLD));
    g->first_set = g->m->forest.set_count;
    g->set_count = g->counts[KEY_CAT_BOUNDARIES] > 0 ? g->counts[KEY_CAT_BOUNDARIES] - 1 : 0;
    for (size_t i = 0; i < g->set_count; i++)
        QN_TRY(add_set(g, i));
    return QN_OK;
}

/* Inner node i. A node of no missing type sends NaN where 0 goes. */
static qn_status set_split(struct lightgbm *g, size_t i, size_t leaves, struct qn_raw_node *out)
{
    const double threshold = g->numbers[KEY_THRESHOLD][i];
    const int64_t type = whole(g->numbers[KEY_DECISION_TYPE][i], 0, 255);
    const int64_t missing = type >> 2 & 3;
    const int64_t inner = (int64_t)leaves - 1;
    const int64_t left = whole(g->numbers[KEY_LEFT_CHILD][i], -(int64_t)leaves, inner);
    const int64_t right = whole(g->numbers[KEY_RIGHT_CHILD][i], -(int64_t)leaves, inner);
    int64_t set;

    if (type < 0 || missing == 3)
        return qn_err_set(g->err, QN_CORRUPT, "tree %zu: decision_type of node %zu is not known",
                          g->m->forest.tree_count, i);
    /* leaf number c stands behind the inner nodes; what is out of range stays so */
    *out = (struct qn_raw_node){.left = left < 0 ? inner + ~left : left,
                                .right = right < 0 ? inner + ~right : right,
                                .set = UINT32_MAX};
    if (left < -(int64_t)leaves || left == inner)
        out->left = -1;
    if (right < -(int64_t)leaves || right == inner)
        out->right = -1;
    out->column = (uint64_t)whole(g->numbers[KEY_SPLIT_FEATURE][i], 0, INT32_MAX);
    if (type & 1) {
        out->flags = QN_NODE_CATEGORY | QN_NODE_MISSING_RIGHT;
        set = whole(threshold, 0, (int64_t)g->set_count - 1);
        if (set < 0)
            return qn_err_set(g->err, QN_CORRUPT, "tree %zu: node %zu tests no set of categories",
                              g->m->forest.tree_count, i);
        out->set = (uint32_t)(g->first_set + (size_t)set);
        return QN_OK;
    }
    if (isnan(threshold))
        return qn_err_set(g->err, QN_CORRUPT, "tree %zu: node %zu compares with NaN",
                          g->m->forest.tree_count, i);
    out->value = threshold == INFINITY ? NAN : nextafter(threshold, INFINITY);
    if (missing == 1)
        out->flags |= QN_NODE_ZERO_MISSING;
    if (missing == 0 ? 0.0 > threshold : !(type & 2))
        out->flags |= QN_NODE_MISSING_RIGHT;
    return QN_OK;
}

/* leaf_const + leaf_coeff * input for the leaves of a linear tree; the lists of all leaves stand
 * one after another. */
static qn_status add_linear_leaves(struct lightgbm *g, size_t leaves, struct qn_raw_node *nodes)
{
    struct qn_forest *f = &g->m->forest;
    const enum key keys[] = {KEY_LEAF_CONST, KEY_NUM_FEATURES, KEY_LEAF_FEATURES, KEY_LEAF_COEFF};
    size_t at = 0;

    for (size_t i = 0; i < 4; i++)
        QN_TRY(read_numbers(g, keys[i]));
    QN_TRY(expect_count(g, KEY_LEAF_CONST, leaves));
    QN_TRY(expect_count(g, KEY_NUM_FEATURES, leaves));
    QN_TRY(expect_count(g, KEY_LEAF_COEFF, g->counts[KEY_LEAF_FEATURES]));
    if (!qn_model_grow(&f->linear_leaves, &f->linear_cap, f->linear_count + leaves,
                       sizeof(*f->linear_leaves)) ||
        !qn_model_grow(&f->terms, &f->term_cap, f->term_count + g->counts[KEY_LEAF_COEFF],
                       sizeof(*f->terms)))
        return qn_err_set(g->err, QN_NOMEM, "out of memory");
    for (size_t i = 0; i < leaves; i++) {
        const int64_t n =
            whole(g->numbers[KEY_NUM_FEATURES][i], 0, (int64_t)(g->counts[KEY_LEAF_COEFF] - at));

        if (n < 0)
            return qn_err_set(g->err, QN_CORRUPT, "tree %zu: num_features is out of range",
                              f->tree_count);
        nodes[i].flags |= QN_NODE_LINEAR;
        nodes[i].set = (uint32_t)f->linear_count;
        f->linear_leaves[f->linear_count++] = (struct qn_linear_leaf){
            g->numbers[KEY_LEAF_CONST][i], (uint32_t)f->term_count, (uint32_t)n};
        for (int64_t j = 0; j < n; j++, at++) {
            const int64_t column =
                whole(g->numbers[KEY_LEAF_FEATURES][at], 0, (int64_t)g->m->info.inputs - 1);

            if (column < 0)
                return qn_err_set(g->err, QN_CORRUPT, "tree %zu: leaf_features is out of range",
                                  f->tree_count);
            f->terms[f->term_count++] =
                (struct qn_linear_term){g->numbers[KEY_LEAF_COEFF][at], (uint32_t)column};
        }
    }
    return QN_OK;
}

/* How many rows of the training set reached each node. Files may lack it. */
static qn_status set_covers(struct lightgbm *g, size_t leaves)
{
    const size_t inner = leaves - 1;

    if (g->fields[KEY_INTERNAL_COUNT].len == 0 || g->fields[KEY_LEAF_COUNT].len == 0)
        return QN_OK;
    QN_TRY(read_numbers(g, KEY_INTERNAL_COUNT));
    QN_TRY(read_numbers(g, KEY_LEAF_COUNT));
    QN_TRY(expect_count(g, KEY_INTERNAL_COUNT, inner));
    QN_TRY(expect_count(g, KEY_LEAF_COUNT, leaves));
    for (size_t i = 0; i < inner; i++)
        g->nodes[i].cover = g->numbers[KEY_INTERNAL_COUNT][i];
    for (size_t i = 0; i < leaves; i++)
        g->nodes[inner + i].cover = g->numbers[KEY_LEAF_COUNT][i];
    return QN_OK;
}

/* Inner nodes first, then the leaves. */
static qn_status fill_tree(struct lightgbm *g, size_t leaves)
{
    const size_t inner = leaves - 1;
    const enum key keys[] = {KEY_SPLIT_FEATURE, KEY_THRESHOLD, KEY_DECISION_TYPE, KEY_LEFT_CHILD,
                             KEY_RIGHT_CHILD};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && inner > 0; i++) {
        QN_TRY(read_numbers(g, keys[i]));
        QN_TRY(expect_count(g, keys[i], inner));
    }
    QN_TRY(add_sets(g));
    if (!qn_model_grow(&g->nodes, &g->node_cap, inner + leaves, sizeof(*g->nodes)))
        return qn_err_set(g->err, QN_NOMEM, "out of memory");
    for (size_t i = 0; i < inner; i++)
        QN_TRY(set_split(g, i, leaves, &g->nodes[i]));
    for (size_t i = 0; i < leaves; i++)
        g->nodes[inner + i] = (struct qn_raw_node){
            .value = g->numbers[KEY_LEAF_VALUE][i], .set = UINT32_MAX, .flags = QN_NODE_LEAF};
    QN_TRY(read_numbers(g, KEY_IS_LINEAR));
    if (g->counts[KEY_IS_LINEAR] > 0 && g->numbers[KEY_IS_LINEAR][0] != 0)
        QN_TRY(add_linear_leaves(g, leaves, g->nodes + inner));
    return set_covers(g, leaves);
}

/* Reads the lines of one tree and adds it. Stops at the line before the next "Tree=" or the end of
 * trees. */
static qn_status read_tree(struct lightgbm *g)
{
    struct qn_str line, value;
    int64_t leaves;
    size_t tree = g->m->forest.tree_count;

    memset(g->fields, 0, sizeof(g->fields));
    for (;;) {
        const char *before = g->at;
        const uint32_t line_before = g->line;

        if (!next_line(g, &line))
            break;
        if (has_name(line, "Tree", &value) || is_end(line)) {
            g->at = before;
            g->line = line_before;
            break;
        }
        for (int k = 0; k < KEY_COUNT; k++) {
            if (has_name(line, KEYS[k], &value))
                g->fields[k] = value;
        }
    }
    QN_TRY(read_numbers(g, KEY_NUM_LEAVES));
    QN_TRY(expect_count(g, KEY_NUM_LEAVES, 1));
    leaves = whole(g->numbers[KEY_NUM_LEAVES][0], 1, INT32_MAX / 2);
    QN_TRY(read_numbers(g, KEY_LEAF_VALUE));
    if (leaves < 1)
        return qn_err_set(g->err, QN_CORRUPT, "tree %zu: num_leaves is out of range", tree);
    QN_TRY(expect_count(g, KEY_LEAF_VALUE, (size_t)leaves));
    QN_TRY(fill_tree(g, (size_t)leaves));
    return qn_model_forest_add(g->m, g->nodes, 2 * (size_t)leaves - 1, tree % g->per_iteration,
                               g->err);
}

/* ---- the head ---- */

struct head {
    struct qn_str version, outputs, max_feature, objective, names, tree_sizes;
    bool averages;
};

static qn_status read_names(struct lightgbm *g, struct qn_str list)
{
    const uint32_t n = g->m->info.inputs;
    struct qn_str *names, rest = list, piece;
    size_t count = 0;
    qn_status rc = QN_OK;

    names = qn_mem_zalloc((size_t)n + 1, sizeof(*names));
    if (names == NULL)
        return qn_err_set(g->err, QN_NOMEM, "out of memory");
    while (next_piece(&rest, &piece)) {
        if (count < n)
            names[count] = piece;
        count++;
    }
    if (count != n)
        rc = qn_err_set(g->err, QN_CORRUPT, "the file names %zu features but has %u", count, n);
    else
        rc = qn_model_names(g->m, names, g->err);
    qn_mem_free(names);
    return rc;
}

static qn_status read_head(struct lightgbm *g, struct head *h)
{
    struct qn_str line, value;

    for (;;) {
        const char *before = g->at;
        const uint32_t line_before = g->line;

        if (!next_line(g, &line))
            return QN_OK;
        if (has_name(line, "Tree", &value) || is_end(line)) {
            g->at = before;
            g->line = line_before;
            return QN_OK;
        }
        if (has_name(line, "version", &value))
            h->version = value;
        else if (has_name(line, "num_tree_per_iteration", &value))
            h->outputs = value;
        else if (has_name(line, "max_feature_idx", &value))
            h->max_feature = value;
        else if (has_name(line, "objective", &value))
            h->objective = value;
        else if (has_name(line, "feature_names", &value))
            h->names = value;
        else if (has_name(line, "tree_sizes", &value))
            h->tree_sizes = value;
        else if (qn_str_is(line, "average_output"))
            h->averages = true;
    }
}

static qn_status build_head(struct lightgbm *g, const struct head *h)
{
    struct qn_model *m = g->m;
    int64_t outputs, max_feature;
    uint32_t word = 0;

    if (!qn_str_is(h->version, "v2") && !qn_str_is(h->version, "v3") &&
        !qn_str_is(h->version, "v4"))
        return qn_err_set(g->err, QN_UNSUPPORTED,
                          "LightGBM text version '%.*s' is not known (v2, v3 and v4 are); save it "
                          "again with LightGBM 2.2 or later",
                          (int)(h->version.len > 20 ? 20 : h->version.len),
                          h->version.len > 0 ? h->version.p : "");
    if (!qn_text_int64(h->outputs, &outputs) || outputs < 1 ||
        !qn_text_int64(h->max_feature, &max_feature) || max_feature < 0)
        return bad_line(g, "the head lacks num_tree_per_iteration or max_feature_idx");
    if (max_feature >= INT32_MAX)
        return bad_line(g, "max_feature_idx is out of range");
    QN_TRY(qn_model_shape(m, (uint64_t)max_feature + 1, (uint64_t)outputs, g->err));
    g->per_iteration = (uint64_t)outputs;
    m->forest.snaps_zero = true;
    m->forest.truncates_negative = true;
    m->info.version = qn_model_text(m, h->version);
    if (!qn_model_lightgbm_objective(m, h->objective, g->err))
        return g->err->code;
    while (word < h->objective.len && h->objective.p[word] != ' ')
        word++;
    m->info.objective = qn_model_text(m, (struct qn_str){h->objective.p, word});
    if (m->info.version == NULL || m->info.objective == NULL)
        return qn_err_set(g->err, QN_NOMEM, "out of memory");
    return h->names.len > 0 ? read_names(g, h->names) : QN_OK;
}

static qn_status read_all(struct lightgbm *g)
{
    struct head h = {0};
    struct qn_str line = {0}, value;
    size_t trees_told = 0;
    bool is_whole;

    QN_TRY(read_head(g, &h));
    QN_TRY(build_head(g, &h));
    while (next_line(g, &line) && has_name(line, "Tree", &value))
        QN_TRY(read_tree(g));
    is_whole = is_end(line);
    g->m->info.trees_in_file = (uint32_t)g->m->forest.tree_count;
    while (next_piece(&h.tree_sizes, &value))
        trees_told++;
    if (!is_whole || (trees_told > 0 && trees_told != g->m->forest.tree_count) ||
        g->m->forest.tree_count % g->per_iteration != 0)
        return qn_err_set(g->err, QN_CORRUPT,
                          "the file is cut off: it has %zu trees, its head tells of %zu, %llu an "
                          "iteration, and 'end of trees' must follow them",
                          g->m->forest.tree_count, trees_told,
                          (unsigned long long)g->per_iteration);
    if (h.averages && g->m->forest.tree_count > 0)
        g->m->transform.divide = (double)(g->m->forest.tree_count / g->per_iteration);
    return QN_OK;
}

/* ---- categories as text ---- */

/* "0,3,4]" of the parameter categorical_feature, ascending, marked in `is_category`: how many. 0
 * where it is no list of numbers: then nobody can tell whose words are whose. */
static size_t read_categorical(const struct lightgbm *g, struct qn_str list, uint8_t *is_category)
{
    const char *at = list.p, *end = list.p + list.len;
    size_t count = 0;

    while (at < end) {
        const char *stop = at;
        int64_t v;

        while (stop < end && *stop != ',' && *stop != ']')
            stop++;
        if (!qn_text_int64((struct qn_str){at, (uint32_t)(stop - at)}, &v) || v < 0 ||
            v >= g->m->info.inputs)
            return 0;
        count += !is_category[v];
        is_category[v] = 1;
        if (stop == end || *stop == ']')
            return count;
        at = stop + 1;
    }
    return 0;
}

/* One list of words; *count is 0 for a list of anything else, which is a matter of codes. */
static qn_status read_word_list(struct lightgbm *g, struct qn_json_reader *r, struct qn_str **words,
                                size_t *cap, size_t *count, bool *is_good)
{
    bool is_text = true;
    enum qn_json_kind kind;

    *count = 0;
    while ((kind = qn_json_next(r)) != QN_JSON_CLOSE) {
        if (kind == QN_JSON_ERROR || kind == QN_JSON_END || kind == QN_JSON_ARRAY ||
            kind == QN_JSON_OBJECT) {
            *is_good = false;
            return QN_OK;
        }
        is_text = is_text && kind == QN_JSON_STRING;
        if (!is_text)
            continue;
        if (!qn_model_grow(words, cap, *count + 1, sizeof(**words)))
            return qn_err_set(g->err, QN_NOMEM, "out of memory");
        (*words)[(*count)++] = r->text;
    }
    if (!is_text)
        *count = 0;
    return QN_OK;
}

/* The lists of pandas_categorical belong to the categorical features in ascending order. Two
 * rounds: the first counts the lists, and only when there are as many as features the second keeps
 * them. */
static qn_status read_word_lists(struct lightgbm *g, struct qn_str json, const uint8_t *is_category,
                                 size_t features)
{
    struct qn_str *words = NULL;
    size_t cap = 0;
    qn_status rc = QN_OK;
    bool is_good = true;

    for (unsigned round = 0; round < 2 && rc == QN_OK && is_good; round++) {
        struct qn_arena arena = {0};
        struct qn_json_reader r;
        size_t lists = 0, count;
        uint32_t input = 0;

        qn_json_open(&r, json, &arena);
        is_good = qn_json_next(&r) == QN_JSON_ARRAY;
        while (rc == QN_OK && is_good && qn_json_next(&r) == QN_JSON_ARRAY) {
            lists++;
            rc = read_word_list(g, &r, &words, &cap, &count, &is_good);
            while (round == 1 && !is_category[input])
                input++;
            if (round == 1 && rc == QN_OK && is_good)
                rc = qn_model_words_add(g->m, input++, words, count, g->err);
        }
        is_good = is_good && lists == features && r.error == NULL;
        if (r.error != NULL && qn_model_json_status(r.error) == QN_NOMEM)
            rc = qn_err_set(g->err, QN_NOMEM, "out of memory");
        qn_arena_fini(&arena);
    }
    qn_mem_free(words);
    return rc;
}

/* Behind the trees: which features are categories, and the words of a data frame's. A file without
 * them, or where they do not fit each other, takes codes. */
static qn_status read_words(struct lightgbm *g)
{
    static const char parameter[] = "[categorical_feature: ", words[] = "pandas_categorical:";
    struct qn_str line, list = {0}, json = {0};
    uint8_t *is_category;
    size_t features;
    qn_status rc = QN_OK;

    while (next_line(g, &line)) {
        if (line.len > sizeof(parameter) && memcmp(line.p, parameter, sizeof(parameter) - 1) == 0)
            list = (struct qn_str){line.p + sizeof(parameter) - 1,
                                   line.len - (uint32_t)sizeof(parameter) + 1};
        else if (line.len > sizeof(words) && memcmp(line.p, words, sizeof(words) - 1) == 0)
            json =
                (struct qn_str){line.p + sizeof(words) - 1, line.len - (uint32_t)sizeof(words) + 1};
    }
    if (list.len == 0 || json.len == 0)
        return QN_OK;
    is_category = qn_mem_zalloc(g->m->info.inputs, 1);
    if (is_category == NULL)
        return qn_err_set(g->err, QN_NOMEM, "out of memory");
    features = read_categorical(g, list, is_category);
    if (features > 0)
        rc = read_word_lists(g, json, is_category, features);
    qn_mem_free(is_category);
    return rc;
}

qn_status qn_model_load_lightgbm(struct qn_model *m, struct qn_str bytes,
                                 const struct qn_model_options *opt, struct qn_err *err)
{
    struct lightgbm g = {.m = m, .err = err, .at = bytes.p, .end = bytes.p + bytes.len};
    qn_status rc;

    (void)opt; /* LightGBM saves the best iterations only */
    rc = read_all(&g);
    m->unknown_word = (double)NAN;
    if (rc == QN_OK)
        rc = read_words(&g);
    if (rc != QN_OK && err->line == 0)
        err->line = g.line;
    for (int k = 0; k < KEY_COUNT; k++)
        qn_mem_free(g.numbers[k]);
    qn_mem_free(g.nodes);
    qn_mem_free(g.members);
    return rc;
}
