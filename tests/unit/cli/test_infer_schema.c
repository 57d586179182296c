/* SPDX-License-Identifier: Apache-2.0
 * test_infer_schema.c - what is guessed from samples, and that a guess holds: every spec that comes
 * out loads without a mistake, and none of the sampled events becomes a dead letter under it. */
#include "cli/infer_schema.h"

#include "base/clock.h"
#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LINES_MAX = 2000, PAD = QN_DECODE_PAD };

/* A sample: lines (with a pad behind the last), and what was found in it. */
struct sample {
    struct qn_arena arena;
    char *text;
    struct qn_str line[LINES_MAX];
    uint32_t count;
    bool is_csv;
    struct qn_inferred found;
    struct qn_buf spec;
};

static void cut_lines(struct sample *s, const char *text)
{
    size_t len = strlen(text);

    s->text = qn_arena_zalloc(&s->arena, 1, len + PAD);
    assert_non_null(s->text);
    memcpy(s->text, text, len);
    for (char *p = s->text; *p != '\0'; p++) {
        char *end = strchr(p, '\n');

        assert_non_null(end);
        assert_true(s->count < LINES_MAX);
        s->line[s->count++] = (struct qn_str){p, (uint32_t)(end - p)};
        p = end;
    }
}

/* --- the engine over the sample --- */

struct feed {
    struct sample *s;
    uint32_t next;
    struct qn_csv_header header;
    const struct qn_csv_header *headers[1];
};

static qn_status feed_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct feed *f = st;

    (void)err;
    while (f->next < f->s->count && b->rows < b->rows_max) {
        b->raw[b->rows] = f->s->line[f->next];
        b->stream[b->rows] = 0;
        b->partition[b->rows] = 0;
        b->offset[b->rows++] = f->next++;
    }
    *flow = b->rows > 0 ? QN_MORE : QN_END;
    return QN_OK;
}

static void feed_release(void *st)
{
    (void)st;
}

static const struct qn_csv_header *const *feed_csv(void *st, uint32_t stream)
{
    struct feed *f = st;

    (void)stream;
    return f->s->is_csv ? f->headers : NULL;
}

static void sink_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                        uint32_t first, uint32_t end, uint32_t worker)
{
    (void)st, (void)en, (void)r, (void)first, (void)end, (void)worker;
}

static qn_status sink_commit(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                             struct qn_err *err)
{
    (void)st, (void)en, (void)err;
    for (uint32_t i = 0; i < r->batch->rows; i++)
        if (r->batch->verdict[i] != QN_SCORED)
            print_error("%s: %.*s\n", qn_reason_name(r->batch->reason[i]),
                        QN_STR_ARG(r->batch->raw[i]));
    return QN_OK;
}

/* The spec loads, and its engine scores all lines but `broken`. */
static void spec_holds(struct sample *s, uint64_t broken)
{
    struct qn_plan_options opt = {.files = &qn_files_system};
    struct qn_diags diags = {.arena = &s->arena};
    struct qn_engine_options how = {.threads = 1, .rows_max = 64};
    struct feed feed = {.s = s};
    struct qn_input in = {feed_read, feed_release, feed_csv, &feed};
    struct qn_output out = {sink_encode, sink_commit, NULL};
    struct qn_engine *en = NULL;
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};
    enum qn_flow flow = QN_MORE;
    const struct qn_counts *counts;

    if (qn_plan_load_text((struct qn_str){s->spec.data, (uint32_t)s->spec.len}, "spec.yaml", &opt,
                          &s->arena, &diags, &plan, &err) != QN_OK) {
        struct qn_buf b = {0};

        qn_diag_print(&diags, true, &b);
        print_error("%.*s\n%.*s\n%s\n", (int)s->spec.len, s->spec.data, (int)b.len, b.data,
                    err.text);
        qn_buf_fini(&b);
        fail();
    }
    assert_int_equal(diags.warnings, 0);
    if (s->is_csv) {
        feed.next = 1;
        feed.headers[0] = &feed.header;
        assert_int_equal(
            qn_csv_header_read(&feed.header, s->line[0], &plan->schemas[0], &s->arena, &err),
            QN_OK);
    }
    assert_int_equal(qn_engine_new(plan, &how, &in, &out, &en, &err), QN_OK);
    while (flow != QN_END)
        assert_int_equal(qn_step(en, &flow, &err), QN_OK);
    counts = qn_engine_counts(en);
    assert_int_equal(counts->read, s->count - s->is_csv);
    assert_int_equal(counts->verdict[QN_SCORED], counts->read - broken);
    assert_int_equal(counts->verdict[QN_DEAD], broken);
    qn_engine_free(en);
    qn_plan_free(plan);
}

/* Guesses from the lines, writes the spec and holds it against them. */
static struct sample *sampled(const char *text, bool is_csv, uint64_t broken)
{
    static const struct qn_infer_names names = {
        .file = "a.ndjson", .spec = "a.yaml", .pipeline = "a", .stream = "a"};
    struct sample *s = calloc(1, sizeof(*s));
    struct qn_infer *inf;
    struct qn_err err = {0};
    const char *why;

    s->is_csv = is_csv;
    cut_lines(s, text);
    assert_int_equal(qn_infer_new(&s->arena, &inf, &err), QN_OK);
    for (uint32_t i = 0; i < s->count; i++) {
        if (is_csv && i == 0)
            assert_int_equal(qn_infer_csv_header(inf, s->line[0], &err), QN_OK);
        else
            assert_int_equal((is_csv ? qn_infer_csv : qn_infer_json)(inf, s->line[i], &why, &err),
                             QN_OK);
    }
    assert_int_equal(qn_infer_finish(inf, &s->found, &err), QN_OK);
    qn_infer_free(inf);
    assert_int_equal(s->found.broken, broken);
    if (s->found.time >= 0) {
        qn_infer_write_spec(&s->found, &names, &s->spec);
        assert_false(s->spec.failed);
        spec_holds(s, broken);
    }
    return s;
}

static void done(struct sample *s)
{
    qn_buf_fini(&s->spec);
    qn_arena_fini(&s->arena);
    free(s);
}

static const struct qn_infer_field *field(const struct sample *s, const char *from)
{
    for (uint32_t i = 0; i < s->found.field_count; i++)
        if (qn_str_is(s->found.fields[i].from, from))
            return &s->found.fields[i];
    print_error("no field %s\n", from);
    fail();
    return NULL;
}

static void is_kind(const struct sample *s, const char *from, const char *kind)
{
    const struct qn_infer_field *f = field(s, from);
    char text[24];

    assert_null(f->skipped);
    assert_string_equal(qn_kind_print(f->kind, text), kind);
}

static void is_role(const struct sample *s, int32_t role, const char *name)
{
    if (name == NULL) {
        assert_int_equal(role, -1);
        return;
    }
    assert_true(role >= 0);
    assert_true(qn_str_is(s->found.fields[role].name, name));
}

static bool has_line(const struct sample *s, const char *line)
{
    return memmem(s->spec.data, s->spec.len, line, strlen(line)) != NULL;
}

/* --- the cases --- */

static void types_of_json(void **state)
{
    struct sample *s = sampled("{\"id\":\"a\",\"at\":\"2024-01-01T00:00:00Z\",\"n\":1,\"x\":1.5,"
                               "\"ok\":true,\"v\":[1,2.5],\"price\":3,"
                               "\"payload\":{\"card\":{\"id\":\"c1\"},\"note\":\"x\"}}\n"
                               "{\"id\":\"b\",\"at\":\"2024-01-01T00:00:01Z\",\"n\":-7,\"x\":2,"
                               "\"ok\":false,\"v\":[],\"price\":3.25,"
                               "\"payload\":{\"card\":{\"id\":\"c1\"}}}\n",
                               false, 0);

    (void)state;
    is_kind(s, "id", "string");
    is_kind(s, "at", "timestamp");
    is_kind(s, "n", "int64");
    is_kind(s, "x", "double");
    is_kind(s, "ok", "bool");
    is_kind(s, "v", "list(double)");
    is_kind(s, "price", "decimal(2)");
    is_kind(s, "payload.card.id", "string");
    assert_true(qn_str_is(field(s, "payload.card.id")->name, "payload_card_id"));
    assert_true(field(s, "payload.note")->is_optional);
    assert_false(field(s, "payload.card.id")->is_optional);
    is_role(s, s->found.id, "id");
    is_role(s, s->found.time, "at");
    is_role(s, s->found.key, "payload_card_id");
    assert_true(has_line(s, "payload_card_id: {type: string, from: payload.card.id}"));
    assert_true(has_line(s, "payload_note: {type: string, from: payload.note, optional: true}"));
    done(s);
}

static void epochs(void **state)
{
    struct sample *s = sampled("{\"ts\":1523456789,\"created_ms\":1523456789123,\"t_ns\":"
                               "1523456789123456789,\"phone\":1523456789}\n"
                               "{\"ts\":1523456790,\"created_ms\":1523456790123,\"t_ns\":"
                               "1523456790123456789,\"phone\":1523456700}\n",
                               false, 0);

    (void)state;
    is_kind(s, "ts", "timestamp");
    assert_int_equal(field(s, "ts")->unit, QN_TIME_S);
    is_kind(s, "created_ms", "timestamp");
    assert_int_equal(field(s, "created_ms")->unit, QN_TIME_MS);
    is_kind(s, "t_ns", "int64"); /* nothing but its size says that it is a time */
    is_kind(s, "phone", "int64");
    is_role(s, s->found.time, "ts");
    assert_true(has_line(s, "ts: {type: timestamp, unit: s}"));
    done(s);
    s = sampled("{\"stamp\":1523456789.25}\n{\"stamp\":1523456790.5}\n", false, 0);
    assert_int_equal(field(s, "stamp")->unit, QN_TIME_S);
    done(s);
    s = sampled("{\"x\":1523456789123456,\"y\":5}\n{\"x\":1523456789123457,\"y\":4}\n", false, 0);
    is_kind(s, "x", "timestamp"); /* no better time: a sorted number of that size */
    assert_int_equal(field(s, "x")->unit, QN_TIME_US);
    done(s);
}

static void which_time(void **state)
{
    struct sample *s =
        sampled("{\"updated_at\":\"2024-01-03 00:00:00\",\"created_at\":\"2024-01-01 00:00:00\"}\n"
                "{\"updated_at\":\"2024-01-02 00:00:00\",\"created_at\":\"2024-01-01 00:00:01\"}\n",
                false, 0);

    (void)state;
    is_role(s, s->found.time, "created_at");
    done(s);
    s = sampled("{\"seen_at\":null,\"sent_at\":\"2024-01-01 00:00:00\"}\n", false, 0);
    is_role(s, s->found.time, "sent_at");
    assert_non_null(field(s, "seen_at")); /* kept apart: null in every event */
    assert_non_null(field(s, "seen_at")->skipped);
    done(s);
    s = sampled("{\"day\":\"01/02/2024\"}\n", false, 0);
    is_role(s, s->found.time, NULL);
    done(s);
}

static void disorder_is_covered(void **state)
{
    struct sample *s = sampled("{\"ts\":\"2024-01-01 02:00:00\"}\n{\"ts\":\"2024-01-01 "
                               "00:00:00\"}\n{\"ts\":\"2024-01-01 03:00:00\"}\n",
                               false, 0);

    (void)state;
    assert_int_equal(field(s, "ts")->disorder_us, INT64_C(7200) * 1000000);
    assert_true(has_line(s, "lateness: 6h"));
    done(s);
    s = sampled("{\"ts\":\"2024-03-01 00:00:00\"}\n{\"ts\":\"2024-01-15 00:00:00\"}\n", false, 0);
    assert_true(has_line(s, "lateness: 30d"));
    assert_true(has_line(s, "late: score within 30d"));
    done(s);
}

static void what_has_no_type(void **state)
{
    struct sample *s =
        sampled("{\"ts\":\"2024-01-01 "
                "00:00:00\",\"a\":1,\"b\":[\"x\"],\"c\":{\"d\":1},\"e.f\":1,\"g\":1e999,\"h\":{},"
                "\"i\":[1e999]}\n"
                "{\"ts\":\"2024-01-01 "
                "00:00:00\",\"a\":\"1\",\"b\":[],\"c\":2,\"e.f\":1,\"g\":1,\"h\":{},\"i\":[1]}\n",
                false, 0);

    (void)state;
    assert_string_equal(field(s, "a")->skipped, "values of different types");
    assert_string_equal(field(s, "b")->skipped, "a list of other things than numbers");
    assert_string_equal(field(s, "c")->skipped, "sometimes an object, sometimes not");
    assert_string_equal(field(s, "e.f")->skipped, "its name cannot be written as a path");
    assert_string_equal(field(s, "g")->skipped, "numbers that no type holds");
    assert_non_null(field(s, "h")->skipped);
    assert_non_null(field(s, "i")->skipped);
    assert_true(has_line(s, "# \"a\" is left out: values of different types"));
    done(s);
}

static void names_are_made_fit(void **state)
{
    struct sample *s = sampled("{\"time\":\"2024-01-01 00:00:00\",\"Total "
                               "Amount\":1.25,\"in\":1,\"2nd\":true,\"total_amount\":5,"
                               "\"Total-Amount\":1.5,\"\\u00fc\":\"x\",\"${HOME}\":1,\"a\":{\"b\":"
                               "1},\"a_b\":2,\"#\":\"y\\n# z\"}\n",
                               false, 0);

    (void)state;
    assert_true(qn_str_is(field(s, "Total Amount")->name, "Total_Amount"));
    assert_true(qn_str_is(field(s, "Total-Amount")->name, "Total_Amount_2"));
    assert_true(qn_str_is(field(s, "in")->name, "in_"));
    assert_true(qn_str_is(field(s, "2nd")->name, "_2nd"));
    assert_true(qn_str_is(field(s, "a.b")->name, "a_b"));
    assert_true(qn_str_is(field(s, "a_b")->name, "a_b_2"));
    assert_non_null(field(s, "${HOME}")->skipped);
    assert_true(has_line(s, "from: \"Total Amount\""));
    done(s);
}

static void names_of_streams_and_pipelines(void **state)
{
    static const struct {
        const char *text, *name, *pipeline;
    } cases[] = {{"events", "events", "events"},
                 {"exchange-2_cpc results", "exchange_2_cpc_results", "exchange-2-cpc-results"},
                 {"2024.Data", "_2024_Data", "2024-data"},
                 {"Of", "Of_", "of"},
                 {"\xc3\xbc", "f", "pipeline"},
                 {"", "f", "pipeline"}};
    struct qn_arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(qn_infer_name(&arena, qn_str_of(cases[i].text)), cases[i].name);
        assert_string_equal(qn_infer_pipeline_name(&arena, qn_str_of(cases[i].text)),
                            cases[i].pipeline);
    }
    qn_arena_fini(&arena);
}

static void last_of_equal_names_wins(void **state)
{
    struct sample *s = sampled(
        "{\"ts\":\"2024-01-01 00:00:00\",\"a\":1,\"a\":null,\"b\":null,\"b\":2}\n", false, 0);

    (void)state;
    assert_true(field(s, "a")->is_optional);
    assert_false(field(s, "b")->is_optional);
    done(s);
}

static void broken_events_are_counted(void **state)
{
    struct sample *s = sampled(
        "{\"ts\":\"2024-01-01 00:00:00\"}\nnot json\n[1]\n{\"ts\":\"2024-01-01 00:00:00\",}\n",
        false, 3);

    (void)state;
    assert_false(field(s, "ts")->is_optional);
    assert_true(has_line(s, "# 3 of them could not be read and will be dead letters."));
    done(s);
}

static void csv(void **state)
{
    struct sample *s = sampled("order_id,time,Unit Price,note,ok,n,zip\n"
                               "17,2024-01-01 00:00:00,12.50,\"a \"\"b\"\", c\",true,1,01234\n"
                               "18,2024-01-01 00:00:01,7.25,,false,2,99999\n"
                               "19,2024-01-01 00:00:02,8,x,true,3.5,5\n",
                               true, 0);

    (void)state;
    is_kind(s, "order_id", "string");
    is_kind(s, "time", "timestamp");
    is_kind(s, "Unit Price", "decimal(2)");
    is_kind(s, "note", "string");
    assert_true(field(s, "note")->is_optional);
    assert_true(qn_str_is(field(s, "note")->example[0], "a \"b\", c"));
    is_kind(s, "ok", "bool");
    is_kind(s, "n", "double");
    is_kind(s, "zip", "string"); /* a leading zero is no number */
    is_role(s, s->found.id, "order_id");
    done(s);
    s = sampled("t,b\n2024-01-01 00:00:00,true\n2024-01-01 00:00:00,0\n", true, 0);
    is_kind(s, "b", "string");
    done(s);
    s = sampled("t,b\n2024-01-01 00:00:00,1\n2024-01-01 00:00:00\n2024-01-01 "
                "00:00:00,1,2\n2024-01-01 00:00:00,\"x\n",
                true, 3);
    done(s);
}

static void money_and_measures(void **state)
{
    struct qn_buf b = {0};
    struct sample *s;

    (void)state;
    for (int i = 0; i < 100; i++)
        qn_buf_printf(&b,
                      "{\"ts\":%d,\"customer_id\":\"c%d\",\"event_id\":%d,\"total\":%d.%d,"
                      "\"reading\":%d.%02d,\"celsius\":2%d.5}\n",
                      1700000000 + i, i % 7, i, i, i % 10, i, i, i % 10);
    qn_buf_byte(&b, '\0');
    s = sampled(b.data, false, 0);
    is_kind(s, "total", "decimal(2)");
    is_kind(s, "reading", "decimal(2)"); /* always two decimals: exact is better */
    is_kind(s, "celsius", "double");
    is_role(s, s->found.id, "event_id");
    is_role(s, s->found.key, "customer_id");
    assert_int_equal(field(s, "customer_id")->distinct, 7);
    assert_true(has_line(s, "  customer_count_1h: count() by customer_id over 1h\n"));
    assert_true(has_line(s, "  customer_total_mean_1d: mean(total) by customer_id over 1d\n"));
    done(s);
    qn_buf_fini(&b);
}

/* Random events of every shape: whatever comes, the spec loads and nothing sampled is dead. */
static void random_value(struct qn_rng *r, struct qn_buf *b, int depth)
{
    static const char *const texts[] = {
        "\"x\"", "\"2024-05-05T05:05:05Z\"", "\"\\u00e9\\n\\\"\"", "\"\"", "\"0\"", "\"true\""};

    switch (qn_rng_below(r, depth > 2 ? 6 : 8)) {
    case 0:
        qn_buf_printf(b, "%u", qn_rng_below(r, 1000));
        break;
    case 1:
        qn_buf_printf(b, "-%u.%u", qn_rng_below(r, 1000), qn_rng_below(r, 100000));
        break;
    case 2:
        qn_buf_text(b, qn_rng_below(r, 2) ? "true" : "false");
        break;
    case 3:
        qn_buf_text(b, texts[qn_rng_below(r, 6)]);
        break;
    case 4:
        qn_buf_text(b, "null");
        break;
    case 5:
        qn_buf_printf(b, "%ue%u", qn_rng_below(r, 1000), qn_rng_below(r, 30));
        break;
    case 6:
        qn_buf_text(b, "[");
        for (uint32_t i = 0, n = qn_rng_below(r, 3); i < n; i++) {
            qn_buf_text(b, i > 0 ? "," : "");
            qn_buf_printf(b, qn_rng_below(r, 5) ? "1.5" : "[\"x\"]");
        }
        qn_buf_text(b, "]");
        break;
    default:
        qn_buf_text(b, "{");
        for (uint32_t i = 0, n = qn_rng_below(r, 3); i < n; i++) {
            qn_buf_printf(b, "%s\"k%u\":", i > 0 ? "," : "", qn_rng_below(r, 3));
            random_value(r, b, depth + 1);
        }
        qn_buf_text(b, "}");
    }
}

static void random_events(void **state)
{
    static const char *const names[] = {"a",   "b id", "user_id", "amount", "or",
                                        "ts2", "x.y",  "A",       "a_"};
    uint64_t seed = 0;
    struct qn_rng r;

    (void)state;
    qn_random_system.fill(qn_random_system.st, &seed, sizeof(seed));
    print_message("seed %llu\n", (unsigned long long)seed);
    qn_rng_seed(&r, seed);
    for (int round = 0; round < 300; round++) {
        struct qn_buf b = {0};
        uint32_t fields = 1 + qn_rng_below(&r, 9);

        for (uint32_t i = 0, n = 1 + qn_rng_below(&r, 12); i < n; i++) {
            qn_buf_printf(&b, "{\"when\":\"2024-01-01T00:00:%02uZ\"", qn_rng_below(&r, 60));
            for (uint32_t k = 0; k < fields; k++) {
                if (qn_rng_below(&r, 8) == 0)
                    continue;
                qn_buf_printf(&b, ",\"%s\":", names[k]);
                random_value(&r, &b, 0);
            }
            qn_buf_text(&b, "}\n");
        }
        qn_buf_byte(&b, '\0');
        done(sampled(b.data, false, 0));
        qn_buf_fini(&b);
    }
}

static void too_many_fields(void **state)
{
    struct qn_buf b = {0};
    struct sample *s;

    (void)state;
    qn_buf_text(&b, "{\"ts\":\"2024-01-01 00:00:00\"");
    for (int i = 0; i < 2 * QN_INFER_FIELDS_MAX; i++)
        qn_buf_printf(&b, ",\"m%d\":%d", i, i);
    qn_buf_text(&b, "}\n");
    qn_buf_byte(&b, '\0');
    s = sampled(b.data, false, 0);
    assert_int_equal(s->found.field_count, QN_INFER_FIELDS_MAX);
    assert_int_equal(s->found.fields_ignored, QN_INFER_FIELDS_MAX + 1);
    done(s);
    qn_buf_fini(&b);
}

/* --- files --- */

static void file_error(const char *content, const char *name, const char *expected)
{
    char path[] = "/tmp/quern-infer-XXXXXX", with_ending[64];
    struct qn_infer_source src = {
        .files = &qn_files_system, .path = with_ending, .events_max = 100};
    struct qn_arena arena = {0};
    struct qn_inferred found;
    struct qn_err err = {0};
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    snprintf(with_ending, sizeof(with_ending), "%s%s", path, name);
    assert_int_equal(rename(path, with_ending), 0);
    assert_int_equal(qn_file_write_all(&qn_files_system, fd, path, content, strlen(content), &err),
                     QN_OK);
    qn_files_system.close(qn_files_system.st, fd);
    assert_int_equal(qn_infer_file(&src, &arena, &found, &err), QN_INVALID);
    if (strstr(err.text, expected) == NULL)
        print_error("found: %s\nexpected: %s\n", err.text, expected);
    assert_non_null(strstr(err.text, expected));
    assert_string_equal(err.file, with_ending);
    assert_int_equal(remove(with_ending), 0);
    qn_arena_fini(&arena);
}

static void files_that_cannot_be(void **state)
{
    (void)state;
    file_error("", ".ndjson", "no events in it");
    file_error("\n\n", ".ndjson", "no events in it");
    file_error("a,b\n1,2\n", ".txt", "say --format csv");
    file_error("[{\"a\":1},\n{\"a\":2}]\n", ".json", "jq -c '.[]'");
    file_error("{\n  \"a\": 1\n}\n", ".json", "jq -c .");
    file_error("a\tb\n1\t2\n", ".txt", "tr '\\t' ','");
    file_error("a\tb\n1\t2\n", ".csv", "separated by tabs");
    file_error("a;b\n1;2\n", ".csv", "separated by semicolons");
    file_error("hello\n", ".log", "one JSON object a line");
    file_error("{\"a\":1}\n", ".ndjson", "no field can be the time");
    file_error("{\"date\":\"01/02/2024\"}\n", ".ndjson", "'date' has '01/02/2024'");
    file_error("{\"time\":\"2024-01-01T00:00:00Z\"}\n{\"a\":1}\n", ".ndjson",
               "'time' is missing in 1 of 2");
    file_error("a,a\n1,2\n", ".csv", "two columns are called 'a'");
    file_error("a,b\n", ".csv", "no events in it");
    file_error("a,b\n1\n", ".csv", "as many cells as the header");
}

static void out_of_memory(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct qn_arena arena = {0};
        struct qn_infer *inf = NULL;
        struct qn_inferred found;
        struct qn_err err = {0};
        struct qn_str raw =
            qn_str_of("{\"a\":{\"b\":\"x\\u0041y\"},\"ts\":1700000000,\"A\":1,\"a_b\":2}");
        const char *why;
        qn_status rc;

        qn_mem_fail_at(nth, false);
        rc = qn_infer_new(&arena, &inf, &err);
        if (rc == QN_OK)
            rc = qn_infer_json(inf, raw, &why, &err);
        if (rc == QN_OK)
            rc = qn_infer_finish(inf, &found, &err);
        qn_mem_fail_at(0, false);
        qn_infer_free(inf);
        qn_arena_fini(&arena);
        if (rc == QN_OK) {
            assert_true(nth > 3);
            break;
        }
        assert_int_equal(rc, QN_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_of_json),
        cmocka_unit_test(epochs),
        cmocka_unit_test(which_time),
        cmocka_unit_test(disorder_is_covered),
        cmocka_unit_test(what_has_no_type),
        cmocka_unit_test(names_are_made_fit),
        cmocka_unit_test(names_of_streams_and_pipelines),
        cmocka_unit_test(last_of_equal_names_wins),
        cmocka_unit_test(broken_events_are_counted),
        cmocka_unit_test(csv),
        cmocka_unit_test(money_and_measures),
        cmocka_unit_test(random_events),
        cmocka_unit_test(too_many_fields),
        cmocka_unit_test(files_that_cannot_be),
        cmocka_unit_test(out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
