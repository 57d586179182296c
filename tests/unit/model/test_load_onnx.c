/* SPDX-License-Identifier: Apache-2.0
 * test_load_onnx.c - ONNX tree ensembles from a protobuf made here: modes, missing values, classes,
 * refusals, damage, no memory. */
#include "models.h"

/* What a small model is made of. One tree: node 0 tests input 1 against 0.5, leaves 1 and 2. */
struct recipe {
    const char *op, *mode, *transform, *second_op, *attribute;
    float weights[2], base;
    int64_t outputs[2];
    int64_t true_id, feature, leaf_node;
    unsigned classes, input_type, inputs;
    bool has_base, tracks_true, lacks_values;
};

static const struct recipe PLAIN = {.op = "TreeEnsembleRegressor",
                                    .mode = "BRANCH_LEQ",
                                    .weights = {-2, 3},
                                    .true_id = 1,
                                    .feature = 1,
                                    .leaf_node = 2,
                                    .input_type = 1,
                                    .inputs = 1};

static void put(struct qn_buf *b, unsigned number, const void *data, size_t len)
{
    assert_true(len < 128 * 128);
    qn_buf_byte(b, (char)(number << 3 | 2));
    if (len >= 128)
        qn_buf_byte(b, (char)(0x80 | (len & 0x7f)));
    qn_buf_byte(b, (char)(len >= 128 ? len >> 7 : len));
    qn_buf_add(b, data, len);
}

static void put_number(struct qn_buf *b, unsigned number, unsigned v)
{
    assert_true(v < 128);
    qn_buf_byte(b, (char)(number << 3));
    qn_buf_byte(b, (char)v);
}

static void put_text(struct qn_buf *b, unsigned number, const char *text)
{
    put(b, number, text, strlen(text));
}

static void put_message(struct qn_buf *b, unsigned number, struct qn_buf *message)
{
    put(b, number, message->data, message->len);
    qn_buf_fini(message);
}

static void put_ints(struct qn_buf *node, const char *name, const int64_t *v, size_t count)
{
    struct qn_buf a = {0};

    put_text(&a, 1, name);
    for (size_t i = 0; i < count; i++)
        put_number(&a, 8, (unsigned)v[i]);
    put_message(node, 5, &a);
}

static void put_floats(struct qn_buf *node, const char *name, const float *v, size_t count)
{
    struct qn_buf a = {0};

    put_text(&a, 1, name);
    put(&a, 7, v, count * sizeof(*v)); /* packed; the tests run on little-endian machines */
    put_message(node, 5, &a);
}

static void put_tree(struct qn_buf *node, const struct recipe *r)
{
    const bool is_classifier = r->classes > 0;
    struct qn_buf modes = {0}, text = {0};

    put_ints(node, "nodes_treeids", (int64_t[]){0, 0, 0}, 3);
    put_ints(node, "nodes_nodeids", (int64_t[]){0, 1, 2}, 3);
    put_ints(node, "nodes_featureids", (int64_t[]){r->feature, 0, 0}, 3);
    put_ints(node, "nodes_truenodeids", (int64_t[]){r->true_id, 0, 0}, 3);
    put_ints(node, "nodes_falsenodeids", (int64_t[]){2, 0, 0}, 3);
    put_ints(node, "nodes_missing_value_tracks_true", (int64_t[]){r->tracks_true, 0, 0}, 3);
    if (!r->lacks_values)
        put_floats(node, "nodes_values", (float[]){0.5f, 0, 0}, 3);
    put_text(&modes, 1, "nodes_modes");
    put_text(&modes, 9, r->mode);
    put_text(&modes, 9, "LEAF");
    put_text(&modes, 9, "LEAF");
    put_message(node, 5, &modes);
    put_ints(node, is_classifier ? "class_treeids" : "target_treeids", (int64_t[]){0, 0}, 2);
    put_ints(node, is_classifier ? "class_nodeids" : "target_nodeids", (int64_t[]){1, r->leaf_node},
             2);
    put_ints(node, is_classifier ? "class_ids" : "target_ids", r->outputs, 2);
    put_floats(node, is_classifier ? "class_weights" : "target_weights", r->weights, 2);
    if (is_classifier)
        put_ints(node, "classlabels_int64s", (int64_t[]){0, 1, 2}, r->classes);
    if (r->has_base)
        put_floats(node, "base_values", &r->base, 1);
    if (r->attribute != NULL)
        put_floats(node, r->attribute, (float[]){1}, 1);
    if (r->transform != NULL) {
        put_text(&text, 1, "post_transform");
        put_text(&text, 4, r->transform);
        put_message(node, 5, &text);
    }
}

static void cook(struct qn_buf *b, const struct recipe *r)
{
    struct qn_buf graph = {0}, node = {0}, second = {0};

    put_text(&node, 1, "X");
    put_text(&node, 2, "Y");
    put_text(&node, 4, r->op);
    put_tree(&node, r);
    put_message(&graph, 1, &node);
    if (r->second_op != NULL) {
        put_text(&second, 1, "Y");
        put_text(&second, 4, r->second_op);
        put_message(&graph, 1, &second);
    }
    for (unsigned i = 0; i < r->inputs; i++) {
        struct qn_buf info = {0}, type = {0}, tensor = {0}, dims = {0}, dim = {0};

        put_text(&info, 1, "X");
        put_number(&tensor, 1, r->input_type);
        put_text(&dims, 1, "");
        put_number(&dim, 1, 2);
        put_message(&dims, 1, &dim);
        put_message(&tensor, 2, &dims);
        put_message(&type, 1, &tensor);
        put_message(&info, 2, &type);
        put_message(&graph, 11, &info);
    }
    qn_buf_clear(b);
    put_number(b, 1, 8);
    put_text(b, 2, "test");
    put_message(b, 7, &graph);
    assert_false(b->failed);
}

static double score(const struct recipe *r, double x, double *prediction)
{
    struct qn_buf b = {0};
    struct qn_model *m = NULL;
    struct qn_err err = {0};
    double margin;

    cook(&b, r);
    if (qn_model_load_bytes(models_bytes(&b), "m", NULL, &m, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_string_equal(qn_model_info(m)->format, "onnx");
    assert_int_equal(qn_model_info(m)->inputs, 2);
    margin = models_score(m, (double[]){0, x}, prediction);
    qn_model_free(m);
    qn_buf_fini(&b);
    return margin;
}

static void test_modes(void **state)
{
    static const struct {
        const char *mode;
        double at[3]; /* below, on and above the threshold */
    } modes[] = {{"BRANCH_LEQ", {-2, -2, 3}},
                 {"BRANCH_LT", {-2, 3, 3}},
                 {"BRANCH_GTE", {3, -2, -2}},
                 {"BRANCH_GT", {3, 3, -2}}};

    for (unsigned i = 0; i < 4; i++) {
        struct recipe r = PLAIN;

        r.mode = modes[i].mode;
        assert_true(score(&r, (double)nextafterf(0.5f, 0), NULL) == modes[i].at[0]);
        assert_true(score(&r, 0.5, NULL) == modes[i].at[1]);
        assert_true(score(&r, (double)nextafterf(0.5f, 1), NULL) == modes[i].at[2]);
        assert_true(score(&r, NAN, NULL) == 3);
        r.tracks_true = true;
        assert_true(score(&r, NAN, NULL) == -2);
    }
}

static void test_outputs(void **state)
{
    struct recipe r = PLAIN;
    double p;

    r.has_base = true;
    r.base = 0.25f;
    assert_true(score(&r, 1, NULL) == 3.25);
    r.op = "TreeEnsembleClassifier";
    r.classes = 2;
    r.transform = "LOGISTIC";
    assert_true(score(&r, 0, &p) == -1.75);
    assert_true(p == (double)(1.0f - 1.0f / (1.0f + expf(-1.75f))));
    r.has_base = false;
    r.classes = 3;
    r.outputs[1] = 2;
    r.transform = "SOFTMAX";
    assert_true(score(&r, 0, &p) == -2);
    assert_true(fabs(p - 0.0633789383) < 1e-7);
}

static void test_refusals(void **state)
{
    struct recipe r[12];
    static const char *const words[12] = {
        "operator 'Conv' is nothing our kernels run, and ONNX Runtime",
        "no whole number",
        "post_transform 'PROBIT'",
        "second operator",
        "outside the tree",
        "does not have",
        "no tensor of float32 or double",
        "one input",
        "belongs to no node",
        "no leaf",
        "twice the same",
        "attribute 'nodes_values_as_tensor'"};
    struct qn_buf b = {0};

    for (unsigned i = 0; i < 12; i++)
        r[i] = PLAIN;
    r[0].second_op = "Conv";
    r[1].mode = "BRANCH_EQ";
    r[2].transform = "PROBIT";
    r[3].second_op = "TreeEnsembleRegressor";
    r[4].true_id = 9;
    r[5].feature = 2;
    r[6].input_type = 7;
    r[7].inputs = 2;
    r[8].leaf_node = 9;
    r[9].leaf_node = 0;
    r[10].true_id = 2;
    r[11].attribute = "nodes_values_as_tensor";
    for (unsigned i = 0; i < 12; i++) {
        cook(&b, &r[i]);
        models_refuse(models_bytes(&b), words[i]);
    }
    r[1].lacks_values = true; /* a comparison for equality with nothing */
    cook(&b, &r[1]);
    models_refuse(models_bytes(&b), "differ in length");
    qn_buf_fini(&b);
}

static void test_damage(void **state)
{
    struct qn_buf b = {0};
    char *copy;

    cook(&b, &PLAIN);
    copy = qn_mem_alloc(b.len);
    assert_non_null(copy);
    for (uint32_t len = 1; len < b.len; len++)
        models_refuse((struct qn_str){b.data, len}, "");
    for (size_t i = 2; i < b.len * 8; i++) { /* loads or not; the sanitizers look on */
        struct qn_model *m = NULL;
        struct qn_err err = {0};

        memcpy(copy, b.data, b.len);
        copy[i / 8] = (char)(copy[i / 8] ^ 1 << i % 8);
        if (qn_model_load_bytes((struct qn_str){copy, (uint32_t)b.len}, "m", NULL, &m, &err) ==
            QN_OK)
            qn_model_free(m);
    }
    qn_mem_free(copy);
    qn_buf_fini(&b);
}

static void test_no_memory(void **state)
{
    struct qn_buf b = {0};
    qn_status rc = QN_NOMEM;

    cook(&b, &PLAIN);
    for (unsigned later = 0; later < 2; later++) {
        for (uint64_t nth = 1; nth < 200; nth++) {
            struct qn_model *m = NULL;
            struct qn_err err = {0};

            qn_mem_fail_at(nth, later != 0);
            rc = qn_model_load_bytes(models_bytes(&b), "m", NULL, &m, &err);
            qn_mem_fail_at(0, false);
            if (rc == QN_OK) {
                qn_model_free(m);
                assert_true(nth > 10);
                break;
            }
            assert_int_equal(rc, QN_NOMEM);
            assert_null(m);
        }
        assert_int_equal(rc, QN_OK);
    }
    qn_buf_fini(&b);
}

int main(void)
{
    /* without ONNX Runtime, whether or not there is one (tests/e2e/test_onnxruntime.py has it) */
    qn_model_onnxruntime("");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_modes), cmocka_unit_test(test_outputs),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_no_memory)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
