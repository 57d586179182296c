/* SPDX-License-Identifier: Apache-2.0
 * bind_serve.c - how `quern run` is asked over HTTP: addresses, tokens, TLS, limits.
 *
 * Part of binding (bind.c). Nothing of it changes an answer, so none of it is part of the spec's
 * version. Tokens come from variables, are never quoted in a message and never printed. Thread:
 * one. Memory: boot arena. */
#include "base/address.h"
#include "spec/spec_int.h"

enum {
    ADDRESSES_MAX = 4,
    TOKEN_BYTES_MIN = 16,
    TOKEN_BYTES_MAX = 256,
    BODY_DEFAULT = 4 << 20,
    CONNECTIONS_DEFAULT = 1000,
    THREADS_DEFAULT = 2
};
#define TIMEOUT_DEFAULT_US INT64_C(30000000)

static int64_t or_default(const struct qn_slot *slot, int64_t fallback)
{
    return slot->is_set ? slot->i64 : fallback;
}

/* ---- tokens ---- */

static bool is_visible(struct qn_str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return true;
}

static bool check_token(struct qn_builder *b, const struct qn_yaml_node *n)
{
    if (n->part_count == 0) {
        QN_REPORT(&b->bind, TYPE, n, "such as \"${READ_TOKEN}\" or \"${file:read.token}\"",
                  "a token does not stand in the spec: let it come from outside");
        return false;
    }
    if (n->text.len < TOKEN_BYTES_MIN || n->text.len > TOKEN_BYTES_MAX || !is_visible(n->text)) {
        QN_REPORT(&b->bind, RANGE, n, "such as: openssl rand -hex 24",
                  "a token has %d to %d visible ASCII letters, and this value has not",
                  TOKEN_BYTES_MIN, TOKEN_BYTES_MAX);
        return false;
    }
    return true;
}

static qn_status read_tokens(struct qn_builder *b, const struct qn_slot *slot)
{
    struct qn_plan_serve *sv = &b->plan->serve;
    struct qn_slot s[TOKENS_LAST + 1] = {0};

    if (!slot->is_set || !qn_bind(&b->bind, slot->key, slot->value, &qn_keys_tokens, s))
        return QN_OK;
    for (int role = 0; role < QN_SERVE_ROLES; role++) {
        const struct qn_yaml_node *list = s[role].is_set ? s[role].value : NULL;
        struct qn_str *texts;

        if (list == NULL)
            continue;
        texts = QN_NEW_N(b->bind.arena, struct qn_str, list->count + 1);
        if (texts == NULL)
            return qn_no_memory(b->err);
        for (uint32_t i = 0; i < list->count; i++)
            if (check_token(b, list->items[i].value))
                texts[sv->token_count[role]++] = list->items[i].value->text;
        sv->tokens[role] = texts;
    }
    return QN_OK;
}

/* ---- TLS ---- */

static qn_status read_tls(struct qn_builder *b, const struct qn_slot *slot)
{
    struct qn_slot s[TLS_LAST + 1] = {0};

    if (!slot->is_set || !qn_bind(&b->bind, slot->key, slot->value, &qn_keys_tls, s))
        return QN_OK;
    if (s[TLS_CERT].is_set)
        QN_TRY(qn_read_path(b, &s[TLS_CERT], &b->plan->serve.cert));
    if (s[TLS_KEY].is_set)
        QN_TRY(qn_read_path(b, &s[TLS_KEY], &b->plan->serve.key));
    return QN_OK;
}

/* ---- addresses ---- */

/* An address that others reach, and neither tokens nor TLS. Silent where those were reported. */
static void check_safety(struct qn_builder *b, const struct qn_yaml_node *n,
                         const struct qn_address *a, const struct qn_slot *s)
{
    if (qn_address_is_loopback(a) || b->plan->serve.is_insecure || s[SERVE_INSECURE].is_broken ||
        (s[SERVE_TOKENS].key != NULL && s[SERVE_TLS].key != NULL))
        return;
    QN_REPORT(&b->bind, MISSING, n, "or 'insecure: true', where something in front does both",
              "%s is reached from other machines: that takes 'tokens' and 'tls'", a->host);
}

static qn_status read_addresses(struct qn_builder *b, const struct qn_slot *s)
{
    const struct qn_yaml_node *n = s[SERVE_HTTP].value;
    struct qn_str list, one;
    struct qn_address a;
    char found[QN_SHOW_BYTES];
    uint32_t count = 0;

    if (!s[SERVE_HTTP].is_set)
        return QN_OK;
    list = n->text;
    while (qn_address_next(&list, &one)) {
        const char *why = qn_address_parse(one, &a);

        if (why != NULL) {
            QN_REPORT(&b->bind, TYPE, n, NULL, "%s %s", qn_show(n, found), why);
            return QN_OK;
        }
        if (++count > ADDRESSES_MAX) {
            QN_REPORT(&b->bind, RANGE, n, NULL, "'http' has at most %d addresses", ADDRESSES_MAX);
            return QN_OK;
        }
        check_safety(b, n, &a, s);
    }
    b->plan->serve.http = qn_arena_strdup(b->bind.arena, n->text.p, n->text.len);
    return b->plan->serve.http != NULL ? QN_OK : qn_no_memory(b->err);
}

qn_status qn_build_serve(struct qn_builder *b)
{
    struct qn_plan_serve *sv = &b->plan->serve;
    const struct qn_slot *top = &b->top[KEY_SERVE];
    struct qn_slot s[SERVE_LAST + 1] = {0};

    if (top->is_set && top->value->kind == QN_YAML_MAP)
        (void)qn_bind(&b->bind, top->key, top->value, &qn_keys_serve, s);
    sv->is_insecure = or_default(&s[SERVE_INSECURE], 0) != 0;
    sv->body_bytes = (uint64_t)or_default(&s[SERVE_MAX_BODY], BODY_DEFAULT);
    sv->timeout_us = or_default(&s[SERVE_TIMEOUT], TIMEOUT_DEFAULT_US);
    sv->connections = (uint32_t)or_default(&s[SERVE_CONNECTIONS], CONNECTIONS_DEFAULT);
    sv->threads = (uint32_t)or_default(&s[SERVE_THREADS], THREADS_DEFAULT);
    QN_TRY(read_tokens(b, &s[SERVE_TOKENS]));
    QN_TRY(read_tls(b, &s[SERVE_TLS]));
    return read_addresses(b, s);
}
