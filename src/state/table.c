/* SPDX-License-Identifier: Apache-2.0
 * table.c - one lane's keyed table: index of (tag, record number), records in slabs, key bytes. See
 * table.h.
 *
 * Index: linear probing over pairs {u32 tag, u32 record}, eight pairs per cache line; a tag is 32
 * bits of the mixed hash and its low bits are the home, so growing and removing never touch a
 * record. Removing shifts back: no tombstones. Record: 40 bytes of header, then the caller's bytes.
 * Record slabs double in size (16, 16, 32, 64, ... records), so a record's place follows from its
 * number and never moves. Freed numbers are reused; a doubly linked list keeps order of creation.
 * Key bytes up to 16 lie in the header, longer ones in the lane's slab. Thread: the lane's
 * worker. */
#include "state/table.h"

#include "base/check.h"
#include "state/slab.h"

#include <string.h>

enum {
    FIRST_RECORDS = 16, /* records of the first slab          */
    SLABS_MAX = 29,     /* 16 * 2^28 = 2^32 records           */
    INDEX_MIN = 32,     /* pairs of the smallest index        */
    GROUP = 32          /* lookups in flight at a time        */
};
#define NONE UINT32_MAX

struct pair {
    uint32_t tag;    /* 0 = empty */
    uint32_t record; /* its number */
};

struct record {
    uint64_t hash;
    union {
        char bytes[QN_TABLE_KEY_INLINE];
        char *p;
    } key;
    uint32_t key_len;
    uint32_t prev, next; /* order of creation; next also chains free numbers */
    uint16_t is_live;    /* 0: the number is free */
    uint16_t mark;       /* the user's own */
};
_Static_assert(sizeof(struct record) == 40, "the header is part of the memory estimate");

struct qn_table {
    uint64_t seed;
    struct pair *index;
    uint32_t mask;        /* pairs - 1 */
    uint32_t count;       /* live records */
    uint32_t made;        /* numbers ever given out */
    uint32_t free;        /* first free number, or NONE */
    uint32_t first, last; /* order of creation */
    size_t stride;        /* bytes per record, header included */
    char *slabs[SLABS_MAX];
    struct qn_slab keys;
};

static struct record *record_at(const struct qn_table *t, uint32_t number)
{
    if (number < FIRST_RECORDS)
        return (struct record *)(t->slabs[0] + number * t->stride);
    unsigned s = 28 - (unsigned)__builtin_clz(number);

    return (struct record *)(t->slabs[s] +
                             (number - ((uint32_t)FIRST_RECORDS << (s - 1))) * t->stride);
}

static struct qn_str key_of(const struct record *r)
{
    return (struct qn_str){r->key_len <= QN_TABLE_KEY_INLINE ? r->key.bytes : r->key.p, r->key_len};
}

static uint32_t tag_of(const struct qn_table *t, uint64_t hash)
{
    uint64_t x = (hash ^ t->seed) * 0x9E3779B97F4A7C15u;

    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    uint32_t tag = (uint32_t)(x >> 32);

    return tag == 0 ? 1 : tag;
}

static bool is_key(const struct record *r, struct qn_str key, uint64_t hash)
{
    if (r->hash != hash || r->key_len != key.len)
        return false;
    return key.len == 0 ||
           memcmp(key.len <= QN_TABLE_KEY_INLINE ? r->key.bytes : r->key.p, key.p, key.len) == 0;
}

qn_status qn_table_new(size_t record_bytes, uint64_t seed, struct qn_table **out,
                       struct qn_err *err)
{
    struct qn_table *t = qn_mem_zalloc(1, sizeof *t);

    *out = NULL;
    if (t == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for a keyed table");
    t->seed = seed;
    t->free = t->first = t->last = NONE;
    t->stride = (sizeof(struct record) + record_bytes + 7) & ~(size_t)7;
    t->mask = INDEX_MIN - 1;
    t->index = qn_mem_zalloc(INDEX_MIN, sizeof *t->index);
    if (t->index == NULL) {
        qn_mem_free(t);
        return qn_err_set(err, QN_NOMEM, "no memory for a keyed table");
    }
    *out = t;
    return QN_OK;
}

void qn_table_free(struct qn_table *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = t->first; i != NONE;) {
        struct record *r = record_at(t, i);

        if (r->key_len > QN_TABLE_KEY_INLINE)
            qn_slab_free(&t->keys, r->key.p, r->key_len);
        i = r->next;
    }
    for (unsigned s = 0; s < SLABS_MAX; s++)
        qn_mem_free(t->slabs[s]);
    qn_slab_fini(&t->keys);
    qn_mem_free(t->index);
    qn_mem_free(t);
}

/* Where the key's pair is, or the empty pair where it would go. */
static uint32_t probe(const struct qn_table *t, uint32_t tag, struct qn_str key, uint64_t hash)
{
    uint32_t i = tag & t->mask;

    while (t->index[i].tag != 0) {
        if (t->index[i].tag == tag && is_key(record_at(t, t->index[i].record), key, hash))
            break;
        i = (i + 1) & t->mask;
    }
    return i;
}

static bool index_grow(struct qn_table *t)
{
    uint32_t mask = t->mask * 2 + 1;
    struct pair *fresh = qn_mem_zalloc((size_t)mask + 1, sizeof *fresh);

    if (fresh == NULL)
        return false;
    for (uint32_t i = 0; i <= t->mask; i++) {
        if (t->index[i].tag == 0)
            continue;
        uint32_t at = t->index[i].tag & mask;

        while (fresh[at].tag != 0)
            at = (at + 1) & mask;
        fresh[at] = t->index[i];
    }
    qn_mem_free(t->index);
    t->index = fresh;
    t->mask = mask;
    return true;
}

/* A record number that nobody uses, its memory present; NONE when out of memory. Gives nothing out
 * yet. */
static uint32_t number_ready(struct qn_table *t)
{
    if (t->free != NONE)
        return t->free;
    if (t->made == NONE)
        return NONE;
    unsigned s = t->made < FIRST_RECORDS ? 0 : 28 - (unsigned)__builtin_clz(t->made);

    if (t->slabs[s] == NULL) {
        size_t records = s == 0 ? FIRST_RECORDS : (size_t)FIRST_RECORDS << (s - 1);

        t->slabs[s] = qn_mem_aligned(64, records * t->stride);
        if (t->slabs[s] == NULL)
            return NONE;
    }
    return t->made;
}

/* Makes the record of a key that is not there. NULL when out of memory: then nothing has changed.
 */
static struct record *create(struct qn_table *t, uint32_t tag, struct qn_str key, uint64_t hash)
{
    char *long_key = NULL;

    if (((uint64_t)t->count + 1) * 10 > ((uint64_t)t->mask + 1) * 7 && !index_grow(t))
        return NULL;
    uint32_t number = number_ready(t);

    if (number == NONE)
        return NULL;
    if (key.len > QN_TABLE_KEY_INLINE) {
        long_key = qn_slab_alloc(&t->keys, key.len);
        if (long_key == NULL)
            return NULL;
        memcpy(long_key, key.p, key.len);
    }
    struct record *r = record_at(t, number);

    if (number == t->free)
        t->free = r->next;
    else
        t->made++;
    memset(r, 0, t->stride);
    r->hash = hash;
    r->key_len = key.len;
    r->is_live = 1;
    if (long_key != NULL)
        r->key.p = long_key;
    else if (key.len > 0)
        memcpy(r->key.bytes, key.p, key.len);
    r->prev = t->last;
    r->next = NONE;
    if (t->last == NONE)
        t->first = number;
    else
        record_at(t, t->last)->next = number;
    t->last = number;
    t->count++;
    uint32_t i = tag & t->mask;

    while (t->index[i].tag != 0)
        i = (i + 1) & t->mask;
    t->index[i] = (struct pair){tag, number};
    return r;
}

/* One group of at most GROUP lookups: homes, then candidates, then keys, each step's memory asked
 * for ahead. */
static qn_status look_group(struct qn_table *const *tables, const struct qn_str *keys,
                            const uint64_t *hashes, const uint8_t *create_if_absent, uint32_t n,
                            void **out)
{
    uint32_t tags[GROUP];
    struct record *found[GROUP];

    for (uint32_t k = 0; k < n; k++) {
        tags[k] = tag_of(tables[k], hashes[k]);
        __builtin_prefetch(&tables[k]->index[tags[k] & tables[k]->mask]);
    }
    for (uint32_t k = 0; k < n; k++) {
        const struct qn_table *t = tables[k];
        uint32_t i = tags[k] & t->mask;

        while (t->index[i].tag != 0 && t->index[i].tag != tags[k])
            i = (i + 1) & t->mask;
        found[k] = t->index[i].tag == 0 ? NULL : record_at(t, t->index[i].record);
        if (found[k] != NULL)
            __builtin_prefetch(found[k]);
    }
    for (uint32_t k = 0; k < n; k++) {
        struct qn_table *t = tables[k];
        struct record *r = found[k];

        if (r == NULL || !is_key(r, keys[k], hashes[k])) {
            uint32_t i = probe(t, tags[k], keys[k], hashes[k]);

            r = t->index[i].tag == 0 ? NULL : record_at(t, t->index[i].record);
            if (r == NULL && create_if_absent[k]) {
                r = create(t, tags[k], keys[k], hashes[k]);
                if (r == NULL) {
                    memset(out + k, 0, (n - k) * sizeof *out);
                    return QN_NOMEM;
                }
            }
        }
        out[k] = r == NULL ? NULL : (void *)(r + 1);
    }
    return QN_OK;
}

qn_status qn_table_look(struct qn_table *const *tables, const struct qn_str *keys,
                        const uint64_t *hashes, const uint8_t *create_if_absent, uint32_t n,
                        void **out, struct qn_err *err)
{
    for (uint32_t at = 0; at < n; at += GROUP) {
        uint32_t some = n - at < GROUP ? n - at : GROUP;

        if (look_group(tables + at, keys + at, hashes + at, create_if_absent + at, some,
                       out + at) != QN_OK) {
            memset(out + at + some, 0, (n - at - some) * sizeof *out);
            return qn_err_set(err, QN_NOMEM, "no memory for one more key");
        }
    }
    return QN_OK;
}

/* The forms for one table: the same table and wish for every key of a group. */
static qn_status look_one_table(struct qn_table *t, const struct qn_str *keys,
                                const uint64_t *hashes, bool create_them, uint32_t n, void **out,
                                struct qn_err *err)
{
    struct qn_table *tables[GROUP];
    uint8_t wish[GROUP];

    for (unsigned k = 0; k < GROUP; k++)
        tables[k] = t;
    memset(wish, create_them, sizeof wish);
    for (uint32_t at = 0; at < n; at += GROUP) {
        uint32_t some = n - at < GROUP ? n - at : GROUP;

        if (look_group(tables, keys + at, hashes + at, wish, some, out + at) != QN_OK) {
            memset(out + at + some, 0, (n - at - some) * sizeof *out);
            return qn_err_set(err, QN_NOMEM, "no memory for one more key");
        }
    }
    return QN_OK;
}

qn_status qn_table_get(struct qn_table *t, const struct qn_str *keys, const uint64_t *hashes,
                       uint32_t n, void **out, struct qn_err *err)
{
    return look_one_table(t, keys, hashes, true, n, out, err);
}

void qn_table_find(struct qn_table *t, const struct qn_str *keys, const uint64_t *hashes,
                   uint32_t n, void **out)
{
    qn_status rc = look_one_table(t, keys, hashes, false, n, out, NULL);

    QN_ASSERT(rc == QN_OK);
}

void *qn_table_next(struct qn_table *t, uint64_t *cursor, struct qn_str *key)
{
    uint32_t number = *cursor == 0 ? t->first : (uint32_t)(*cursor - 1);

    if (number == NONE) {
        *cursor = (uint64_t)NONE + 1;
        return NULL;
    }
    struct record *r = record_at(t, number);

    *cursor = (uint64_t)r->next + 1;
    if (key != NULL)
        *key = key_of(r);
    return r + 1;
}

void qn_table_remove(struct qn_table *t, struct qn_str key, uint64_t hash)
{
    uint32_t hole = probe(t, tag_of(t, hash), key, hash);

    if (t->index[hole].tag == 0)
        return;
    uint32_t number = t->index[hole].record;
    struct record *r = record_at(t, number);

    for (uint32_t i = (hole + 1) & t->mask; t->index[i].tag != 0; i = (i + 1) & t->mask) {
        uint32_t home = t->index[i].tag & t->mask;

        if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
            t->index[hole] = t->index[i];
            hole = i;
        }
    }
    t->index[hole] = (struct pair){0, 0};
    if (r->prev == NONE)
        t->first = r->next;
    else
        record_at(t, r->prev)->next = r->next;
    if (r->next == NONE)
        t->last = r->prev;
    else
        record_at(t, r->next)->prev = r->prev;
    if (r->key_len > QN_TABLE_KEY_INLINE)
        qn_slab_free(&t->keys, r->key.p, r->key_len);
    r->key_len = 0;
    r->is_live = 0;
    r->next = t->free;
    t->free = number;
    t->count--;
}

void *qn_table_walk(const struct qn_table *t, uint32_t *place, struct qn_str *key)
{
    while (*place < t->made) {
        struct record *r = record_at(t, (*place)++);

        if (r->is_live == 0)
            continue;
        if (key != NULL)
            *key = key_of(r);
        return r + 1;
    }
    return NULL;
}

uint64_t qn_table_count(const struct qn_table *t)
{
    return t->count;
}

size_t qn_table_bytes(const struct qn_table *t)
{
    return sizeof *t + ((size_t)t->mask + 1) * sizeof *t->index + t->made * t->stride +
           t->keys.used_bytes;
}

uint64_t qn_table_hash(const void *record)
{
    return ((const struct record *)record - 1)->hash;
}

uint16_t *qn_table_mark(void *record)
{
    return &((struct record *)record - 1)->mark;
}

struct qn_str qn_table_key(const void *record)
{
    return key_of((const struct record *)record - 1);
}

size_t qn_table_key_bytes(size_t record_bytes, uint32_t key_len)
{
    size_t index = sizeof(struct pair) * 2; /* the load lies between 0.35 and 0.7 */

    return index + ((sizeof(struct record) + record_bytes + 7) & ~(size_t)7) +
           (key_len > QN_TABLE_KEY_INLINE ? qn_slab_round(key_len) : 0);
}
