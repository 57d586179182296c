/* SPDX-License-Identifier: Apache-2.0
 * infer_write.c - writes a guessed stream as a commented spec that `quern check` takes as it
 * stands.
 *
 * Comments carry what the sample showed (examples, ranges, how many different values), so that the
 * reader can judge every guess. Texts from the data are shown as JSON strings, which cannot end a
 * comment. Thread: main. */
#include "cli/infer_schema.h"

#include <stdio.h>

enum { NAMES_MAX = 8, COMMENT_COLUMN = 48, FEW_VALUES = 5 };

#define SECOND_US INT64_C(1000000)
#define DAY_US    (86400 * SECOND_US)

/* Spaces up to the column in which comments begin, at least two; `start` is where the line begins
 * in the buffer. */
static void to_comment(struct qn_buf *out, size_t start)
{
    size_t used = out->len - start, wide = used + 2 < COMMENT_COLUMN ? COMMENT_COLUMN - used : 2;

    while (wide-- > 0)
        qn_buf_byte(out, ' ');
    qn_buf_text(out, "# ");
}

static void count_text(struct qn_buf *out, const struct qn_infer_field *f)
{
    if (f->distinct >= QN_INFER_DISTINCT_MAX)
        qn_buf_printf(out, "%d or more different values", QN_INFER_DISTINCT_MAX);
    else
        qn_buf_printf(out, "%llu different value%s", (unsigned long long)f->distinct,
                      f->distinct == 1 ? "" : "s");
}

/* What the sample showed of a field. */
static void field_comment(struct qn_buf *out, const struct qn_infer_field *f)
{
    if (f->kind.type == QN_STRING && f->distinct <= FEW_VALUES && f->values > 10 * f->distinct) {
        qn_buf_text(out, "only");
        for (uint32_t i = 0; i < f->example_count; i++) {
            qn_buf_text(out, i > 0 ? ", " : " ");
            qn_json_string(out, f->example[i]);
        }
        qn_buf_text(out, "; in: [...] would refuse others");
    } else if (f->kind.type == QN_INT64 || f->kind.type == QN_DOUBLE ||
               f->kind.type == QN_DECIMAL) {
        qn_buf_printf(out, "%.10g to %.10g", f->min, f->max);
        if (f->min >= 0 && f->kind.type != QN_INT64)
            qn_buf_text(out, "; min: 0 would refuse negative ones");
    } else if (f->kind.type == QN_BOOL) {
        qn_buf_text(out, f->distinct > 1 ? "true or false" : "always ");
        if (f->distinct == 1)
            qn_buf_add(out, f->example[0].p, f->example[0].len);
    } else if (f->example_count > 0) {
        qn_buf_text(out, "such as ");
        if (f->kind.type == QN_STRING || (f->kind.type == QN_TIMESTAMP && f->unit == QN_TIME_TEXT))
            qn_json_string(out, f->example[0]);
        else
            qn_buf_add(out, f->example[0].p, f->example[0].len);
        if (f->kind.type == QN_STRING && !f->is_unique) {
            qn_buf_text(out, "; ");
            count_text(out, f);
        }
    }
}

/* A path or a column name as YAML. */
static void yaml_text(struct qn_buf *out, struct qn_str text)
{
    bool is_plain = text.len > 0 && !(text.p[0] >= '0' && text.p[0] <= '9') && text.p[0] != '.';

    for (uint32_t i = 0; i < text.len; i++) {
        char c = text.p[i];

        is_plain = is_plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                (c >= '0' && c <= '9') || c == '_' || c == '.');
    }
    if (is_plain)
        qn_buf_add(out, text.p, text.len);
    else
        qn_json_string(out, text);
}

static void write_field(const struct qn_infer_field *f, struct qn_buf *out)
{
    static const char *const units[] = {
        [QN_TIME_S] = "s", [QN_TIME_MS] = "ms", [QN_TIME_US] = "us", [QN_TIME_NS] = "ns"};
    bool is_renamed = !qn_str_eq(f->name, f->from),
         is_epoch = f->kind.type == QN_TIMESTAMP && f->unit != QN_TIME_TEXT;
    size_t start = out->len;
    char kind[24];

    if (f->skipped != NULL) {
        qn_buf_text(out, "      # ");
        qn_json_string(out, f->from);
        qn_buf_printf(out, " is left out: %s\n", f->skipped);
        return;
    }
    qn_kind_print(f->kind, kind);
    qn_buf_printf(out, "      %.*s: ", QN_STR_ARG(f->name));
    if (!is_renamed && !is_epoch && !f->is_optional) {
        qn_buf_text(out, kind);
    } else {
        qn_buf_printf(out, "{type: %s", kind);
        if (is_renamed) {
            qn_buf_text(out, ", from: ");
            yaml_text(out, f->from);
        }
        if (is_epoch)
            qn_buf_printf(out, ", unit: %s", units[f->unit]);
        qn_buf_text(out, f->is_optional ? ", optional: true}" : "}");
    }
    to_comment(out, start);
    field_comment(out, f);
    qn_buf_byte(out, '\n');
}

/* The next round duration that covers twice what the sample showed, between 10 s and 30 days. */
static const char *lateness(int64_t disorder_us)
{
    static const struct {
        int64_t us;
        const char *text;
    } steps[] = {{10 * SECOND_US, "10s"},  {60 * SECOND_US, "1m"},       {600 * SECOND_US, "10m"},
                 {3600 * SECOND_US, "1h"}, {6 * 3600 * SECOND_US, "6h"}, {DAY_US, "1d"},
                 {2 * DAY_US, "2d"},       {7 * DAY_US, "7d"},           {14 * DAY_US, "14d"}};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (disorder_us <= steps[i].us / 2)
            return steps[i].text;
    return "30d";
}

static void write_role(struct qn_buf *out, const char *role, struct qn_str name,
                       const char *comment)
{
    size_t start = out->len;

    qn_buf_printf(out, "    %s: %.*s", role, QN_STR_ARG(name));
    to_comment(out, start);
    qn_buf_printf(out, "%s\n", comment);
}

static void write_stream(const struct qn_inferred *in, const struct qn_infer_names *names,
                         struct qn_buf *out)
{
    const struct qn_infer_field *time = &in->fields[in->time];
    char text[40] = "0s", comment[120];
    size_t start;

    qn_buf_printf(out, "streams:\n  %s:\n", names->stream);
    if (in->id >= 0)
        write_role(out, "id", in->fields[in->id].name,
                   "names the event; different in every one of the sample");
    write_role(out, "time", time->name, "when it happened; windows and features go by it");
    if (in->key >= 0)
        write_role(out, "key", in->fields[in->key].name, "whose events belong together");
    text[qn_duration_print(text, time->disorder_us)] = '\0';
    start = out->len;
    qn_buf_printf(out, "    lateness: %s", lateness(time->disorder_us));
    to_comment(out, start);
    snprintf(comment, sizeof(comment), "in the sample events lie up to %s behind the newest one",
             text);
    qn_buf_printf(out, "%s\n", time->disorder_us > 0 ? comment : "the sample is in order of time");
    if (time->disorder_us > 30 * DAY_US)
        qn_buf_text(
            out,
            "    late: score within 30d                      # better: sort the file by time\n");
    qn_buf_text(out, "    fields:\n");
    for (uint32_t i = 0; i < in->field_count; i++)
        if (in->fields[i].skipped == NULL || in->fields[i].values > 0 ||
            in->fields[i].example_count > 0 || strncmp(in->fields[i].skipped, "null", 4) != 0)
            write_field(&in->fields[i], out);
    qn_buf_byte(out, '\n');
}

/* --- features --- */

/* Names taken so far: all fields, then the features. */
struct features {
    const struct qn_inferred *in;
    struct qn_buf *out;
    char name[NAMES_MAX][120];
    uint32_t count;
};

static bool is_taken(const struct features *f, const char *name)
{
    for (uint32_t i = 0; i < f->in->field_count; i++)
        if (f->in->fields[i].skipped == NULL && qn_str_is(f->in->fields[i].name, name))
            return true;
    for (uint32_t i = 0; i < f->count; i++)
        if (strcmp(f->name[i], name) == 0)
            return true;
    return false;
}

/* One active feature: "<name>: <sentence>". Its name gets an underscore where it is taken. */
static void add_feature(struct features *f, const char *name, const char *sentence)
{
    char *mine = f->name[f->count];
    size_t n;

    if (f->count == NAMES_MAX)
        return;
    n = (size_t)snprintf(mine, sizeof(f->name[0]) - NAMES_MAX, "%s", name);
    n = n < sizeof(f->name[0]) - NAMES_MAX ? n : sizeof(f->name[0]) - NAMES_MAX - 1;
    for (unsigned tries = 0; is_taken(f, mine) && tries < NAMES_MAX; tries++)
        snprintf(mine + n, sizeof(f->name[0]) - n, "_%u", tries + 2);
    if (is_taken(f, mine))
        return;
    f->count++;
    qn_buf_printf(f->out, "  %s: %s\n", mine, sentence);
}

/* "customer_id" -> "customer"; cut so that names made of it stay short. */
static struct qn_str stem(struct qn_str name)
{
    static const char *const endings[] = {"_id", "_ID", "Id", "ID", "_key", "_uuid"};

    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t n = strlen(endings[i]);

        if (name.len > n + 1 && memcmp(name.p + name.len - n, endings[i], n) == 0) {
            name.len -= (uint32_t)n;
            break;
        }
    }
    name.len = name.len < 40 ? name.len : 40;
    return name;
}

/* A field that tells the outcome: as a feature of its own event it would give the answer away. */
static bool is_label(const struct qn_infer_field *f)
{
    static const char *const words[] = {"label",   "target",     "fraud",   "churn",    "outcome",
                                        "anomaly", "chargeback", "clicked", "converted"};
    bool is_flag =
        f->kind.type == QN_BOOL || (f->kind.type == QN_INT64 && f->min >= 0 && f->max <= 1);
    char lower[QN_INFER_EXAMPLE_BYTES + 1];
    uint32_t n = f->name.len < QN_INFER_EXAMPLE_BYTES ? f->name.len : QN_INFER_EXAMPLE_BYTES;

    for (uint32_t i = 0; i < n; i++)
        lower[i] =
            f->name.p[i] >= 'A' && f->name.p[i] <= 'Z' ? (char)(f->name.p[i] + 32) : f->name.p[i];
    lower[n] = '\0';
    for (size_t i = 0; is_flag && f->skipped == NULL && i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(lower, words[i]) != NULL)
            return true;
    return false;
}

static bool is_value(const struct qn_inferred *in, uint32_t i)
{
    const struct qn_infer_field *f = &in->fields[i];
    enum qn_type t = f->kind.type;

    return f->skipped == NULL && (int32_t)i != in->id && (int32_t)i != in->key && !f->is_named_id &&
           !is_label(f) && (t == QN_INT64 || t == QN_DOUBLE || t == QN_DECIMAL);
}

static void write_features_of_key(struct features *f, struct qn_str key)
{
    struct qn_str who = stem(key);
    char name[200], sentence[400];
    unsigned values = 0;

    snprintf(name, sizeof(name), "%.*s_count_1h", QN_STR_ARG(who));
    snprintf(sentence, sizeof(sentence), "count() by %.*s over 1h", QN_STR_ARG(key));
    add_feature(f, name, sentence);
    snprintf(name, sizeof(name), "%.*s_count_1d", QN_STR_ARG(who));
    snprintf(sentence, sizeof(sentence), "count() by %.*s over 1d", QN_STR_ARG(key));
    add_feature(f, name, sentence);
    for (uint32_t i = 0; i < f->in->field_count && values < 3; i++) {
        struct qn_str v = f->in->fields[i].name, cut = stem(v);

        if (!is_value(f->in, i) || v.len > 100)
            continue;
        values++;
        snprintf(name, sizeof(name), "%.*s_%.*s_mean_1d", QN_STR_ARG(who), QN_STR_ARG(cut));
        snprintf(sentence, sizeof(sentence), "mean(%.*s) by %.*s over 1d", QN_STR_ARG(v),
                 QN_STR_ARG(key));
        add_feature(f, name, sentence);
    }
}

/* Ideas, as comments. */
static void write_ideas(const struct features *f)
{
    const struct qn_inferred *in = f->in;
    struct qn_str time = in->fields[in->time].name;
    struct qn_buf *out = f->out;

    qn_buf_text(out, "  # More of the kind:\n");
    qn_buf_printf(out, "  # night: hour(%.*s) <= 6\n", QN_STR_ARG(time));
    for (uint32_t i = 0; i < in->field_count; i++) {
        struct qn_str v = in->fields[i].name;

        if (in->key >= 0 && is_value(in, i)) {
            struct qn_str key = in->fields[in->key].name;

            qn_buf_printf(out, "  # %.*s_max_7d: max(%.*s) by %.*s over 7d excluding current\n",
                          QN_STR_ARG(v), QN_STR_ARG(v), QN_STR_ARG(key));
            break;
        }
    }
    for (uint32_t i = 0; in->key >= 0 && i < in->field_count; i++) {
        struct qn_str v = in->fields[i].name, key = in->fields[in->key].name;

        if (is_label(&in->fields[i]))
            qn_buf_printf(out,
                          "  # %.*s_share_30d: mean(%.*s) by %.*s over 30d delayed 7d or 0   # a "
                          "label: not known at once\n",
                          QN_STR_ARG(v), QN_STR_ARG(v), QN_STR_ARG(key));
    }
    for (uint32_t i = 0; i < in->field_count; i++) {
        const struct qn_infer_field *g = &in->fields[i];

        if (g->skipped == NULL && (int32_t)i != in->id && (int32_t)i != in->key && g->is_named_id &&
            !g->is_unique && (g->kind.type == QN_STRING || g->kind.type == QN_INT64)) {
            qn_buf_printf(out, "  # %.*s_count_1d: count() by %.*s over 1d\n",
                          QN_STR_ARG(stem(g->name)), QN_STR_ARG(g->name));
            break;
        }
    }
}

static void write_features(const struct qn_inferred *in, struct features *f, struct qn_buf *out)
{
    struct qn_str time = in->fields[in->time].name;
    char sentence[200];

    qn_buf_text(out, "# One sentence each: what is known at the moment of the event, the event "
                     "itself included.\nfeatures:\n");
    snprintf(sentence, sizeof(sentence), "weekday(%.*s) >= 5", QN_STR_ARG(time));
    if (in->key >= 0 && in->fields[in->key].name.len <= 100)
        write_features_of_key(f, in->fields[in->key].name);
    add_feature(f, "weekend", sentence);
    write_ideas(f);
    qn_buf_byte(out, '\n');
}

static void write_model(const struct qn_inferred *in, const struct features *f,
                        const struct qn_infer_names *names, struct qn_buf *out)
{
    const char *comma = "";

    qn_buf_printf(
        out,
        "# A model makes scores of it. Its training set, one row per event:\n"
        "#   quern features %s --input %s=%s --output train.csv\n"
        "# models:\n"
        "#   main:\n"
        "#     file: model.ubj        # XGBoost (UBJ or JSON), LightGBM text, or linear JSON\n"
        "#     inputs: [",
        names->spec, names->stream, names->file);
    for (uint32_t i = 0; i < in->field_count; i++)
        if (is_value(in, i)) {
            qn_buf_printf(out, "%s%.*s", comma, QN_STR_ARG(in->fields[i].name));
            comma = ", ";
            break;
        }
    for (uint32_t i = 0; i < f->count; i++) {
        qn_buf_printf(out, "%s%s", comma, f->name[i]);
        comma = ", ";
    }
    qn_buf_text(out, "]\n# score:\n#   model: main\n\n"
                     "outputs:\n"
                     "  predictions: {include: [features]}\n"
                     "  # alerts: {when: score > 0.9}      # needs the model\n");
}

void qn_infer_write_spec(const struct qn_inferred *in, const struct qn_infer_names *names,
                         struct qn_buf *out)
{
    struct features f = {.in = in, .out = out};

    qn_buf_printf(
        out,
        "# A first spec, guessed from %s%llu event%s of %s.\n"
        "# Check it:  quern check %s\n"
        "# Run it:    quern pipe %s --input %s=%s --dead dead.ndjson > predictions.ndjson\n",
        in->is_whole ? "all " : "the first ", (unsigned long long)in->events,
        in->events == 1 ? "" : "s", names->file, names->spec, names->spec, names->stream,
        names->file);
    if (in->broken > 0)
        qn_buf_printf(out, "# %llu of them could not be read and will be dead letters.\n",
                      (unsigned long long)in->broken);
    if (in->fields_ignored > 0)
        qn_buf_printf(out, "# It has more than %d fields; the others are left out.\n",
                      QN_INFER_FIELDS_MAX);
    qn_buf_printf(out, "quern: 1\nname: %s\n\n", names->pipeline);
    write_stream(in, names, out);
    write_features(in, &f, out);
    write_model(in, &f, names, out);
}
