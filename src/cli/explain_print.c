/* SPDX-License-Identifier: Apache-2.0
 * explain_print.c - one event and its answer as a table or as JSON.
 *
 * Sentences are shown as the spec has them, secrets not filled in. Thread: the encoding one.
 * Memory: the caller's buffer; texts of a line in a buffer of its own. */
#include "cli/explain_print.h"

#include "base/number.h"
#include "event/encode.h"
#include "model/treeshap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 100, NAME_MAX = 28, VALUE_MAX = 20, SIZE_COLUMNS = 12 };

/* What is asked for often. */
struct view {
    const struct qn_plan *plan;
    const struct qn_schema *schema;    /* of the main stream             */
    const struct qn_plan_model *model; /* NULL = nothing is scored       */
    const struct qn_model_info *info;
    const struct qn_explained *x;
    bool is_scored;
    struct qn_buf text; /* of the cell being written */
};

static struct view view_of(const struct qn_explained *x)
{
    struct view v = {.plan = qn_engine_plan(x->engine), .x = x};

    v.schema = &v.plan->schemas[v.plan->main_stream];
    v.is_scored = x->result->is_scored[x->row];
    if (v.plan->score_model >= 0) {
        v.model = &v.plan->models[v.plan->score_model];
        v.info = qn_model_info(v.model->model);
    }
    return v;
}

static struct qn_str name_of(const struct view *v, uint32_t column)
{
    if (column < v->plan->field_count)
        return v->schema->fields[column].name;
    return qn_features_info(v->plan->features, column - v->plan->field_count)->name;
}

static void put_number(struct qn_buf *out, double n, bool is_float)
{
    char *at = qn_buf_room(out, QN_NUMBER_MAX);

    if (at == NULL)
        return;
    if (n - n != 0)
        qn_buf_text(out, "null");
    else
        out->len += is_float ? qn_print_float(at, (float)n) : qn_print_double(at, n);
}

static void put_time(struct qn_buf *out, int64_t time_us)
{
    char text[QN_TIMESTAMP_LEN];

    qn_buf_add(out, text, qn_timestamp_print(text, time_us));
}

/* ---- contributions in order of size ---- */

struct part {
    uint32_t input;
    double size;
};

/* Largest first; equal ones in the order of the model. What is not a number comes last. */
static int compare_parts(const void *a, const void *b)
{
    const struct part *p = a, *q = b;
    const double x = isnan(p->size) ? -1 : fabs(p->size), y = isnan(q->size) ? -1 : fabs(q->size);

    if (x != y)
        return x > y ? -1 : 1;
    return p->input < q->input ? -1 : p->input > q->input;
}

/* The inputs by size of what they added to that output; NULL when out of memory. The caller frees.
 */
static struct part *sorted(const struct view *v, uint32_t output, struct qn_buf *out)
{
    const uint32_t n = v->model->input_count;
    struct part *parts = qn_mem_zalloc((size_t)n + 1, sizeof *parts);

    if (parts == NULL) {
        out->failed = true;
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++)
        parts[i] = (struct part){i, v->x->contributions[(size_t)output * (n + 1) + i]};
    qsort(parts, n, sizeof *parts, compare_parts);
    return parts;
}

static double bias_of(const struct view *v, uint32_t output)
{
    const uint32_t n = v->model->input_count;

    return v->x->contributions[(size_t)output * (n + 1) + n];
}

/* ---- for people ---- */

static void pad(struct qn_buf *out, uint32_t count)
{
    while (count-- > 0)
        qn_buf_byte(out, ' ');
}

static uint32_t columns_of(struct qn_str s)
{
    return (uint32_t)qn_utf8_count(s.p, s.len);
}

/* Text in columns of `width`, cut where it is longer, and two spaces. */
static void put_cell(struct qn_buf *out, struct qn_str s, uint32_t width)
{
    const uint32_t n = columns_of(s);
    uint32_t bytes = s.len;

    if (n > width) {
        while (bytes > 0 && columns_of((struct qn_str){s.p, bytes}) > width - 3)
            bytes--;
        qn_buf_add(out, s.p, bytes);
        qn_buf_text(out, "...");
        pad(out, 2);
        return;
    }
    qn_buf_add(out, s.p, bytes);
    pad(out, width - n + 2);
}

/* The rest of a line that has reached column `at`: words, wrapped at that column. */
static void put_words(struct qn_buf *out, uint32_t at, struct qn_str s)
{
    uint32_t used = at, i = 0;

    while (i < s.len) {
        struct qn_str word;

        while (i < s.len && strchr(" \t\r\n", s.p[i]) != NULL)
            i++;
        word.p = s.p + i;
        while (i < s.len && strchr(" \t\r\n", s.p[i]) == NULL)
            i++;
        word.len = (uint32_t)(s.p + i - word.p);
        if (word.len == 0)
            break;
        if (used > at && used + 1 + columns_of(word) > WIDTH) {
            qn_buf_byte(out, '\n');
            pad(out, at);
            used = at;
        } else if (used > at) {
            qn_buf_byte(out, ' ');
            used++;
        }
        qn_buf_add(out, word.p, word.len);
        used += columns_of(word);
    }
    qn_buf_byte(out, '\n');
}

/* The value of a column in this row, as JSON writes it. */
static struct qn_str value_of(struct view *v, uint32_t column)
{
    qn_buf_clear(&v->text);
    qn_encode_json_value(&v->text, qn_engine_column(v->x->engine, column), v->x->row);
    return (struct qn_str){v->text.data, (uint32_t)v->text.len};
}

/* What stands behind a column: a feature's sentence, or the field's type. */
static void put_meaning(struct view *v, uint32_t column, uint32_t at, struct qn_buf *out)
{
    char kind[24];

    if (column >= v->plan->field_count) {
        put_words(out, at, v->plan->feature_texts[column - v->plan->field_count]);
        return;
    }
    qn_buf_printf(out, "field, %s\n", qn_kind_print(v->schema->fields[column].kind, kind));
}

static uint32_t wider(uint32_t width, struct qn_str name)
{
    const uint32_t n = columns_of(name);

    return n <= width ? width : n < NAME_MAX ? n : NAME_MAX;
}

static uint32_t names_width(const struct view *v)
{
    uint32_t width = 10;

    for (uint32_t i = 0; i < v->plan->field_count + v->plan->feature_count; i++)
        width = wider(width, name_of(v, i));
    for (uint32_t i = 0; v->model != NULL && i < v->model->input_count; i++)
        width = wider(width, v->model->inputs[i].name);
    return width;
}

static void put_size(struct qn_buf *out, double size, double largest)
{
    char text[32];
    int n = snprintf(text, sizeof text, largest >= 0.01 || largest == 0 ? "%+.4f" : "%+.3e", size);

    pad(out, n < SIZE_COLUMNS ? (uint32_t)(SIZE_COLUMNS - n) : 0);
    qn_buf_text(out, text);
    pad(out, 2);
}

static void print_contributions(struct view *v, uint32_t output, uint32_t width, struct qn_buf *out)
{
    struct part *parts = sorted(v, output, out);
    const double margin = v->x->result->margins[output][v->x->row];
    const uint32_t at = 2 + width + 2 + VALUE_MAX + 2 + SIZE_COLUMNS + 2;
    double largest = fabs(bias_of(v, output));

    if (parts == NULL)
        return;
    if (v->model->input_count > 0 && fabs(parts[0].size) > largest)
        largest = fabs(parts[0].size);
    qn_buf_text(out, "what added up to the margin, largest first\n");
    for (uint32_t i = 0; i < v->model->input_count; i++) {
        const struct qn_model_input *in = &v->model->inputs[parts[i].input];

        pad(out, 2);
        put_cell(out, in->name, width);
        put_cell(out, value_of(v, in->column), VALUE_MAX);
        put_size(out, parts[i].size, largest);
        put_meaning(v, in->column, at, out);
    }
    pad(out, 2);
    put_cell(out, qn_str_of("bias"), width + 2 + VALUE_MAX);
    put_size(out, bias_of(v, output), largest);
    qn_buf_text(out, "an event of which nothing is known\n");
    pad(out, 2);
    put_cell(out, qn_str_of("margin"), width + 2 + VALUE_MAX);
    put_size(out, margin, largest);
    qn_buf_text(out, "the sum\n");
    qn_mem_free(parts);
}

/* Inputs in the order of the model, where their parts are not known. */
static void print_inputs(struct view *v, uint32_t width, struct qn_buf *out)
{
    qn_buf_printf(out, "inputs of the model\n  what each added is not known: ");
    put_words(out, 32, qn_str_of(qn_model_explain_obstacle(v->model->model)));
    for (uint32_t i = 0; i < v->model->input_count; i++) {
        const struct qn_model_input *in = &v->model->inputs[i];

        pad(out, 2);
        put_cell(out, in->name, width);
        put_cell(out, value_of(v, in->column), VALUE_MAX);
        put_meaning(v, in->column, 2 + width + 2 + VALUE_MAX + 2, out);
    }
}

static uint32_t highest(const struct view *v)
{
    const struct qn_step_result *r = v->x->result;
    uint32_t best = 0;

    for (uint32_t k = 1; k < v->info->outputs; k++)
        if (r->margins[k][v->x->row] > r->margins[best][v->x->row])
            best = k;
    return best;
}

static void print_answer(struct view *v, uint32_t width, struct qn_buf *out)
{
    const struct qn_step_result *r = v->x->result;
    const uint32_t output = highest(v);

    qn_buf_printf(out, "model %.*s: %s%s%s, version %016llx\n", QN_STR_ARG(v->model->name),
                  v->info->format, v->info->objective[0] ? ", " : "", v->info->objective,
                  (unsigned long long)v->info->hash);
    for (uint32_t k = 0; k < v->info->predictions; k++) {
        qn_buf_text(out, "  score ");
        if (v->info->predictions > 1)
            qn_buf_printf(out, "%u ", k);
        put_number(out, r->scores[k][v->x->row], v->info->is_float);
        if (v->info->outputs == v->info->predictions) {
            qn_buf_text(out, "  of margin ");
            put_number(out, r->margins[k][v->x->row], v->info->is_float);
        }
        qn_buf_byte(out, '\n');
    }
    if (v->info->outputs > 1)
        qn_buf_printf(out, "output %u of %u, the highest: ", output, v->info->outputs);
    if (v->x->contributions != NULL)
        print_contributions(v, output, width, out);
    else
        print_inputs(v, width, out);
}

static bool is_input(const struct view *v, uint32_t column)
{
    for (uint32_t i = 0; v->model != NULL && i < v->model->input_count; i++)
        if (v->model->inputs[i].column == column)
            return true;
    return false;
}

/* Features that the model does not read. */
static void print_features(struct view *v, uint32_t width, struct qn_buf *out)
{
    bool is_first = true;

    for (uint32_t i = 0; i < v->plan->feature_count; i++) {
        const uint32_t column = v->plan->field_count + i;

        if (is_input(v, column))
            continue;
        if (is_first)
            qn_buf_text(out, v->model != NULL ? "other features\n" : "features\n");
        is_first = false;
        pad(out, 2);
        put_cell(out, name_of(v, column), width);
        put_cell(out, value_of(v, column), VALUE_MAX);
        put_meaning(v, column, 2 + width + 2 + VALUE_MAX + 2, out);
    }
}

static void print_fields(struct view *v, uint32_t width, struct qn_buf *out)
{
    qn_buf_text(out, "fields\n");
    for (uint32_t i = 0; i < v->plan->field_count; i++) {
        pad(out, 2);
        put_cell(out, name_of(v, i), width);
        put_words(out, 2 + width + 2, value_of(v, i));
    }
}

/* Why an event got no answer, and what came in. */
static void print_unscored(struct view *v, struct qn_buf *out)
{
    const struct qn_batch *b = v->x->result->batch;
    const uint32_t row = v->x->row, field = b->reason_field[row];
    const enum qn_reason reason = (enum qn_reason)b->reason[row];

    qn_buf_text(out, "  reason     ");
    if (field != QN_NO_FIELD && field < v->schema->field_count)
        qn_buf_printf(out, "%.*s: ", QN_STR_ARG(v->schema->fields[field].name));
    qn_buf_printf(out, "%s (%s)\n  no features, no score\n", qn_reason_text(reason),
                  qn_reason_name(reason));
}

static void print_head(struct view *v, struct qn_buf *out)
{
    const struct qn_batch *b = v->x->result->batch;
    const uint32_t row = v->x->row;

    qn_buf_printf(out, "%.*s:%.*s:%u:%lld\n", QN_STR_ARG(v->plan->name),
                  QN_STR_ARG(v->schema->name), b->partition[row], (long long)b->offset[row]);
    if (b->verdict[row] != QN_DEAD) {
        qn_buf_text(out, "  event time ");
        put_time(out, b->time_us[row]);
    } else {
        qn_buf_text(out, "  event time not known to be good");
    }
    qn_buf_printf(out, "\n  spec       %s, version %016llx\n  verdict    %s%s%s\n", v->plan->file,
                  (unsigned long long)v->plan->version,
                  qn_verdict_name((enum qn_verdict)b->verdict[row]),
                  b->is_late[row] && v->is_scored ? ", though behind the watermark" : "",
                  v->is_scored && !v->x->result->complete[row] ? ", a feature is null" : "");
}

void qn_explain_print(const struct qn_explained *x, struct qn_buf *out)
{
    struct view v = view_of(x);
    const uint32_t width = names_width(&v);

    print_head(&v, out);
    if (!v.is_scored)
        print_unscored(&v, out);
    if (v.is_scored && v.model != NULL)
        print_answer(&v, width, out);
    if (v.is_scored)
        print_features(&v, width, out);
    if (x->result->batch->verdict[x->row] == QN_DEAD) {
        qn_buf_text(out, "event as it came\n  ");
        put_words(out, 2, x->result->batch->raw[x->row]);
    } else {
        print_fields(&v, width, out);
    }
    out->failed |= v.text.failed;
    qn_buf_fini(&v.text);
}

/* ---- for programs ---- */

static void put_members(const struct view *v, uint32_t first, uint32_t count, struct qn_buf *out)
{
    qn_buf_byte(out, '{');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            qn_buf_byte(out, ',');
        qn_json_string(out, name_of(v, first + i));
        qn_buf_byte(out, ':');
        qn_encode_json_value(out, qn_engine_column(v->x->engine, first + i), v->x->row);
    }
    qn_buf_byte(out, '}');
}

/* {"input":...,"column":...,"value":...,"contribution":...,"sentence":...} */
static void put_part(const struct view *v, const struct part *p, struct qn_buf *out)
{
    const struct qn_model_input *in = &v->model->inputs[p->input];

    qn_buf_text(out, "{\"input\":");
    qn_json_string(out, in->name);
    qn_buf_text(out, ",\"column\":");
    qn_json_string(out, name_of(v, in->column));
    qn_buf_text(out, ",\"value\":");
    qn_encode_json_value(out, qn_engine_column(v->x->engine, in->column), v->x->row);
    qn_buf_text(out, ",\"contribution\":");
    put_number(out, p->size, v->info->is_float);
    if (in->column >= v->plan->field_count) {
        qn_buf_text(out, ",\"sentence\":");
        qn_json_string(out, v->plan->feature_texts[in->column - v->plan->field_count]);
    }
    qn_buf_byte(out, '}');
}

static void put_output(const struct view *v, uint32_t output, struct qn_buf *out)
{
    struct part *parts = sorted(v, output, out);

    qn_buf_text(out, "{\"margin\":");
    put_number(out, v->x->result->margins[output][v->x->row], v->info->is_float);
    qn_buf_text(out, ",\"bias\":");
    put_number(out, bias_of(v, output), v->info->is_float);
    qn_buf_text(out, ",\"contributions\":[");
    for (uint32_t i = 0; parts != NULL && i < v->model->input_count; i++) {
        if (i > 0)
            qn_buf_byte(out, ',');
        put_part(v, &parts[i], out);
    }
    qn_buf_text(out, "]}");
    qn_mem_free(parts);
}

static void put_answer(const struct view *v, struct qn_buf *out)
{
    const struct qn_step_result *r = v->x->result;

    qn_buf_text(out, ",\"model\":");
    qn_json_string(out, v->model->name);
    qn_buf_printf(out, ",\"model_version\":\"%016llx\",\"scores\":[",
                  (unsigned long long)v->info->hash);
    for (uint32_t k = 0; k < v->info->predictions; k++) {
        if (k > 0)
            qn_buf_byte(out, ',');
        put_number(out, r->scores[k][v->x->row], v->info->is_float);
    }
    qn_buf_text(out, "],\"outputs\":");
    if (v->x->contributions == NULL) {
        qn_buf_text(out, "null,\"explains_not\":");
        qn_json_string(out, qn_str_of(qn_model_explain_obstacle(v->model->model)));
        return;
    }
    for (uint32_t k = 0; k < v->info->outputs; k++) {
        qn_buf_byte(out, k == 0 ? '[' : ',');
        put_output(v, k, out);
    }
    qn_buf_byte(out, ']');
}

static void put_reason(const struct view *v, struct qn_buf *out)
{
    const struct qn_batch *b = v->x->result->batch;
    const uint32_t field = b->reason_field[v->x->row];

    qn_buf_printf(out, ",\"reason\":\"%s\"", qn_reason_name((enum qn_reason)b->reason[v->x->row]));
    if (field != QN_NO_FIELD && field < v->schema->field_count) {
        qn_buf_text(out, ",\"field\":");
        qn_json_string(out, v->schema->fields[field].name);
    }
    qn_buf_text(out, ",\"raw\":");
    qn_json_string(out, b->raw[v->x->row]);
}

void qn_explain_json(const struct qn_explained *x, struct qn_buf *out)
{
    const struct view v = view_of(x);
    const struct qn_batch *b = x->result->batch;

    qn_buf_printf(out, "{\"id\":\"%.*s:%.*s:%u:%lld\"", QN_STR_ARG(v.plan->name),
                  QN_STR_ARG(v.schema->name), b->partition[x->row], (long long)b->offset[x->row]);
    if (v.schema->id >= 0) {
        qn_buf_text(out, ",\"event_id\":");
        qn_encode_json_value(out, &b->cols[v.schema->first_column + (uint32_t)v.schema->id],
                             x->row);
    }
    if (b->verdict[x->row] != QN_DEAD) {
        qn_buf_text(out, ",\"event_time\":\"");
        put_time(out, b->time_us[x->row]);
        qn_buf_byte(out, '"');
    }
    qn_buf_printf(out, ",\"spec\":\"%016llx\",\"verdict\":\"%s\",\"late\":%s",
                  (unsigned long long)v.plan->version,
                  qn_verdict_name((enum qn_verdict)b->verdict[x->row]),
                  b->is_late[x->row] ? "true" : "false");
    if (!v.is_scored) {
        put_reason(&v, out);
    } else {
        qn_buf_printf(out, ",\"complete\":%s", x->result->complete[x->row] ? "true" : "false");
        if (v.model != NULL)
            put_answer(&v, out);
        qn_buf_text(out, ",\"features\":");
        put_members(&v, v.plan->field_count, v.plan->feature_count, out);
        qn_buf_text(out, ",\"event\":");
        put_members(&v, 0, v.plan->field_count, out);
    }
    qn_buf_text(out, "}\n");
}
