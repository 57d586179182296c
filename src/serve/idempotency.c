/* SPDX-License-Identifier: Apache-2.0
 * idempotency.c - a table of the newest keys: chains over a fixed array that is filled in a ring.
 *
 * A key is known by 128 bits of SHA-256 over stream and key, a body by 128 bits of its own: nobody
 * can make two that collide. An entry under way is never overwritten; when the whole ring were
 * under way, a key would go unremembered, which the number of connections excludes. Thread: any,
 * under the lock. Memory: boot. */
#include "serve/idempotency.h"

#include "base/check.h"
#include "base/hash.h"

#include <openssl/evp.h>
#include <pthread.h>

enum { ENTRIES = 65536, CHAINS = 65536, DIGEST = 16, NONE = UINT32_MAX, BATCH = 256 };

struct digest {
    unsigned char b[DIGEST];
};

struct entry {
    struct digest key, body;
    uint64_t first;
    uint32_t count, stream;
    uint32_t next; /* in its chain */
    enum { FREE, BUSY, DONE } state;
};

struct qn_idempotency {
    pthread_mutex_t lock;
    struct entry *entries;
    uint32_t *chains;
    uint32_t at; /* the next entry to be used */
};

qn_status qn_idempotency_new(struct qn_idempotency **out, struct qn_err *err)
{
    struct qn_idempotency *m = qn_mem_zalloc(1, sizeof(*m));

    *out = NULL;
    if (m != NULL) {
        pthread_mutex_init(&m->lock, NULL);
        m->entries = qn_mem_zalloc(ENTRIES, sizeof(*m->entries));
        m->chains = qn_mem_alloc(CHAINS * sizeof(*m->chains));
    }
    if (m == NULL || m->entries == NULL || m->chains == NULL) {
        qn_idempotency_free(m);
        return qn_err_set(err, QN_NOMEM, "out of memory for the table of idempotency keys");
    }
    for (uint32_t i = 0; i < CHAINS; i++)
        m->chains[i] = NONE;
    *out = m;
    return QN_OK;
}

void qn_idempotency_free(struct qn_idempotency *m)
{
    if (m == NULL)
        return;
    pthread_mutex_destroy(&m->lock);
    qn_mem_free(m->entries);
    qn_mem_free(m->chains);
    qn_mem_free(m);
}

bool qn_idempotency_key_valid(struct qn_str key)
{
    if (key.len == 0 || key.len > QN_IDEMPOTENCY_KEY_MAX)
        return false;
    for (uint32_t i = 0; i < key.len; i++)
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return false;
    return true;
}

/* ---- the table ---- */

static struct digest digest_of(const void *p, size_t len)
{
    unsigned char full[EVP_MAX_MD_SIZE];
    struct digest d;

    QN_ASSERT(EVP_Digest(p, len, full, NULL, EVP_sha256(), NULL) == 1);
    memcpy(d.b, full, DIGEST);
    return d;
}

static struct digest key_digest(uint32_t stream, struct qn_str key)
{
    char text[sizeof(stream) + QN_IDEMPOTENCY_KEY_MAX];

    memcpy(text, &stream, sizeof(stream));
    memcpy(text + sizeof(stream), key.p, key.len);
    return digest_of(text, sizeof(stream) + key.len);
}

static uint32_t *chain_of(struct qn_idempotency *m, const struct digest *key)
{
    return &m->chains[qn_hash(key->b, DIGEST, 0) % CHAINS];
}

static struct entry *find(struct qn_idempotency *m, const struct digest *key)
{
    for (uint32_t i = *chain_of(m, key); i != NONE; i = m->entries[i].next)
        if (memcmp(&m->entries[i].key, key, sizeof(*key)) == 0)
            return &m->entries[i];
    return NULL;
}

static void unlink_entry(struct qn_idempotency *m, struct entry *e)
{
    uint32_t *at = chain_of(m, &e->key), index = (uint32_t)(e - m->entries);

    while (*at != index)
        at = &m->entries[*at].next;
    *at = e->next;
    e->state = FREE;
}

/* A fresh entry of that key, in place of the oldest one that is not under way. */
static struct entry *insert(struct qn_idempotency *m, uint32_t stream, const struct digest *key,
                            const struct digest *body)
{
    struct entry *e = NULL;
    uint32_t *chain;

    for (uint32_t tries = 0; tries < ENTRIES; tries++) {
        e = &m->entries[m->at];
        m->at = (m->at + 1) % ENTRIES;
        if (e->state != BUSY)
            break;
    }
    QN_ASSERT(e->state != BUSY);
    if (e->state == DONE)
        unlink_entry(m, e);
    chain = chain_of(m, key);
    *e = (struct entry){.key = *key, .body = *body, .stream = stream, .next = *chain};
    *chain = (uint32_t)(e - m->entries);
    return e;
}

static void put_hex(struct qn_buf *out, const struct digest *d)
{
    for (int i = 0; i < DIGEST; i++)
        qn_buf_printf(out, "%02x", d->b[i]);
}

enum qn_claim qn_idempotency_claim(struct qn_idempotency *m, uint32_t stream, struct qn_str key,
                                   struct qn_str body, struct qn_buf *header, uint64_t *claim,
                                   uint64_t *first, uint32_t *count)
{
    struct digest kd = key_digest(stream, key), bd = digest_of(body.p, body.len);
    enum qn_claim answer = QN_CLAIM_NEW;
    struct entry *e;

    qn_buf_clear(header);
    qn_buf_add(header, key.p, key.len);
    qn_buf_byte(header, ' ');
    put_hex(header, &bd);
    pthread_mutex_lock(&m->lock);
    e = find(m, &kd);
    if (e == NULL) {
        e = insert(m, stream, &kd, &bd);
        e->state = BUSY;
        *claim = (uint64_t)(e - m->entries) + 1;
    } else if (memcmp(&e->body, &bd, sizeof(bd)) != 0) {
        answer = QN_CLAIM_OTHER;
    } else {
        answer = e->state == BUSY ? QN_CLAIM_BUSY : QN_CLAIM_DONE;
        *first = e->first;
        *count = e->count;
    }
    pthread_mutex_unlock(&m->lock);
    return answer;
}

void qn_idempotency_keep(struct qn_idempotency *m, uint64_t claim, uint64_t first, uint32_t count)
{
    struct entry *e = &m->entries[claim - 1];

    pthread_mutex_lock(&m->lock);
    QN_ASSERT(e->state == BUSY);
    e->first = first;
    e->count = count;
    e->state = DONE;
    pthread_mutex_unlock(&m->lock);
}

void qn_idempotency_release(struct qn_idempotency *m, uint64_t claim)
{
    pthread_mutex_lock(&m->lock);
    QN_ASSERT(m->entries[claim - 1].state == BUSY);
    unlink_entry(m, &m->entries[claim - 1]);
    pthread_mutex_unlock(&m->lock);
}

/* ---- finding them again ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "KEY HEX" into its parts; false where it is something else. */
static bool parse_header(struct qn_str value, struct qn_str *key, struct digest *body)
{
    const char *p;

    if (value.len < 2 * DIGEST + 2)
        return false;
    *key = (struct qn_str){value.p, value.len - 2 * DIGEST - 1};
    p = value.p + key->len + 1;
    for (int i = 0; i < DIGEST; i++) {
        int high = hex(p[2 * i]), low = hex(p[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        body->b[i] = (unsigned char)(high << 4 | low);
    }
    return p[-1] == ' ' && qn_idempotency_key_valid(*key);
}

/* A record of the log: the first of a request, one more of it, or none of one. */
static void load_record(struct qn_idempotency *m, uint32_t stream, const struct qn_log_record *r)
{
    struct qn_str headers = r->headers, key;
    struct digest kd, body;
    struct qn_log_header h;
    struct entry *e;

    while (qn_log_header_next(&headers, &h)) {
        if (!qn_str_is(h.name, "idempotency-key") || !parse_header(h.value, &key, &body))
            continue;
        kd = key_digest(stream, key);
        e = find(m, &kd);
        if (e != NULL && e->first + e->count == r->offset &&
            memcmp(&e->body, &body, sizeof(body)) == 0) {
            e->count++;
            return;
        }
        if (e != NULL)
            unlink_entry(m, e);
        e = insert(m, stream, &kd, &body);
        e->state = DONE;
        e->first = r->offset;
        e->count = 1;
        return;
    }
}

static qn_status load_stream(struct qn_idempotency *m, struct qn_service *sv, uint32_t stream,
                             struct qn_err *err)
{
    uint32_t topic = qn_service_stream_topic(sv, stream), count;
    struct qn_log *lg = qn_service_log(sv);
    struct qn_log_selection what = {.topics = &topic, .topic_count = 1};
    struct qn_log_topic_info info;
    struct qn_log_reader *reader;
    struct qn_log_record r[BATCH];
    enum qn_flow flow = QN_MORE;
    qn_status rc;

    qn_log_topic_info(lg, topic, &info);
    if (info.first == info.next)
        return QN_OK;
    QN_TRY(qn_log_reader_new(lg, &what, &reader, err));
    if (info.next - info.first > QN_IDEMPOTENCY_RECORDS)
        info.first = info.next - QN_IDEMPOTENCY_RECORDS;
    rc = qn_log_reader_seek(reader, topic, info.first, err);
    while (rc == QN_OK && flow == QN_MORE) {
        rc = qn_log_reader_next(reader, r, BATCH, &count, &flow, err);
        for (uint32_t i = 0; rc == QN_OK && flow == QN_MORE && i < count; i++)
            load_record(m, stream, &r[i]);
        qn_log_reader_release(reader);
    }
    qn_log_reader_free(reader);
    return rc;
}

qn_status qn_idempotency_load(struct qn_idempotency *m, struct qn_service *sv, struct qn_err *err)
{
    qn_status rc = QN_OK;

    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; rc == QN_OK && i < qn_service_plan(sv)->schema_count; i++)
        rc = load_stream(m, sv, i, err);
    pthread_mutex_unlock(&m->lock);
    return rc;
}
