/* SPDX-License-Identifier: Apache-2.0
 * service_features.c - the latest window features of a key, asked for while the engine runs.
 *
 * Whoever asks gets a turn between two batches. Thread: any. Memory: an arena per question. */
#include "base/memory.h"
#include "base/timestamp.h"
#include "engine/service_int.h"
#include "event/encode.h"

/* Waits until no batch is under way; the next one waits in turn. */
static void ask_begin(struct qn_service *sv)
{
    pthread_mutex_lock(&sv->turn);
    sv->asking++;
    while (sv->is_stepping)
        pthread_cond_wait(&sv->turned, &sv->turn);
}

static void ask_end(struct qn_service *sv)
{
    sv->asking--;
    pthread_cond_broadcast(&sv->turned);
    pthread_mutex_unlock(&sv->turn);
}

/* The next name of "a, b" off the front of *s. */
static struct qn_str next_field(struct qn_str *s)
{
    const char *comma = s->len > 0 ? memchr(s->p, ',', s->len) : NULL;
    struct qn_str name = {s->p, comma != NULL ? (uint32_t)(comma - s->p) : s->len};
    uint32_t used = name.len + (comma != NULL ? 1 : 0);

    *s = (struct qn_str){s->p + used, s->len - used};
    while (name.len > 0 && name.p[0] == ' ')
        name = (struct qn_str){name.p + 1, name.len - 1};
    while (name.len > 0 && name.p[name.len - 1] == ' ')
        name.len--;
    return name;
}

static bool same_fields(struct qn_str a, struct qn_str b)
{
    while (a.len > 0 && b.len > 0)
        if (!qn_str_eq(next_field(&a), next_field(&b)))
            return false;
    return a.len == 0 && b.len == 0;
}

static qn_status no_group(const struct qn_plan *p, struct qn_str by, struct qn_err *err)
{
    const uint32_t n = qn_features_group_count(p->features);
    struct qn_str names[256];
    uint32_t count = 0;
    int near;

    for (uint32_t g = 0; g < n && count < 256; g++)
        names[count++] = qn_str_of(qn_features_group(p->features, g).key);
    near = qn_nearest(by, names, count);
    if (near >= 0)
        return qn_err_set(err, QN_NOT_FOUND, "no window is kept by '%.*s' (did you mean '%.*s'?)",
                          QN_STR_ARG(qn_utf8_cut(by, 80)), QN_STR_ARG(names[near]));
    if (count == 0)
        return qn_err_set(err, QN_NOT_FOUND, "this pipeline keeps no windows");
    return qn_err_set(err, QN_NOT_FOUND, "no window is kept by '%.*s'; there are windows by '%.*s'",
                      QN_STR_ARG(qn_utf8_cut(by, 80)), QN_STR_ARG(names[0]));
}

static void put_key(struct qn_buf *json, struct qn_str by, const struct qn_str *key)
{
    bool is_first = true;

    qn_buf_text(json, "{\"key\":{");
    for (uint32_t k = 0; by.len > 0; k++) {
        qn_buf_text(json, is_first ? "" : ",");
        is_first = false;
        qn_json_string(json, next_field(&by));
        qn_buf_byte(json, ':');
        qn_json_string(json, key[k]);
    }
    qn_buf_byte(json, '}');
}

static void put_features(struct qn_buf *json, const struct qn_features *f,
                         const struct qn_look *look, bool *is_first)
{
    for (uint32_t i = 0; i < look->count; i++) {
        qn_buf_text(json, *is_first ? "" : ",");
        *is_first = false;
        qn_json_string(json, qn_features_info(f, look->features[i])->name);
        qn_buf_byte(json, ':');
        qn_encode_json_value(json, &look->cols[i], 0);
    }
}

/* All groups of these fields, whatever stream they are of; the newest event of any of them. */
static qn_status look(struct qn_service *sv, struct qn_str by, const struct qn_str *key,
                      uint32_t key_count, struct qn_buf *features, int64_t *newest_us,
                      struct qn_err *err)
{
    struct qn_features *f = sv->plan->features;
    struct qn_err why = {0};
    bool is_known = false, is_first = true;

    *newest_us = INT64_MIN;
    for (uint32_t g = 0; g < qn_features_group_count(f); g++) {
        struct qn_arena arena = {0};
        struct qn_look found;
        qn_status rc;

        if (!same_fields(by, qn_str_of(qn_features_group(f, g).key)))
            continue;
        if (key_count != qn_features_key_parts(f, g))
            return qn_err_set(err, QN_INVALID, "windows by '%.*s' have a key of %u parts, found %u",
                              QN_STR_ARG(by), qn_features_key_parts(f, g), key_count);
        is_known = true;
        rc = qn_features_look(f, g, key, &arena, &found, &why);
        if (rc == QN_OK) {
            put_features(features, f, &found, &is_first);
            *newest_us = found.newest_us > *newest_us ? found.newest_us : *newest_us;
        }
        qn_arena_fini(&arena);
        if (rc != QN_OK && rc != QN_NOT_FOUND) {
            if (err != NULL)
                *err = why;
            return rc;
        }
    }
    if (!is_known)
        return no_group(sv->plan, by, err);
    return is_first ? qn_err_set(err, QN_NOT_FOUND, "no event of this key is held") : QN_OK;
}

qn_status qn_service_features(struct qn_service *sv, struct qn_str by, const struct qn_str *key,
                              uint32_t key_count, struct qn_buf *json, struct qn_err *err)
{
    struct qn_buf features = {0};
    char time[QN_TIMESTAMP_LEN];
    int64_t newest_us;
    qn_status rc;

    ask_begin(sv);
    rc = look(sv, by, key, key_count, &features, &newest_us, err);
    ask_end(sv);
    if (rc == QN_OK) {
        put_key(json, by, key);
        qn_buf_text(json, ",\"as_of\":\"");
        qn_buf_add(json, time, qn_timestamp_print(time, newest_us));
        qn_buf_text(json, "\",\"features\":{");
        qn_buf_add(json, features.data, features.len);
        qn_buf_text(json, "}}");
        if (features.failed || json->failed)
            rc = qn_err_set(err, QN_NOMEM, "out of memory for the features of a key");
    }
    qn_buf_fini(&features);
    return rc;
}
