/* SPDX-License-Identifier: Apache-2.0
 * load_xgboost.h - what XGBoost's three formats share: a pull interface over JSON and UBJ, and the
 * facts of a file.
 *
 * JSON and UBJ are two spellings of one document, so one builder (load_xgboost.c) reads both
 * through struct qn_doc. The old binary format fills the same struct qn_xgboost by itself. Thread:
 * the loader's. Memory: qn_xgboost_fini. */
#ifndef QN_MODEL_LOAD_XGBOOST_H
#define QN_MODEL_LOAD_XGBOOST_H

#include "base/json.h"
#include "model/model_int.h"

/* A pull reader; the events are those of base/json.h. In the caller's memory, filled by the
 * format's loader. */
struct qn_doc {
    enum qn_json_kind (*next)(struct qn_doc *d);
    /* The number just read: rounded once to float; as an integer, false when it is none. */
    float (*number_float)(const struct qn_doc *d);
    bool (*number_int)(const struct qn_doc *d, int64_t *out);
    size_t (*offset)(const struct qn_doc *d);
    struct qn_str key;  /* name of the member just read; borrowed until the document is closed */
    struct qn_str text; /* of a string                                                        */
    const char *error;  /* after QN_JSON_ERROR, static                                        */
};

struct qn_floats {
    float *v;
    size_t count, cap;
};
struct qn_ints {
    int64_t *v;
    size_t count, cap;
};
struct qn_names {
    struct qn_str *v;
    size_t count, cap;
};

enum qn_booster { QN_BOOSTER_NONE, QN_BOOSTER_TREES, QN_BOOSTER_DART, QN_BOOSTER_LINEAR };

/* All that a file tells. Texts are borrowed from the document. */
struct qn_xgboost {
    struct qn_model *m;
    struct qn_err *err;
    uint32_t version[3];
    int64_t feature_count, class_count, target_count, parallel_trees, leaf_vector;
    struct qn_str objective;
    enum qn_booster booster;
    bool has_model;      /* trees or weights stand in the file, not only settings */
    bool base_is_margin; /* files before 1.0 */
    struct qn_floats base_scores;
    struct qn_names feature_names;
    bool has_best_iteration;
    int64_t best_iteration;
    struct qn_ints tree_outputs;   /* tree_info                                        */
    struct qn_ints iteration_ends; /* iteration_indptr; may be empty                 */
    struct qn_floats drop_weights; /* DART                                           */
    struct qn_floats linear_weights;
    struct qn_raw_node *nodes; /* of all trees, children counted from the tree's first */
    size_t node_count, node_cap;
    struct qn_ints tree_starts; /* first node of each tree                          */
    /* arrays of the tree being read, kept between trees */
    struct qn_ints left, right, columns, default_left, split_types;
    struct qn_ints word_bytes, word_ends; /* cats: the texts of all features, and where each word
                                             ends in word_bytes */
    struct qn_ints word_counts;           /* per feature, how many words it has */
    struct qn_ints categories, category_nodes, category_segments, category_sizes;
    struct qn_floats values, covers; /* covers may be empty */
    uint32_t *members;
    size_t member_cap;
};

/* Reads the document and builds the model. */
qn_status qn_model_xgboost_document(struct qn_model *m, struct qn_doc *d,
                                    const struct qn_model_options *opt, struct qn_err *err);
/* Builds the model from the facts. */
qn_status qn_model_xgboost_build(struct qn_xgboost *x, const struct qn_model_options *opt);
void qn_model_xgboost_fini(struct qn_xgboost *x);

bool qn_model_push_float(struct qn_floats *a, float v);
bool qn_model_push_int(struct qn_ints *a, int64_t v);

#endif
