/* SPDX-License-Identifier: Apache-2.0
 * log_state.c - what the log knows beside its records: topics, cursors, the stages' last commits.
 *
 * The dictionary at the head of each segment is this state, so that recovery reads one segment
 * only. It changes by durable sections alone (qn_log_state_note), in recovery and after a sync
 * alike. Thread: whoever holds the log's lock. Memory: names and payloads on the heap, bounded by
 * the limits of log_local.h. */
#include "log/log_int.h"

void qn_log_state_fini(struct qn_log_state *st)
{
    for (uint32_t i = 0; i < st->topic_count; i++) {
        qn_mem_free(st->topics[i]->name);
        qn_mem_free(st->topics[i]);
    }
    for (uint32_t i = 0; i < st->cursor_count; i++)
        qn_mem_free(st->cursors[i].name);
    for (uint32_t i = 0; i < st->stage_count; i++)
        qn_buf_fini(&st->stages[i].payload);
    st->topic_count = st->cursor_count = st->stage_count = 0;
}

struct qn_log_topic_state *qn_log_state_topic(struct qn_log_state *st, struct qn_str name,
                                              uint32_t *number)
{
    for (uint32_t i = 0; i < st->topic_count; i++)
        if (qn_str_eq(name, (struct qn_str){st->topics[i]->name, st->topics[i]->name_len})) {
            *number = i;
            return st->topics[i];
        }
    return NULL;
}

qn_status qn_log_state_add_topic(struct qn_log_state *st, struct qn_str name, uint32_t *number,
                                 struct qn_err *err)
{
    struct qn_log_topic_state *t;

    if (st->topic_count == QN_LOG_TOPICS_MAX)
        return qn_err_set(err, QN_LIMIT, "a log has at most %d topics", QN_LOG_TOPICS_MAX);
    t = qn_mem_zalloc(1, sizeof *t);
    if (t != NULL)
        t->name = qn_mem_strdup(name.p, name.len);
    if (t == NULL || t->name == NULL) {
        qn_mem_free(t);
        return qn_err_set(err, QN_NOMEM, "out of memory for a topic");
    }
    t->name_len = name.len;
    *number = st->topic_count;
    st->topics[st->topic_count++] = t;
    return QN_OK;
}

static struct qn_log_cursor_state *find_cursor(struct qn_log_state *st, struct qn_str name)
{
    for (uint32_t i = 0; i < st->cursor_count; i++)
        if (qn_str_eq(name, (struct qn_str){st->cursors[i].name, st->cursors[i].name_len}))
            return &st->cursors[i];
    return NULL;
}

static struct qn_log_stage_state *find_stage(struct qn_log_state *st, uint32_t stage)
{
    for (uint32_t i = 0; i < st->stage_count; i++)
        if (st->stages[i].stage == stage)
            return &st->stages[i];
    return NULL;
}

/* A slot that was never used or whose cursor was removed: it has no name. */
static qn_status add_cursor(struct qn_log_state *st, struct qn_str name, struct qn_err *err)
{
    struct qn_log_cursor_state *c = NULL;
    char *copy;

    for (uint32_t i = 0; i < st->cursor_count && c == NULL; i++)
        if (st->cursors[i].name_len == 0)
            c = &st->cursors[i];
    if (c == NULL && st->cursor_count == QN_LOG_CURSORS_MAX)
        return qn_err_set(err, QN_LIMIT, "a log has at most %d cursors", QN_LOG_CURSORS_MAX);
    copy = qn_mem_strdup(name.p, name.len);
    if (copy == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a cursor");
    if (c == NULL)
        c = &st->cursors[st->cursor_count++];
    *c = (struct qn_log_cursor_state){
        .name = copy, .name_len = name.len, .offset = QN_LOG_NO_OFFSET};
    return QN_OK;
}

static qn_status add_stage(struct qn_log_state *st, uint32_t stage, struct qn_err *err)
{
    if (st->stage_count == QN_LOG_STAGES_MAX)
        return qn_err_set(err, QN_LIMIT, "a log has commits of at most %d stages",
                          QN_LOG_STAGES_MAX);
    st->stages[st->stage_count++] = (struct qn_log_stage_state){.stage = stage};
    return QN_OK;
}

/* The name and offset of a cursor section; false where they make no sense. */
static bool read_cursor(const struct qn_log_section *s, struct qn_str *name, uint64_t *offset)
{
    const char *p = qn_varint_get(s->body, s->body + s->bytes, offset);

    if (p == NULL)
        return false;
    *name = (struct qn_str){p, (uint32_t)(s->body + s->bytes - p)};
    return name->len > 0 && name->len <= QN_LOG_NAME_MAX;
}

qn_status qn_log_state_reserve(struct qn_log_state *st, const struct qn_log_section *s,
                               struct qn_err *err)
{
    struct qn_log_stage_state *g;
    struct qn_str name;
    uint64_t offset;

    if (s->kind == QN_LOG_CURSOR && read_cursor(s, &name, &offset) && offset != QN_LOG_NO_OFFSET &&
        find_cursor(st, name) == NULL)
        return add_cursor(st, name, err);
    if (s->kind != QN_LOG_COMMIT)
        return QN_OK;
    g = find_stage(st, s->topic);
    if (g == NULL) {
        QN_TRY(add_stage(st, s->topic, err));
        g = &st->stages[st->stage_count - 1];
    }
    /* The old payload stays whole until the new one is durable: room for both. */
    if (qn_buf_room(&g->payload, (size_t)s->bytes + 1) == NULL) {
        g->payload.failed = false;
        return qn_err_set(err, QN_NOMEM, "out of memory for a commit");
    }
    return QN_OK;
}

static bool note_records(struct qn_log_state *st, const struct qn_log_section *s, const char **why)
{
    struct qn_log_topic_state *t;

    if (s->topic >= st->topic_count) {
        *why = "it holds records of a topic that has no name";
        return false;
    }
    t = st->topics[s->topic];
    if (s->first != t->next) {
        *why = "its offsets do not follow those before";
        return false;
    }
    t->next += s->count;
    return true;
}

static bool note_topic(struct qn_log_state *st, const struct qn_log_section *s, const char **why)
{
    struct qn_str name = {s->body, s->bytes};
    uint32_t number = 0;

    if (s->topic < st->topic_count &&
        qn_str_eq(name,
                  (struct qn_str){st->topics[s->topic]->name, st->topics[s->topic]->name_len})) {
        st->topics[s->topic]->is_declared = true;
        return true;
    }
    if (s->topic != st->topic_count || name.len == 0 || name.len > QN_LOG_NAME_MAX ||
        qn_log_state_add_topic(st, name, &number, NULL) != QN_OK) {
        *why = "it names a topic out of turn";
        return false;
    }
    st->topics[number]->is_declared = true;
    return true;
}

static bool note_section(struct qn_log_state *st, const struct qn_log_frame *f,
                         const struct qn_log_section *s, const char **why)
{
    struct qn_log_cursor_state *c;
    struct qn_log_stage_state *g;
    struct qn_str name;
    uint64_t offset;

    switch (s->kind) {
    case QN_LOG_RECORDS:
    case QN_LOG_CONTROL:
        return note_records(st, s, why);
    case QN_LOG_TOPIC:
        return note_topic(st, s, why);
    case QN_LOG_CURSOR:
        *why = "it holds a cursor that makes no sense";
        if (!read_cursor(s, &name, &offset))
            return false;
        c = find_cursor(st, name);
        if (c == NULL && offset == QN_LOG_NO_OFFSET)
            return true;
        if (c == NULL && add_cursor(st, name, NULL) == QN_OK)
            c = find_cursor(st, name);
        *why = "it holds a cursor too many";
        if (c == NULL)
            return false;
        c->topic = s->topic;
        c->offset = offset;
        if (offset == QN_LOG_NO_OFFSET) {
            qn_mem_free(c->name);
            *c = (struct qn_log_cursor_state){.offset = QN_LOG_NO_OFFSET};
        }
        return true;
    case QN_LOG_COMMIT:
        g = find_stage(st, s->topic);
        if (g == NULL && add_stage(st, s->topic, NULL) == QN_OK)
            g = find_stage(st, s->topic);
        *why = "it holds a commit of a stage too many";
        if (g == NULL)
            return false;
        g->position = s->first;
        g->lsn = f->lsn;
        qn_buf_clear(&g->payload);
        qn_buf_add(&g->payload, s->body, s->bytes);
        *why = "it holds a commit there is no memory for";
        return !g->payload.failed;
    default:
        *why = "it holds a dictionary where none belongs";
        return false;
    }
}

bool qn_log_state_note(struct qn_log_state *st, const struct qn_log_frame *f,
                       const struct qn_log_section *s, const char **why)
{
    bool is_good = note_section(st, f, s, why);

    if (is_good)
        *why = NULL;
    return is_good;
}

size_t qn_log_state_bytes(const struct qn_log_state *st)
{
    size_t n = 16;

    for (uint32_t i = 0; i < st->topic_count; i++)
        n += 12 + st->topics[i]->name_len;
    for (uint32_t i = 0; i < st->cursor_count; i++)
        n += 16 + st->cursors[i].name_len;
    for (uint32_t i = 0; i < st->stage_count; i++)
        n += 24 + st->stages[i].payload.len;
    return n;
}

static int compare_cursors(const struct qn_log_cursor_state *a, const struct qn_log_cursor_state *b)
{
    return qn_str_cmp((struct qn_str){a->name, a->name_len}, (struct qn_str){b->name, b->name_len});
}

/* The cursors by name: their slots depend on what was removed when. */
static uint32_t sort_cursors(const struct qn_log_state *st,
                             const struct qn_log_cursor_state *list[QN_LOG_CURSORS_MAX])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < st->cursor_count; i++) {
        uint32_t at = n;

        if (st->cursors[i].offset == QN_LOG_NO_OFFSET)
            continue;
        for (; at > 0 && compare_cursors(list[at - 1], &st->cursors[i]) > 0; at--)
            list[at] = list[at - 1];
        list[at] = &st->cursors[i];
        n++;
    }
    return n;
}

static uint32_t sort_stages(const struct qn_log_state *st,
                            const struct qn_log_stage_state *list[QN_LOG_STAGES_MAX])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < st->stage_count; i++) {
        uint32_t at = n;

        if (st->stages[i].lsn == 0)
            continue;
        for (; at > 0 && list[at - 1]->stage > st->stages[i].stage; at--)
            list[at] = list[at - 1];
        list[at] = &st->stages[i];
        n++;
    }
    return n;
}

/* Topics not yet durable by name are left out: their declaration follows in the frame that first
 * needs them. They have the highest numbers. */
void qn_log_state_write(const struct qn_log_state *st, struct qn_buf *out)
{
    const struct qn_log_cursor_state *cursors[QN_LOG_CURSORS_MAX];
    const struct qn_log_stage_state *stages[QN_LOG_STAGES_MAX];
    uint32_t cursor_count = sort_cursors(st, cursors), stage_count = sort_stages(st, stages);
    uint32_t topics = 0;

    while (topics < st->topic_count && st->topics[topics]->is_declared)
        topics++;
    qn_little_add32(out, topics);
    qn_little_add32(out, cursor_count);
    qn_little_add32(out, stage_count);
    qn_little_add32(out, 0);
    for (uint32_t i = 0; i < topics; i++) {
        qn_little_add64(out, st->topics[i]->next);
        qn_little_add32(out, st->topics[i]->name_len);
        qn_buf_add(out, st->topics[i]->name, st->topics[i]->name_len);
    }
    for (uint32_t i = 0; i < cursor_count; i++) {
        qn_little_add64(out, cursors[i]->offset);
        qn_little_add32(out, cursors[i]->topic);
        qn_little_add32(out, cursors[i]->name_len);
        qn_buf_add(out, cursors[i]->name, cursors[i]->name_len);
    }
    for (uint32_t i = 0; i < stage_count; i++) {
        qn_little_add64(out, stages[i]->position);
        qn_little_add64(out, stages[i]->lsn);
        qn_little_add32(out, stages[i]->stage);
        qn_little_add32(out, (uint32_t)stages[i]->payload.len);
        qn_buf_add(out, stages[i]->payload.data, stages[i]->payload.len);
    }
}

/* Bytes taken off the front with a check; `ok` turns false and stays so. */
struct taker {
    const char *p, *end;
    bool ok;
};

static const char *take(struct taker *t, size_t n)
{
    const char *p = t->p;

    if (!t->ok || (size_t)(t->end - p) < n) {
        t->ok = false;
        return NULL;
    }
    t->p += n;
    return p;
}

static uint32_t take32(struct taker *t)
{
    const char *p = take(t, 4);

    return p == NULL ? 0 : qn_little_get32(p);
}

static uint64_t take64(struct taker *t)
{
    const char *p = take(t, 8);

    return p == NULL ? 0 : qn_little_get64(p);
}

static struct qn_str take_name(struct taker *t, uint32_t limit)
{
    uint32_t n = take32(t);
    const char *p;

    t->ok &= n <= limit;
    p = take(t, n);
    return (struct qn_str){p, p == NULL ? 0 : n};
}

static qn_status read_topics(struct qn_log_state *st, struct taker *t, uint32_t count,
                             struct qn_err *err)
{
    for (uint32_t i = 0; i < count && t->ok; i++) {
        uint64_t next = take64(t);
        struct qn_str name = take_name(t, QN_LOG_NAME_MAX);
        uint32_t number = 0;

        t->ok &= next <= INT64_MAX && name.len > 0;
        if (!t->ok)
            break;
        QN_TRY(qn_log_state_add_topic(st, name, &number, err));
        st->topics[number]->next = st->topics[number]->assigned = next;
        st->topics[number]->is_declared = true;
    }
    return QN_OK;
}

static qn_status read_cursors(struct qn_log_state *st, struct taker *t, uint32_t count,
                              struct qn_err *err)
{
    for (uint32_t i = 0; i < count && t->ok; i++) {
        uint64_t offset = take64(t);
        uint32_t topic = take32(t);
        struct qn_str name = take_name(t, QN_LOG_NAME_MAX);

        t->ok &= name.len > 0 && offset != QN_LOG_NO_OFFSET;
        if (!t->ok)
            break;
        QN_TRY(add_cursor(st, name, err));
        st->cursors[st->cursor_count - 1].topic = topic;
        st->cursors[st->cursor_count - 1].offset = offset;
    }
    return QN_OK;
}

static qn_status read_stages(struct qn_log_state *st, struct taker *t, uint32_t count,
                             struct qn_err *err)
{
    for (uint32_t i = 0; i < count && t->ok; i++) {
        struct qn_log_stage_state g = {0};
        struct qn_str payload;

        g.position = take64(t);
        g.lsn = take64(t);
        g.stage = take32(t);
        payload = take_name(t, QN_LOG_COMMIT_BYTES_MAX);
        if (!t->ok)
            break;
        QN_TRY(add_stage(st, g.stage, err));
        qn_buf_add(&g.payload, payload.p, payload.len);
        if (g.payload.failed)
            return qn_err_set(err, QN_NOMEM, "out of memory for a commit");
        st->stages[st->stage_count - 1] = g;
    }
    return QN_OK;
}

qn_status qn_log_state_read(struct qn_log_state *st, struct qn_str body, struct qn_err *err)
{
    struct taker t = {body.p, body.p + body.len, true};
    uint32_t topics = take32(&t), cursors = take32(&t), stages = take32(&t);

    (void)take32(&t);
    if (topics <= QN_LOG_TOPICS_MAX && cursors <= QN_LOG_CURSORS_MAX &&
        stages <= QN_LOG_STAGES_MAX) {
        QN_TRY(read_topics(st, &t, topics, err));
        QN_TRY(read_cursors(st, &t, cursors, err));
        QN_TRY(read_stages(st, &t, stages, err));
        if (t.ok && t.p == t.end)
            return QN_OK;
    }
    return qn_err_set(err, QN_CORRUPT, "the dictionary makes no sense");
}
