/* SPDX-License-Identifier: Apache-2.0
 * model_int.h - the inside of the model room: one intermediate form for all formats, and the table
 * of kernels.
 *
 * A loader fills a struct qn_forest (or qn_linear) and a qn_transform; forest.c verifies each tree
 * as it comes; codes.c compiles the forest into integer codes; a kernel scores blocks of rows with
 * that plan. `walk` runs on the forest itself with the raw inputs and is the oracle of the other
 * kernels. Everything is immutable after the load. Thread: a loader belongs to one thread; a loaded
 * model to all. Memory: arrays by qn_model_grow or the model's arena. */
#ifndef QN_MODEL_MODEL_INT_H
#define QN_MODEL_MODEL_INT_H

#include "model/model.h"

#include <math.h>

enum {
    QN_MODEL_BLOCK = 64, /* rows that a kernel scores at once; scratch is made for one block */
    QN_MODEL_INPUTS_MAX = 65536, /* a model with more inputs is refused */
    QN_MODEL_OUTPUTS_MAX = 4096,
    QN_MODEL_NODES_MAX = 1 << 28, /* all trees together */
    QN_MODEL_PERFECT_DEPTH = 6    /* deeper trees are walked node by node    */
};

/* Of functions that are compiled anew for the constants of each call. Sanitizers check the same
 * source in one copy where gcc likes that better: to instrument all takes it minutes. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define QN_COPIED static inline
#else
#define QN_COPIED static inline __attribute__((always_inline))
#endif

/* ---- the intermediate form ---- */

enum qn_node_flag {
    QN_NODE_LEAF = 1,
    QN_NODE_MISSING_RIGHT = 2, /* NaN goes right, else left */
    QN_NODE_ZERO_MISSING = 4, /* |x| <= 1e-35f counts as missing too (LightGBM's type zero)       */
    QN_NODE_CATEGORY = 8,     /* decided by membership in a set, not by the cut                   */
    QN_NODE_MEMBER_RIGHT = 16, /* members of the set go right (XGBoost), else left (LightGBM) */
    QN_NODE_LINEAR = 32 /* a leaf that is a linear function: `set` is its number            */
};

/* One node of a verified tree. Children stand side by side: right = left + 1. */
struct qn_node {
    double value;  /* inner: the cut, the smallest value that goes right, NaN = none does; leaf: its
                      value */
    uint32_t left; /* index in qn_forest.nodes; of a leaf: its own */
    uint32_t column; /* input that is tested */
    uint32_t set; /* CATEGORY: index in qn_forest.sets; LINEAR: index in qn_forest.linear_leaves */
    uint8_t flags;
};

/* One node as a file tells it, before verification; children are indices into the same array. */
struct qn_raw_node {
    double value;
    int64_t left, right; /* of a leaf: ignored */
    uint64_t column;
    double cover; /* training weight that reached it, for contributions; 0 everywhere = not told */
    uint32_t set;
    uint8_t flags;
};

struct qn_tree {
    uint32_t root;   /* index in qn_forest.nodes                 */
    uint32_t nodes;  /* how many, from root on, breadth first    */
    uint32_t output; /* sum that its leaves are added to         */
    uint32_t depth;  /* comparisons on the longest path          */
};

struct qn_category_set {
    uint32_t first, count; /* members, ascending, in qn_forest.members */
};

/* LightGBM's linear_tree: constant + sum of coefficient * input; value of the node where any of the
 * inputs is NaN. */
struct qn_linear_leaf {
    double constant;
    uint32_t first, count; /* in qn_forest.terms */
};
struct qn_linear_term {
    double coefficient;
    uint32_t column;
};

struct qn_forest {
    struct qn_node *nodes;
    size_t node_count, node_cap;
    struct qn_tree *trees;
    size_t tree_count, tree_cap;
    struct qn_category_set *sets;
    size_t set_count, set_cap;
    uint32_t *members;
    size_t member_count, member_cap;
    struct qn_linear_leaf *linear_leaves;
    size_t linear_count, linear_cap;
    struct qn_linear_term *terms;
    size_t term_count, term_cap;
    double *shares; /* parallel to nodes: which part of the parent's cover came here, root 1 */
    size_t share_cap;
    bool lacks_covers; /* a tree was told without, or with impossible, covers */
    uint32_t leaf_count, depth_max;
    bool snaps_zero;         /* |x| <= 1e-35f becomes 0 before all else (LightGBM)         */
    bool truncates_negative; /* -0.5 is category 0 (LightGBM); else every negative number is in no
                                set     */
    bool is_whole_only;      /* 2.5 is in no set (ONNX); else it is category 2 */
    uint64_t
        *queue; /* for verification only: (old index, new index) pairs in breadth-first order */
    size_t queue_cap;
    uint8_t *seen;
    size_t seen_cap;
};

/* A linear model, and XGBoost's gblinear. out[k] = start[k] + coefficient[k * inputs + i] * x[i], i
 * ascending. */
struct qn_linear {
    bool is_used;
    double *coefficients;
    double *fill; /* per input, what stands for missing (NaN = nothing does); NULL = nothing     */
    double *mean, *scale; /* per input: (x - mean) / scale first; NULL = not */
    bool skips_missing;   /* gblinear: a missing input adds nothing; else the result is NaN   */
};

enum qn_link {
    QN_LINK_IDENTITY,
    QN_LINK_FLOAT_LOGISTIC, /* XGBoost, all in float32 */
    QN_LINK_FLOAT_EXP,
    QN_LINK_FLOAT_SOFTMAX,
    QN_LINK_FLOAT_ARGMAX,
    QN_LINK_FLOAT_HINGE,
    QN_LINK_LOGISTIC, /* 1 / (1 + exp(-slope * x)), double */
    QN_LINK_EXP,
    QN_LINK_SOFTMAX,
    QN_LINK_LOG1P_EXP,
    QN_LINK_SIGNED_SQUARE,
    QN_LINK_FLOAT_LOGISTIC_FLIPPED, /* ONNX Runtime: of |x|, then 1 - it where x < 0 */
    QN_LINK_ROUND_FLOAT,            /* ONNX: added in double, answered in float32 */
    QN_LINK_ISOLATION               /* slope * 2^-x - offset */
};

struct qn_transform {
    enum qn_link link;
    double slope;  /* LOGISTIC, ISOLATION                                                */
    double offset; /* ISOLATION                                                          */
    double divide; /* margin is divided by this before the link; 1 = not (random forest) */
};

/* ---- the plan: the forest in integer codes ---- */

/* A code is one signed byte per row. A node goes right iff code > limit. For a numeric column code
 * + 128 is the number of the column's cuts that are <= x, less `base`, held between 0 and 254;
 * missing is 0 (goes left everywhere) or 255 (goes right everywhere), which is why each default
 * direction in use has its own code. For a category set it is a 0/1 answer from a table. */
struct qn_plan_code {
    uint32_t base;
    uint8_t missing; /* 0 or 255                                                               */
    const int8_t *lookup; /* category: code by class; NULL for a numeric column */
};

struct qn_plan_column {
    uint32_t column; /* input                                                              */
    bool zero_missing;
    bool is_category;
    uint8_t levels;       /* of the search tree over the cuts                                   */
    const double *pivots; /* 1 << levels, index 0 unused, in level order, padded with NaN       */
    const uint16_t *class_of; /* category: class by category, 0 = in no set */
    uint32_t category_max, class_count;
    uint32_t first_code, code_count;
};

struct qn_plan_node {
    uint16_t code;
    int16_t limit;
    uint32_t left; /* right = left + 1; a leaf points to itself and its limit is above every code */
};

struct qn_plan_split {
    uint16_t code;
    int16_t limit;
};

/* A tree padded to a perfect one: split i has the children 2i and 2i + 1, the root is 1. */
struct qn_plan_perfect {
    const struct qn_plan_split *splits; /* 1 << depth */
    const uint32_t *offsets; /* the same: code * QN_MODEL_BLOCK                                  */
    const int8_t *limits;    /* (1 << depth) * 16: each limit 16 times, aligned to 16            */
    const void *leaves;      /* 1 << depth float or double                                       */
};

struct qn_plan {
    bool is_used;
    struct qn_plan_column *columns;
    struct qn_plan_code *codes;
    uint32_t column_count, code_count;
    struct qn_plan_node *nodes;      /* parallel to qn_forest.nodes                              */
    const void *leaf_values;         /* parallel to qn_forest.nodes: float or double             */
    struct qn_plan_perfect *perfect; /* parallel to qn_forest.trees; splits NULL = deeper    */
    uint32_t perfect_count;
    uint8_t *full_run; /* per tree: how many from it on have the full perfect depth, at most 255 */
    bool has_runs;     /* of several outputs: trees of one mostly stand together             */
    const struct qn_lanes *lanes; /* lanes.h: the same for vector kernels; NULL = none runs here */
    const struct qn_squares *squares; /* squares.h: for `avx512x8`; NULL = it cannot run          */
    uint64_t quantise_steps, walk_steps;
};

/* ---- model and kernels ---- */

struct qn_model;

/* Adds nothing to the model; scores rows [first, first + rows), rows <= QN_MODEL_BLOCK, into
 * sums[output * BLOCK + row], float or double as info.is_float says. Scratch is aligned to 64. */
struct qn_model_kernel {
    const char *name;
    /* False, with the reason, where the model has something the kernel cannot do or would do
     * slowly. */
    bool (*is_suitable)(const struct qn_model *m, const char **reason);
    size_t (*scratch_bytes)(const struct qn_model *m);
    void (*score)(const struct qn_model *m, const double *const *columns, uint32_t first,
                  uint32_t rows, void *scratch, void *sums);
};

extern const struct qn_model_kernel qn_model_kernel_walk, qn_model_kernel_walk8,
    qn_model_kernel_columns16, qn_model_kernel_linear, qn_model_kernel_avx2, qn_model_kernel_avx512,
    qn_model_kernel_avx512x8, qn_model_kernel_neon, qn_model_kernel_onnxruntime;

/* What contributions need (treeshap.c), made after the load. */
struct qn_model_explain {
    const char *obstacle;  /* why there are none, one phrase; NULL = they can be had         */
    double *bias;          /* [outputs] start and the mean of every tree                     */
    const double **rules;  /* [points_max + 1] the quadratures in use, by number of points   */
    uint16_t *tree_points; /* [trees] points that are exact for the tree                     */
    uint32_t *order;       /* [trees] trees by output, then in the order of the file         */
    uint32_t *order_end;   /* [outputs] in `order`, behind the last tree of the output       */
    uint32_t *slot_of;     /* [inputs + 1] place of an input among those that are tested; of one
                              that is not it is that of the next                             */
    uint32_t slots, points_max;
    uint32_t rows;   /* of a block                                                           */
    uint32_t blocks; /* that go through a few trees before the next trees' turn              */
    enum qn_model_cpu cpu;
};

struct qn_model {
    struct qn_model_info info;
    struct qn_arena arena; /* names, plan, linear parameters: freed with the model */
    struct qn_forest forest;
    struct qn_linear linear;
    struct qn_plan plan;
    struct qn_transform transform;
    struct qn_model_explain explain;
    double *start;                    /* per output: the sum before the first tree */
    struct qn_words *words;           /* per input, words.h; NULL = no input is text */
    double unknown_word;              /* what a text that is no word becomes          */
    struct qn_ort *ort;               /* onnxruntime.h; NULL = our kernels run it */
    struct qn_half_space *half_space; /* half_space.h; NULL = a model of a file */
    bool has_missing;
    double missing;
    const struct qn_model_kernel *kernel;
    uint32_t walk_rows; /* up to so many rows in a block: `walk` instead, which codes no inputs */
};

/* Which kernel scores a block of so many rows. */
static inline const struct qn_model_kernel *qn_model_kernel_for(const struct qn_model *m,
                                                                uint32_t rows)
{
    return rows <= m->walk_rows ? &qn_model_kernel_walk : m->kernel;
}

/* |x| up to this is zero to LightGBM. */
#define QN_MODEL_ZERO ((double)1e-35f)

/* An input as the library sees it: rounded, the missing value as NaN, nearly zero as zero. */
static inline double qn_model_convert(const struct qn_model *m, double x)
{
    if (m->info.is_float)
        x = (double)(float)x;
    if (m->has_missing && x == m->missing)
        return (double)NAN;
    return m->forest.snaps_zero && fabs(x) <= QN_MODEL_ZERO ? 0.0 : x;
}

/* Behind the last of the trees [tree, end) that adds to the same output as the first: as long as
 * it goes on the sum stays in a register, which an addition need not wait for. */
static inline size_t qn_model_same_output(const struct qn_model *m, size_t tree, size_t end)
{
    const struct qn_tree *trees = m->forest.trees;
    const uint32_t output = trees[tree].output;

    do {
        tree++;
    } while (tree < end && trees[tree].output == output);
    return tree;
}

/* ---- helpers of loaders ---- */

/* Makes room for `need` elements of `bytes` each; grows by half. False when out of memory. */
bool qn_model_grow(void *array_pointer, size_t *cap, size_t need, size_t bytes);
/* A copy of text in the model's arena with NUL; NULL when out of memory. */
const char *qn_model_text(struct qn_model *m, struct qn_str text);
/* QN_NOMEM where a JSON reader stopped for want of memory, else QN_CORRUPT. */
qn_status qn_model_json_status(const char *reader_error);
/* Checks and sets info.inputs and info.outputs, makes `start` (all 0). */
qn_status qn_model_shape(struct qn_model *m, uint64_t inputs, uint64_t outputs, struct qn_err *err);
/* Copies names into the model. The array has info.inputs elements. */
qn_status qn_model_names(struct qn_model *m, const struct qn_str *names, struct qn_err *err);

/* Verifies a tree (children in range, no node reached twice, no NaN cut, known columns) and appends
 * it, reached nodes only. QN_CORRUPT names the tree. After an error the forest may only be freed.
 */
qn_status qn_model_forest_add(struct qn_model *m, const struct qn_raw_node *raw, size_t count,
                              uint64_t output, struct qn_err *err);
/* Adds a set of categories, sorting and uniting them in place; its index goes to *out. */
qn_status qn_model_forest_set(struct qn_forest *f, uint32_t *members, size_t count, uint32_t *out,
                              struct qn_err *err);
bool qn_model_set_has(const struct qn_forest *f, uint32_t set, double x);
void qn_model_forest_fini(struct qn_forest *f);

/* Prepares contributions; m->explain.obstacle says where there are none. Only memory can fail. */
qn_status qn_model_explain_init(struct qn_model *m, struct qn_err *err);

/* Compiles the plan into m->plan; is_used stays false, with the reason, where the forest cannot
 * have one. */
qn_status qn_model_plan(struct qn_model *m, const char **reason, struct qn_err *err);
/* Codes of rows [first, first + rows): codes[code * stride + row]. stride: QN_MODEL_BLOCK, or 1
 * with one row. */
void qn_model_quantise(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, uint32_t stride, int8_t *codes);
/* The same for one column of the plan; rows behind the last up to a multiple of 16 are coded too.
 */
void qn_model_quantise_column(const struct qn_model *m, const struct qn_plan_column *pc,
                              const double *const *columns, uint32_t first, uint32_t rows,
                              uint32_t stride, int8_t *codes);
/* How many steps of coding a block's inputs cost as much as one of walking raw inputs; bench_model
 * with few trees on 300 and 1,000 columns. */
enum { QN_CODING_ALONE = 9, QN_CODING_PLAIN = 16, QN_CODING_VECTOR = 100 };
/* False where coding the inputs takes longer than walking the trees: few trees, many inputs. */
bool qn_model_codes_pay(const struct qn_model *m, uint32_t steps, const char **reason);
/* Codes of a block of rows through one tree, node by node; codes of one row, stride 1, through all
 * trees. */
void qn_model_node_tree(const struct qn_model *m, const struct qn_tree *tree, const int8_t *codes,
                        uint32_t rows, void *sum);
void qn_model_score_row(const struct qn_model *m, const int8_t *codes, uint32_t row, void *sums);
/* Whether this CPU has what a kernel for it needs, and qn_model_cap allows it. */
bool qn_model_cpu_has(enum qn_model_cpu cpu);
/* XGBoost's base score b as margin, in float32, for an objective and the version that wrote the
 * file. */
bool qn_model_xgboost_objective(struct qn_model *m, struct qn_str objective, struct qn_err *err);
float qn_model_xgboost_margin(const struct qn_model *m, float base_score, uint32_t major,
                              uint32_t minor);
/* LightGBM's objective line, "binary sigmoid:1"; "" is a custom objective. False with *err set when
 * unknown. */
bool qn_model_lightgbm_objective(struct qn_model *m, struct qn_str line, struct qn_err *err);
/* For libraries that round inputs to float32 but add in double (cut.c). The smallest double that
 * goes right where `(float)x <= threshold` does not go left. NaN: nothing goes right. */
double qn_model_float_threshold(double threshold);
/* Whether a cut of a double model is such a number, so that rounded inputs may be compared with it
 * rounded. */
bool qn_model_is_float_cut(double cut);
/* Prediction of one margin, for links that look at one output only; else the margin itself. */
double qn_model_predict(const struct qn_transform *tr, double margin);
/* Plan, tables and kernel of a filled forest, by its shape: the CPU's pace is not asked. */
qn_status qn_model_compile(struct qn_model *m, struct qn_err *err);
/* Sets walk_rows where coding single rows does not pay. */
void qn_model_walk_few(struct qn_model *m);
/* What a kernel adds to: sums[output * BLOCK + row], float or double; what it starts with; what it
 * ends with as margin[output * stride + row]. */
size_t qn_model_sums_bytes(const struct qn_model *m);
void qn_model_start_sums(const struct qn_model *m, uint32_t rows, void *sums);
void qn_model_put_margins(const struct qn_model *m, uint32_t rows, const void *sums, double *margin,
                          uint32_t stride);
/* prediction[output * stride + row] from sums[output * BLOCK + row]. */
void qn_model_transform(const struct qn_model *m, const void *sums, uint32_t rows,
                        double *prediction, uint32_t stride);

/* After the load (probe.c): QN_CORRUPT where m->kernel has other bits than `walk`. */
qn_status qn_model_probe(const struct qn_model *m, struct qn_err *err);
/* Whether b takes less time for a full block than a. QN_NOMEM or QN_OK. */
qn_status qn_model_race(const struct qn_model *m, const struct qn_model_kernel *a,
                        const struct qn_model_kernel *b, bool *is_b_quicker, struct qn_err *err);

/* Loaders: bytes of a recognised file into m. */
qn_status qn_model_load_xgboost_json(struct qn_model *m, struct qn_str bytes,
                                     const struct qn_model_options *opt, struct qn_err *err);
qn_status qn_model_load_xgboost_ubj(struct qn_model *m, struct qn_str bytes,
                                    const struct qn_model_options *opt, struct qn_err *err);
qn_status qn_model_load_xgboost_binary(struct qn_model *m, struct qn_str bytes,
                                       const struct qn_model_options *opt, struct qn_err *err);
qn_status qn_model_load_lightgbm(struct qn_model *m, struct qn_str bytes,
                                 const struct qn_model_options *opt, struct qn_err *err);
qn_status qn_model_load_linear(struct qn_model *m, struct qn_str bytes,
                               const struct qn_model_options *opt, struct qn_err *err);
qn_status qn_model_load_catboost(struct qn_model *m, struct qn_str bytes,
                                 const struct qn_model_options *opt, struct qn_err *err);
qn_status qn_model_load_onnx(struct qn_model *m, struct qn_str bytes,
                             const struct qn_model_options *opt, struct qn_err *err);
qn_status qn_model_load_sklearn(struct qn_model *m, struct qn_str bytes,
                                const struct qn_model_options *opt, struct qn_err *err);

/* For tests and the bench: uses the kernel of that name from now on. False where it is unknown or
 * not suitable. */
bool qn_model_force_kernel(struct qn_model *m, const char *name);
/* The i-th kernel's name, NULL after the last. */
const char *qn_model_kernel_name(unsigned i);

#endif
