/* SPDX-License-Identifier: Apache-2.0
 * bind_registry.c - `schema_registry:`, and whether what streams say of `format` and `envelope` can
 * be.
 *
 * Part of binding (bind.c), behind streams and their sources. Where the registry lies changes no
 * answer and is no part of the spec's version; format and envelope are. Secrets come from outside,
 * are never quoted and never printed. Thread: one. Memory: boot arena. */
#include "spec/spec_int.h"

#define TIMEOUT_DEFAULT_US INT64_C(5000000)

static qn_status text_of(struct qn_builder *b, const struct qn_slot *slot, const char **out)
{
    const struct qn_yaml_node *n = slot->value;

    if (!slot->is_set)
        return QN_OK;
    for (uint32_t i = 0; i < n->text.len; i++)
        if ((unsigned char)n->text.p[i] < ' ' || n->text.p[i] == 0x7f) {
            QN_REPORT(&b->bind, TYPE, n, NULL, "'%.*s' cannot hold control bytes",
                      QN_STR_ARG(slot->key->text));
            return QN_OK;
        }
    *out = qn_arena_strdup(b->bind.arena, n->text.p, n->text.len);
    return *out != NULL ? QN_OK : qn_no_memory(b->err);
}

static qn_status secret_of(struct qn_builder *b, const struct qn_slot *slot, const char *advice,
                           const char **out)
{
    if (slot->is_set && slot->value->part_count == 0) {
        QN_REPORT(&b->bind, TYPE, slot->value, advice,
                  "a secret does not stand in the spec: let it come from outside");
        return QN_OK;
    }
    return text_of(b, slot, out);
}

static qn_status read_registry(struct qn_builder *b, struct qn_registry_options *o)
{
    const struct qn_slot *slot = &b->top[KEY_REGISTRY];
    struct qn_slot s[REGISTRY_LAST + 1] = {0};
    char found[QN_SHOW_BYTES];
    const char *wrong;

    if (!slot->is_set || !qn_bind(&b->bind, slot->key, slot->value, &qn_keys_registry, s))
        return QN_OK;
    QN_TRY(text_of(b, &s[REGISTRY_URL], &o->url));
    QN_TRY(secret_of(b, &s[REGISTRY_BASIC_AUTH],
                     "such as \"${REGISTRY_USER}:${REGISTRY_PASSWORD}\"", &o->basic_auth));
    QN_TRY(secret_of(b, &s[REGISTRY_TOKEN], "such as \"${file:registry.token}\"", &o->token));
    if (s[REGISTRY_CA_FILE].is_set)
        QN_TRY(qn_read_path(b, &s[REGISTRY_CA_FILE], &o->ca_file));
    o->timeout_us = s[REGISTRY_TIMEOUT].is_set ? s[REGISTRY_TIMEOUT].i64 : TIMEOUT_DEFAULT_US;
    wrong = o->url != NULL ? qn_registry_url_check(o->url) : NULL;
    if (wrong != NULL)
        QN_REPORT(&b->bind, TYPE, s[REGISTRY_URL].value, NULL, "%s %s",
                  qn_show(s[REGISTRY_URL].value, found), wrong);
    if (o->basic_auth != NULL && strchr(o->basic_auth, ':') == NULL)
        QN_REPORT(&b->bind, TYPE, s[REGISTRY_BASIC_AUTH].value,
                  "such as \"${REGISTRY_USER}:${REGISTRY_PASSWORD}\"",
                  "'basic_auth' must be a user, ':' and a password");
    if (o->basic_auth != NULL && o->token != NULL)
        QN_REPORT(&b->bind, TYPE, s[REGISTRY_TOKEN].key, "write one of them",
                  "'basic_auth' and 'token' both say who asks");
    return QN_OK;
}

/* Files, generators and HTTP bring JSON, and a generator brings it bare. */
static void check_source(struct qn_builder *b, uint32_t stream)
{
    const struct qn_stream_notes *notes = &b->streams[stream];

    for (uint32_t i = 0; i < b->plan->source_count; i++) {
        const struct qn_source *s = &b->plan->sources[i];

        if (s->stream != stream)
            continue;
        if (b->plan->wire[stream].format != QN_WIRE_JSON && strcmp(s->ops->name, "kafka") != 0)
            QN_REPORT(
                &b->bind, TYPE, notes->format, "leave it out: its events are JSON",
                "'format' is about records in Kafka, and the events of this stream come from '%s'",
                s->ops->name);
        else if (b->plan->schemas[stream].envelope != QN_ENVELOPE_NONE &&
                 strcmp(s->ops->name, "generate") == 0)
            QN_REPORT(&b->bind, TYPE, notes->envelope, "leave it out",
                      "what '%s' makes has nothing around it", s->ops->name);
    }
}

qn_status qn_build_registry(struct qn_builder *b)
{
    const struct qn_slot *slot = &b->top[KEY_REGISTRY];
    struct qn_registry_options o = {0};

    QN_TRY(read_registry(b, &o));
    for (uint32_t s = 0; s < b->plan->schema_count; s++) {
        struct qn_transcode_options *w = &b->plan->wire[s];

        w->registry = o;
        check_source(b, s);
        if (!qn_transcode_is_needed(w))
            continue;
        if (w->format != QN_WIRE_JSON && !slot->is_set && !slot->is_broken)
            QN_REPORT(&b->bind, MISSING, b->streams[s].format,
                      "such as: schema_registry: {url: http://registry:8081}",
                      "the format %s needs 'schema_registry', which has the schemas",
                      qn_wire_format_name(w->format));
    }
    return QN_OK;
}
