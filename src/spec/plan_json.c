/* SPDX-License-Identifier: Apache-2.0
 * plan_json.c - a plan for programs: one JSON object with everything `quern check` shows, under
 * stable names.
 *
 * Durations are microseconds (null = unbounded), hashes 16 hexadecimal digits. Secrets are not
 * shown: sentences and paths appear as written, limits that hold one as null. Thread: any,
 * read-only. Memory: the caller's buffer. */
#include "base/number.h"
#include "feature/window.h"
#include "model/half_space.h"
#include "model/treeshap.h"
#include "score/learner.h"
#include "spec/spec_int.h"
#include "state/table.h"

/* "name": at the start of a member; `first` without the comma. */
static void member(struct qn_buf *out, bool is_first, const char *name)
{
    if (!is_first)
        qn_buf_byte(out, ',');
    qn_json_string(out, qn_str_of(name));
    qn_buf_byte(out, ':');
}

static void text(struct qn_buf *out, bool is_first, const char *name, struct qn_str value)
{
    member(out, is_first, name);
    qn_json_string(out, value);
}

static void number(struct qn_buf *out, const char *name, int64_t value)
{
    member(out, false, name);
    qn_buf_printf(out, "%lld", (long long)value);
}

static void truth(struct qn_buf *out, const char *name, bool value)
{
    member(out, false, name);
    qn_buf_text(out, value ? "true" : "false");
}

static void hash(struct qn_buf *out, const char *name, uint64_t value)
{
    member(out, false, name);
    qn_buf_printf(out, "\"%016llx\"", (unsigned long long)value);
}

static void reach(struct qn_buf *out, const char *name, int64_t us)
{
    if (us != QN_OVER_ALL) {
        number(out, name, us);
        return;
    }
    member(out, false, name);
    qn_buf_text(out, "null");
}

static void optional_text(struct qn_buf *out, const char *name, const struct qn_str *value)
{
    member(out, false, name);
    if (value != NULL)
        qn_json_string(out, *value);
    else
        qn_buf_text(out, "null");
}

static void put_double(struct qn_buf *out, double v)
{
    char digits[QN_NUMBER_MAX];

    qn_buf_add(out, digits, qn_print_double(digits, v));
}

static void put_value(struct qn_buf *out, const struct qn_field *f, const struct qn_value *v,
                      bool is_limit)
{
    char digits[QN_NUMBER_MAX], time[QN_TIMESTAMP_LEN];

    switch (f->kind.type) {
    case QN_BOOL:
        qn_buf_text(out, v->i64 ? "true" : "false");
        break;
    case QN_STRING:
        qn_json_string(out, v->str);
        break;
    case QN_TIMESTAMP:
        qn_json_string(out, (struct qn_str){time, qn_timestamp_print(time, v->i64)});
        break;
    case QN_DOUBLE:
        put_double(out, v->f64);
        break;
    case QN_LIST:
        if (is_limit) {
            put_double(out, v->f64);
            break;
        }
        qn_buf_byte(out, '[');
        for (uint32_t i = 0; i < v->list.n; i++) {
            qn_buf_text(out, i > 0 ? "," : "");
            put_double(out, v->list.v[i]);
        }
        qn_buf_byte(out, ']');
        break;
    default:
        qn_buf_add(out, digits, qn_print_scaled(digits, v->i64, f->kind.scale));
    }
}

static void limit(struct qn_buf *out, const char *name, const struct qn_field *f,
                  const struct qn_value *v, bool is_limit, bool is_hidden)
{
    member(out, false, name);
    if (is_hidden)
        qn_buf_text(out, "null");
    else
        put_value(out, f, v, is_limit);
}

static void put_field(struct qn_buf *out, const struct qn_field *f, bool is_hidden)
{
    static const char *const units[] = {"", "s", "ms", "us", "ns"};
    char kind[24];

    qn_buf_byte(out, '{');
    text(out, true, "name", f->name);
    text(out, false, "type", qn_str_of(qn_kind_print(f->kind, kind)));
    text(out, false, "from", f->from);
    truth(out, "required", !f->is_optional && !f->has_default);
    if (f->has_default)
        limit(out, "default", f, &f->fallback, false, is_hidden);
    if (f->has_min)
        limit(out, "min", f, &f->min, true, is_hidden);
    if (f->has_max)
        limit(out, "max", f, &f->max, true, is_hidden);
    for (uint32_t i = 0; i < f->in_count && !is_hidden; i++) {
        if (i == 0)
            member(out, false, "in");
        qn_buf_byte(out, i == 0 ? '[' : ',');
        put_value(out, f, &f->in[i], false);
        if (i + 1 == f->in_count)
            qn_buf_byte(out, ']');
    }
    if (f->length_max != 0)
        number(out, "max_length", f->length_max);
    if (f->length_exact != 0)
        number(out, "length", f->length_exact);
    if (f->unit != QN_TIME_TEXT)
        text(out, false, "unit", qn_str_of(units[f->unit]));
    qn_buf_byte(out, '}');
}

static void put_stream(struct qn_buf *out, const struct qn_plan *p, uint32_t index)
{
    static const char *const late[] = {"score", "fold", "drop", "dead-letter"};
    const struct qn_schema *s = &p->schemas[index];

    qn_buf_byte(out, '{');
    text(out, true, "name", s->name);
    truth(out, "main", index == p->main_stream);
    optional_text(out, "id", s->id >= 0 ? &s->fields[s->id].name : NULL);
    optional_text(out, "time", &s->fields[s->time].name);
    optional_text(out, "key", s->key >= 0 ? &s->fields[s->key].name : NULL);
    number(out, "lateness_us", s->lateness_us);
    text(out, false, "late", qn_str_of(late[s->late]));
    number(out, "within_us", s->within_us);
    if (s->dedup_us > 0) {
        number(out, "dedup_us", s->dedup_us);
        number(out, "dedup_id_bytes", (int64_t)qn_table_key_bytes(QN_DEDUP_BYTES, 0));
    }
    hash(out, "contract", s->version);
    for (uint32_t i = 0; i < p->source_count; i++) {
        if (p->sources[i].stream != index)
            continue;
        member(out, false, "source");
        qn_buf_byte(out, '{');
        text(out, true, "name", p->sources[i].name);
        text(out, false, "source", qn_str_of(p->sources[i].ops->name));
        text(out, false, "options", p->sources[i].shown);
        qn_buf_byte(out, '}');
    }
    member(out, false, "fields");
    qn_buf_byte(out, '[');
    for (uint32_t i = 0; i < s->field_count; i++) {
        qn_buf_text(out, i > 0 ? "," : "");
        put_field(out, &s->fields[i], p->field_hidden[index][i]);
    }
    qn_buf_text(out, "]}");
}

static void put_features(struct qn_buf *out, const struct qn_plan *p)
{
    char kind[24];

    for (uint32_t i = 0; i < p->feature_count; i++) {
        const struct qn_feature_info *info = qn_features_info(p->features, i);

        qn_buf_text(out, i > 0 ? ",{" : "{");
        text(out, true, "name", info->name);
        text(out, false, "type", qn_str_of(qn_kind_print(info->kind, kind)));
        text(out, false, "sentence", p->feature_texts[i]);
        truth(out, "window", info->is_window);
        truth(out, "default", info->has_default);
        if (info->group >= 0)
            number(out, "group", info->group);
        qn_buf_byte(out, '}');
    }
}

static void put_groups(struct qn_buf *out, const struct qn_plan *p)
{
    for (uint32_t i = 0; i < qn_features_group_count(p->features); i++) {
        struct qn_group_info g = qn_features_group(p->features, i);

        qn_buf_text(out, i > 0 ? ",{" : "{");
        text(out, true, "stream", qn_str_of(g.source));
        text(out, false, "by", qn_str_of(g.key));
        number(out, "windows", g.windows);
        reach(out, "keeps_us", g.keeps_us);
        number(out, "key_bytes", (int64_t)g.key_bytes);
        member(out, false, "event_bytes");
        put_double(out, g.event_bytes);
        qn_buf_byte(out, '}');
    }
}

/* "range":[low,high] */
static void put_range(struct qn_buf *out, double low, double high)
{
    member(out, false, "range");
    qn_buf_byte(out, '[');
    put_double(out, low);
    qn_buf_byte(out, ',');
    put_double(out, high);
    qn_buf_byte(out, ']');
}

/* Where an output takes contributions of this model. */
static void put_explain(struct qn_buf *out, const struct qn_plan *p, const struct qn_plan_model *m)
{
    uint64_t alone_ns, batched_ns;
    char form[QN_EXPLAIN_FORM];

    if (!qn_plan_explains(p) || p->score_model < 0 || m != &p->models[p->score_model] ||
        qn_model_explain_obstacle(m->model) != NULL)
        return;
    qn_model_explain_form(m->model, form);
    text(out, false, "explain_form", qn_str_of(form));
    if (qn_model_explain_cost(m->model, &alone_ns, &batched_ns)) {
        number(out, "explain_ns_alone", (int64_t)alone_ns);
        number(out, "explain_ns_batched", (int64_t)batched_ns);
    }
}

static void put_model(struct qn_buf *out, const struct qn_plan *p, const struct qn_plan_model *m)
{
    const struct qn_model_info *info = qn_model_info(m->model);
    const struct qn_half_space *trees = qn_model_half_space(m->model);
    const struct qn_half_space_options *half = trees != NULL ? qn_half_space_options(trees) : NULL;
    uint64_t alone_ns, batched_ns;
    char kind[24];

    qn_buf_byte(out, '{');
    text(out, true, "name", m->name);
    if (half == NULL)
        text(out, false, "file", m->file);
    text(out, false, "format", qn_str_of(info->format));
    text(out, false, "library_version", qn_str_of(info->version));
    text(out, false, "objective", qn_str_of(info->objective));
    hash(out, "version", info->hash);
    number(out, "outputs", info->outputs);
    number(out, "trees", info->trees);
    number(out, "trees_in_file", info->trees_in_file);
    number(out, "depth", info->depth_max);
    text(out, false, "kernel", qn_str_of(info->kernel));
    text(out, false, "kernel_reason", qn_str_of(info->kernel_reason));
    if (qn_model_cost(m->model, &alone_ns, &batched_ns)) {
        number(out, "row_ns_alone", (int64_t)alone_ns);
        number(out, "row_ns_batched", (int64_t)batched_ns);
    }
    put_explain(out, p, m);
    number(out, "bytes", (int64_t)info->bytes);
    if (half != NULL) {
        number(out, "window", half->window);
        number(out, "state_bytes", (int64_t)qn_learner_state_bytes(m->model));
    }
    member(out, false, "inputs");
    qn_buf_byte(out, '[');
    for (uint32_t i = 0; i < m->input_count; i++) {
        const struct qn_model_input *in = &m->inputs[i];

        qn_buf_text(out, i > 0 ? ",{" : "{");
        text(out, true, "name", in->name);
        text(out, false, "from",
             in->column < p->field_count
                 ? p->schemas[p->main_stream].fields[in->column].name
                 : qn_features_info(p->features, in->column - p->field_count)->name);
        text(out, false, "type", qn_str_of(qn_kind_print(in->kind, kind)));
        if (half != NULL && half->low[i] == half->low[i])
            put_range(out, half->low[i], half->high[i]);
        qn_buf_byte(out, '}');
    }
    qn_buf_text(out, "]}");
}

static void put_sinks(struct qn_buf *out, const struct qn_plan_output *o)
{
    if (o->sink_count == 0) {
        text(out, false, "to", qn_str_of("topic"));
        return;
    }
    member(out, false, "to");
    for (uint32_t i = 0; i < o->sink_count; i++) {
        qn_buf_text(out, i == 0 ? "[{" : ",{");
        text(out, true, "name", o->sinks[i].name);
        text(out, false, "sink", qn_str_of(o->sinks[i].ops->name));
        text(out, false, "options", o->sinks[i].shown);
        qn_buf_byte(out, '}');
    }
    qn_buf_byte(out, ']');
}

static void put_output(struct qn_buf *out, const struct qn_plan *p, const struct qn_plan_output *o)
{
    static const char *const names[] = {"features", "event", "margin", "contributions"};
    bool is_first = true;

    qn_buf_byte(out, '{');
    text(out, true, "name", o->name);
    member(out, false, "from");
    for (uint32_t s = 0; s < p->schema_count; s++)
        if ((o->from >> s) & 1) {
            qn_buf_byte(out, is_first ? '[' : ',');
            qn_json_string(out, p->schemas[s].name);
            is_first = false;
        }
    qn_buf_byte(out, ']');
    is_first = true;
    optional_text(out, "when", o->when != NULL ? &o->when_text : NULL);
    member(out, false, "include");
    qn_buf_byte(out, '[');
    for (uint32_t i = 0; i < 4; i++)
        if (o->include & (1u << i)) {
            qn_buf_printf(out, "%s\"%s\"", is_first ? "" : ",", names[i]);
            is_first = false;
        }
    qn_buf_byte(out, ']');
    put_sinks(out, o);
    qn_buf_byte(out, '}');
}

/* ,"stages":[...] in the order of an event's way. */
static void put_stages(struct qn_buf *out, const struct qn_plan *p)
{
    const struct qn_plan_kafka *k = &p->kafka;

    member(out, false, "stages");
    for (uint32_t i = 0; i < k->stage_count; i++) {
        bool is_first = true;

        qn_buf_text(out, i > 0 ? ",{" : "[{");
        text(out, true, "name", qn_str_of(k->stages[i].name));
        text(out, false, "topic", qn_str_of(k->stages[i].topic));
        text(out, false, "group", qn_str_of(k->stages[i].group));
        member(out, false, "windows");
        qn_buf_byte(out, '[');
        for (uint32_t g = 0; g < qn_features_group_count(p->features); g++) {
            if (k->group_stages[g] != i)
                continue;
            qn_buf_printf(out, "%s%u", is_first ? "" : ",", g);
            is_first = false;
        }
        qn_buf_text(out, "]}");
    }
    qn_buf_byte(out, ']');
}

static void put_kafka(struct qn_buf *out, const struct qn_plan *p)
{
    const struct qn_plan_kafka *k = &p->kafka;

    member(out, false, "kafka");
    qn_buf_byte(out, '{');
    text(out, true, "brokers", qn_str_of(k->target.brokers));
    text(out, false, "group", qn_str_of(k->group));
    text(out, false, "input", qn_str_of(k->stream_topics[p->main_stream]));
    text(out, false, "dead", qn_str_of(k->dead_topic));
    if (k->journal_topic != NULL)
        text(out, false, "journal", qn_str_of(k->journal_topic));
    text(out, false, "snapshots", qn_str_of(k->snapshots));
    if (k->stage_count > 1)
        put_stages(out, p);
    qn_buf_byte(out, '}');
}

void qn_plan_json(const struct qn_plan *p, struct qn_buf *out)
{
    qn_buf_byte(out, '{');
    text(out, true, "name", p->name);
    text(out, false, "file", qn_str_of(p->file));
    hash(out, "version", p->version);
    member(out, false, "streams");
    qn_buf_byte(out, '[');
    for (uint32_t i = 0; i < p->schema_count; i++) {
        qn_buf_text(out, i > 0 ? "," : "");
        put_stream(out, p, i);
    }
    qn_buf_text(out, "],\"features\":[");
    put_features(out, p);
    qn_buf_text(out, "],\"windows\":[");
    put_groups(out, p);
    qn_buf_text(out, "],\"models\":[");
    for (uint32_t i = 0; i < p->model_count; i++) {
        qn_buf_text(out, i > 0 ? "," : "");
        put_model(out, p, &p->models[i]);
    }
    qn_buf_byte(out, ']');
    optional_text(out, "score", p->score_model >= 0 ? &p->models[p->score_model].name : NULL);
    member(out, false, "outputs");
    qn_buf_byte(out, '[');
    for (uint32_t i = 0; i < p->output_count; i++) {
        qn_buf_text(out, i > 0 ? "," : "");
        put_output(out, p, &p->outputs[i]);
    }
    qn_buf_byte(out, ']');
    if (p->storage.dir != NULL)
        text(out, false, "log", qn_str_of(p->storage.dir));
    if (p->limits.memory_bytes > 0 || p->limits.wait_us > 0) {
        member(out, false, "limits");
        qn_buf_printf(out, "{\"memory\":%llu,\"wait_us\":%lld",
                      (unsigned long long)p->limits.memory_bytes, (long long)p->limits.wait_us);
        if (p->limits.held_bytes > 0)
            number(out, "held_bytes", (int64_t)p->limits.held_bytes);
        qn_buf_byte(out, '}');
    }
    if (p->kafka.target.brokers != NULL)
        put_kafka(out, p);
    qn_buf_byte(out, '}');
}
