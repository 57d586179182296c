/* SPDX-License-Identifier: Apache-2.0
 * transcode.c - records into events, and the schemas that were met. See transcode.h.
 *
 * Invariant: what is kept of a schema is what every registry says of its id, so that it may be kept
 * for ever; that an id is unknown may change, and is believed for UNKNOWN_S only. Thread: any; one
 * lock around everything, which nobody else holds where there is one thread. */
#include "log/transcode.h"

#include "event/avro.h"
#include "event/proto.h"
#include "log/log_local.h"

#include <pthread.h>
#include <stdio.h>

#define AGAIN_NS INT64_C(1000000000)

enum {
    FRAME_BYTES = 5,
    SLOTS_FIRST = 64,
    UNKNOWN_MAX = 64,
    UNKNOWN_S = 10,
    TEXTS_MAX = QN_REGISTRY_REFERENCES_MAX,
    REFERENCE_DEPTH_MAX = 32
};

/* A schema that was met. */
struct schema {
    uint32_t id;
    bool is_used;
    enum qn_reason reason; /* NONE: it can be used */
    const char *why;
    const struct qn_avro *avro; /* one of them, by the stream's format */
    const struct qn_proto *proto;
};
struct unknown {
    uint32_t id;
    int64_t since_ns; /* 0 = free */
};

struct qn_transcoder {
    pthread_mutex_t lock;
    struct qn_transcode_options opt;
    struct qn_registry *registry;
    struct qn_arena arena, scratch; /* scratch: of one request */
    struct schema *slots;           /* open addressing by id; a power of two, at most half full */
    uint32_t slot_count, used;
    struct schema *last; /* the one met last */
    struct qn_buf room;  /* of the record in hand */
    struct unknown unknown[UNKNOWN_MAX];
    uint32_t unknown_next;
    int64_t again_ns;  /* when a registry may be asked that did not answer ... */
    struct qn_err why; /* ... and what it said                                 */
};

const char *qn_wire_format_name(enum qn_wire_format f)
{
    static const char *const names[] = {"json", "avro", "protobuf", "json-schema"};

    return names[f];
}

/* ---- schemas ---------------------------------------------------------------------------------*/

static uint32_t slot_of(uint32_t id, uint32_t count)
{
    return (id * 2654435761U) & (count - 1);
}

static struct schema *find(struct schema *slots, uint32_t count, uint32_t id)
{
    uint32_t i = slot_of(id, count);

    while (slots[i].is_used && slots[i].id != id)
        i = (i + 1) & (count - 1);
    return &slots[i];
}

static qn_status grow(struct qn_transcoder *t, struct qn_err *err)
{
    const uint32_t count = t->slot_count > 0 ? 2 * t->slot_count : SLOTS_FIRST;
    struct schema *slots = qn_mem_zalloc(count, sizeof *slots);

    if (slots == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for schemas");
    for (uint32_t i = 0; i < t->slot_count; i++)
        if (t->slots[i].is_used)
            *find(slots, count, t->slots[i].id) = t->slots[i];
    qn_mem_free(t->slots);
    t->slots = slots;
    t->slot_count = count;
    t->last = NULL;
    return QN_OK;
}

static int64_t now_ns(const struct qn_transcoder *t)
{
    return t->opt.clock->mono_ns(t->opt.clock->st);
}

static bool is_unknown(const struct qn_transcoder *t, uint32_t id)
{
    for (uint32_t i = 0; i < UNKNOWN_MAX; i++)
        if (t->unknown[i].since_ns != 0 && t->unknown[i].id == id)
            return now_ns(t) - t->unknown[i].since_ns < UNKNOWN_S * INT64_C(1000000000);
    return false;
}

static void note_unknown(struct qn_transcoder *t, uint32_t id)
{
    for (uint32_t i = 0; i < UNKNOWN_MAX; i++)
        if (t->unknown[i].id == id)
            t->unknown[i].since_ns = 0;
    t->unknown[t->unknown_next] = (struct unknown){id, now_ns(t) | 1};
    t->unknown_next = (t->unknown_next + 1) % UNKNOWN_MAX;
}

/* A schema's text and those it refers to, each behind what it needs. */
struct texts {
    struct qn_str names[TEXTS_MAX], texts[TEXTS_MAX], subjects[TEXTS_MAX];
    int64_t versions[TEXTS_MAX];
    uint32_t count;
};

static bool has_text(const struct texts *x, const struct qn_schema_reference *ref)
{
    for (uint32_t i = 0; i < x->count; i++)
        if (qn_str_eq(x->subjects[i], ref->subject) && x->versions[i] == ref->version &&
            qn_str_eq(x->names[i], ref->name))
            return true;
    return false;
}

static qn_status add_text(struct texts *x, struct qn_str text,
                          const struct qn_schema_reference *ref, struct qn_err *err)
{
    if (x->count == TEXTS_MAX)
        return qn_err_set(err, QN_LIMIT, "it needs more than %d schemas", TEXTS_MAX);
    x->texts[x->count] = text;
    x->names[x->count] = ref != NULL ? ref->name : (struct qn_str){"", 0};
    x->subjects[x->count] = ref != NULL ? ref->subject : (struct qn_str){"", 0};
    x->versions[x->count++] = ref != NULL ? ref->version : -1;
    return QN_OK;
}

static qn_status gather(struct qn_transcoder *t, const struct qn_schema_text *schema,
                        struct texts *x, uint32_t depth, struct qn_err *err)
{
    if (depth > REFERENCE_DEPTH_MAX)
        return qn_err_set(err, QN_LIMIT, "its references are nested too deeply");
    for (uint32_t i = 0; i < schema->reference_count; i++) {
        const struct qn_schema_reference *ref = &schema->references[i];
        struct qn_schema_text other;

        if (has_text(x, ref))
            continue;
        QN_TRY(qn_registry_reference(t->registry, ref, &t->scratch, &other, err));
        QN_TRY(gather(t, &other, x, depth + 1, err));
        if (!has_text(x, ref))
            QN_TRY(add_text(x, other.schema, ref, err));
    }
    return QN_OK;
}

static enum qn_schema_type wanted(enum qn_wire_format f)
{
    return f == QN_WIRE_AVRO       ? QN_SCHEMA_AVRO
           : f == QN_WIRE_PROTOBUF ? QN_SCHEMA_PROTOBUF
                                   : QN_SCHEMA_JSON;
}

static qn_status compile_proto(struct qn_transcoder *t, const struct texts *x, struct schema *s,
                               struct qn_err *err)
{
    struct qn_proto_text *files = QN_NEW_N(&t->scratch, struct qn_proto_text, x->count);

    if (files == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a schema");
    for (uint32_t i = 0; i < x->count; i++)
        files[i] = (struct qn_proto_text){x->names[i], x->texts[i]};
    return qn_proto_read(files, x->count, &t->arena, &s->proto, err);
}

/* Texts into something that decodes. QN_INVALID, QN_LIMIT, QN_NOT_FOUND: it never will. */
static qn_status compile(struct qn_transcoder *t, const struct qn_schema_text *text,
                         struct schema *s, struct qn_err *err)
{
    struct texts *x;

    if (text->type != wanted(t->opt.format))
        return qn_err_set(err, QN_INVALID, "it is %s, and the stream's format is %s",
                          qn_schema_type_name(text->type), qn_wire_format_name(t->opt.format));
    if (text->type == QN_SCHEMA_JSON)
        return QN_OK;
    x = QN_NEW(&t->scratch, struct texts);
    if (x == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a schema");
    QN_TRY(gather(t, text, x, 0, err));
    QN_TRY(add_text(x, text->schema, NULL, err));
    if (text->type == QN_SCHEMA_AVRO)
        return qn_avro_read(x->texts, x->count, &t->arena, &s->avro, err);
    return compile_proto(t, x, s, err);
}

/* Asks for a schema. QN_OK with s->reason set, too: that is known then. */
static qn_status fetch(struct qn_transcoder *t, uint32_t id, struct schema *s, struct qn_err *err)
{
    struct qn_schema_text text;
    struct qn_err why = {0};
    qn_status rc;

    *s = (struct schema){.id = id};
    qn_arena_reset(&t->scratch);
    rc = qn_registry_schema(t->registry, id, &t->scratch, &text, &why);
    if (rc == QN_NOT_FOUND) {
        s->reason = QN_REASON_SCHEMA_UNKNOWN;
        note_unknown(t, id);
        return QN_OK;
    }
    if (rc == QN_OK)
        rc = compile(t, &text, s, &why);
    if (rc == QN_INVALID || rc == QN_LIMIT || rc == QN_NOT_FOUND) {
        if (why.text[0] == '\0' || strstr(why.text, "no schema registry") != NULL)
            goto later;
        s->reason = QN_REASON_BAD_SCHEMA;
        s->why = qn_arena_strdup(&t->arena, why.text, strlen(why.text));
        if (s->why != NULL)
            return QN_OK;
        rc = qn_err_set(&why, QN_NOMEM, "out of memory for a schema");
    }
later:
    if (rc != QN_OK && err != NULL)
        *err = why;
    return rc;
}

/* Who waits for a registry must not wait all the time: others come in between. */
static qn_status fetch_gently(struct qn_transcoder *t, uint32_t id, struct schema *s,
                              struct qn_err *err)
{
    const int64_t begun = now_ns(t);
    qn_status rc = t->why.code;

    if (rc == QN_OK || begun >= t->again_ns) {
        t->why = (struct qn_err){0};
        rc = fetch(t, id, s, &t->why);
        t->why.code = rc != QN_NOMEM ? rc : QN_OK;
        t->again_ns = now_ns(t) + AGAIN_NS;
        if (now_ns(t) - begun > AGAIN_NS)
            t->again_ns += now_ns(t) - begun - AGAIN_NS;
    }
    if (rc != QN_OK && err != NULL)
        *err = t->why;
    return rc;
}

static qn_status schema_of(struct qn_transcoder *t, uint32_t id, struct schema *out,
                           struct qn_err *err)
{
    struct schema *at, found;

    if (t->last != NULL && t->last->id == id) {
        *out = *t->last;
        return QN_OK;
    }
    if (2 * (t->used + 1) > t->slot_count)
        QN_TRY(grow(t, err));
    at = find(t->slots, t->slot_count, id);
    if (at->is_used) {
        t->last = at;
        *out = *at;
        return QN_OK;
    }
    *out = (struct schema){.id = id, .reason = QN_REASON_SCHEMA_UNKNOWN};
    if (is_unknown(t, id))
        return QN_OK;
    QN_TRY(fetch_gently(t, id, &found, err));
    *out = found;
    if (found.reason == QN_REASON_SCHEMA_UNKNOWN)
        return QN_OK;
    found.is_used = true;
    *at = found;
    t->used++;
    return QN_OK;
}

/* ---- records ---------------------------------------------------------------------------------*/

static bool is_own_header(struct qn_str name)
{
    return qn_str_is(name, "quern.schema_id") || qn_str_is(name, "quern.undecodable") ||
           qn_str_is(name, "quern.detail");
}

/* Those that only we may say something with do not come from outside. */
static void take_headers(struct qn_str given, struct qn_buf *headers)
{
    struct qn_log_header h;

    while (qn_log_header_next(&given, &h))
        if (!is_own_header(h.name))
            qn_log_header_add(headers, h.name, h.value);
}

static void add_id(struct qn_buf *headers, uint32_t id)
{
    char text[16];

    qn_log_header_add(headers, qn_str_of("quern.schema_id"),
                      (struct qn_str){text, (uint32_t)snprintf(text, sizeof text, "%u", id)});
}

static void set_aside(struct qn_transcoded *r, struct qn_str value, enum qn_reason reason,
                      const char *why, struct qn_buf *headers)
{
    r->event = value;
    r->len = value.len;
    r->reason = reason;
    qn_log_header_add(headers, qn_str_of("quern.undecodable"), qn_str_of(qn_reason_name(reason)));
    if (why != NULL && why[0] != '\0')
        qn_log_header_add(headers, qn_str_of("quern.detail"), qn_str_of(why));
}

static bool decode(struct qn_transcoder *t, const struct schema *s, struct qn_str bytes,
                   struct qn_buf *out, struct qn_wire_fault *fault)
{
    return t->opt.format == QN_WIRE_AVRO ? qn_avro_json(s->avro, bytes, out, fault)
                                         : qn_proto_json(s->proto, bytes, &t->room, out, fault);
}

bool qn_transcode_id(struct qn_str value, uint32_t *id)
{
    const unsigned char *p = (const unsigned char *)value.p;

    if (value.len < FRAME_BYTES || p[0] != 0)
        return false;
    *id = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
    return true;
}

void qn_transcode_unknown(struct qn_str value, uint32_t id, struct qn_str given,
                          struct qn_buf *headers, struct qn_transcoded *r)
{
    *r = (struct qn_transcoded){.begin = 0};
    take_headers(given, headers);
    add_id(headers, id);
    set_aside(r, value, QN_REASON_SCHEMA_UNKNOWN, NULL, headers);
}

/* The value behind its framing, as JSON. */
static qn_status unframe(struct qn_transcoder *t, struct qn_str value, struct qn_buf *out,
                         struct qn_buf *headers, struct qn_transcoded *r, struct qn_err *err)
{
    struct qn_wire_fault fault = {0};
    struct qn_str body;
    struct schema s;
    uint32_t id;

    if (!qn_transcode_id(value, &id)) {
        set_aside(r, value, QN_REASON_NOT_FRAMED, NULL, headers);
        return QN_OK;
    }
    QN_TRY(schema_of(t, id, &s, err));
    add_id(headers, id);
    if (s.reason != QN_REASON_NONE) {
        set_aside(r, value, s.reason, s.why, headers);
        return QN_OK;
    }
    body = (struct qn_str){value.p + FRAME_BYTES, value.len - FRAME_BYTES};
    if (t->opt.format == QN_WIRE_JSON_SCHEMA) {
        r->event = body;
        r->len = body.len;
        return QN_OK;
    }
    r->begin = out->len;
    if (!decode(t, &s, body, out, &fault)) {
        out->len = r->begin;
        set_aside(r, value, fault.reason, fault.why, headers);
        return QN_OK;
    }
    r->len = (uint32_t)(out->len - r->begin);
    return QN_OK;
}

qn_status qn_transcode(struct qn_transcoder *t, struct qn_str value, struct qn_str given,
                       struct qn_buf *out, struct qn_buf *headers, struct qn_transcoded *r,
                       struct qn_err *err)
{
    const size_t headers_before = headers->len, out_before = out->len;
    qn_status rc = QN_OK;

    *r = (struct qn_transcoded){.begin = out->len};
    take_headers(given, headers);
    if (value.p == NULL) {
        r->event = qn_str_of("null");
        r->len = r->event.len;
    } else if (t->opt.format == QN_WIRE_JSON) {
        r->event = value;
        r->len = value.len;
    } else {
        pthread_mutex_lock(&t->lock);
        rc = unframe(t, value, out, headers, r, err);
        pthread_mutex_unlock(&t->lock);
    }
    if (rc == QN_OK && (out->failed || headers->failed))
        rc = qn_err_set(err, QN_NOMEM, "out of memory for an event");
    if (rc != QN_OK) {
        headers->len = headers_before;
        out->len = out_before;
    }
    return rc;
}

enum qn_reason qn_transcode_reason(struct qn_str headers)
{
    struct qn_log_header h;

    while (qn_log_header_next(&headers, &h)) {
        if (!qn_str_is(h.name, "quern.undecodable"))
            continue;
        for (int i = 1; i < QN_REASON_COUNT; i++)
            if (qn_str_is(h.value, qn_reason_name((enum qn_reason)i)))
                return (enum qn_reason)i;
    }
    return QN_REASON_NONE;
}

/* ---- life ------------------------------------------------------------------------------------*/

qn_status qn_transcoder_new(const struct qn_transcode_options *opt, struct qn_transcoder **out,
                            struct qn_err *err)
{
    struct qn_transcoder *t = qn_mem_zalloc(1, sizeof *t);
    qn_status rc = QN_OK;

    *out = NULL;
    if (t == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for reading records");
    t->opt = *opt;
    pthread_mutex_init(&t->lock, NULL);
    qn_arena_init(&t->arena, 0);
    qn_arena_init(&t->scratch, 0);
    if (opt->format != QN_WIRE_JSON)
        rc = qn_registry_new(&opt->registry, &t->registry, err);
    if (rc != QN_OK) {
        qn_transcoder_free(t);
        return rc;
    }
    *out = t;
    return QN_OK;
}

void qn_transcoder_free(struct qn_transcoder *t)
{
    if (t == NULL)
        return;
    qn_registry_free(t->registry);
    qn_mem_free(t->slots);
    qn_buf_fini(&t->room);
    qn_arena_fini(&t->scratch);
    qn_arena_fini(&t->arena);
    pthread_mutex_destroy(&t->lock);
    qn_mem_free(t);
}
