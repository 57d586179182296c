/* SPDX-License-Identifier: Apache-2.0
 * bind_sink.c - `to:` of an output: which sinks its records go to, with what options.
 *
 * Part of binding (bind.c). The keys of a sink are no table of this room: they are made from the
 * option table of the sink (sink/sink.h), so that a new sink is known here without a line. Written
 * as a word, as {KIND: VALUE} with the first of its options, as {KIND: {key: value, ...}}, or as a
 * list of those. What people may see of the options is put together here, where it is known which
 * values are secrets. Thread: one. Memory: boot arena. */
#include "base/check.h"
#include "sink/sink.h"
#include "spec/spec_int.h"

#include <stdio.h>

enum { SINKS_MAX = 16, HINT_BYTES = 160 };

/* ---- keys from options -----------------------------------------------------------------------*/

static enum qn_key_type key_type(const struct qn_option *o)
{
    switch (o->type) {
    case QN_OPT_FLAG:
        return QN_KEY_BOOL;
    case QN_OPT_INT:
        return o->unit != NULL && strcmp(o->unit, "bytes") == 0 ? QN_KEY_BYTES : QN_KEY_INT;
    case QN_OPT_ENUM:
        return QN_KEY_CHOICE;
    case QN_OPT_DURATION:
        return QN_KEY_DURATION;
    case QN_OPT_LIST:
        return QN_KEY_NAMES;
    case QN_OPT_TEXT:
        break;
    }
    return QN_KEY_TEXT;
}

static void add_keys(const struct qn_option *options, struct qn_sink_keys *out)
{
    for (const struct qn_option *o = options; o->name != NULL; o++) {
        QN_ASSERT(out->table.count < KEYS_MAX);
        out->options[out->table.count] = o;
        out->keys[out->table.count++] = (struct qn_key){.name = o->name,
                                                        .type = key_type(o),
                                                        .is_required = o->is_required,
                                                        .fallback = o->fallback,
                                                        .min = o->min,
                                                        .max = o->max,
                                                        .choices = o->choices,
                                                        .value = o->value,
                                                        .since = o->since,
                                                        .help = o->help};
    }
}

void qn_sink_keys(const struct qn_sink_ops *ops, struct qn_sink_keys *out)
{
    static const struct qn_key_synonym synonyms[] = {
        {"uri", "url"},
        {"endpoint", "url"},
        {"address", "url"},
        {"type", "format"},
        {"template", "text"},
        {"message", "text"},
        {"signing_key", "secret"},
        {"header", "headers"},
        {"retries", "attempts"},
        {"max_retries", "attempts"},
        {"max_attempts", "attempts"},
        {"backoff", "retry_from"},
        {"retry", "attempts"},
        {"file", "path"},
        {"filename", "path"},
        {"max_bytes", "rotate_bytes"},
        {"max_size", "rotate_bytes"},
        {"rotate", "write rotate_bytes: 64MiB, or rotate_age: 1h"},
        {"compress", "gzip"},
        {"compression", "write gzip: true"},
        {"insecure", "a certificate is always checked; to trust your own: ca_file: FILE"},
        {NULL, NULL}};

    memset(out, 0, sizeof(*out));
    snprintf(out->id, sizeof(out->id), "sink_%s", ops->name);
    snprintf(out->what, sizeof(out->what), "a %s sink", ops->name);
    snprintf(out->path, sizeof(out->path), "outputs: NAME: to: %s:", ops->name);
    add_keys(ops->options, out);
    out->own_count = out->table.count;
    add_keys(qn_delivery_policy_options, out);
    out->table.id = out->id;
    out->table.path = out->path;
    out->table.what = out->what;
    out->table.help = ops->summary;
    out->table.keys = out->keys;
    out->table.synonyms = synonyms;
}

/* ---- what people may see ---------------------------------------------------------------------*/

/* Of a URL that the spec holds in the open: where it leads, not what it says there. */
static void show_secret(struct qn_buf *out, struct qn_str s)
{
    const char *slashes = s.len > 3 ? memmem(s.p, s.len, "://", 3) : NULL, *at, *path;
    uint32_t left;

    if (slashes == NULL) {
        qn_buf_text(out, "(not shown)");
        return;
    }
    left = (uint32_t)(s.p + s.len - slashes) - 3;
    path = memchr(slashes + 3, '/', left);
    if (path != NULL)
        left = (uint32_t)(path - slashes) - 3;
    at = memrchr(slashes + 3, '@', left);
    qn_buf_add(out, s.p, (size_t)(slashes - s.p) + 3);
    if (at != NULL) {
        left -= (uint32_t)(at - slashes) - 2;
        qn_buf_add(out, at + 1, left);
    } else {
        qn_buf_add(out, slashes + 3, left);
    }
    qn_buf_text(out, path != NULL ? "/..." : "");
}

static void show_value(struct qn_buf *out, const struct qn_option *o, const struct qn_yaml_node *n)
{
    struct qn_str s = qn_shown(n);

    if (n->kind == QN_YAML_LIST) {
        for (uint32_t i = 0; i < n->count; i++) {
            qn_buf_text(out, i > 0 ? ", " : "");
            show_value(out, o, n->items[i].value);
        }
    } else if (o->is_secret && !n->is_secret) {
        show_secret(out, s);
    } else {
        qn_buf_add(out, s.p, s.len);
    }
}

/* ---- one sink --------------------------------------------------------------------------------*/

/* A text that C may have. */
static const char *take_text(struct qn_builder *b, const struct qn_option *o,
                             const struct qn_yaml_node *n)
{
    struct qn_buf path = {0};
    const char *copy;

    if (memchr(n->text.p, '\0', n->text.len) != NULL) {
        QN_REPORT(&b->bind, TYPE, n, NULL, "'%s' cannot hold a zero byte", o->name);
        return "";
    }
    if (o->is_path && n->text.len > 0 && n->text.p[0] != '/')
        qn_buf_add(&path, b->folder.p, b->folder.len);
    qn_buf_add(&path, n->text.p, n->text.len);
    copy = path.failed ? NULL
                       : qn_arena_strdup(b->bind.arena, path.len > 0 ? path.data : "", path.len);
    qn_buf_fini(&path);
    b->bind.no_memory |= copy == NULL;
    return copy != NULL ? copy : "";
}

static void take_list(struct qn_builder *b, const struct qn_option *o, const struct qn_yaml_node *n,
                      struct qn_option_list *out)
{
    out->count = 0;
    out->items = QN_NEW_N(b->bind.arena, const char *, n->count + 1);
    b->bind.no_memory |= out->items == NULL;
    for (uint32_t i = 0; i < n->count && out->items != NULL; i++)
        out->items[out->count++] = take_text(b, o, n->items[i].value);
}

static void take_option(struct qn_builder *b, const struct qn_option *o, const struct qn_slot *slot,
                        void *into)
{
    void *field = (char *)into + o->offset;

    switch (o->type) {
    case QN_OPT_FLAG:
        *(bool *)field = slot->i64 != 0;
        break;
    case QN_OPT_INT:
    case QN_OPT_DURATION:
        *(int64_t *)field = slot->i64;
        break;
    case QN_OPT_ENUM:
        *(int *)field = (int)slot->i64;
        break;
    case QN_OPT_TEXT:
        *(const char **)field = take_text(b, o, slot->value);
        break;
    case QN_OPT_LIST:
        take_list(b, o, slot->value, field);
        break;
    }
}

/* The slots of a sink written as {KIND: VALUE}: its first option. */
static bool bind_short(struct qn_builder *b, const struct qn_yaml_node *kind,
                       const struct qn_yaml_node *value, const struct qn_sink_keys *keys,
                       struct qn_slot *slots)
{
    char hint[HINT_BYTES];

    memset(slots, 0, sizeof(*slots) * keys->table.count);
    if (keys->own_count == 0) {
        QN_REPORT(&b->bind, TYPE, kind, "write 'to: topic'", "'%.*s' takes no options",
                  QN_STR_ARG(kind->text));
        return false;
    }
    if (value->kind == QN_YAML_NULL || value->kind == QN_YAML_LIST) {
        snprintf(hint, sizeof(hint), "write {%.*s: {%s: ...}}", QN_STR_ARG(kind->text),
                 keys->keys[0].name);
        QN_REPORT(&b->bind, MISSING, kind, hint, "'%.*s' needs its '%s'", QN_STR_ARG(kind->text),
                  keys->keys[0].name);
        return false;
    }
    slots[0] = (struct qn_slot){
        .key = kind, .value = value, .is_set = !value->is_broken, .is_broken = value->is_broken};
    return !value->is_broken;
}

/* "alerts.webhook", and "alerts.webhook-2" for a second one. */
static struct qn_str make_name(struct qn_builder *b, const struct qn_plan_output *o,
                               const struct qn_sink_ops *ops)
{
    uint32_t same = 1;
    struct qn_buf name = {0};
    char *copy = NULL;

    for (uint32_t i = 0; i < o->sink_count; i++)
        same += o->sinks[i].ops == ops;
    qn_buf_printf(&name, "%.*s.%s", QN_STR_ARG(o->name), ops->name);
    if (same > 1)
        qn_buf_printf(&name, "-%u", same);
    if (!name.failed)
        copy = qn_arena_strdup(b->bind.arena, name.data, name.len);
    b->bind.no_memory |= copy == NULL;
    qn_buf_fini(&name);
    return copy != NULL ? qn_str_of(copy) : (struct qn_str){"", 0};
}

/* Fills options and what is shown of them from the slots. */
static bool fill_sink(struct qn_builder *b, const struct qn_sink_keys *keys,
                      const struct qn_slot *slots, struct qn_sink *sink)
{
    void *options = qn_arena_zalloc(b->bind.arena, 1, sink->ops->options_bytes);
    struct qn_buf shown = {0};
    bool is_good = true;
    char *copy;

    if (options == NULL ||
        qn_options_defaults(sink->ops->options, options, b->bind.arena, b->err) != QN_OK ||
        qn_options_defaults(qn_delivery_policy_options, &sink->policy, b->bind.arena, b->err) !=
            QN_OK) {
        b->bind.no_memory = true;
        return false;
    }
    sink->options = options;
    for (uint32_t i = 0; i < keys->table.count; i++) {
        is_good &= !slots[i].is_broken;
        if (!slots[i].is_set)
            continue;
        take_option(b, keys->options[i], &slots[i], i < keys->own_count ? options : &sink->policy);
        if (i > 0)
            qn_buf_printf(&shown, " · %s ", keys->keys[i].name);
        show_value(&shown, keys->options[i], slots[i].value);
    }
    copy = shown.failed
               ? NULL
               : qn_arena_strdup(b->bind.arena, shown.len > 0 ? shown.data : "", shown.len);
    b->bind.no_memory |= copy == NULL;
    if (copy != NULL)
        sink->shown = (struct qn_str){copy, (uint32_t)shown.len};
    qn_buf_fini(&shown);
    return is_good && !b->bind.no_memory;
}

/* kind: the word; value: what stands behind it, NULL = nothing. */
static void build_sink(struct qn_builder *b, const struct qn_sink_ops *ops,
                       const struct qn_yaml_node *kind, const struct qn_yaml_node *value,
                       struct qn_plan_output *o)
{
    static const struct qn_yaml_node nothing = {.kind = QN_YAML_NULL};
    unsigned before = b->bind.diags->errors;
    struct qn_slot slots[KEYS_MAX];
    struct qn_sink_keys keys;
    struct qn_sink sink = {.ops = ops};
    struct qn_err err = {0};

    if ((ops->flags & QN_SINK_IN_LOG) && value == NULL)
        return; /* records stay where they are */
    qn_sink_keys(ops, &keys);
    if (value != NULL && value->kind == QN_YAML_MAP && keys.own_count > 0) {
        if (!qn_bind(&b->bind, kind, value, &keys.table, slots))
            return;
    } else if (!bind_short(b, kind, value != NULL ? value : &nothing, &keys, slots)) {
        return;
    }
    if (!fill_sink(b, &keys, slots, &sink) || b->bind.diags->errors != before)
        return;
    if (ops->check(sink.options, &err) != QN_OK)
        QN_REPORT(&b->bind, TYPE, kind, NULL, "%s", err.text);
    sink.name = make_name(b, o, ops);
    o->sinks[o->sink_count++] = sink;
}

/* ---- `to:` -----------------------------------------------------------------------------------*/

/* What people who know other tools write. */
static const char *advice(struct qn_str word)
{
    static const struct {
        const char *word, *advice;
    } all[] = {{"slack", "write {webhook: {url: URL, format: slack}}"},
               {"pagerduty", "write {webhook: {url: URL, format: pagerduty, routing_key: KEY}}"},
               {"url", "write {webhook: URL}"},
               {"stdout", "leave 'to' out: quern pipe writes to standard output"},
               {"console", "leave 'to' out: quern pipe writes to standard output"},
               {"log", "write 'to: topic'"}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (qn_str_is(word, all[i].word))
            return all[i].advice;
    return NULL;
}

/* True if `word` is in "a|b|c". */
static bool is_listed(const char *list, struct qn_str word)
{
    while (*list != '\0') {
        size_t n = strcspn(list, "|");

        if (qn_str_eq((struct qn_str){list, (uint32_t)n}, word))
            return true;
        list += n + (list[n] == '|');
    }
    return false;
}

static void unknown_sink(struct qn_builder *b, const struct qn_key *k,
                         const struct qn_yaml_node *word)
{
    struct qn_str known[SINKS_MAX];
    char hint[HINT_BYTES] = "known:", found[QN_SHOW_BYTES];
    const char *words = advice(word->text);
    uint32_t count = 0;
    int near;

    for (const struct qn_sink_ops *const *ops = qn_sinks; *ops != NULL; ops++) {
        size_t n = strlen(hint);

        snprintf(hint + n, sizeof(hint) - n, "%s %s", count > 0 ? "," : "", (*ops)->name);
        known[count++] = qn_str_of((*ops)->name);
    }
    near = word->is_secret ? -1 : qn_nearest(word->text, known, count);
    if (is_listed(k->choices, word->text))
        QN_REPORT(&b->bind, NOT_YET, word, k->choice_advice, "'%s: %.*s' is not available yet",
                  k->name, QN_STR_ARG(word->text));
    else if (words != NULL)
        QN_REPORT(&b->bind, UNKNOWN_NAME, word, hint, "'%s' cannot be %s: %s", k->name,
                  qn_show(word, found), words);
    else if (near >= 0)
        QN_REPORT(&b->bind, UNKNOWN_NAME, word, hint, "'%s' cannot be %s (did you mean '%.*s'?)",
                  k->name, qn_show(word, found), QN_STR_ARG(known[near]));
    else
        QN_REPORT(&b->bind, UNKNOWN_NAME, word, hint, "'%s' cannot be %s", k->name,
                  qn_show(word, found));
}

static void read_sink(struct qn_builder *b, const struct qn_key *k, const struct qn_yaml_node *n,
                      struct qn_plan_output *o)
{
    const struct qn_yaml_node *word = n, *value = NULL;
    char found[QN_SHOW_BYTES];

    if (n->is_broken)
        return;
    if (n->kind == QN_YAML_MAP && n->count == 1) {
        word = n->items[0].key;
        value = n->items[0].value;
    } else if (n->kind == QN_YAML_MAP && n->count > 1) {
        QN_REPORT(&b->bind, TYPE, n->items[1].key,
                  "options: {webhook: {url: URL, timeout: 5s}}; several: [{file: PATH}, {webhook: "
                  "URL}]",
                  "a sink is one key, and its options stand below it");
        return;
    }
    if (word->kind == QN_YAML_NULL || !qn_yaml_is_scalar(word)) {
        QN_REPORT(&b->bind, TYPE, n, "such as: {webhook: URL}",
                  "'%s' must be topic, a sink, or a list of sinks, found %s", k->name,
                  qn_describe(n, found));
        return;
    }
    for (const struct qn_sink_ops *const *ops = qn_sinks; *ops != NULL; ops++)
        if (qn_str_is(word->text, (*ops)->name)) {
            build_sink(b, *ops, word, value, o);
            return;
        }
    unknown_sink(b, k, word);
}

qn_status qn_build_sinks(struct qn_builder *b, const struct qn_key *k, const struct qn_slot *slot,
                         struct qn_plan_output *o)
{
    const struct qn_yaml_node *n = slot->value;
    uint32_t count = n->kind == QN_YAML_LIST ? n->count : 1;

    if (count == 0 || count > SINKS_MAX) {
        QN_REPORT(&b->bind, RANGE, n, NULL, "'%s' names 1 to %d sinks", k->name, SINKS_MAX);
        return QN_OK;
    }
    o->sinks = QN_NEW_N(b->bind.arena, struct qn_sink, count);
    if (o->sinks == NULL)
        return qn_no_memory(b->err);
    for (uint32_t i = 0; i < count; i++)
        read_sink(b, k, n->kind == QN_YAML_LIST ? n->items[i].value : n, o);
    return QN_OK;
}
