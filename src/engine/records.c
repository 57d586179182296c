/* SPDX-License-Identifier: Apache-2.0
 * records.c - rows of a finished batch as prediction records, table rows and dead letters.
 *
 * What is the same on every record of a run is encoded once, at start (`fixed_*`). Stop "commit" on
 * the path of an event, its first half. The prediction's id is a pure function of its input
 * position. Thread and memory: see records.h. */
#include "engine/records.h"

#include "base/check.h"
#include "base/number.h"
#include "event/encode.h"

/* One column of a table row, or one feature of a record: its name ready to be copied. */
struct named {
    uint32_t column;    /* as the plan numbers them     */
    struct qn_str json; /* `"name":`                 */
    struct qn_str csv;  /* `name` as a CSV cell      */
};

enum { EXPLAIN_BLOCK_BYTES = 1 << 22 }; /* contributions of a block: above it fewer rows */

struct qn_record_encoder {
    struct qn_arena arena;
    const struct qn_plan *plan;
    enum qn_records_kind kind;
    uint32_t workers;
    bool *is_wanted; /* [outputs] */
    uint32_t outputs;
    bool wants_dead;
    struct named *columns; /* features (records) or the table's columns */
    uint32_t column_count;
    /* of each stream, [streams]: */
    struct named *fields[QN_STREAMS_MAX]; /* for `include: [event]`; column: in the schema */
    /* records: {"id":"<fixed_id>P:O","event_id":E,"event_time":"T<fixed_after>"score":S,... */
    struct qn_str *fixed_id, *fixed_after;
    bool is_float;
    uint32_t scores, margins; /* values per row; 0 = no model */
    /* contributions: names as JSON members, and a block of rows per worker */
    struct qn_str *inputs; /* [input_count]; NULL = no output takes them */
    uint32_t input_count;
    double **blocks;       /* [workers][margins * (input_count + 1)][explain_rows] */
    uint32_t explain_rows; /* at most QN_ENGINE_EXPLAIN_ROWS */
};

/* Contributions of one row: values[(output * (inputs + 1) + input) * explain_rows]. */
struct explained {
    const double *values;
};

static struct qn_str keep(struct qn_arena *a, struct qn_buf *b)
{
    const char *p = qn_arena_strdup(a, b->data != NULL ? b->data : "", b->len);

    b->failed |= p == NULL;
    return (struct qn_str){p, (uint32_t)b->len};
}

static struct qn_str column_name(const struct qn_plan *p, uint32_t column)
{
    if (column < p->field_count)
        return p->schemas[p->main_stream].fields[column].name;
    return qn_features_info(p->features, column - p->field_count)->name;
}

static bool named_init(struct named *n, struct qn_record_encoder *e, uint32_t column,
                       struct qn_str name)
{
    struct qn_buf b = {0};

    n->column = column;
    qn_json_string(&b, name);
    qn_buf_byte(&b, ':');
    n->json = keep(&e->arena, &b);
    qn_buf_clear(&b);
    qn_encode_csv_text(&b, name);
    n->csv = keep(&e->arena, &b);
    qn_buf_fini(&b);
    return n->json.p != NULL && n->csv.p != NULL;
}

static qn_status find_column(const struct qn_plan *p, struct qn_str name, uint32_t *column,
                             struct qn_err *err)
{
    uint32_t n = p->field_count + p->feature_count;
    struct qn_str *names = qn_arena_alloc(p->boot, (n + 1) * sizeof *names);
    int near;

    if (names == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for %u columns", n);
    for (uint32_t i = 0; i < n; i++) {
        names[i] = column_name(p, i);
        if (qn_str_eq(names[i], name)) {
            *column = i;
            return QN_OK;
        }
    }
    near = qn_nearest(name, names, n);
    if (near >= 0)
        return qn_err_set(err, QN_INVALID, "unknown column '%.*s' (did you mean '%.*s'?)",
                          QN_STR_ARG(name), QN_STR_ARG(names[near]));
    return qn_err_set(
        err, QN_INVALID,
        "unknown column '%.*s': it is neither a field of the main stream nor a feature",
        QN_STR_ARG(name));
}

static qn_status columns_init(struct qn_record_encoder *e, const struct qn_record_options *opt,
                              struct qn_err *err)
{
    const struct qn_plan *p = e->plan;
    bool is_table = e->kind != QN_RECORDS_PREDICTIONS;
    uint32_t first = is_table ? 0 : p->field_count;

    e->column_count =
        opt->columns != NULL ? opt->column_count : p->field_count + p->feature_count - first;
    e->columns = QN_NEW_N(&e->arena, struct named, e->column_count + 1);
    if (!e->columns)
        return qn_err_set(err, QN_NOMEM, "out of memory for %u columns", e->column_count);
    for (uint32_t i = 0; i < e->column_count; i++) {
        uint32_t column = first + i;

        if (opt->columns != NULL)
            QN_TRY(find_column(p, opt->columns[i], &column, err));
        for (uint32_t k = 0; opt->columns != NULL && k < i; k++)
            if (qn_str_eq(opt->columns[k], opt->columns[i]))
                return qn_err_set(err, QN_INVALID, "column '%.*s' is named twice",
                                  QN_STR_ARG(opt->columns[i]));
        if (!named_init(&e->columns[i], e, column, column_name(p, column)))
            return qn_err_set(err, QN_NOMEM, "out of memory for the name of a column");
    }
    return QN_OK;
}

static qn_status fields_init(struct qn_record_encoder *e, uint32_t stream, struct qn_err *err)
{
    const struct qn_schema *s = &e->plan->schemas[stream];
    struct named *list = e->fields[stream] = QN_NEW_N(&e->arena, struct named, s->field_count + 1);

    for (uint32_t i = 0; list != NULL && i < s->field_count; i++)
        if (!named_init(&list[i], e, i, s->fields[i].name))
            return qn_err_set(err, QN_NOMEM, "out of memory for the name of a column");
    return list != NULL ? QN_OK : qn_err_set(err, QN_NOMEM, "out of memory for the fields");
}

static qn_status fixed_init(struct qn_record_encoder *e, uint32_t stream, struct qn_err *err)
{
    const struct qn_plan *p = e->plan;
    const struct qn_schema *s = &p->schemas[stream];
    struct qn_buf b = {0};

    qn_buf_printf(&b, "{\"id\":\"%.*s:%.*s:", QN_STR_ARG(p->name), QN_STR_ARG(s->name));
    e->fixed_id[stream] = keep(&e->arena, &b);
    qn_buf_clear(&b);
    qn_buf_printf(&b,
                  "\",\"pipeline\":\"%.*s\",\"spec\":\"%016llx\",\"stream\":\"%.*s\",\"contract\":"
                  "\"%016llx\"",
                  QN_STR_ARG(p->name), (unsigned long long)p->version, QN_STR_ARG(s->name),
                  (unsigned long long)s->version);
    if (p->score_model >= 0 && stream == p->main_stream) {
        const struct qn_plan_model *m = &p->models[p->score_model];
        const struct qn_model_info *info = qn_model_info(m->model);

        e->is_float = info->is_float;
        e->scores = info->predictions;
        e->margins = info->outputs;
        qn_buf_printf(&b, ",\"model\":\"%.*s\",\"model_version\":\"%016llx\"", QN_STR_ARG(m->name),
                      (unsigned long long)info->hash);
    }
    e->fixed_after[stream] = keep(&e->arena, &b);
    b.failed |= e->fixed_id[stream].p == NULL;
    if (b.failed)
        qn_err_set(err, QN_NOMEM, "out of memory for the record's fixed parts");
    qn_buf_fini(&b);
    return e->fixed_after[stream].p != NULL && e->fixed_id[stream].p != NULL ? QN_OK : QN_NOMEM;
}

static qn_status streams_init(struct qn_record_encoder *e, struct qn_err *err)
{
    e->fixed_id = QN_NEW_N(&e->arena, struct qn_str, e->plan->schema_count);
    e->fixed_after = QN_NEW_N(&e->arena, struct qn_str, e->plan->schema_count);
    if (!e->fixed_id || !e->fixed_after)
        return qn_err_set(err, QN_NOMEM, "out of memory for the record's fixed parts");
    for (uint32_t s = 0; s < e->plan->schema_count; s++) {
        QN_TRY(fields_init(e, s, err));
        QN_TRY(fixed_init(e, s, err));
    }
    return QN_OK;
}

/* Where an output takes contributions: names and memory for them. */
static qn_status explain_init(struct qn_record_encoder *e, struct qn_err *err)
{
    const struct qn_plan *p = e->plan;
    const struct qn_plan_model *m = p->score_model >= 0 ? &p->models[p->score_model] : NULL;
    struct qn_buf b = {0};
    uint32_t include = 0;
    bool is_good;

    for (uint32_t i = 0; i < p->output_count && e->kind == QN_RECORDS_PREDICTIONS; i++)
        include |= p->outputs[i].include;
    if (m == NULL || !(include & QN_INCLUDE_CONTRIBUTIONS))
        return QN_OK;
    e->input_count = m->input_count;
    e->explain_rows = QN_ENGINE_EXPLAIN_ROWS;
    while (e->explain_rows > 64 && e->margins * (m->input_count + 1) * sizeof(double) >
                                       EXPLAIN_BLOCK_BYTES / e->explain_rows)
        e->explain_rows /= 2;
    e->inputs = QN_NEW_N(&e->arena, struct qn_str, m->input_count + 1);
    e->blocks = QN_NEW_N(&e->arena, double *, e->workers);
    is_good = e->inputs != NULL && e->blocks != NULL;
    for (uint32_t i = 0; is_good && i < m->input_count; i++) {
        qn_buf_clear(&b);
        qn_buf_byte(&b, ',');
        qn_json_string(&b, m->inputs[i].name);
        qn_buf_byte(&b, ':');
        e->inputs[i] = keep(&e->arena, &b);
        is_good = !b.failed;
    }
    qn_buf_fini(&b);
    for (uint32_t w = 0; is_good && w < e->workers; w++) {
        e->blocks[w] =
            QN_NEW_N(&e->arena, double, (size_t)e->margins *(m->input_count + 1) * e->explain_rows);
        is_good = e->blocks[w] != NULL;
    }
    return is_good ? QN_OK : qn_err_set(err, QN_NOMEM, "out of memory for contributions");
}

qn_status qn_record_encoder_new(const struct qn_plan *plan, const struct qn_record_options *opt,
                                struct qn_record_encoder **out, struct qn_err *err)
{
    struct qn_record_encoder *e = qn_mem_zalloc(1, sizeof *e);
    qn_status rc = QN_OK;

    *out = NULL;
    if (e == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the outputs");
    qn_arena_init(&e->arena, 0);
    e->plan = plan;
    e->kind = opt->kind;
    e->workers = opt->workers;
    e->wants_dead = opt->wants_dead;
    e->outputs = opt->kind == QN_RECORDS_PREDICTIONS ? plan->output_count : 1;
    e->is_wanted = QN_NEW_N(&e->arena, bool, e->outputs);
    if (e->is_wanted == NULL)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for the outputs");
    for (uint32_t i = 0; rc == QN_OK && i < e->outputs; i++)
        e->is_wanted[i] = opt->is_wanted == NULL || opt->is_wanted[i];
    if (rc == QN_OK)
        rc = columns_init(e, opt, err);
    if (rc == QN_OK)
        rc = streams_init(e, err);
    if (rc == QN_OK)
        rc = explain_init(e, err);
    if (rc != QN_OK) {
        qn_record_encoder_free(e);
        return rc;
    }
    *out = e;
    return QN_OK;
}

void qn_record_encoder_free(struct qn_record_encoder *e)
{
    if (e == NULL)
        return;
    qn_arena_fini(&e->arena);
    qn_mem_free(e);
}

uint32_t qn_record_outputs(const struct qn_record_encoder *e)
{
    return e->outputs;
}

qn_status qn_records_init(struct qn_records *rs, const struct qn_record_encoder *e,
                          struct qn_err *err)
{
    const size_t bytes = (size_t)e->workers * (e->outputs + 1) * sizeof *rs->slices;

    *rs = (struct qn_records){.outputs = e->outputs, .workers = e->workers};
    rs->slices = qn_mem_aligned(128, bytes);
    if (rs->slices == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the records of a batch");
    memset(rs->slices, 0, bytes);
    return QN_OK;
}

void qn_records_fini(struct qn_records *rs)
{
    for (size_t i = 0; rs->slices != NULL && i < (size_t)rs->workers * (rs->outputs + 1); i++) {
        qn_buf_fini(&rs->slices[i].bytes);
        qn_mem_free(rs->slices[i].marks);
    }
    qn_mem_free(rs->slices);
    *rs = (struct qn_records){0};
}

void qn_records_clear(struct qn_records *rs)
{
    for (size_t i = 0; i < (size_t)rs->workers * (rs->outputs + 1); i++) {
        qn_buf_clear(&rs->slices[i].bytes);
        rs->slices[i].count = 0;
    }
}

qn_status qn_records_check(const struct qn_records *rs, struct qn_err *err)
{
    for (size_t i = 0; i < (size_t)rs->workers * (rs->outputs + 1); i++)
        if (rs->slices[i].bytes.failed)
            return qn_err_set(err, QN_NOMEM, "out of memory for the records of a batch");
    return QN_OK;
}

static void add_str(struct qn_buf *b, struct qn_str s)
{
    qn_buf_add(b, s.p, s.len);
}

#define ADD_LITERAL(b, text) qn_buf_add((b), (text), sizeof(text) - 1)

static void add_number(struct qn_buf *b, double v, bool is_float)
{
    char *at = qn_buf_room(b, QN_NUMBER_MAX);

    if (at == NULL)
        return;
    if (v - v != 0) /* NaN or infinite: JSON has no number for it */
        ADD_LITERAL(b, "null");
    else
        b->len += is_float ? qn_print_float(at, (float)v) : qn_print_double(at, v);
}

/* One value, or a list where a model has several. */
static void add_values(struct qn_buf *b, const double *const *v, uint32_t count, uint32_t row,
                       bool is_float)
{
    if (count == 1) {
        add_number(b, v[0][row], is_float);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        qn_buf_byte(b, i == 0 ? '[' : ',');
        add_number(b, v[i][row], is_float);
    }
    qn_buf_byte(b, ']');
}

static void add_members(struct qn_buf *b, const struct named *list, uint32_t count,
                        const struct qn_engine *en, uint32_t row)
{
    qn_buf_byte(b, '{');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            qn_buf_byte(b, ',');
        add_str(b, list[i].json);
        qn_encode_json_value(b, qn_engine_column(en, list[i].column), row);
    }
    qn_buf_byte(b, '}');
}

static void add_position(struct qn_buf *b, const struct qn_batch *batch, uint32_t row)
{
    char *at = qn_buf_room(b, 2 * QN_NUMBER_MAX);
    unsigned n;

    if (at == NULL)
        return;
    n = qn_print_uint64(at, batch->partition[row]);
    at[n++] = ':';
    n += qn_print_int64(at + n, batch->offset[row]);
    b->len += n;
}

/* {"bias":...,"amount":...} of one output's margin. */
static void add_contributions_of(struct qn_buf *b, const struct qn_record_encoder *e,
                                 const double *values)
{
    ADD_LITERAL(b, "{\"bias\":");
    add_number(b, values[(size_t)e->input_count * e->explain_rows], e->is_float);
    for (uint32_t i = 0; i < e->input_count; i++) {
        add_str(b, e->inputs[i]);
        add_number(b, values[(size_t)i * e->explain_rows], e->is_float);
    }
    qn_buf_byte(b, '}');
}

/* One object, or a list where the model has several margins. */
static void add_contributions(struct qn_buf *b, const struct qn_record_encoder *e,
                              const struct explained *x)
{
    const size_t step = (size_t)(e->input_count + 1) * e->explain_rows;

    ADD_LITERAL(b, ",\"contributions\":");
    for (uint32_t k = 0; k < e->margins; k++) {
        if (e->margins > 1)
            qn_buf_byte(b, k == 0 ? '[' : ',');
        add_contributions_of(b, e, x->values + k * step);
    }
    if (e->margins > 1)
        qn_buf_byte(b, ']');
}

/* What records of all streams begin with. */
static void add_head(struct qn_buf *b, const struct qn_record_encoder *e,
                     const struct qn_batch *batch, uint32_t row)
{
    const struct qn_schema *s = &e->plan->schemas[batch->stream[row]];
    char *at;

    add_str(b, e->fixed_id[batch->stream[row]]);
    add_position(b, batch, row);
    if (s->id >= 0) {
        ADD_LITERAL(b, "\",\"event_id\":");
        qn_encode_json_value(b, &batch->cols[s->first_column + (uint32_t)s->id], row);
        ADD_LITERAL(b, ",\"event_time\":\"");
    } else {
        ADD_LITERAL(b, "\",\"event_time\":\"");
    }
    if ((at = qn_buf_room(b, QN_TIMESTAMP_LEN)) != NULL)
        b->len += qn_timestamp_print(at, batch->time_us[row]);
    add_str(b, e->fixed_after[batch->stream[row]]);
}

/* ,"event":{...} */
static void add_event(struct qn_buf *b, const struct qn_record_encoder *e,
                      const struct qn_batch *batch, uint32_t row)
{
    const struct qn_schema *s = &e->plan->schemas[batch->stream[row]];
    const struct named *list = e->fields[batch->stream[row]];

    ADD_LITERAL(b, ",\"event\":{");
    for (uint32_t i = 0; i < s->field_count; i++) {
        if (i > 0)
            qn_buf_byte(b, ',');
        add_str(b, list[i].json);
        qn_encode_json_value(b, &batch->cols[s->first_column + i], row);
    }
    qn_buf_byte(b, '}');
}

/* Of a stream that gets no features and no answer. */
static void add_other(struct qn_buf *b, const struct qn_record_encoder *e,
                      const struct qn_batch *batch, uint32_t row, uint32_t include)
{
    add_head(b, e, batch, row);
    if (batch->is_late[row])
        ADD_LITERAL(b, ",\"late\":true");
    if (include & QN_INCLUDE_EVENT)
        add_event(b, e, batch, row);
    ADD_LITERAL(b, "}\n");
}

/* x: NULL = without contributions. */
static void add_prediction(struct qn_buf *b, const struct qn_record_encoder *e,
                           const struct qn_engine *en, const struct qn_step_result *r, uint32_t row,
                           uint32_t include, const struct explained *x)
{
    const struct qn_batch *batch = r->batch;

    add_head(b, e, batch, row);
    if (r->scores != NULL) {
        if (e->scores == 1)
            ADD_LITERAL(b, ",\"score\":");
        else
            ADD_LITERAL(b, ",\"scores\":");
        add_values(b, r->scores, e->scores, row, e->is_float);
        if (include & QN_INCLUDE_MARGIN) {
            ADD_LITERAL(b, ",\"margin\":");
            add_values(b, r->margins, e->margins, row, e->is_float);
        }
        if (x != NULL)
            add_contributions(b, e, x);
    }
    if (batch->is_late[row])
        ADD_LITERAL(b, ",\"late\":true");
    if (r->complete[row])
        ADD_LITERAL(b, ",\"complete\":true");
    else
        ADD_LITERAL(b, ",\"complete\":false");
    if (include & QN_INCLUDE_FEATURES) {
        ADD_LITERAL(b, ",\"features\":");
        add_members(b, e->columns, e->column_count, en, row);
    }
    if (include & QN_INCLUDE_EVENT)
        add_event(b, e, batch, row);
    ADD_LITERAL(b, "}\n");
}

static void add_csv_row(struct qn_buf *b, const struct qn_record_encoder *e,
                        const struct qn_engine *en, uint32_t row)
{
    const size_t start = b->len;

    for (uint32_t i = 0; i < e->column_count; i++) {
        if (i > 0)
            qn_buf_byte(b, ',');
        qn_encode_csv_cell(b, qn_engine_column(en, e->columns[i].column), row);
    }
    if (b->len == start) /* null in an only column: readers would skip an empty line */
        qn_buf_text(b, "\"\"");
    qn_buf_byte(b, '\n');
}

/* Room for `more` marks; false (and the slice failed) when out of memory. */
static bool marks_room(struct qn_record_slice *s, uint32_t more)
{
    struct qn_record_mark *grown;

    if (s->count + more <= s->marks_max)
        return true;
    grown = qn_mem_realloc(s->marks, (size_t)(s->count + more) * sizeof *grown);
    s->bytes.failed |= grown == NULL;
    if (grown == NULL)
        return false;
    s->marks = grown;
    s->marks_max = s->count + more;
    return true;
}

static inline void mark(struct qn_record_slice *s, uint32_t row)
{
    s->marks[s->count++] = (struct qn_record_mark){s->bytes.len, row};
}

static void encode_dead(struct qn_record_slice *to, const struct qn_record_encoder *e,
                        const struct qn_batch *b, uint32_t first, uint32_t end)
{
    if (e->wants_dead && !marks_room(to, end - first))
        return;
    for (uint32_t r = first; r < end; r++) {
        if (!qn_contract_sets_aside(b, r, e->plan->schemas))
            continue;
        if (!e->wants_dead) {
            to->count++;
            continue;
        }
        qn_encode_dead_letter(&to->bytes, b, r, &e->plan->schemas[b->stream[r]], e->plan->name);
        mark(to, r);
    }
}

/* Predictions with contributions: blocks of the rows that this output takes, and no others. */
static void encode_explained(struct qn_record_slice *to, struct qn_record_encoder *e,
                             const struct qn_engine *en, const struct qn_step_result *r,
                             uint32_t output, uint32_t first, uint32_t end, uint32_t worker)
{
    uint32_t rows[QN_ENGINE_EXPLAIN_ROWS];

    while (first < end) {
        uint32_t n = 0;

        for (; first < end && n < e->explain_rows; first++)
            if (r->output_on[output][first])
                rows[n++] = first;
        if (n == 0)
            return;
        qn_engine_explain(en, rows, n, worker, e->blocks[worker], e->explain_rows);
        for (uint32_t i = 0; i < n; i++) {
            const struct explained x = {e->blocks[worker] + i};

            add_prediction(&to->bytes, e, en, r, rows[i], e->plan->outputs[output].include, &x);
            mark(to, rows[i]);
        }
    }
}

static void encode_output(struct qn_record_slice *to, const struct qn_record_encoder *e,
                          const struct qn_engine *en, const struct qn_step_result *r,
                          uint32_t output, uint32_t first, uint32_t end)
{
    const bool is_prediction = e->kind == QN_RECORDS_PREDICTIONS;
    const uint8_t *on = is_prediction ? r->output_on[output] : r->is_scored;
    const bool is_wanted = e->is_wanted[output];
    struct qn_buf *b = &to->bytes;

    for (uint32_t row = first; row < end; row++) {
        if (!on[row])
            continue;
        if (!is_wanted) {
            to->count++;
            continue;
        }
        if (is_prediction && r->batch->stream[row] != e->plan->main_stream) {
            add_other(b, e, r->batch, row, e->plan->outputs[output].include);
        } else if (is_prediction) {
            add_prediction(b, e, en, r, row, e->plan->outputs[output].include, NULL);
        } else if (e->kind == QN_RECORDS_CSV) {
            add_csv_row(b, e, en, row);
        } else {
            add_members(b, e->columns, e->column_count, en, row);
            qn_buf_byte(b, '\n');
        }
        mark(to, row);
    }
}

void qn_records_encode(struct qn_records *rs, struct qn_record_encoder *e,
                       const struct qn_engine *en, const struct qn_step_result *r, uint32_t first,
                       uint32_t end, uint32_t worker)
{
    for (uint32_t i = 0; i < e->outputs; i++) {
        struct qn_record_slice *to = qn_records_slice(rs, i, worker);

        if (e->is_wanted[i] && !marks_room(to, end - first))
            continue;
        if (e->is_wanted[i] && e->blocks != NULL &&
            (e->plan->outputs[i].include & QN_INCLUDE_CONTRIBUTIONS))
            encode_explained(to, e, en, r, i, first, end, worker);
        else
            encode_output(to, e, en, r, i, first, end);
    }
    encode_dead(qn_records_slice(rs, e->outputs, worker), e, r->batch, first, end);
}

void qn_record_header(const struct qn_record_encoder *e, struct qn_buf *out)
{
    if (e->kind != QN_RECORDS_CSV)
        return;
    for (uint32_t i = 0; i < e->column_count; i++) {
        if (i > 0)
            qn_buf_byte(out, ',');
        add_str(out, e->columns[i].csv);
    }
    qn_buf_byte(out, '\n');
}
