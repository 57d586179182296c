/* SPDX-License-Identifier: Apache-2.0
 * plan_print.c - a plan for people: what `quern check` shows. (For programs: plan_json.c.)
 *
 * Laid out for 100 columns; what is longer goes on in the next line, at the same column. Sentences
 * and paths are shown as the spec has them, so no secret appears here. Thread: any, read-only.
 * Memory: the caller's buffer. */
#include "base/number.h"
#include "feature/window.h"
#include "model/half_space.h"
#include "model/treeshap.h"
#include "score/learner.h"
#include "spec/spec_int.h"
#include "state/budget.h"
#include "state/table.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 100, NAME_MAX_COLUMNS = 32, EXAMPLE_EVENTS = 100, EXAMPLE_RATE = 100 };

static uint32_t columns(struct qn_str s)
{
    return (uint32_t)qn_utf8_count(s.p, s.len);
}

static void pad(struct qn_buf *out, uint32_t used, uint32_t width)
{
    do {
        qn_buf_byte(out, ' ');
    } while (++used < width);
}

/* Text in columns of `width`, then at least one space. */
static void put_cell(struct qn_buf *out, struct qn_str s, uint32_t width)
{
    qn_buf_add(out, s.p, s.len);
    pad(out, columns(s), width);
}

/* The rest of a line that has reached column `at`: words, white space as one space, wrapped. */
static void put_wrapped(struct qn_buf *out, uint32_t at, struct qn_str s)
{
    uint32_t used = at, i = 0;
    bool is_first = true;

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
        if (!is_first && used + 1 + columns(word) > WIDTH) {
            qn_buf_byte(out, '\n');
            for (used = 0; used < at + 2; used++)
                qn_buf_byte(out, ' ');
        } else if (!is_first) {
            qn_buf_byte(out, ' ');
            used++;
        }
        qn_buf_add(out, word.p, word.len);
        used += columns(word);
        is_first = false;
    }
    qn_buf_byte(out, '\n');
}

static void put_duration(struct qn_buf *out, int64_t us)
{
    char text[40];
    int64_t day = INT64_C(86400000000);

    if (us == QN_OVER_ALL) {
        qn_buf_text(out, "everything");
        return;
    }
    if (us >= 2 * day && us % day != 0) { /* 30d20s reads better as 30d 20s */
        qn_buf_add(out, text, qn_duration_print(text, us - us % day));
        qn_buf_byte(out, ' ');
        us %= day;
    }
    qn_buf_add(out, text, qn_duration_print(text, us));
}

static void put_bytes(struct qn_buf *out, double bytes)
{
    if (bytes < 1000)
        qn_buf_printf(out, "%.*f B", bytes < 100 && bytes != (double)(int)bytes ? 1 : 0, bytes);
    else if (bytes < 1e6)
        qn_buf_printf(out, "%.1f KB", bytes / 1e3);
    else if (bytes < 1e9)
        qn_buf_printf(out, "%.1f MB", bytes / 1e6);
    else
        qn_buf_printf(out, "%.1f GB", bytes / 1e9);
}

/* ---- streams ---- */

static void put_number(struct qn_buf *out, const struct qn_field *f, const struct qn_value *v)
{
    char text[QN_NUMBER_MAX];
    unsigned n, scale = f->kind.scale;
    int64_t whole = v->i64;

    if (f->kind.type == QN_DOUBLE || f->kind.type == QN_LIST) {
        n = qn_print_double(text, v->f64);
    } else {
        for (; scale > 0 && whole % 10 == 0; scale--) /* 0, not 0.00 */
            whole /= 10;
        n = qn_print_scaled(text, whole, scale);
    }
    qn_buf_add(out, text, n);
}

static void put_value(struct qn_buf *out, const struct qn_field *f, const struct qn_value *v,
                      bool is_limit)
{
    char time[QN_TIMESTAMP_LEN];

    switch (f->kind.type) {
    case QN_BOOL:
        qn_buf_text(out, v->i64 ? "true" : "false");
        break;
    case QN_STRING:
        qn_json_string(out, v->str);
        break;
    case QN_TIMESTAMP:
        qn_buf_add(out, time, qn_timestamp_print(time, v->i64));
        break;
    case QN_LIST:
        if (is_limit) {
            put_number(out, f, v);
            break;
        }
        qn_buf_byte(out, '[');
        for (uint32_t i = 0; i < v->list.n; i++) {
            struct qn_value one = {.f64 = v->list.v[i]};

            qn_buf_text(out, i > 0 ? ", " : "");
            put_number(out, f, &one);
        }
        qn_buf_byte(out, ']');
        break;
    default:
        put_number(out, f, v);
    }
}

static void put_promises(struct qn_buf *out, const struct qn_field *f, bool is_hidden)
{
    static const char *const units[] = {"", "seconds", "milliseconds", "microseconds",
                                        "nanoseconds"};

    qn_buf_text(out, f->has_default ? "default " : f->is_optional ? "optional" : "required");
    if (f->has_default && is_hidden)
        qn_buf_text(out, "(not shown)");
    else if (f->has_default)
        put_value(out, f, &f->fallback, false);
    if (is_hidden && (f->has_min || f->has_max || f->in_count > 0)) {
        qn_buf_text(out, ", limits not shown");
    } else {
        if (f->has_min) {
            qn_buf_text(out, ", min ");
            put_value(out, f, &f->min, true);
        }
        if (f->has_max) {
            qn_buf_text(out, ", max ");
            put_value(out, f, &f->max, true);
        }
        for (uint32_t i = 0; i < f->in_count; i++) {
            qn_buf_text(out, i == 0 ? ", in " : " or ");
            put_value(out, f, &f->in[i], false);
        }
    }
    if (f->length_max != 0)
        qn_buf_printf(out, ", at most %u %s", f->length_max,
                      f->kind.type == QN_LIST ? "values" : "characters");
    if (f->length_exact != 0)
        qn_buf_printf(out, ", exactly %u values", f->length_exact);
    if (f->unit != QN_TIME_TEXT)
        qn_buf_printf(out, ", in %s since 1970", units[f->unit]);
    if (!qn_str_eq(f->from, f->name))
        qn_buf_printf(out, ", from %.*s", QN_STR_ARG(f->from));
}

static uint32_t wider(uint32_t width, struct qn_str name)
{
    uint32_t n = columns(name) + 2;

    return n > width && n <= NAME_MAX_COLUMNS + 2 ? n : width;
}

static void print_stream(const struct qn_plan *p, uint32_t index, struct qn_buf *out)
{
    static const char *const late[] = {"score", "fold", "drop", "dead-letter"};
    const struct qn_schema *s = &p->schemas[index];
    struct qn_buf line = {0};
    uint32_t width = 8;
    char kind[24];

    qn_buf_printf(out, "    %.*s%s\n      ", QN_STR_ARG(s->name),
                  index == p->main_stream ? "   main" : "");
    qn_buf_printf(&line, "time %.*s", QN_STR_ARG(s->fields[s->time].name));
    if (s->id >= 0)
        qn_buf_printf(&line, " · id %.*s", QN_STR_ARG(s->fields[s->id].name));
    if (s->key >= 0)
        qn_buf_printf(&line, " · key %.*s", QN_STR_ARG(s->fields[s->key].name));
    qn_buf_text(&line, " · lateness ");
    put_duration(&line, s->lateness_us);
    qn_buf_printf(&line, " · late %s", late[s->late]);
    if (s->late == QN_LATE_SCORE || s->late == QN_LATE_FOLD) {
        qn_buf_text(&line, " within ");
        put_duration(&line, s->within_us);
    }
    if (s->dedup_us > 0) {
        qn_buf_text(&line, " · dedup ");
        put_duration(&line, s->dedup_us);
    }
    put_wrapped(out, 6, (struct qn_str){line.data, (uint32_t)line.len});
    for (uint32_t i = 0; i < p->source_count; i++) {
        if (p->sources[i].stream != index)
            continue;
        qn_buf_clear(&line);
        qn_buf_printf(&line, "from %s %.*s", p->sources[i].ops->name,
                      QN_STR_ARG(p->sources[i].shown));
        pad(out, 0, 6);
        put_wrapped(out, 6, (struct qn_str){line.data, (uint32_t)line.len});
    }
    for (uint32_t i = 0; i < s->field_count; i++)
        width = wider(width, s->fields[i].name);
    for (uint32_t i = 0; i < s->field_count; i++) {
        const struct qn_field *f = &s->fields[i];

        qn_buf_text(out, "      ");
        put_cell(out, f->name, width);
        put_cell(out, qn_str_of(qn_kind_print(f->kind, kind)), 13);
        qn_buf_clear(&line);
        put_promises(&line, f, p->field_hidden[index][i]);
        put_wrapped(out, 6 + width + 13, (struct qn_str){line.data, (uint32_t)line.len});
        out->failed |= line.failed;
    }
    qn_buf_fini(&line);
}

/* ---- features and their windows ---- */

static void print_features(const struct qn_plan *p, struct qn_buf *out)
{
    uint32_t width = 8, kinds = 8;
    char kind[24];

    if (p->feature_count == 0)
        return;
    for (uint32_t i = 0; i < p->feature_count; i++) {
        const struct qn_feature_info *info = qn_features_info(p->features, i);

        width = wider(width, info->name);
        kinds = wider(kinds, qn_str_of(qn_kind_print(info->kind, kind)));
    }
    qn_buf_printf(out, "  features\n");
    for (uint32_t i = 0; i < p->feature_count; i++) {
        const struct qn_feature_info *info = qn_features_info(p->features, i);

        qn_buf_text(out, "    ");
        put_cell(out, info->name, width);
        put_cell(out, qn_str_of(qn_kind_print(info->kind, kind)), kinds);
        put_wrapped(out, 4 + width + kinds, p->feature_texts[i]);
    }
}

static void print_windows(const struct qn_plan *p, struct qn_buf *out)
{
    uint32_t count = qn_features_group_count(p->features), width = 8;
    char name[256];

    if (count == 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        struct qn_group_info g = qn_features_group(p->features, i);
        uint32_t n = (uint32_t)snprintf(name, sizeof(name), "%s by %s", g.source, g.key) + 2;

        width = n > width ? n : width;
    }
    qn_buf_text(out, "  windows  (memory per key)\n");
    for (uint32_t i = 0; i < count; i++) {
        struct qn_group_info g = qn_features_group(p->features, i);

        snprintf(name, sizeof(name), "%s by %s", g.source, g.key);
        qn_buf_text(out, "    ");
        put_cell(out, qn_str_of(name), width);
        qn_buf_printf(out, " %u window%s  keeps ", g.windows, g.windows == 1 ? " " : "s");
        put_duration(out, g.keeps_us);
        qn_buf_text(out, "   ");
        put_bytes(out, (double)g.key_bytes);
        if (g.keeps_us == QN_OVER_ALL) {
            qn_buf_text(out, " for every key ever seen\n");
            continue;
        }
        qn_buf_text(out, " + ");
        put_bytes(out, g.event_bytes);
        qn_buf_printf(out, " per event held  (%d events: ", EXAMPLE_EVENTS);
        put_bytes(out, (double)g.key_bytes + EXAMPLE_EVENTS * g.event_bytes);
        qn_buf_text(out, ")\n");
    }
}

/* ---- ids that are remembered ---- */

static int ids_name(const struct qn_schema *s, char *out, size_t bytes)
{
    return snprintf(out, bytes, "%.*s by %.*s", QN_STR_ARG(s->name),
                    QN_STR_ARG(s->fields[s->id].name));
}

static void print_ids(const struct qn_plan *p, struct qn_buf *out)
{
    uint32_t width = 8, count = 0;
    char name[512];

    for (uint32_t i = 0; i < p->schema_count; i++) {
        const struct qn_schema *s = &p->schemas[i];

        if (s->dedup_us == 0)
            continue;
        count++;
        width = wider(width, (struct qn_str){name, (uint32_t)ids_name(s, name, sizeof name)});
    }
    if (count > 0)
        qn_buf_text(out, "  ids  (memory per id)\n");
    for (uint32_t i = 0; i < p->schema_count; i++) {
        const struct qn_schema *s = &p->schemas[i];
        const bool is_text = s->dedup_us > 0 && s->fields[s->id].kind.type == QN_STRING;
        const double bytes = (double)qn_table_key_bytes(QN_DEDUP_BYTES, 0);

        if (s->dedup_us == 0)
            continue;
        qn_buf_text(out, "    ");
        put_cell(out, (struct qn_str){name, (uint32_t)ids_name(s, name, sizeof name)}, width);
        qn_buf_text(out, " keeps ");
        put_duration(out, s->dedup_us);
        qn_buf_text(out, "   ");
        put_bytes(out, bytes);
        if (is_text)
            qn_buf_printf(out, ", a text over %d B its length more", QN_TABLE_KEY_INLINE);
        qn_buf_printf(out, "  (%d a second: ", EXAMPLE_RATE);
        put_bytes(out, bytes * EXAMPLE_RATE * ((double)s->dedup_us / 1e6));
        qn_buf_text(out, ")\n");
    }
}

/* ---- models and outputs ---- */

static struct qn_str column_name(const struct qn_plan *p, uint32_t column)
{
    if (column < p->field_count)
        return p->schemas[p->main_stream].fields[column].name;
    return qn_features_info(p->features, column - p->field_count)->name;
}

/* What half-space trees take for usual values of an input. */
static void put_range(double low, double high, struct qn_buf *out)
{
    char from[QN_NUMBER_MAX + 1] = {0}, to[QN_NUMBER_MAX + 1] = {0};

    if (low != low) {
        qn_buf_text(out, ", range learnt");
        return;
    }
    qn_print_double(from, low);
    qn_print_double(to, high);
    qn_buf_printf(out, ", range %s to %s", from, to);
}

/* Where an output takes contributions: how they come about, and what they cost. */
static void print_explain(const struct qn_plan *p, const struct qn_model *m, struct qn_buf *out)
{
    if (!qn_plan_explains(p) || qn_model_explain_obstacle(m) != NULL)
        return;
    qn_buf_text(out, "      contributions ");
    qn_buf_text(out, qn_model_explain_print(m, " · ", out) ? " (measured)\n" : "\n");
}

static void print_model(const struct qn_plan *p, uint32_t index, struct qn_buf *out)
{
    const struct qn_plan_model *m = &p->models[index];
    const struct qn_model_info *info = qn_model_info(m->model);
    const struct qn_half_space_options *half =
        qn_model_half_space(m->model) != NULL ? qn_half_space_options(qn_model_half_space(m->model))
                                              : NULL;
    uint64_t alone_ns, batched_ns;
    uint32_t width = 8;
    char kind[24];

    if (half != NULL)
        qn_buf_printf(out, "    %.*s   half-space trees · window %u events", QN_STR_ARG(m->name),
                      half->window);
    else
        qn_buf_printf(out, "    %.*s   %.*s · %s%s%s · %s", QN_STR_ARG(m->name),
                      QN_STR_ARG(m->file), info->format, info->version[0] ? " " : "", info->version,
                      info->objective);
    if (info->trees > 0) {
        qn_buf_printf(out, " · %u tree%s", info->trees, info->trees == 1 ? "" : "s");
        if (info->trees != info->trees_in_file)
            qn_buf_printf(out, " of %u", info->trees_in_file);
        qn_buf_printf(out, ", depth %u", info->depth_max);
    }
    if (info->outputs > 1)
        qn_buf_printf(out, " · %u outputs", info->outputs);
    qn_buf_printf(out, "%s\n", (int32_t)index == p->score_model ? " · scores" : "");
    qn_buf_printf(out, "      kernel %s (%s) · ", info->kernel, info->kernel_reason);
    put_bytes(out, (double)info->bytes);
    if (half != NULL) {
        qn_buf_text(out, " · state ");
        put_bytes(out, (double)qn_learner_state_bytes(m->model));
    }
    qn_buf_printf(out, " · version %016llx · %u input%s\n", (unsigned long long)info->hash,
                  m->input_count, m->input_count == 1 ? "" : "s");
    if (qn_model_cost(m->model, &alone_ns, &batched_ns))
        qn_buf_printf(
            out, "      a row costs about %llu ns alone, %llu ns in batches of 64 (measured)\n",
            (unsigned long long)alone_ns, (unsigned long long)batched_ns);
    if ((int32_t)index == p->score_model)
        print_explain(p, m->model, out);
    for (uint32_t i = 0; i < m->input_count; i++)
        width = wider(width, m->inputs[i].name);
    for (uint32_t i = 0; i < m->input_count; i++) {
        const struct qn_model_input *in = &m->inputs[i];
        struct qn_str column = column_name(p, in->column);

        qn_buf_printf(out, "      %3u  ", i + 1);
        put_cell(out, in->name, width);
        if (!qn_str_eq(in->name, column))
            qn_buf_printf(out, "<- %.*s   ", QN_STR_ARG(column));
        qn_buf_printf(out, "%s%s", in->column < p->field_count ? "field, " : "",
                      qn_kind_print(in->kind, kind));
        if (half != NULL)
            put_range(half->low[i], half->high[i], out);
        qn_buf_byte(out, '\n');
    }
}

/* ", with features, the event" */
static void put_includes(struct qn_buf *out, uint32_t include)
{
    static const char *const names[] = {"features", "the event", "the margin", "contributions"};
    const char *before = ", with ";

    for (uint32_t i = 0; i < 4; i++)
        if (include & (1u << i)) {
            qn_buf_printf(out, "%s%s", before, names[i]);
            before = ", ";
        }
}

/* "every scored event of pay", "every good event of pay and back" */
static void put_from(struct qn_buf *out, const struct qn_plan *p, uint64_t from)
{
    const char *before = " of ";

    qn_buf_printf(out, "every %s event",
                  p->score_model >= 0 && from == UINT64_C(1) << p->main_stream ? "scored" : "good");
    for (uint32_t s = 0; s < p->schema_count; s++)
        if ((from >> s) & 1) {
            qn_buf_printf(out, "%s%.*s", before, QN_STR_ARG(p->schemas[s].name));
            before = " and ";
        }
}

static void print_outputs(const struct qn_plan *p, struct qn_buf *out)
{
    struct qn_buf line = {0};
    uint32_t width = 8;

    for (uint32_t i = 0; i < p->output_count; i++)
        width = wider(width, p->outputs[i].name);
    qn_buf_text(out, "  outputs\n");
    for (uint32_t i = 0; i < p->output_count; i++) {
        const struct qn_plan_output *o = &p->outputs[i];

        qn_buf_clear(&line);
        if (o->when != NULL)
            qn_buf_printf(&line, "when %.*s", QN_STR_ARG(o->when_text));
        else
            put_from(&line, p, o->from);
        put_includes(&line, o->include);
        qn_buf_text(out, "    ");
        put_cell(out, o->name, width);
        put_wrapped(out, 4 + width, (struct qn_str){line.data, (uint32_t)line.len});
        for (uint32_t k = 0; k < o->sink_count; k++) {
            qn_buf_clear(&line);
            qn_buf_printf(&line, "to %s %.*s", o->sinks[k].ops->name,
                          QN_STR_ARG(o->sinks[k].shown));
            pad(out, 0, 4 + width);
            put_wrapped(out, 4 + width, (struct qn_str){line.data, (uint32_t)line.len});
        }
        out->failed |= line.failed;
    }
    qn_buf_fini(&line);
}

/* Where features are by several keys: what each stage reads and computes. */
static void print_stages(const struct qn_plan *p, struct qn_buf *out)
{
    const struct qn_plan_kafka *k = &p->kafka;

    for (uint32_t i = 0; i < k->stage_count && k->stage_count > 1; i++) {
        const struct qn_plan_stage *s = &k->stages[i];
        bool is_first = true;

        qn_buf_printf(out, "    stage %s · topic %s · group %s · windows", s->name, s->topic,
                      s->group);
        for (uint32_t g = 0; g < qn_features_group_count(p->features); g++) {
            if (k->group_stages[g] != i)
                continue;
            qn_buf_printf(out, "%s by %s", is_first ? "" : ";",
                          qn_features_group(p->features, g).key);
            is_first = false;
        }
        qn_buf_text(out, is_first ? ": none\n" : "\n");
    }
}

/* Where the log lies in Kafka: which topics, and in what pace. Settings may be secrets. */
static void print_kafka(const struct qn_plan *p, struct qn_buf *out)
{
    const struct qn_plan_kafka *k = &p->kafka;
    char commit[41] = {0}, every[41] = {0};

    qn_duration_print(commit, k->commit_us);
    qn_duration_print(every, p->storage.snapshot_every_us);
    qn_buf_printf(
        out, "  log\n    Kafka at %s · group %s%s%s · %s every %s\n", k->target.brokers, k->group,
        k->instance != NULL ? " · instance " : "", k->instance != NULL ? k->instance : "",
        k->is_at_least_once ? "at least once, positions" : "exactly once, a transaction", commit);
    for (uint32_t s = 0; s < p->schema_count; s++)
        qn_buf_printf(out, "    %.*s from topic %s\n", QN_STR_ARG(p->schemas[s].name),
                      k->stream_topics[s]);
    for (uint32_t o = 0; o < p->output_count; o++)
        qn_buf_printf(out, "    %.*s to topic %s\n", QN_STR_ARG(p->outputs[o].name),
                      k->output_topics[o]);
    print_stages(p, out);
    if (k->journal_topic != NULL)
        qn_buf_printf(out, "    order of the streams in topic %s; all with as many partitions\n",
                      k->journal_topic);
    qn_buf_printf(out, "    dead letters to topic %s\n    snapshot every %s in %s\n", k->dead_topic,
                  every, k->snapshots);
    if (k->standby > 0)
        qn_buf_text(out, "    standby: a warm copy of each partition, so twice the memory\n");
}

/* Only what `quern run` uses; nothing where the spec names no log. */
static void print_log(const struct qn_plan *p, struct qn_buf *out)
{
    static const char *const codecs[] = {"plain", "lz4", "zstd"};
    const struct qn_plan_storage *st = &p->storage;
    char keep[41] = {0}, every[41] = {0};

    if (p->kafka.target.brokers != NULL)
        print_kafka(p, out);
    if (st->dir == NULL)
        return;
    if (st->keep_us > 0)
        qn_duration_print(keep, st->keep_us);
    qn_duration_print(every, st->snapshot_every_us);
    qn_buf_printf(out, "  log\n    %s  %s, kept %s", st->dir, codecs[st->codec],
                  st->keep_us > 0 ? keep : "for ever");
    if (st->keep_bytes > 0)
        qn_buf_printf(out, ", at most %llu bytes of the main stream",
                      (unsigned long long)st->keep_bytes);
    qn_buf_printf(out, "%s · snapshot every %s", st->is_volatile ? ", not durable" : "", every);
    if (st->bucket.name != NULL)
        qn_buf_printf(out, " to s3://%s/%s (%s, %s)", st->bucket.name, st->bucket.prefix,
                      st->bucket.endpoint != NULL ? st->bucket.endpoint : "AWS", st->bucket.region);
    qn_buf_byte(out, '\n');
}

/* Of memory: how many keys there is room for, were there one in each group with some events. */
static void print_limits(const struct qn_plan *p, struct qn_buf *out)
{
    const double room =
        (double)qn_budget_new_keys_limit(p->limits.memory_bytes) - (double)p->limits.held_bytes;
    double bytes = 0;

    if (p->limits.memory_bytes == 0 && p->limits.wait_us == 0)
        return;
    qn_buf_text(out, "  limits\n");
    if (p->limits.wait_us > 0) {
        qn_buf_text(out, "    wait   ");
        put_duration(out, p->limits.wait_us);
        qn_buf_text(out, " for the engine, then events are refused\n");
    }
    if (p->limits.memory_bytes == 0)
        return;
    for (uint32_t i = 0; i < qn_features_group_count(p->features); i++) {
        const struct qn_group_info g = qn_features_group(p->features, i);

        bytes += (double)g.key_bytes + EXAMPLE_EVENTS * g.event_bytes;
    }
    qn_buf_text(out, "    memory ");
    put_bytes(out, (double)p->limits.memory_bytes);
    if (p->kafka.target.brokers != NULL)
        qn_buf_text(out, " a partition, times those that a process has");
    qn_buf_text(out, ", of which new keys and ids take ");
    put_bytes(out, room);
    if (p->limits.held_bytes > 0) {
        qn_buf_text(out, " beside half-space trees of ");
        put_bytes(out, (double)p->limits.held_bytes);
    }
    if (bytes > 0)
        qn_buf_printf(out, "  (%d events in each window's key: %.0f keys)", EXAMPLE_EVENTS,
                      floor(room / bytes));
    qn_buf_byte(out, '\n');
}

/* Where it listens and who may ask; no token, not even a part of one. */
static void print_serve(const struct qn_plan *p, struct qn_buf *out)
{
    const struct qn_plan_serve *sv = &p->serve;

    if (sv->http == NULL)
        return;
    qn_buf_printf(out, "  serve\n    %s  %s", sv->http, sv->cert != NULL ? "TLS, " : "");
    if (sv->token_count[0] + sv->token_count[1] + sv->token_count[2] == 0)
        qn_buf_text(out, "no tokens: whoever reaches it may do everything\n");
    else
        qn_buf_printf(out, "tokens: %u read, %u write, %u admin\n", sv->token_count[QN_SERVE_READ],
                      sv->token_count[QN_SERVE_WRITE], sv->token_count[QN_SERVE_ADMIN]);
}

void qn_plan_print(const struct qn_plan *p, struct qn_buf *out)
{
    qn_buf_printf(out, "%.*s  (%s, spec %016llx)\n  streams\n", QN_STR_ARG(p->name), p->file,
                  (unsigned long long)p->version);
    for (uint32_t i = 0; i < p->schema_count; i++)
        print_stream(p, i, out);
    print_features(p, out);
    print_windows(p, out);
    print_ids(p, out);
    print_limits(p, out);
    if (p->model_count > 0)
        qn_buf_text(out, "  models\n");
    for (uint32_t i = 0; i < p->model_count; i++)
        print_model(p, i, out);
    print_outputs(p, out);
    print_log(p, out);
    print_serve(p, out);
}
