/* SPDX-License-Identifier: Apache-2.0
 * output_records.c - rows of a finished batch as prediction records, table rows and dead letters.
 *
 * What is the same on every record of a run is encoded once, at start (`fixed_*`). Stops "route"
 * and "commit" on the path of an event. The prediction's id is a pure function of its input
 * position. Thread: see output_records.h. */
#include "engine/output_records.h"

#include "base/check.h"
#include "base/number.h"
#include "event/encode.h"

#include <stdarg.h>

/* One column of a table row, or one feature of a record: its name ready to be copied. */
struct named {
    uint32_t column;    /* as the plan numbers them     */
    struct qn_str json; /* `"name":`                 */
    struct qn_str csv;  /* `name` as a CSV cell      */
};

/* What one worker made of a batch for one target. Two cache lines of its own: workers write here
 * with every byte. */
struct slice {
    struct qn_buf bytes;
    uint64_t records;
} __attribute__((aligned(128)));

struct target {
    struct qn_output_target to;
    struct slice *slices; /* [workers] */
    uint64_t written;
};

struct qn_outputs {
    struct qn_arena arena;
    const struct qn_plan *plan;
    const struct qn_files *files;
    enum qn_outputs_kind kind;
    uint32_t workers;
    struct target *targets; /* [target_count] */
    uint32_t target_count;
    struct target dead;
    struct named *columns; /* features (records) or the table's columns */
    uint32_t column_count;
    struct named *fields; /* fields of the main stream, for `include: [event]` from CSV */
    /* records: {"id":"<fixed_id>P:O","event_id":E,"event_time":"T<fixed_after>"score":S,... */
    struct qn_str fixed_id, fixed_after;
    bool is_float;
    uint32_t scores, margins; /* values per row; 0 = no model */
    /* contributions: names as JSON members, and a block of rows per worker */
    struct qn_str *inputs; /* [input_count]; NULL = no output takes them */
    uint32_t input_count;
    double **blocks; /* [workers][margins * (input_count + 1)][QN_ENGINE_EXPLAIN_ROWS] */
};

/* Contributions of one row: values[(output * (inputs + 1) + input) * QN_ENGINE_EXPLAIN_ROWS]. */
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

static bool named_init(struct named *n, struct qn_outputs *o, uint32_t column)
{
    struct qn_buf b = {0};

    n->column = column;
    qn_json_string(&b, column_name(o->plan, column));
    qn_buf_byte(&b, ':');
    n->json = keep(&o->arena, &b);
    qn_buf_clear(&b);
    qn_encode_csv_text(&b, column_name(o->plan, column));
    n->csv = keep(&o->arena, &b);
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

static qn_status columns_init(struct qn_outputs *o, const struct qn_outputs_options *opt,
                              struct qn_err *err)
{
    const struct qn_plan *p = o->plan;
    bool is_table = o->kind != QN_OUTPUTS_RECORDS;
    uint32_t first = is_table ? 0 : p->field_count;

    o->column_count =
        opt->columns != NULL ? opt->column_count : p->field_count + p->feature_count - first;
    o->columns = QN_NEW_N(&o->arena, struct named, o->column_count + 1);
    o->fields = QN_NEW_N(&o->arena, struct named, p->field_count + 1);
    if (!o->columns || !o->fields)
        return qn_err_set(err, QN_NOMEM, "out of memory for %u columns", o->column_count);
    for (uint32_t i = 0; i < o->column_count; i++) {
        uint32_t column = first + i;

        if (opt->columns != NULL)
            QN_TRY(find_column(p, opt->columns[i], &column, err));
        for (uint32_t k = 0; opt->columns != NULL && k < i; k++)
            if (qn_str_eq(opt->columns[k], opt->columns[i]))
                return qn_err_set(err, QN_INVALID, "column '%.*s' is named twice",
                                  QN_STR_ARG(opt->columns[i]));
        if (!named_init(&o->columns[i], o, column))
            return qn_err_set(err, QN_NOMEM, "out of memory for the name of a column");
    }
    for (uint32_t i = 0; i < p->field_count; i++)
        if (!named_init(&o->fields[i], o, i))
            return qn_err_set(err, QN_NOMEM, "out of memory for the name of a column");
    return QN_OK;
}

static qn_status fixed_init(struct qn_outputs *o, struct qn_err *err)
{
    const struct qn_plan *p = o->plan;
    const struct qn_schema *s = &p->schemas[p->main_stream];
    struct qn_buf b = {0};

    qn_buf_printf(&b, "{\"id\":\"%.*s:%.*s:", QN_STR_ARG(p->name), QN_STR_ARG(s->name));
    o->fixed_id = keep(&o->arena, &b);
    qn_buf_clear(&b);
    qn_buf_printf(&b,
                  "\",\"pipeline\":\"%.*s\",\"spec\":\"%016llx\",\"stream\":\"%.*s\",\"contract\":"
                  "\"%016llx\"",
                  QN_STR_ARG(p->name), (unsigned long long)p->version, QN_STR_ARG(s->name),
                  (unsigned long long)s->version);
    if (p->score_model >= 0) {
        const struct qn_plan_model *m = &p->models[p->score_model];
        const struct qn_model_info *info = qn_model_info(m->model);

        o->is_float = info->is_float;
        o->scores = info->predictions;
        o->margins = info->outputs;
        qn_buf_printf(&b, ",\"model\":\"%.*s\",\"model_version\":\"%016llx\"", QN_STR_ARG(m->name),
                      (unsigned long long)info->hash);
    }
    o->fixed_after = keep(&o->arena, &b);
    b.failed |= o->fixed_id.p == NULL;
    if (b.failed)
        qn_err_set(err, QN_NOMEM, "out of memory for the record's fixed parts");
    qn_buf_fini(&b);
    return o->fixed_after.p != NULL && o->fixed_id.p != NULL ? QN_OK : QN_NOMEM;
}

/* Where an output takes contributions: names and memory for them. */
static qn_status explain_init(struct qn_outputs *o, struct qn_err *err)
{
    const struct qn_plan *p = o->plan;
    const struct qn_plan_model *m = p->score_model >= 0 ? &p->models[p->score_model] : NULL;
    struct qn_buf b = {0};
    uint32_t include = 0;
    bool is_good;

    for (uint32_t i = 0; i < p->output_count && o->kind == QN_OUTPUTS_RECORDS; i++)
        include |= p->outputs[i].include;
    if (m == NULL || !(include & QN_INCLUDE_CONTRIBUTIONS))
        return QN_OK;
    o->input_count = m->input_count;
    o->inputs = QN_NEW_N(&o->arena, struct qn_str, m->input_count + 1);
    o->blocks = QN_NEW_N(&o->arena, double *, o->workers);
    is_good = o->inputs != NULL && o->blocks != NULL;
    for (uint32_t i = 0; is_good && i < m->input_count; i++) {
        qn_buf_clear(&b);
        qn_buf_byte(&b, ',');
        qn_json_string(&b, m->inputs[i].name);
        qn_buf_byte(&b, ':');
        o->inputs[i] = keep(&o->arena, &b);
        is_good = !b.failed;
    }
    qn_buf_fini(&b);
    for (uint32_t w = 0; is_good && w < o->workers; w++) {
        o->blocks[w] = QN_NEW_N(&o->arena, double,
                                (size_t)o->margins *(m->input_count + 1) * QN_ENGINE_EXPLAIN_ROWS);
        is_good = o->blocks[w] != NULL;
    }
    return is_good ? QN_OK : qn_err_set(err, QN_NOMEM, "out of memory for contributions");
}

static bool target_init(struct target *t, struct qn_outputs *o, struct qn_output_target to)
{
    t->to = to;
    t->slices = qn_arena_aligned(&o->arena, 128, o->workers * sizeof *t->slices);
    if (t->slices != NULL)
        memset(t->slices, 0, o->workers * sizeof *t->slices);
    return t->slices != NULL;
}

qn_status qn_outputs_new(const struct qn_plan *plan, const struct qn_outputs_options *opt,
                         struct qn_outputs **out, struct qn_err *err)
{
    struct qn_outputs *o = qn_mem_zalloc(1, sizeof *o);
    qn_status rc = QN_OK;

    *out = NULL;
    if (o == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the outputs");
    qn_arena_init(&o->arena, 0);
    o->plan = plan;
    o->files = opt->files;
    o->kind = opt->kind;
    o->workers = opt->workers;
    o->target_count = opt->kind == QN_OUTPUTS_RECORDS ? plan->output_count : 1;
    o->targets = QN_NEW_N(&o->arena, struct target, o->target_count);
    if (o->targets == NULL || !target_init(&o->dead, o, opt->dead))
        rc = qn_err_set(err, QN_NOMEM, "out of memory for the outputs");
    for (uint32_t i = 0; rc == QN_OK && i < o->target_count; i++)
        if (!target_init(&o->targets[i], o, opt->targets[i]))
            rc = qn_err_set(err, QN_NOMEM, "out of memory for the outputs");
    if (rc == QN_OK)
        rc = columns_init(o, opt, err);
    if (rc == QN_OK)
        rc = fixed_init(o, err);
    if (rc == QN_OK)
        rc = explain_init(o, err);
    if (rc != QN_OK) {
        qn_outputs_free(o);
        return rc;
    }
    *out = o;
    return QN_OK;
}

static void target_fini(struct target *t, uint32_t workers)
{
    for (uint32_t w = 0; t->slices != NULL && w < workers; w++)
        qn_buf_fini(&t->slices[w].bytes);
}

void qn_outputs_free(struct qn_outputs *o)
{
    if (o == NULL)
        return;
    for (uint32_t i = 0; o->targets != NULL && i < o->target_count; i++)
        target_fini(&o->targets[i], o->workers);
    target_fini(&o->dead, o->workers);
    qn_arena_fini(&o->arena);
    qn_mem_free(o);
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
static void add_contributions_of(struct qn_buf *b, const struct qn_outputs *o, const double *values)
{
    ADD_LITERAL(b, "{\"bias\":");
    add_number(b, values[(size_t)o->input_count * QN_ENGINE_EXPLAIN_ROWS], o->is_float);
    for (uint32_t i = 0; i < o->input_count; i++) {
        add_str(b, o->inputs[i]);
        add_number(b, values[(size_t)i * QN_ENGINE_EXPLAIN_ROWS], o->is_float);
    }
    qn_buf_byte(b, '}');
}

/* One object, or a list where the model has several margins. */
static void add_contributions(struct qn_buf *b, const struct qn_outputs *o,
                              const struct explained *x)
{
    const size_t step = (size_t)(o->input_count + 1) * QN_ENGINE_EXPLAIN_ROWS;

    ADD_LITERAL(b, ",\"contributions\":");
    for (uint32_t k = 0; k < o->margins; k++) {
        if (o->margins > 1)
            qn_buf_byte(b, k == 0 ? '[' : ',');
        add_contributions_of(b, o, x->values + k * step);
    }
    if (o->margins > 1)
        qn_buf_byte(b, ']');
}

/* x: NULL = without contributions. */
static void add_prediction(struct qn_buf *b, const struct qn_outputs *o, const struct qn_engine *en,
                           const struct qn_step_result *r, uint32_t row, uint32_t include,
                           const struct explained *x)
{
    const struct qn_batch *batch = r->batch;
    const struct qn_schema *s = &o->plan->schemas[o->plan->main_stream];
    char *at;

    add_str(b, o->fixed_id);
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
    add_str(b, o->fixed_after);
    if (r->scores != NULL) {
        if (o->scores == 1)
            ADD_LITERAL(b, ",\"score\":");
        else
            ADD_LITERAL(b, ",\"scores\":");
        add_values(b, r->scores, o->scores, row, o->is_float);
        if (include & QN_INCLUDE_MARGIN) {
            ADD_LITERAL(b, ",\"margin\":");
            add_values(b, r->margins, o->margins, row, o->is_float);
        }
        if (x != NULL)
            add_contributions(b, o, x);
    }
    if (batch->is_late[row])
        ADD_LITERAL(b, ",\"late\":true");
    if (r->complete[row])
        ADD_LITERAL(b, ",\"complete\":true");
    else
        ADD_LITERAL(b, ",\"complete\":false");
    if (include & QN_INCLUDE_FEATURES) {
        ADD_LITERAL(b, ",\"features\":");
        add_members(b, o->columns, o->column_count, en, row);
    }
    if (include & QN_INCLUDE_EVENT) {
        ADD_LITERAL(b, ",\"event\":");
        add_members(b, o->fields, o->plan->field_count, en, row);
    }
    ADD_LITERAL(b, "}\n");
}

static void add_csv_row(struct qn_buf *b, const struct qn_outputs *o, const struct qn_engine *en,
                        uint32_t row)
{
    const size_t start = b->len;

    for (uint32_t i = 0; i < o->column_count; i++) {
        if (i > 0)
            qn_buf_byte(b, ',');
        qn_encode_csv_cell(b, qn_engine_column(en, o->columns[i].column), row);
    }
    if (b->len == start) /* null in an only column: readers would skip an empty line */
        qn_buf_text(b, "\"\"");
    qn_buf_byte(b, '\n');
}

static bool is_dead_letter(const struct qn_batch *b, const struct qn_plan *p, uint32_t row)
{
    if (b->verdict[row] == QN_DEAD)
        return true;
    return b->verdict[row] == QN_LATE && p->schemas[b->stream[row]].late == QN_LATE_DEAD_LETTER;
}

static void encode_dead(struct qn_outputs *o, const struct qn_batch *b, uint32_t first,
                        uint32_t end, uint32_t worker)
{
    struct slice *to = &o->dead.slices[worker];

    for (uint32_t r = first; r < end; r++) {
        if (b->verdict[r] == QN_SCORED || !is_dead_letter(b, o->plan, r))
            continue;
        to->records++;
        if (o->dead.to.fd >= 0)
            qn_encode_dead_letter(&to->bytes, b, r, &o->plan->schemas[b->stream[r]], o->plan->name);
    }
}

/* Predictions with contributions: blocks of the rows that this output takes, and no others. */
static void encode_explained(struct qn_outputs *o, const struct qn_engine *en,
                             const struct qn_step_result *r, uint32_t output, uint32_t first,
                             uint32_t end, uint32_t worker)
{
    struct slice *to = &o->targets[output].slices[worker];
    uint32_t rows[QN_ENGINE_EXPLAIN_ROWS];

    while (first < end) {
        uint32_t n = 0;

        for (; first < end && n < QN_ENGINE_EXPLAIN_ROWS; first++)
            if (r->output_on[output][first])
                rows[n++] = first;
        if (n == 0)
            return;
        qn_engine_explain(en, rows, n, worker, o->blocks[worker], QN_ENGINE_EXPLAIN_ROWS);
        for (uint32_t i = 0; i < n; i++) {
            const struct explained x = {o->blocks[worker] + i};

            to->records++;
            add_prediction(&to->bytes, o, en, r, rows[i], o->plan->outputs[output].include, &x);
        }
    }
}

static void outputs_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                           uint32_t first, uint32_t end, uint32_t worker)
{
    struct qn_outputs *o = st;

    for (uint32_t i = 0; i < o->target_count; i++) {
        struct target *t = &o->targets[i];
        struct qn_buf *b = &t->slices[worker].bytes;
        const uint8_t *on = o->kind == QN_OUTPUTS_RECORDS ? r->output_on[i] : r->is_scored;

        if (o->kind == QN_OUTPUTS_RECORDS && t->to.fd >= 0 && o->blocks != NULL &&
            (o->plan->outputs[i].include & QN_INCLUDE_CONTRIBUTIONS)) {
            encode_explained(o, en, r, i, first, end, worker);
            continue;
        }
        for (uint32_t row = first; row < end; row++) {
            if (!on[row])
                continue;
            t->slices[worker].records++;
            if (t->to.fd < 0)
                continue;
            if (o->kind == QN_OUTPUTS_RECORDS) {
                add_prediction(b, o, en, r, row, o->plan->outputs[i].include, NULL);
            } else if (o->kind == QN_OUTPUTS_CSV) {
                add_csv_row(b, o, en, row);
            } else {
                add_members(b, o->columns, o->column_count, en, row);
                qn_buf_byte(b, '\n');
            }
        }
    }
    encode_dead(o, r->batch, first, end, worker);
}

static qn_status target_commit(struct qn_outputs *o, struct target *t, struct qn_err *err)
{
    for (uint32_t w = 0; w < o->workers; w++) {
        struct qn_buf *b = &t->slices[w].bytes;

        if (b->failed)
            return qn_err_set(err, QN_NOMEM, "out of memory for the records of a batch");
        if (b->len > 0)
            QN_TRY(qn_file_write_all(o->files, t->to.fd, t->to.name, b->data, b->len, err));
        t->written += t->slices[w].records;
        t->slices[w].records = 0;
        qn_buf_clear(b);
    }
    return QN_OK;
}

static qn_status outputs_commit(void *st, const struct qn_engine *en,
                                const struct qn_step_result *r, struct qn_err *err)
{
    struct qn_outputs *o = st;

    QN_TRY(target_commit(o, &o->dead, err));
    for (uint32_t i = 0; i < o->target_count; i++)
        QN_TRY(target_commit(o, &o->targets[i], err));
    return QN_OK;
}

struct qn_output qn_outputs_output(struct qn_outputs *o)
{
    return (struct qn_output){.encode = outputs_encode, .commit = outputs_commit, .st = o};
}

qn_status qn_outputs_begin(struct qn_outputs *o, struct qn_err *err)
{
    struct qn_buf *b = &o->targets[0].slices[0].bytes;

    if (o->kind != QN_OUTPUTS_CSV)
        return QN_OK;
    for (uint32_t i = 0; i < o->column_count; i++) {
        if (i > 0)
            qn_buf_byte(b, ',');
        add_str(b, o->columns[i].csv);
    }
    qn_buf_byte(b, '\n');
    return target_commit(o, &o->targets[0], err);
}

uint64_t qn_outputs_written(const struct qn_outputs *o, uint32_t output)
{
    QN_ASSERT(output < o->target_count);
    return o->targets[output].written;
}
