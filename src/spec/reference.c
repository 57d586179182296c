/* SPDX-License-Identifier: Apache-2.0
 * reference.c - docs/spec.md and the JSON schema of the spec, written from the key tables (keys.c).
 *
 * What a key is called, means and takes by default is said once, in its row; prose that belongs to
 * no key (types, late events, variables) stands here. Editors that know YAML read the schema; it
 * accepts a ${...} wherever a value may stand, and refuses unknown keys as the binder does. Thread:
 * any. Memory: the caller's buffer. */
#include "spec/spec_int.h"

/* ---- the page ---- */

static const char intro[] =
    "# The spec\n"
    "\n"
    "Generated from the key tables by `quern reference spec`.\n"
    "\n"
    "One YAML file describes one pipeline: what events hold, which features are computed, which "
    "model scores, what leaves.\n"
    "`quern check SPEC` reads it, shows every mistake at its place, and prints the resolved plan.\n"
    "\n"
    "```yaml\n"
    "quern: 1\n"
    "name: card-fraud\n"
    "streams:\n"
    "  transactions:\n"
    "    id: transaction_id\n"
    "    time: created_at\n"
    "    key: customer_id\n"
    "    fields:\n"
    "      transaction_id: string\n"
    "      created_at: timestamp\n"
    "      customer_id: string\n"
    "      amount: {type: decimal(2), min: 0}\n"
    "features:\n"
    "  night: hour(created_at) <= 6\n"
    "  spent_30d: sum(amount) by customer_id over 30d\n"
    "  ratio: amount / spent_30d\n"
    "models:\n"
    "  fraud: {file: fraud.ubj, inputs: [amount, night, ratio]}\n"
    "score: {model: fraud}\n"
    "outputs:\n"
    "  predictions: {include: [features]}\n"
    "  alerts: {when: score > 0.9}\n"
    "```\n"
    "\n";

static const char types[] =
    "## Types\n"
    "\n"
    "| type | holds | in the event | other names that are understood as a hint |\n"
    "|---|---|---|---|\n"
    "| `bool` | true or false | `true`, `false` | boolean |\n"
    "| `int64` | whole numbers of 64 bits | `5`, also `5.0` and `5e3` | int, integer, long, bigint "
    "|\n"
    "| `double` | floating-point numbers | `0.1` | float, number, real |\n"
    "| `decimal(n)` | exact numbers with n digits behind the point, 0 to 18 | `12.34` for n = 2 | "
    "numeric, money |\n"
    "| `string` | UTF-8 text | `\"abc\"` | text, varchar, str |\n"
    "| `timestamp` | microseconds, UTC | `\"2026-01-31T23:59:59Z\"`; with `unit` a number | "
    "datetime, date |\n"
    "| `list(double)` | numbers of a list | `[0.5, 1, 2]` | array, vector, embedding |\n"
    "\n"
    "No text is taken for a number and no number for a text. A number that does not fit its type "
    "exactly makes the event\n"
    "dead: nothing is rounded on the way in.\n"
    "\n"
    "`default`, `min`, `max` and `in` are values of the field's own type; texts that YAML would "
    "read as something else\n"
    "(`1`, `true`) need quotes.\n"
    "\n"
    "## Late events\n"
    "\n"
    "The watermark is the newest event time seen minus `lateness`; an event behind it is late.\n"
    "\n"
    "| `late:` | what happens |\n"
    "|---|---|\n"
    "| `score` | it is scored from the events at or before its own time, and enters the windows |\n"
    "| `score within 1h` | the same, up to so far behind the watermark; older ones are dead, "
    "`too_late` |\n"
    "| `fold`, `fold within 1h` | it enters the windows and is not scored |\n"
    "| `drop` | it is counted and left out |\n"
    "| `dead-letter` | it is counted and written to the dead letters |\n"
    "\n"
    "Without `within`, `score` and `fold` reach one more `lateness` behind the watermark. Windows "
    "hold their events so much\n"
    "longer: `quern check` shows the bytes.\n"
    "\n";

static const char sentences[] =
    "## Features\n"
    "\n"
    "`NAME: SENTENCE` under `features:`. A sentence is an expression over fields and other "
    "features, or a window:\n"
    "\n"
    "```\n"
    "AGG(expression) [where CONDITION] [of STREAM] by FIELD[, FIELD...] over DURATION\n"
    "                [delayed DURATION] [excluding current] [or DEFAULT]\n"
    "```\n"
    "\n"
    "| part | means |\n"
    "|---|---|\n"
    "| `count()` `sum` `mean` `min` `max` | the aggregate; bool counts as 0 and 1 |\n"
    "| `where amount > 200` | only events for which this is true |\n"
    "| `of chargebacks` | events of another stream; without it, of the main one |\n"
    "| `by customer_id` | the events of the same key |\n"
    "| `over 30d` | those with a time in (t - 30d, t], at or before this event in the log, this "
    "one included |\n"
    "| `over all` | all of them: state that grows with the number of keys |\n"
    "| `delayed 7d` | the window ends 7 days before this event: for labels that arrive late |\n"
    "| `excluding current` | without this event itself |\n"
    "| `or 0` | the value instead of null |\n"
    "\n"
    "Durations: `50ms 10s 5m 1h 7d 2w 1h30m`. Sums are exact, whatever the order of events. The "
    "functions and operators are\n"
    "in [expressions](expressions.md).\n"
    "\n"
    "In YAML a sentence needs quotes where it begins with a quote, `!`, `*`, `&`, `[`, `{`, `>` or "
    "`|`, or holds `: ` or ` #`.\n"
    "\n";

static const char sinks[] =
    "## Sinks\n"
    "\n"
    "A sink is written as `{KIND: VALUE}`, where VALUE is its first key, or as `{KIND: {key: "
    "value, ...}}`. What they\n"
    "promise, and what happens while a target is down: [sinks](sinks.md).\n"
    "\n";

static const char sources[] =
    "## Sources\n"
    "\n"
    "A source is written as `{KIND: VALUE}`, where VALUE is its first key, or as `{KIND: {key: "
    "value, ...}}`. Its events\n"
    "and how far it was read become durable in one step, so that after a crash none is lost and "
    "none comes twice.\n"
    "Files are followed over rotation (renamed and made anew, or copied and cut). Files that were "
    "rotated several times\n"
    "while nothing ran are read where they are numbered (PATH.1, PATH.2 and so on), the oldest "
    "first; by other names a\n"
    "path with `*` finds them. What cannot be read any more is said. What a writer adds between a "
    "copy and a cut nobody\n"
    "can see.\n"
    "\n";

static const char variables[] =
    "## Variables\n"
    "\n"
    "| written | becomes |\n"
    "|---|---|\n"
    "| `${NAME}` | the environment variable; an error where it is not set |\n"
    "| `${NAME:default}` | the same, or the default where it is not set |\n"
    "| `${file:PATH}` | the content of a file of at most 64 KiB, without its last line end; "
    "relative to the spec |\n"
    "| `${{NAME}}` | `${NAME}`, literally |\n"
    "\n"
    "They are filled into values after the YAML was read: a value can never add a key or a list "
    "entry. Keys are not filled.\n"
    "Inside `{...}` and `[...]` put quotes around them: `{file: \"${MODEL}\"}`. Values of files, "
    "and of variables whose name\n"
    "has TOKEN, SECRET, PASSWORD, KEY, URL or CREDENTIAL in it, are never shown in messages or "
    "plans.\n"
    "\n"
    "## YAML\n"
    "\n"
    "YAML 1.2: `true` and `false`, `null` and `~`, and numbers are special; `no`, `on`, `012` and "
    "`1:30` are text. Refused,\n"
    "with their place: duplicate keys, tabs outside quotes, tags, merge keys, unknown and unused "
    "anchors, more than one\n"
    "document, more than 4 MiB, 100,000 values or 64 levels.\n";

/* Text of a table cell: a '|' would end the cell. */
static void put_cell(struct qn_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            qn_buf_byte(out, '\\');
        qn_buf_byte(out, *text);
    }
}

/* What may stand behind the key. */
static void put_value(struct qn_buf *out, const struct qn_key *k)
{
    static const char *const words[] = {
        [QN_KEY_TEXT] = "text",
        [QN_KEY_BOOL] = "`true`, `false`",
        [QN_KEY_INT] = "a whole number",
        [QN_KEY_NUMBER] = "a number",
        [QN_KEY_DURATION] = "a duration",
        [QN_KEY_BYTES] = "a size",
        [QN_KEY_CHOICE] = "",
        [QN_KEY_CHOICES] = "a list of ",
        [QN_KEY_VALUE] = "a value",
        [QN_KEY_VALUES] = "a list of values",
        [QN_KEY_NAMES] = "a list of names",
        [QN_KEY_SINKS] =
            "`topic`, `{file: PATH}`, `{webhook: URL}`, or a list of those; a sink with "
            "more options is `{file: {path: PATH, gzip: true}}`",
        [QN_KEY_SOURCE] = "`{file: PATH}`, `{generate: {rate: 100}}`",
        [QN_KEY_TABLE] = "keys",
        [QN_KEY_MAP] = "`NAME:` keys",
        [QN_KEY_TEXTS] = "`NAME:` a sentence",
        [QN_KEY_RANGES] = "`NAME:` [lowest, highest]",
    };
    char most[41] = {0};

    if (k->type == QN_KEY_NAMES && k->value != NULL)
        qn_buf_printf(out, "a list of %s", k->value);
    else if (k->value != NULL && k->type == QN_KEY_TEXT)
        put_cell(out, k->value);
    else if (k->has_short)
        qn_buf_text(out, "`NAME:` a type, or keys");
    else
        qn_buf_text(out, words[k->type]);
    if (k->type == QN_KEY_DURATION && k->max > 0) {
        qn_duration_print(most, k->max);
        qn_buf_printf(out, ", at most %s", most);
    }
    if (k->type != QN_KEY_CHOICE && k->type != QN_KEY_CHOICES)
        return;
    for (const char *c = k->choices; *c != '\0';) {
        size_t n = strcspn(c, "|");

        if (*c != '!')
            qn_buf_printf(out, "%s`%.*s`", c == k->choices ? "" : ", ", (int)n, c);
        c += n + (c[n] == '|');
    }
}

static void put_table(struct qn_buf *out, const struct qn_key_table *t)
{
    bool any = false;

    qn_buf_printf(out, "## `%s`\n\n%s\n\n| key | value | default | means |\n|---|---|---|---|\n",
                  t->path[0] ? t->path : "quern: 1", t->help);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct qn_key *k = &t->keys[i];

        if (k->not_yet != NULL) {
            any = true;
            continue;
        }
        qn_buf_printf(out, "| `%s` | ", k->name);
        put_value(out, k);
        qn_buf_printf(out, " | %s | ",
                      k->is_required        ? "**required**"
                      : k->fallback != NULL ? k->fallback
                                            : "");
        put_cell(out, k->help);
        qn_buf_text(out, " |\n");
    }
    qn_buf_text(out, any ? "\nDesigned and not available yet, refused by name:\n\n| key | will say "
                           "| until then |\n|---|---|---|\n"
                         : "");
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->keys[i].not_yet != NULL)
            qn_buf_printf(out, "| `%s` | %s | %s |\n", t->keys[i].name, t->keys[i].help,
                          t->keys[i].not_yet);
    }
    qn_buf_byte(out, '\n');
}

/* The keys of every sink, those that all of them share once. */
static void put_sinks(struct qn_buf *out)
{
    struct qn_module_keys sink;

    qn_buf_text(out, sinks);
    for (const struct qn_sink_ops *const *ops = qn_sinks; *ops != NULL; ops++) {
        qn_sink_keys(*ops, &sink);
        sink.table.count = sink.own_count;
        if (sink.own_count > 0)
            put_table(out, &sink.table);
    }
    qn_sink_keys(qn_sinks[0], &sink);
    sink.table.keys += sink.own_count;
    sink.table.count -= sink.own_count;
    sink.table.path = "outputs: NAME: to: SINK:";
    sink.table.help = "What every sink has besides: how it tries, waits and gives up "
                      "([sinks](sinks.md)).";
    put_table(out, &sink.table);
}

static void put_sources(struct qn_buf *out)
{
    struct qn_module_keys source;

    qn_buf_text(out, sources);
    for (const struct qn_source_ops *const *ops = qn_sources; *ops != NULL; ops++) {
        qn_source_keys(*ops, &source);
        put_table(out, &source.table);
    }
}

void qn_plan_reference(struct qn_buf *out)
{
    qn_buf_text(out, intro);
    for (const struct qn_key_table *const *t = qn_key_tables; *t != NULL; t++) {
        put_table(out, *t);
        if (*t == &qn_keys_output)
            put_sinks(out);
        if (*t == &qn_keys_stream)
            put_sources(out);
        if (*t == &qn_keys_field) {
            qn_buf_text(out, types);
            qn_buf_text(out, sentences);
        }
    }
    qn_buf_text(out, variables);
}

/* ---- the JSON schema ---- */

static const char variable_schema[] = "{\"type\":\"string\",\"pattern\":\"\\\\$\\\\{\"}";

static void put_choices(struct qn_buf *out, const char *choices)
{
    bool is_first = true;

    qn_buf_text(out, "{\"enum\":[");
    for (const char *c = choices; *c != '\0';) {
        size_t n = strcspn(c, "|");

        if (*c != '!')
            qn_buf_printf(out, "%s\"%.*s\"", is_first ? "" : ",", (int)n, c);
        is_first &= *c == '!';
        c += n + (c[n] == '|');
    }
    qn_buf_text(out, "]}");
}

/* "anyOf":[..., a text with a ${...}] */
static void put_or_variable(struct qn_buf *out, const char *schema)
{
    qn_buf_printf(out, "\"anyOf\":[%s,%s]", schema, variable_schema);
}

/* One sink, or a list. */
static void put_sinks_schema(struct qn_buf *out)
{
    static const char one[] = "{\"$ref\":\"#/$defs/sink\"}";

    qn_buf_printf(out, "\"anyOf\":[%s,{\"type\":\"array\",\"minItems\":1,\"items\":%s}]", one, one);
}

static void put_key_schema(struct qn_buf *out, const struct qn_key *k)
{
    static const char scalar[] = "\"type\":[\"string\",\"number\",\"boolean\"]";

    switch (k->type) {
    case QN_KEY_TEXT:
        qn_buf_text(out, strcmp(k->name, "quern") == 0 ? "\"const\":1" : scalar);
        break;
    case QN_KEY_BOOL:
        put_or_variable(out, "{\"type\":\"boolean\"}");
        break;
    case QN_KEY_INT:
        qn_buf_printf(out,
                      "\"anyOf\":[{\"type\":\"integer\",\"minimum\":%lld,\"maximum\":%lld},%s]",
                      (long long)k->min, (long long)k->max, variable_schema);
        break;
    case QN_KEY_NUMBER:
        put_or_variable(out, "{\"type\":\"number\"}");
        break;
    case QN_KEY_DURATION:
        put_or_variable(out, "{\"type\":\"string\",\"pattern\":\"^([0-9]+(us|ms|s|m|h|d|w))+$\"}");
        break;
    case QN_KEY_BYTES:
        put_or_variable(out, "{\"type\":\"string\",\"pattern\":\"^[0-9]+ ?([KMGT]i?)?B$\"}");
        break;
    case QN_KEY_CHOICE:
    case QN_KEY_CHOICES:
        qn_buf_text(out, "\"anyOf\":[");
        put_choices(out, k->choices);
        if (k->type == QN_KEY_CHOICES) {
            qn_buf_text(out, ",{\"type\":\"array\",\"items\":");
            put_choices(out, k->choices);
            qn_buf_byte(out, '}');
        }
        qn_buf_printf(out, ",%s]", variable_schema);
        break;
    case QN_KEY_VALUE:
        qn_buf_text(out, "\"type\":[\"string\",\"number\",\"boolean\",\"array\"]");
        break;
    case QN_KEY_VALUES:
    case QN_KEY_NAMES:
        qn_buf_printf(out, "\"type\":\"array\",\"minItems\":1,\"items\":{%s}", scalar);
        break;
    case QN_KEY_SINKS:
        put_sinks_schema(out);
        break;
    case QN_KEY_SOURCE:
        qn_buf_text(out, "\"$ref\":\"#/$defs/source\"");
        break;
    case QN_KEY_TABLE:
        qn_buf_printf(out, "\"$ref\":\"#/$defs/%s\"", k->sub->id);
        break;
    case QN_KEY_MAP:
        qn_buf_printf(out,
                      "\"type\":[\"object\"%s],\"additionalProperties\":{\"anyOf\":[{\"$ref\":\"#/"
                      "$defs/%s\"}%s%s]}",
                      k->is_required ? "" : ",\"null\"", k->sub->id,
                      k->has_short ? ",{\"type\":\"string\"}" : "",
                      k->sub == &qn_keys_output ? ",{\"type\":\"null\"}" : "");
        break;
    case QN_KEY_TEXTS:
        qn_buf_printf(out, "\"type\":[\"object\",\"null\"],\"additionalProperties\":{%s}", scalar);
        break;
    case QN_KEY_RANGES:
        qn_buf_printf(
            out,
            "\"type\":[\"object\",\"null\"],\"additionalProperties\":{\"type\":\"array\","
            "\"minItems\":2,\"maxItems\":2,\"items\":{\"anyOf\":[{\"type\":\"number\"},%s]}}",
            variable_schema);
        break;
    }
}

static void put_table_schema(struct qn_buf *out, const struct qn_key_table *t)
{
    bool is_first = true;

    qn_buf_text(out, "\"type\":\"object\",\"description\":");
    qn_json_string(out, qn_str_of(t->help));
    qn_buf_text(out, ",\"additionalProperties\":false,\"required\":[");
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->keys[i].is_required) {
            qn_buf_printf(out, "%s\"%s\"", is_first ? "" : ",", t->keys[i].name);
            is_first = false;
        }
    }
    qn_buf_text(out, "],\"properties\":{");
    is_first = true;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct qn_key *k = &t->keys[i];

        if (k->not_yet != NULL)
            continue;
        qn_buf_printf(out, "%s\n\"%s\":{\"description\":", is_first ? "" : ",", k->name);
        qn_json_string(out, qn_str_of(k->help));
        qn_buf_byte(out, ',');
        put_key_schema(out, k);
        qn_buf_byte(out, '}');
        is_first = false;
    }
    qn_buf_byte(out, '}');
}

/* A sort of module: the words that stand alone, or one key with a value or the keys of that kind.
 */
static void put_module_begin(struct qn_buf *out, const char *sort, const char *words)
{
    qn_buf_printf(out,
                  ",\n\"%s\":{\"anyOf\":[{\"enum\":[%s]},%s,{\"type\":\"object\","
                  "\"minProperties\":1,\"maxProperties\":1,\"additionalProperties\":false,"
                  "\"properties\":{",
                  sort, words, variable_schema);
}

static void put_module_kind(struct qn_buf *out, const char *name, const struct qn_module_keys *keys,
                            bool *is_first)
{
    qn_buf_printf(out, "%s\"%s\":{\"anyOf\":[{\"type\":\"%s\"},{\"$ref\":\"#/$defs/%s\"}]}",
                  *is_first ? "" : ",", name, keys->keys[0].type == QN_KEY_TEXT ? "string" : "null",
                  keys->id);
    *is_first = false;
}

static void put_module_keys(struct qn_buf *out, const struct qn_module_keys *keys)
{
    qn_buf_printf(out, ",\n\"%s\":{", keys->id);
    put_table_schema(out, &keys->table);
    qn_buf_byte(out, '}');
}

static void put_sink_schemas(struct qn_buf *out)
{
    struct qn_module_keys keys;
    bool is_first = true;

    put_module_begin(out, "sink", "\"topic\"");
    for (const struct qn_sink_ops *const *ops = qn_sinks; *ops != NULL; ops++) {
        qn_sink_keys(*ops, &keys);
        if (keys.own_count > 0)
            put_module_kind(out, (*ops)->name, &keys, &is_first);
    }
    qn_buf_text(out, "}}]}");
    for (const struct qn_sink_ops *const *ops = qn_sinks; *ops != NULL; ops++) {
        qn_sink_keys(*ops, &keys);
        if (keys.own_count > 0)
            put_module_keys(out, &keys);
    }
}

static void put_source_schemas(struct qn_buf *out)
{
    struct qn_module_keys keys;
    bool is_first = true;

    put_module_begin(out, "source", "\"generate\"");
    for (const struct qn_source_ops *const *ops = qn_sources; *ops != NULL; ops++) {
        qn_source_keys(*ops, &keys);
        put_module_kind(out, (*ops)->name, &keys, &is_first);
    }
    qn_buf_text(out, "}}]}");
    for (const struct qn_source_ops *const *ops = qn_sources; *ops != NULL; ops++) {
        qn_source_keys(*ops, &keys);
        put_module_keys(out, &keys);
    }
}

void qn_plan_json_schema(struct qn_buf *out)
{
    qn_buf_text(out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/"
                     "schema\",\"title\":\"Quern spec, format 1\",");
    put_table_schema(out, &qn_keys_top);
    qn_buf_text(out, ",\n\"$defs\":{");
    for (uint32_t i = 1; qn_key_tables[i] != NULL; i++) {
        qn_buf_printf(out, "%s\n\"%s\":{", i > 1 ? "," : "", qn_key_tables[i]->id);
        put_table_schema(out, qn_key_tables[i]);
        qn_buf_byte(out, '}');
    }
    put_source_schemas(out);
    put_sink_schemas(out);
    qn_buf_text(out, "}}\n");
}
