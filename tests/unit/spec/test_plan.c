/* SPDX-License-Identifier: Apache-2.0
 * test_plan.c - good specs into plans: every key lands where it belongs, defaults, columns, inputs
 * by name, versions that change with the meaning and with nothing else, no secrets in what is
 * printed, and out of memory at every allocation. Mistakes and their wording are golden cases
 * (test_plan_golden.c). */
#include "base/json.h"
#include "spec/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- files in memory: fraud.json in the folder specs/ ---- */

struct memory {
    const char *content;
    size_t at;
};

static int memory_open(void *st, const char *path, enum qn_open how)
{
    struct memory *m = st;

    m->at = 0;
    return how == QN_OPEN_READ && m->content != NULL && strcmp(path, "specs/fraud.json") == 0 ? 3
                                                                                              : -2;
}

static int64_t memory_read(void *st, int fd, void *p, size_t bytes)
{
    struct memory *m = st;
    size_t left = strlen(m->content) - m->at, n = left < bytes ? left : bytes;

    (void)fd;
    memcpy(p, m->content + m->at, n);
    m->at += n;
    return (int64_t)n;
}

static int memory_close(void *st, int fd)
{
    (void)st;
    (void)fd;
    return 0;
}

static int64_t memory_size(void *st, int fd)
{
    (void)fd;
    return (int64_t)strlen(((struct memory *)st)->content);
}

static struct memory memory;
static const struct qn_files files = {.open = memory_open,
                                      .read = memory_read,
                                      .close = memory_close,
                                      .size = memory_size,
                                      .st = &memory};
static const char *const environment[] = {"API_KEY=hunter2", "LATENESS=30s", "LIMIT_KEY=4711",
                                          NULL};
static struct qn_arena arena;
static struct qn_diags diags;
static struct qn_plan *plan;

static qn_status load(const char *text)
{
    struct qn_plan_options opt = {.files = &files, .environment = environment};
    struct qn_err err = {0};

    qn_plan_free(plan);
    plan = NULL;
    qn_arena_fini(&arena);
    diags = (struct qn_diags){.arena = &arena};
    return qn_plan_load_text(qn_str_of(text), "specs/spec.yaml", &opt, &arena, &diags, &plan, &err);
}

static void good(const char *text)
{
    qn_status rc = load(text);

    if (rc != QN_OK)
        fail_msg("%s", diags.count > 0 ? diags.list[0].text : qn_status_text(rc));
}

static uint64_t version_of(const char *text)
{
    good(text);
    return plan->version;
}

#define FIELDS                                                                                     \
    "    fields:\n      id: string\n      at: {type: timestamp, unit: ms}\n      who: string\n   " \
    "   amount: {type: decimal(2), min: 0}\n"
#define STREAMS  "streams:\n  payments:\n    id: id\n    time: at\n    key: who\n" FIELDS
#define HEAD     "quern: 1\nname: card-fraud\n"
#define FEATURES "features:\n  mean_1d: mean(amount) by who over 1d\n  big: amount > 200\n"
#define MODEL    "models:\n  fraud: {file: fraud.json}\nscore: {model: fraud}\n"
static const char linear[] = "{\"format\":\"quern-linear\",\"version\":1,\"inputs\":[\"mean_1d\","
                             "\"amount\"],\"coefficients\":[1,2],\"intercepts\":[0]}";

/* ---- tests ---- */

static void test_smallest(void **state)
{
    const struct qn_schema *s;

    (void)state;
    good("quern: 1\nname: a\nstreams: {s: {time: t, fields: {t: timestamp}}}\n");
    assert_int_equal(diags.warnings, 0);
    s = &plan->schemas[0];
    assert_true(s->id == -1 && s->key == -1 && s->time == 0);
    assert_int_equal(s->lateness_us, 10000000);
    assert_int_equal(s->within_us, 10000000);
    assert_int_equal(s->late, QN_LATE_SCORE);
    assert_true(plan->score_model == -1 && plan->model_count == 0 && plan->feature_count == 0);
    assert_non_null(plan->features);
    assert_int_equal(plan->output_count, 1);
    assert_true(plan->outputs[0].is_predictions && plan->outputs[0].when == NULL &&
                plan->outputs[0].include == 0);
    assert_true(plan->field_count == 1 && plan->score_column == 1);
}

static void test_fields(void **state)
{
    const struct qn_field *f;

    (void)state;
    good(HEAD "streams:\n  s:\n    time: t\n    fields:\n"
              "      t: {type: timestamp, min: 2020-01-01T00:00:00Z}\n"
              "      a: {type: decimal(2), min: -1.5, max: 0x10, from: payload.card.amount}\n"
              "      b: {type: int64, default: 1e3, in: [1000, 5]}\n"
              "      c: {type: double, optional: true, max: 1.5}\n"
              "      d: {type: string, in: ['no', \"1\"], max_length: 4, default: 'no'}\n"
              "      e: {type: bool, default: false}\n"
              "      f: {type: list(double), length: 2, min: 0, default: [0, 1.5]}\n"
              "      g: { type: timestamp, unit: ns, default: 5000, optional: false }\n"
              "      h: decimal(18)\n");
    f = plan->schemas[0].fields;
    assert_int_equal(plan->schemas[0].field_count, 9);
    assert_true(f[0].has_min && f[0].min.i64 == INT64_C(1577836800000000));
    assert_true(f[1].kind.type == QN_DECIMAL && f[1].kind.scale == 2 && f[1].min.i64 == -150 &&
                f[1].max.i64 == 1600);
    assert_int_equal(f[1].path_count, 3);
    assert_true(qn_str_is(f[1].path[1], "card") && qn_str_is(f[1].from, "payload.card.amount") &&
                qn_str_is(f[1].name, "a"));
    assert_true(f[2].has_default && f[2].fallback.i64 == 1000 && f[2].in_count == 2 &&
                f[2].in[1].i64 == 5 && !f[2].is_optional);
    assert_true(f[3].is_optional && f[3].has_max && f[3].max.f64 == 1.5 && !f[3].has_min);
    assert_true(f[4].length_max == 4 && qn_str_is(f[4].in[1].str, "1") &&
                qn_str_is(f[4].fallback.str, "no"));
    assert_true(f[5].has_default && f[5].fallback.i64 == 0);
    assert_true(f[6].length_exact == 2 && f[6].min.f64 == 0 && f[6].fallback.list.n == 2 &&
                f[6].fallback.list.v[1] == 1.5);
    assert_true(f[7].unit == QN_TIME_NS && f[7].fallback.i64 == 5);
    assert_int_equal(f[8].kind.scale, 18);
}

static void test_streams(void **state)
{
    static const struct {
        const char *late;
        enum qn_late policy;
        int64_t within_us;
    } rows[] = {
        {"score", QN_LATE_SCORE, 5000000},
        {"score within 1h", QN_LATE_SCORE, INT64_C(3600000000)},
        {"fold", QN_LATE_FOLD, 5000000},
        {"fold  within 30d", QN_LATE_FOLD, INT64_C(2592000000000)},
        {"drop", QN_LATE_DROP, 5000000},
        {"dead-letter", QN_LATE_DEAD_LETTER, 5000000},
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(text, sizeof(text),
                 "quern: 1\nname: a\nstreams: {s: {time: t, lateness: 5s, late: %s, fields: {t: "
                 "timestamp}}}\n",
                 rows[i].late);
        good(text);
        assert_int_equal(plan->schemas[0].late, rows[i].policy);
        assert_int_equal(plan->schemas[0].within_us, rows[i].within_us);
    }
    good("quern: 1\nname: a\nmain: b\nstreams: {a: {time: t, fields: {t: timestamp}}, b: {time: x, "
         "lateness: '${LATENESS}', "
         "fields: {y: int64, x: timestamp}, id: y, key: y}}\n");
    assert_int_equal(plan->main_stream, 1);
    assert_int_equal(plan->field_count, 2);
    assert_int_equal(plan->schemas[1].time, 1);
    assert_int_equal(plan->schemas[1].lateness_us, 30000000);
    assert_true(plan->schemas[0].version != plan->schemas[1].version);
}

static void test_models(void **state)
{
    const struct qn_plan_model *m;

    (void)state;
    memory.content = linear;
    good(HEAD STREAMS FEATURES MODEL "outputs:\n  alerts: {when: score > 0.5 and big, include: "
                                     "event}\n  predictions: {include: [features]}\n  all:\n");
    m = &plan->models[0];
    assert_int_equal(plan->score_model, 0);
    assert_string_equal(m->path, "specs/fraud.json");
    assert_int_equal(m->input_count, 2);
    assert_true(qn_str_is(m->inputs[0].name, "mean_1d") && m->inputs[0].column == 4 &&
                m->inputs[0].kind.type == QN_DOUBLE);
    assert_true(qn_str_is(m->inputs[1].name, "amount") && m->inputs[1].column == 3 &&
                m->inputs[1].kind.type == QN_DECIMAL);
    assert_true(plan->field_count == 4 && plan->feature_count == 2 && plan->score_column == 6);
    assert_int_equal(plan->output_count, 3);
    assert_true(plan->outputs[0].is_predictions && plan->outputs[0].include == QN_INCLUDE_FEATURES);
    assert_true(qn_str_is(plan->outputs[1].name, "alerts") && plan->outputs[1].when != NULL &&
                plan->outputs[1].include == QN_INCLUDE_EVENT);
    assert_true(plan->outputs[2].when == NULL && !plan->outputs[2].is_predictions);

    /* another order in the spec: matched by name all the same, and said so */
    good(
        HEAD STREAMS FEATURES
        "models:\n  fraud: {file: fraud.json, inputs: [amount, mean_1d]}\nscore: {model: fraud}\n");
    assert_int_equal(diags.warnings, 1);
    assert_true(plan->models[0].inputs[0].column == 4 && plan->models[0].inputs[1].column == 3);

    /* names that a library made up are no names: the order of the spec counts */
    memory.content = "{\"format\":\"quern-linear\",\"version\":1,\"inputs\":[\"f0\",\"f1\"],"
                     "\"coefficients\":[1,2],\"intercepts\":[0]}";
    good(HEAD STREAMS FEATURES
         "models:\n  fraud: {file: fraud.json, inputs: [amount, big]}\nscore: {model: fraud}\n");
    assert_int_equal(diags.warnings, 0);
    assert_true(plan->models[0].inputs[0].column == 3 && plan->models[0].inputs[1].column == 5);
    memory.content = linear;
}

static void test_versions(void **state)
{
    uint64_t v = version_of(HEAD STREAMS FEATURES), contract = plan->schemas[0].version;

    (void)state;
    assert_true(v == version_of("# a comment\n---\n" HEAD STREAMS FEATURES "outputs:\n"));
    assert_true(v == version_of("name: card-fraud\nquern: 1\nmain: payments\n" FEATURES STREAMS));
    assert_true(v == version_of(HEAD "streams:\n  payments:\n    late: score within 10s\n    id: "
                                     "id\n    time: at\n    key: who\n    lateness: 10s\n"
                                     "    fields:\n      id: {type: string}\n      at: {unit: ms, "
                                     "type: timestamp}\n      who: string\n      amount: "
                                     "{type: decimal(2), min: 0.00}\n" FEATURES));
    assert_true(contract == plan->schemas[0].version);
    assert_true(v != version_of(HEAD STREAMS));
    assert_true(contract == plan->schemas[0].version);
    assert_true(v != version_of("quern: 1\nname: other\n" STREAMS FEATURES));
    assert_true(v !=
                version_of(HEAD STREAMS "      note: {type: string, optional: true}\n" FEATURES));
    assert_true(contract != plan->schemas[0].version);
    assert_true(v != version_of(HEAD STREAMS FEATURES "outputs: {alerts: {when: big}}\n"));
    assert_true(v !=
                version_of(HEAD STREAMS FEATURES "outputs: {predictions: {include: event}}\n"));
}

static void test_secrets(void **state)
{
    struct qn_buf out = {0};

    (void)state;
    memory.content = linear;
    good(HEAD STREAMS
         "      code: {type: string, default: \"${API_KEY}\", in: [\"${API_KEY}\", b]}\n" FEATURES
         "  odd: amount > ${LIMIT_KEY}\n" MODEL
         "outputs:\n  alerts: {when: \"amount > ${LIMIT_KEY} and code == '${API_KEY}'\"}\n");
    assert_true(qn_str_is(plan->schemas[0].fields[4].fallback.str, "hunter2"));
    qn_plan_print(plan, &out);
    qn_plan_json(plan, &out);
    qn_buf_byte(&out, '\0');
    assert_null(strstr(out.data, "hunter2"));
    assert_null(strstr(out.data, "4711"));
    assert_non_null(strstr(out.data, "${LIMIT_KEY}"));
    qn_buf_fini(&out);
}

/* No mistake may quote a secret, wherever it stands. */
static void test_secret_mistakes(void **state)
{
    static const char *const specs[] = {
        "quern: ${API_KEY}\nname: a\n",
        "quern: 1\nname: ${API_KEY}_\nmain: ${API_KEY}\nscore: ${API_KEY}\nmodels: "
        "${API_KEY}\nfeatures: ${API_KEY}\nstreams: ${API_KEY}\n",
        HEAD "streams:\n  s: {time: '${API_KEY}', id: '${API_KEY}', key: '${API_KEY}', lateness: "
             "'${API_KEY}', late: 'score within ${API_KEY}', "
             "fields: {a: '${API_KEY}', b: {type: '${API_KEY}', from: '${API_KEY}..'}, c: {type: "
             "int64, min: '${API_KEY}', in: ['${API_KEY}'], "
             "max_length: '${API_KEY}', unit: '${API_KEY}', optional: '${API_KEY}'}, d: "
             "'decimal(${API_KEY})', e: 'decimal(1,${API_KEY})'}}\n",
        HEAD STREAMS FEATURES "  x: ${API_KEY} + 1\n  y: count() by who over ${API_KEY}\nmodels:\n "
                              " m: {file: '${API_KEY}', inputs: ['${API_KEY}'], "
                              "trees: '${API_KEY}', missing: '${API_KEY}'}\nscore: {model: "
                              "'${API_KEY}'}\noutputs:\n  a: {when: \"${API_KEY}\", include: "
                              "['${API_KEY}'], to: '${API_KEY}'}\n",
    };
    struct qn_buf out = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        assert_int_equal(load(specs[i]), QN_INVALID);
        assert_null(plan);
        qn_buf_clear(&out);
        qn_diag_print(&diags, true, &out);
        qn_diag_json(&diags, &out);
        qn_buf_byte(&out, '\0');
        if (strstr(out.data, "hunter2") != NULL)
            fail_msg("%s", out.data);
        assert_non_null(strstr(out.data, "API_KEY"));
    }
    qn_buf_fini(&out);
}

static bool is_json(const struct qn_buf *b)
{
    struct qn_arena a = {0};
    struct qn_json_reader r;
    enum qn_json_kind kind;

    qn_json_open(&r, (struct qn_str){b->data, (uint32_t)b->len}, &a);
    do
        kind = qn_json_next(&r);
    while (kind != QN_JSON_END && kind != QN_JSON_ERROR);
    qn_arena_fini(&a);
    return kind == QN_JSON_END;
}

static void test_documents(void **state)
{
    struct qn_buf out = {0};

    (void)state;
    memory.content = linear;
    good(HEAD STREAMS FEATURES MODEL
         "outputs:\n  alerts: {when: score > 0.5, include: [features, event]}\n");
    qn_plan_json(plan, &out);
    assert_true(is_json(&out));
    qn_buf_clear(&out);
    qn_plan_json_schema(&out);
    assert_true(is_json(&out));
    qn_buf_clear(&out);
    qn_plan_reference(&out);
    qn_buf_byte(&out, '\0');
    assert_non_null(strstr(out.data, "| `lateness` |"));
    assert_non_null(strstr(out.data, "| `tables` |"));
    qn_buf_fini(&out);
}

/* Every allocation fails once: always "out of memory", never a plan that lacks something, never a
 * leak. */
static void test_no_memory(void **state)
{
    static const char spec[] = HEAD STREAMS
        "      code: {type: string, in: [a, b], from: x.y}\n      v: {type: list(double), default: "
        "[1, 2]}\n" FEATURES MODEL "outputs:\n  alerts: {when: \"score > ${ABSENT:0.5}\"}\n";
    uint64_t needed;

    (void)state;
    memory.content = linear;
    needed = qn_mem_count();
    good(spec);
    needed = qn_mem_count() - needed;
    assert_true(needed > 3);
    for (uint64_t n = 1; n <= needed; n++) {
        struct qn_plan_options opt = {.files = &files, .environment = environment};
        struct qn_err err = {0};
        struct qn_arena tight;
        qn_status rc;

        qn_plan_free(plan);
        plan = NULL;
        qn_arena_fini(&arena);
        qn_arena_init(&tight, 256); /* many small blocks: more places to fail */
        diags = (struct qn_diags){.arena = &tight};
        qn_mem_fail_at(n, true);
        rc = qn_plan_load_text(qn_str_of(spec), "specs/spec.yaml", &opt, &tight, &diags, &plan,
                               &err);
        qn_mem_fail_at(0, false);
        assert_int_equal(rc, QN_NOMEM);
        assert_null(plan);
        qn_arena_fini(&tight);
    }
}

/* The main example, where its model is there. */
static void test_example(void **state)
{
    const char *root = getenv("QUERN_ROOT");
    struct qn_plan_options opt = {.files = &qn_files_system};
    struct qn_err err = {0};
    char path[1024];

    (void)state;
    load(""); /* lets go of the plan before */
    diags = (struct qn_diags){.arena = &arena};
    snprintf(path, sizeof(path), "%s/examples/card-fraud/card-fraud.yaml",
             root != NULL ? root : ".");
    if (qn_plan_load(path, &opt, &arena, &diags, &plan, &err) == QN_NOT_FOUND) {
        printf("skipped: %s is not there (set QUERN_ROOT)\n", path);
        skip();
    }
    for (unsigned i = 0; i < diags.count; i++)
        assert_non_null(strstr(diags.list[i].text, "there is no model file"));
    if (plan == NULL) {
        printf("skipped: the example's model is not there\n");
        skip();
    }
    assert_int_equal(plan->feature_count, 14);
    assert_int_equal(plan->models[0].input_count, 15);
    assert_int_equal(diags.warnings, 0);
}

static int teardown(void **state)
{
    (void)state;
    qn_plan_free(plan);
    qn_arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smallest),        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_streams),         cmocka_unit_test(test_models),
        cmocka_unit_test(test_versions),        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_secret_mistakes), cmocka_unit_test(test_documents),
        cmocka_unit_test(test_no_memory),       cmocka_unit_test(test_example),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
