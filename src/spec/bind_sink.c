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

void qn_sink_keys(const struct qn_sink_ops *ops, struct qn_module_keys *out)
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
        {"bootstrap_servers", "brokers"},
        {"bootstrap", "brokers"},
        {"servers", "brokers"},
        {"properties", "settings"},
        {"config", "settings"},
        {"insecure", "a certificate is always checked; to trust your own: ca_file: FILE"},
        {NULL, NULL}};
    static const struct qn_module_sort sort = {.name = "sink",
                                               .stands = "outputs: NAME: to",
                                               .shared = qn_delivery_policy_options,
                                               .synonyms = synonyms};

    qn_module_keys(&sort, ops->name, ops->summary, ops->options, out);
}

/* ---- one sink --------------------------------------------------------------------------------*/

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

/* kind: the word; value: what stands behind it, NULL = nothing. */
static void build_sink(struct qn_builder *b, const struct qn_sink_ops *ops,
                       const struct qn_yaml_node *kind, const struct qn_yaml_node *value,
                       struct qn_plan_output *o)
{
    unsigned before = b->bind.diags->errors;
    struct qn_slot slots[KEYS_MAX];
    struct qn_module_keys keys;
    struct qn_sink sink = {.ops = ops};
    struct qn_err err = {0};

    if ((ops->flags & QN_SINK_IN_LOG) && value == NULL)
        return; /* records stay where they are */
    qn_sink_keys(ops, &keys);
    if (keys.own_count == 0) {
        QN_REPORT(&b->bind, TYPE, kind, "write 'to: topic'", "'%.*s' takes no options",
                  QN_STR_ARG(kind->text));
        return;
    }
    if (!qn_module_bind(b, kind, value, &keys, slots))
        return;
    sink.options = qn_module_options(b, ops->options, ops->options_bytes);
    if (qn_options_defaults(qn_delivery_policy_options, &sink.policy, b->bind.arena, b->err) !=
        QN_OK)
        b->bind.no_memory = true;
    if (b->bind.no_memory ||
        !qn_module_fill(b, &keys, slots, (void *)(uintptr_t)sink.options, &sink.policy,
                        &sink.shown) ||
        b->bind.diags->errors != before)
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
