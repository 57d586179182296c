/* SPDX-License-Identifier: Apache-2.0
 * feature_save.c - the groups of a set of features as sections of a snapshot.
 *
 * The layout of a group is a hash of all that decides what its keys hold: source, key, slack,
 * windows, and the sentences behind arguments and conditions, word by word, those of the features
 * they read included. Names and defaults of features are no part of it, so that a snapshot outlives
 * what does not matter. Thread: one. */
#include "base/hash.h"
#include "feature/feature_int.h"

#include <stdio.h>

/* Rises when keys come to mean something else though their entries look the same. */
enum { STATE_VERSION = 1 };

static void add_int(struct qn_buf *out, int64_t v)
{
    qn_buf_add(out, &v, sizeof v);
}

static void add_str(struct qn_buf *out, struct qn_str s)
{
    add_int(out, s.len);
    qn_buf_add(out, s.p, s.len);
}

/* The feature that a word of another one's sentence names, or -1. */
static int64_t feature_named(const struct qn_features *f, const struct feature *by,
                             const struct qn_lexer *lx)
{
    if (lx->token.kind != QN_TOKEN_NAME || qn_lexer_sees_call(lx))
        return -1;
    for (uint32_t k = 0; k < by->need_count; k++)
        if (qn_str_eq(f->list[by->needs[k]].info.name, qn_lexer_text(lx)))
            return by->needs[k];
    return -1;
}

/* The words of a part of a sentence, however they are spaced; for a feature, what that computes. */
static void add_words(struct qn_buf *out, const struct qn_features *f, const struct feature *ft,
                      struct qn_str text, const uint64_t *digests)
{
    struct qn_lexer lx;

    for (qn_lexer_open(&lx, text, (struct qn_pos){0}, NULL);
         lx.token.kind != QN_TOKEN_END && lx.token.kind != QN_TOKEN_BAD; qn_lexer_next(&lx)) {
        int64_t named = feature_named(f, ft, &lx);

        if (named < 0)
            add_str(out, qn_lexer_text(&lx));
        else
            add_int(out, (int64_t)digests[named]);
    }
    add_int(out, -1);
}

/* What a feature computes, from digests of the features it reads. */
static void add_feature(struct qn_buf *out, const struct qn_features *f, const struct feature *ft,
                        const uint64_t *digests)
{
    const struct qn_sentence *se = &ft->sentence;

    add_words(out, f, ft, se->expr.text, digests);
    add_words(out, f, ft, ft->info.is_window ? se->where.text : se->fallback.text, digests);
}

static uint64_t *digests_new(const struct qn_features *f, struct qn_buf *scratch)
{
    uint64_t *digests = qn_mem_zalloc((size_t)f->count + 1, sizeof *digests);

    for (uint32_t i = 0; digests != NULL && i < f->count; i++) {
        qn_buf_clear(scratch);
        add_feature(scratch, f, &f->list[f->order[i]], digests);
        if (scratch->failed) {
            qn_mem_free(digests);
            return NULL;
        }
        digests[f->order[i]] = qn_hash(scratch->data, scratch->len, 0);
    }
    return digests;
}

/* The first feature, in the order of need, that shows a window: it gave the window its place. */
static uint32_t feature_of(const struct qn_features *f, uint32_t group, uint32_t window)
{
    uint32_t i = 0;

    while (!(f->list[f->order[i]].info.is_window && f->list[f->order[i]].group == group &&
             f->list[f->order[i]].window == window))
        i++;
    return f->order[i];
}

static void add_keys(struct qn_buf *out, const struct qn_features *f, const struct group *g)
{
    const struct qn_schema *main = &f->schemas[f->main], *source = &f->schemas[g->source];

    add_str(out, source->name);
    add_int(out, g->source == f->main);
    add_int(out, g->key_count);
    for (uint32_t k = 0; k < g->key_count; k++) {
        add_str(out, main->fields[g->main_key[k]].name);
        add_str(out, source->fields[g->source_key[k]].name);
        add_int(out, g->key_kind[k].type);
        add_int(out, g->key_kind[k].scale);
    }
}

/* arg, where: their places in the group, where that matters; the digest says what they are. */
static void add_window(struct qn_buf *out, const struct qn_window *w, int32_t arg, int32_t where,
                       uint64_t digest)
{
    add_int(out, w->aggregate);
    add_int(out, arg);
    add_int(out, where);
    add_int(out, w->over_us);
    add_int(out, w->delayed_us);
    add_int(out, w->excludes_current);
    add_int(out, (int64_t)digest);
}

static void add_group(struct qn_buf *out, const struct qn_features *f, uint32_t group,
                      const uint64_t *digests)
{
    const struct group *g = f->groups[group];

    add_int(out, STATE_VERSION);
    if (g->has_floor) /* keys keep more */
        add_int(out, -1);
    add_keys(out, f, g);
    add_int(out, g->slack_us);
    add_int(out, g->arg_count);
    for (uint32_t k = 0; k < g->arg_count; k++) {
        add_int(out, g->arg_kinds[k].type);
        add_int(out, g->arg_kinds[k].scale);
    }
    add_int(out, g->where_count);
    for (uint32_t k = 0; k < g->window_count; k++)
        add_window(out, &g->windows[k], g->windows[k].arg, g->windows[k].where,
                   digests[feature_of(f, group, k)]);
}

qn_status qn_features_window_ids(const struct qn_features *f, uint32_t *ids, struct qn_err *err)
{
    struct qn_buf scratch = {0};
    uint64_t *digests = digests_new(f, &scratch);
    bool failed = digests == NULL;

    for (uint32_t i = 0; i < f->group_count && !failed; i++) {
        const struct group *g = f->groups[i];

        for (uint32_t k = 0; k < g->window_count && !failed; k++) {
            qn_buf_clear(&scratch);
            add_keys(&scratch, f, g);
            add_int(&scratch, g->windows[k].out.type);
            add_int(&scratch, g->windows[k].out.scale);
            add_window(&scratch, &g->windows[k], 0, 0, digests[feature_of(f, i, k)]);
            failed = scratch.failed;
            *ids++ = failed ? 0 : (uint32_t)qn_hash(scratch.data, scratch.len, 0);
        }
    }
    qn_mem_free(digests);
    qn_buf_fini(&scratch);
    return failed ? qn_err_set(err, QN_NOMEM, "out of memory for the windows") : QN_OK;
}

/* "windows/pay/card", and "#2" behind it where there is one of that name already. */
static void name_section(struct qn_section *all, uint32_t i, const struct group *g)
{
    enum { SHOWN = 50 };
    bool is_known = true;

    for (uint32_t n = 1; is_known; n++) {
        snprintf(all[i].name, sizeof all[i].name, "windows/%.*s/%.*s", (int)SHOWN, g->source_text,
                 (int)SHOWN, g->key_text);
        if (n > 1)
            snprintf(all[i].name + strlen(all[i].name), sizeof all[i].name - strlen(all[i].name),
                     "#%u", n);
        is_known = false;
        for (uint32_t k = 0; k < i && !is_known; k++)
            is_known = strcmp(all[k].name, all[i].name) == 0;
    }
}

qn_status qn_features_sections(struct qn_features *f, struct qn_section *out, struct qn_err *err)
{
    struct qn_buf scratch = {0};
    uint64_t *digests = digests_new(f, &scratch);
    bool failed = digests == NULL;

    for (uint32_t i = 0; i < f->group_count && !failed; i++) {
        QN_ASSERT(f->groups[i]->state != NULL);
        out[i] = qn_group_section(f->groups[i]->state);
        name_section(out, i, f->groups[i]);
        qn_buf_clear(&scratch);
        add_group(&scratch, f, i, digests);
        failed = scratch.failed;
        out[i].layout = failed ? 0 : qn_hash(scratch.data, scratch.len, 0);
    }
    qn_mem_free(digests);
    qn_buf_fini(&scratch);
    return failed ? qn_err_set(err, QN_NOMEM, "out of memory for the sections of a snapshot")
                  : QN_OK;
}
