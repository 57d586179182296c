/* SPDX-License-Identifier: Apache-2.0
 * bind_source.c - `source:` of a stream: what brings its events into the log.
 *
 * Part of binding (bind.c); the keys of a source come from its option table (bind_module.c).
 * Written as {KIND: VALUE}, {KIND: {key: value, ...}}, or as the word alone where all options have
 * defaults. Only `quern run` has sources: other commands read what their command line names.
 * Thread: one. Memory: boot arena. */
#include "base/check.h"
#include "spec/spec_int.h"

enum { SOURCES_MAX = 16, HINT_BYTES = 160 };

void qn_source_keys(const struct qn_source_ops *ops, struct qn_module_keys *out)
{
    static const struct qn_key_synonym synonyms[] = {
        {"file", "path"},
        {"filename", "path"},
        {"glob", "path"},
        {"paths", "write path: 'FOLDER/*.ndjson'"},
        {"tail", "follow"},
        {"watch", "follow"},
        {"type", "format"},
        {"codec", "format"},
        {"interval", "poll"},
        {"count", "events"},
        {"limit", "events"},
        {"eps", "rate"},
        {"bootstrap_servers", "brokers"},
        {"bootstrap", "brokers"},
        {"servers", "brokers"},
        {"group_id", "group"},
        {"offset", "start"},
        {"properties", "settings"},
        {"config", "settings"},
        {"compression", "leave it out: gzip and zstd are recognised by their first bytes"},
        {NULL, NULL}};
    static const struct qn_module_sort sort = {
        .name = "source", .stands = "streams: NAME: source", .synonyms = synonyms};

    qn_module_keys(&sort, ops->name, ops->summary, ops->options, out);
}

static struct qn_str make_name(struct qn_builder *b, struct qn_str stream, const char *kind)
{
    struct qn_buf name = {0};
    char *copy = NULL;

    qn_buf_printf(&name, "%.*s.%s", QN_STR_ARG(stream), kind);
    if (!name.failed)
        copy = qn_arena_strdup(b->bind.arena, name.data, name.len);
    b->bind.no_memory |= copy == NULL;
    qn_buf_fini(&name);
    return copy != NULL ? qn_str_of(copy) : (struct qn_str){"", 0};
}

/* kind: the word; value: what stands behind it, NULL = nothing. */
static void build(struct qn_builder *b, const struct qn_source_ops *ops,
                  const struct qn_yaml_node *kind, const struct qn_yaml_node *value,
                  uint32_t stream)
{
    unsigned before = b->bind.diags->errors;
    struct qn_source source = {.ops = ops, .stream = stream};
    struct qn_slot slots[KEYS_MAX];
    struct qn_module_keys keys;
    struct qn_err err = {0};
    void *options;

    qn_source_keys(ops, &keys);
    if (!qn_module_bind(b, kind, value, &keys, slots))
        return;
    source.options = options = qn_module_options(b, ops->options, ops->options_bytes);
    if (b->bind.no_memory || !qn_module_fill(b, &keys, slots, options, NULL, &source.shown) ||
        b->bind.diags->errors != before)
        return;
    if (ops->check(options, &err) != QN_OK)
        QN_REPORT(&b->bind, TYPE, kind, NULL, "%s", err.text);
    source.name = make_name(b, b->plan->schemas[stream].name, ops->name);
    b->plan->sources[b->plan->source_count++] = source;
}

/* What people who know other tools write, and what is designed and not there yet. */
static void unknown(struct qn_builder *b, const struct qn_yaml_node *word)
{
    static const char *const designed[] = {"mqtt", "postgres", "cdc", "s3"};
    struct qn_str known[SOURCES_MAX];
    uint32_t count = 0;

    for (size_t i = 0; i < sizeof(designed) / sizeof(designed[0]); i++)
        if (qn_str_is(word->text, designed[i])) {
            QN_REPORT(&b->bind, NOT_YET, word,
                      "known: file, kafka, generate; or send events over HTTP",
                      "'source: %s' is not available yet", designed[i]);
            return;
        }
    if (qn_str_is(word->text, "http")) {
        QN_REPORT(&b->bind, UNKNOWN_NAME, word, "POST /v1/streams/STREAM/events",
                  "every stream takes events over HTTP: leave 'source' out");
        return;
    }
    for (const struct qn_source_ops *const *ops = qn_sources; *ops != NULL; ops++)
        known[count++] = qn_str_of((*ops)->name);
    qn_diag_unknown(b->bind.diags, word->at, "source", qn_shown(word), known, count);
}

void qn_build_source(struct qn_builder *b, const struct qn_slot *slot, uint32_t stream)
{
    const struct qn_yaml_node *n = slot->value, *word = n, *value = NULL;
    char found[QN_SHOW_BYTES];

    if (n->is_broken)
        return;
    if (n->kind == QN_YAML_MAP && n->count == 1) {
        word = n->items[0].key;
        value = n->items[0].value;
    }
    if (word->kind == QN_YAML_NULL || !qn_yaml_is_scalar(word)) {
        QN_REPORT(&b->bind, TYPE, n,
                  n->kind == QN_YAML_MAP ? "options: {file: {path: PATH, follow: true}}"
                                         : "such as: {file: PATH}",
                  n->kind == QN_YAML_MAP ? "a source is one key, and its options stand below it"
                                         : "'source' must be a source, found %s",
                  qn_describe(n, found));
        return;
    }
    for (const struct qn_source_ops *const *ops = qn_sources; *ops != NULL; ops++)
        if (qn_str_is(word->text, (*ops)->name)) {
            build(b, *ops, word, value, stream);
            return;
        }
    unknown(b, word);
}
