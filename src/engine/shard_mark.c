/* SPDX-License-Identifier: Apache-2.0
 * shard_mark.c - the text beside a committed position. See shard_mark.h.
 *
 * Anybody may write into a group's positions, so any bytes may come. Thread: any; no state. */
#include "engine/shard_mark.h"

#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>

void qn_shard_mark_print(const struct qn_shard_mark *m, char out[QN_SHARD_MARK_BYTES])
{
    int n = snprintf(out, QN_SHARD_MARK_BYTES,
                     "1 first=%" PRId64 " since=%" PRId64 " maker=%016" PRIx64 " hash=%016" PRIx64,
                     m->first, m->since, m->maker, m->hash);

    if (m->writer != 0)
        n += snprintf(out + n, QN_SHARD_MARK_BYTES - (size_t)n, " writer=%016" PRIx64, m->writer);
    for (uint32_t i = 0; i < m->unknown_count; i++)
        n += snprintf(out + n, QN_SHARD_MARK_BYTES - (size_t)n, "%s%" PRIu32 "@%" PRId64,
                      i == 0 ? " unknown=" : ",", m->unknown[i].id, m->unknown[i].last);
    if (m->streams > 0)
        n += snprintf(out + n, QN_SHARD_MARK_BYTES - (size_t)n,
                      " topics=%016" PRIx64 " journal=%" PRId64, m->topics, m->journal);
    for (uint32_t i = 0; i < m->streams; i++)
        n += snprintf(out + n, QN_SHARD_MARK_BYTES - (size_t)n, "%s%" PRId64,
                      i == 0 ? " from=" : ",", m->from[i]);
}

/* Takes `name` and what follows it up to a blank or the end. */
static bool take(struct qn_str *text, const char *name, struct qn_str *value)
{
    const size_t n = strlen(name);
    const char *blank;

    if (text->len < n || memcmp(text->p, name, n) != 0)
        return false;
    *value = (struct qn_str){text->p + n, text->len - (uint32_t)n};
    blank = value->len > 0 ? memchr(value->p, ' ', value->len) : NULL;
    if (blank != NULL)
        value->len = (uint32_t)(blank - value->p);
    text->p = value->p + value->len + (blank != NULL);
    text->len -= (uint32_t)n + value->len + (blank != NULL);
    return true;
}

static bool take_offset(struct qn_str *text, const char *name, int64_t *out)
{
    struct qn_str value;

    return take(text, name, &value) && qn_text_int64(value, out) && *out >= 0;
}

static bool read_hash(struct qn_str value, uint64_t *out)
{
    if (value.len != 16)
        return false;
    *out = 0;
    for (uint32_t i = 0; i < value.len; i++) {
        const char c = value.p[i];

        if (c >= '0' && c <= '9')
            *out = *out << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *out = *out << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    return true;
}

static bool take_hash(struct qn_str *text, const char *name, uint64_t *out)
{
    struct qn_str value;

    return take(text, name, &value) && read_hash(value, out);
}

/* " writer=HEX", or nothing. */
static bool take_writer(struct qn_str *text, struct qn_shard_mark *out)
{
    struct qn_str value;

    return !take(text, "writer=", &value) || (read_hash(value, &out->writer) && out->writer != 0);
}

/* " unknown=ID@N,ID@N", or nothing. */
static bool take_unknown(struct qn_str *text, struct qn_shard_mark *out)
{
    struct qn_str all;

    if (!take(text, "unknown=", &all))
        return true;
    for (;;) {
        const char *comma = memchr(all.p, ',', all.len);
        struct qn_str one = {all.p, comma != NULL ? (uint32_t)(comma - all.p) : all.len};
        const char *sign = memchr(one.p, '@', one.len);
        struct qn_shard_unknown *u = &out->unknown[out->unknown_count++];
        int64_t id;

        if (sign == NULL || !qn_text_int64((struct qn_str){one.p, (uint32_t)(sign - one.p)}, &id) ||
            id < 0 || id > UINT32_MAX ||
            !qn_text_int64((struct qn_str){sign + 1, one.len - (uint32_t)(sign + 1 - one.p)},
                           &u->last) ||
            u->last < 0)
            return false;
        u->id = (uint32_t)id;
        if (comma == NULL)
            return true;
        if (out->unknown_count == QN_SHARD_MARK_UNKNOWN)
            return false;
        all.p += one.len + 1;
        all.len -= one.len + 1;
    }
}

/* " topics=HEX journal=N from=N,N", or nothing. */
static bool take_streams(struct qn_str *text, struct qn_shard_mark *out)
{
    struct qn_str all;

    if (text->len == 0)
        return true;
    if (!take_hash(text, "topics=", &out->topics) ||
        !take_offset(text, "journal=", &out->journal) || !take(text, "from=", &all))
        return false;
    for (;;) {
        const char *comma = memchr(all.p, ',', all.len);
        const struct qn_str one = {all.p, comma != NULL ? (uint32_t)(comma - all.p) : all.len};

        if (out->streams == QN_STREAMS_MAX || !qn_text_int64(one, &out->from[out->streams]) ||
            out->from[out->streams] < 0)
            return false;
        out->streams++;
        if (comma == NULL)
            return true;
        all.p += one.len + 1;
        all.len -= one.len + 1;
    }
}

bool qn_shard_mark_read(struct qn_str text, struct qn_shard_mark *out)
{
    struct qn_str version;

    *out = (struct qn_shard_mark){0};
    if (text.len == 0 || text.p[text.len - 1] == ' ')
        return false;
    return take(&text, "1", &version) && version.len == 0 &&
           take_offset(&text, "first=", &out->first) && take_offset(&text, "since=", &out->since) &&
           take_hash(&text, "maker=", &out->maker) && take_hash(&text, "hash=", &out->hash) &&
           take_writer(&text, out) && take_unknown(&text, out) && take_streams(&text, out) &&
           text.len == 0 && out->since >= out->first;
}
