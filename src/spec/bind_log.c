/* SPDX-License-Identifier: Apache-2.0
 * bind_log.c - where and how `quern run` keeps the log and its snapshots.
 *
 * Part of binding (bind.c). Nothing of it changes an answer, so none of it is part of the spec's
 * version. Thread: one. Memory: boot arena. */
#include "spec/spec_int.h"

enum { SEGMENT_DEFAULT = 256 << 20 };
#define EVERY_DEFAULT_US INT64_C(30000000)

static bool begins(struct qn_str s, const char *with)
{
    size_t n = strlen(with);

    return s.len >= n && memcmp(s.p, with, n) == 0;
}

qn_status qn_read_path(struct qn_builder *b, const struct qn_slot *slot, const char **out)
{
    struct qn_str text = slot->value->text;
    struct qn_buf path = {0};

    if (text.len == 0 || memchr(text.p, '\0', text.len) != NULL) {
        QN_REPORT(&b->bind, TYPE, slot->value, NULL, "'%.*s' must be the path of a file",
                  QN_STR_ARG(slot->key->text));
        return QN_OK;
    }
    if (text.p[0] != '/')
        qn_buf_add(&path, b->folder.p, b->folder.len);
    qn_buf_add(&path, text.p, text.len);
    *out = path.failed ? NULL : qn_arena_strdup(b->bind.arena, path.data, path.len);
    qn_buf_fini(&path);
    return *out != NULL ? QN_OK : qn_no_memory(b->err);
}

/* local:DIR, relative to the spec's folder. */
static qn_status read_dir(struct qn_builder *b)
{
    const struct qn_slot *slot = &b->top[KEY_LOG];
    const struct qn_yaml_node *n = slot->value;
    char found[QN_SHOW_BYTES];
    struct qn_str dir;
    struct qn_buf path = {0};

    if (!slot->is_set)
        return QN_OK;
    if (begins(n->text, "kafka:") && n->text.len > 6)
        return QN_OK; /* bind_kafka.c */
    if (!begins(n->text, "local:") || n->text.len == 6) {
        QN_REPORT(&b->bind, TYPE, n, "write 'log: local:./data' or 'log: kafka:HOST:9092'",
                  "'log' must be local: and a folder, or kafka: and brokers, found %s",
                  qn_describe(n, found));
        return QN_OK;
    }
    dir = (struct qn_str){n->text.p + 6, n->text.len - 6};
    if (memchr(dir.p, '\0', dir.len) != NULL) {
        QN_REPORT(&b->bind, TYPE, n, NULL, "a folder's name cannot hold a zero byte");
        return QN_OK;
    }
    if (dir.p[0] != '/')
        qn_buf_add(&path, b->folder.p, b->folder.len);
    qn_buf_add(&path, dir.p, dir.len);
    b->plan->storage.dir = path.failed ? NULL : qn_arena_strdup(b->bind.arena, path.data, path.len);
    qn_buf_fini(&path);
    return b->plan->storage.dir != NULL ? QN_OK : qn_no_memory(b->err);
}

qn_status qn_build_log(struct qn_builder *b)
{
    struct qn_plan_storage *st = &b->plan->storage;
    const struct qn_slot *storage = &b->top[KEY_STORAGE], *snapshots = &b->top[KEY_SNAPSHOTS];
    struct qn_slot s[STORAGE_LAST + 1] = {0}, n[SNAPSHOTS_LAST + 1] = {0};

    QN_TRY(read_dir(b));
    if (storage->is_set && storage->value->kind == QN_YAML_MAP)
        (void)qn_bind(&b->bind, storage->key, storage->value, &qn_keys_storage, s);
    if (snapshots->is_set && snapshots->value->kind == QN_YAML_MAP)
        (void)qn_bind(&b->bind, snapshots->key, snapshots->value, &qn_keys_snapshots, n);
    st->segment_bytes =
        s[STORAGE_SEGMENT].is_set ? (uint64_t)s[STORAGE_SEGMENT].i64 & ~4095ULL : SEGMENT_DEFAULT;
    st->codec = s[STORAGE_COMPRESSION].is_set ? (uint8_t)s[STORAGE_COMPRESSION].i64 : 0;
    st->keep_us = s[STORAGE_KEEP].is_set ? s[STORAGE_KEEP].i64 : 0;
    st->keep_bytes = s[STORAGE_KEEP_BYTES].is_set ? (uint64_t)s[STORAGE_KEEP_BYTES].i64 : 0;
    st->is_volatile = s[STORAGE_DURABILITY].is_set && s[STORAGE_DURABILITY].i64 == 1;
    st->snapshot_every_us = n[SNAPSHOTS_EVERY].is_set ? n[SNAPSHOTS_EVERY].i64 : EVERY_DEFAULT_US;
    return qn_build_bucket(b, n);
}
