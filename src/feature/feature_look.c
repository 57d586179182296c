/* SPDX-License-Identifier: Apache-2.0
 * feature_look.c - what the windows of one key say now, for whoever asks from outside.
 *
 * Reads at the newest time of the key, which moves nothing, so that asking never shows in an answer
 * of the stream. Thread: the engine's, between batches. Memory: the caller's arena. */
#include "feature/feature_int.h"

#include "base/hash.h"

#include <endian.h>

/* One part of a key from its text. */
static bool part_of(struct qn_kind kind, struct qn_str text, int64_t *number)
{
    if (kind.type == QN_BOOL) {
        *number = qn_str_is(text, "true");
        return *number || qn_str_is(text, "false");
    }
    if (kind.type == QN_TIMESTAMP)
        return qn_timestamp_parse(text, number);
    return qn_text_scaled(text, kind.type == QN_DECIMAL ? kind.scale : 0, number);
}

/* The bytes of a key as feature_run.c makes them: the text or 8 bytes; several: each with its
 * length in front. */
static qn_status key_of(const struct group *g, const struct qn_str *parts, struct qn_buf *key,
                        struct qn_err *err)
{
    for (uint32_t k = 0; k < g->key_count; k++) {
        const bool is_text = g->key_kind[k].type == QN_STRING;
        const uint32_t len = is_text ? parts[k].len : 8, len_le = htole32(len);
        int64_t number = 0;
        uint64_t number_le;
        char kind[24];

        if (!is_text && !part_of(g->key_kind[k], parts[k], &number))
            return qn_err_set(err, QN_INVALID, "'%.*s' is no %s, which this part of the key is",
                              QN_STR_ARG(qn_utf8_cut(parts[k], 80)),
                              qn_kind_print(g->key_kind[k], kind));
        number_le = htole64((uint64_t)number);
        if (g->key_count > 1)
            qn_buf_add(key, &len_le, 4);
        qn_buf_add(key, is_text ? parts[k].p : (const char *)&number_le, len);
    }
    return key->failed ? qn_err_set(err, QN_NOMEM, "out of memory for a key") : QN_OK;
}

qn_status qn_features_look(struct qn_features *f, uint32_t group, const struct qn_str *parts,
                           struct qn_arena *arena, struct qn_look *out, struct qn_err *err)
{
    struct group *g = f->groups[group];
    struct qn_col **cols = QN_NEW_N(arena, struct qn_col *, g->window_count + 1);
    struct qn_buf key = {0};
    qn_status rc;

    *out = (struct qn_look){0};
    out->features = QN_NEW_N(arena, uint32_t, f->count + 1);
    out->cols = QN_NEW_N(arena, struct qn_col, f->count + 1);
    if (!cols || !out->features || !out->cols)
        return qn_err_set(err, QN_NOMEM, "out of memory for the windows of a key");
    for (uint32_t w = 0; w < g->window_count; w++) {
        cols[w] = QN_NEW(arena, struct qn_col);
        if (cols[w] == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for the windows of a key");
        QN_TRY(qn_col_init(cols[w], g->windows[w].out, 1, arena, err));
    }
    rc = key_of(g, parts, &key, err);
    if (rc == QN_OK)
        rc = qn_group_look(g->state, (struct qn_str){key.data, (uint32_t)key.len},
                           qn_hash(key.data, key.len, 0), cols, &out->newest_us, err);
    qn_buf_fini(&key);
    QN_TRY(rc);
    for (uint32_t i = 0; i < f->count; i++) {
        const struct feature *ft = &f->list[i];
        struct qn_col *c = &out->cols[out->count];

        if (!ft->info.is_window || ft->group != group)
            continue;
        QN_TRY(qn_col_init(c, ft->info.kind, 1, arena, err));
        c->i64[0] = cols[ft->window]->i64[0]; /* a double goes by its bits */
        c->valid[0] = cols[ft->window]->valid[0];
        if (!c->valid[0] && ft->info.has_default) {
            c->i64[0] = ft->fallback.i64;
            c->valid[0] = 1;
        }
        out->features[out->count++] = i;
    }
    return QN_OK;
}

uint32_t qn_features_key_parts(const struct qn_features *f, uint32_t group)
{
    return f->groups[group]->key_count;
}
