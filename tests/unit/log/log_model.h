/* SPDX-License-Identifier: Apache-2.0
 * log_model.h - the naive twin of the log: append number i is a pure function of seed and i, so
 * what a log must hold after any crash can be written down again.
 *
 * Every append ends with a commit that carries its number; so a log read from anywhere tells which
 * appends it holds. */
#ifndef QN_TEST_LOG_MODEL_H
#define QN_TEST_LOG_MODEL_H

#include "base/clock.h"
#include "log/log_local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL_TOPICS = 3, MODEL_RECORDS_MAX = 24, MODEL_TEXT_MAX = 900 };

struct model_record {
    struct qn_log_record r;
    char text[MODEL_TEXT_MAX];
    char header[32];
};

struct model_append {
    struct model_record list[MODEL_RECORDS_MAX + 1];
    unsigned count;
    uint64_t cursor;
    uint32_t cursor_topic;
};

static inline void model_make(uint64_t seed, uint64_t i, struct model_append *a)
{
    struct qn_rng rng;

    qn_rng_seed(&rng, seed * 1000003 + i);
    a->count = 1 + qn_rng_below(&rng, qn_rng_below(&rng, 8) == 0 ? MODEL_RECORDS_MAX : 4);
    for (unsigned k = 0; k < a->count; k++) {
        struct model_record *m = &a->list[k];
        uint32_t n = qn_rng_below(&rng, qn_rng_below(&rng, 4) == 0 ? MODEL_TEXT_MAX : 40);
        uint32_t key = n == 0 ? 0 : qn_rng_below(&rng, n);

        memset(&m->r, 0, sizeof m->r);
        for (uint32_t c = 0; c < n; c++)
            m->text[c] = (char)qn_rng_next(&rng);
        m->r.topic = qn_rng_below(&rng, MODEL_TOPICS);
        m->r.kind = m->r.topic == 2 ? QN_LOG_CONTROL : QN_LOG_RECORDS;
        m->r.key = (struct qn_str){qn_rng_below(&rng, 5) == 0 ? NULL : m->text, key};
        m->r.value = (struct qn_str){qn_rng_below(&rng, 9) == 0 ? NULL : m->text + key, n - key};
        if (m->r.key.p == NULL)
            m->r.key.len = 0;
        if (m->r.value.p == NULL)
            m->r.value.len = 0;
        m->r.time_us = qn_rng_below(&rng, 7) == 0
                           ? QN_LOG_NO_TIME
                           : (int64_t)(i * 1000000) - qn_rng_below(&rng, 5000000);
        if (qn_rng_below(&rng, 6) == 0) {
            /* ("trace", "abc") and two empty texts, as qn_log_header_add writes them */
            memcpy(m->header, "\5trace\3abc\0\0", 12);
            m->r.headers = (struct qn_str){m->header, 12};
        }
    }
    a->cursor = i;
    a->cursor_topic = (uint32_t)(i % MODEL_TOPICS);
}

static inline qn_status model_topics(struct qn_log *lg, struct qn_err *err)
{
    static const char *const names[MODEL_TOPICS] = {"events", "predictions", "control"};

    for (uint32_t i = 0; i < MODEL_TOPICS; i++) {
        uint32_t number;

        QN_TRY(qn_log_topic(lg, qn_str_of(names[i]), true, &number, err));
        if (number != i)
            abort();
    }
    return QN_OK;
}

/* Encodes append number i. */
static inline qn_status model_encode(struct qn_log_append *to, uint64_t seed, uint64_t i,
                                     struct qn_err *err)
{
    static struct model_append a;
    char payload[8];

    model_make(seed, i, &a);
    qn_log_append_reset(to);
    for (unsigned k = 0; k < a.count; k++)
        QN_TRY(qn_log_append_record(to, a.list[k].r.topic, a.list[k].r.kind, &a.list[k].r, err));
    QN_TRY(qn_log_append_cursor(to, qn_str_of(i % 2 ? "sink one" : "sink two"), a.cursor_topic,
                                a.cursor, err));
    memcpy(payload, &i, sizeof payload);
    return qn_log_append_commit(to, 7, i, (struct qn_str){payload, 8}, err);
}

static inline bool model_same_text(struct qn_str a, struct qn_str b)
{
    return (a.p == NULL) == (b.p == NULL) && qn_str_eq(a, b);
}

/* Reads the whole log and compares. appends_first/end: what it holds, as numbers of appends. NULL
 * when it is what it must be, else what is wrong. */
static inline const char *model_check(struct qn_log *lg, uint64_t seed, uint64_t *appends_first,
                                      uint64_t *appends_end)
{
    static struct qn_log_record out[200];
    static struct model_append want;
    static char what[200];
    uint64_t next_offset[MODEL_TOPICS], i = 0, commits = 0, last = 0;
    struct qn_log_reader *r;
    const char *wrong = NULL;
    unsigned k = 0;

    for (int pass = 0; pass < 2 && wrong == NULL; pass++) {
        /* The first pass counts commits: the oldest append is the last less the others. */
        const struct qn_log_selection what_to_read = {.commits = true};
        enum qn_flow flow;
        uint32_t n;
        struct qn_err err = {0};

        if (qn_log_reader_new(lg, &what_to_read, &r, &err) != QN_OK)
            return "no reader";
        if (pass == 1) {
            i = commits == 0 ? 0 : last + 1 - commits;
            *appends_first = i;
            for (uint32_t t = 0; t < MODEL_TOPICS; t++) {
                struct qn_log_topic_info info = {0};

                if (t < qn_log_topic_count(lg))
                    qn_log_topic_info(lg, t, &info);
                next_offset[t] = info.first;
            }
            model_make(seed, i, &want);
        }
        do {
            if (qn_log_reader_next(r, out, 1 + (uint32_t)(i * 7 % 200), &n, &flow, &err) != QN_OK) {
                snprintf(what, sizeof what, "read: %.150s", err.text);
                wrong = what;
                break;
            }
            for (uint32_t j = 0; j < n && wrong == NULL; j++) {
                const struct qn_log_record *o = &out[j], *w = &want.list[k].r;

                if (pass == 0) {
                    if (o->kind == QN_LOG_COMMIT) {
                        memcpy(&last, o->value.p, 8);
                        commits++;
                    }
                    continue;
                }
                if (k == want.count) {
                    if (o->kind != QN_LOG_COMMIT || o->topic != 7 || o->offset != i ||
                        memcmp(o->value.p, &i, 8) != 0)
                        wrong = "a commit is wrong";
                    k = 0;
                    model_make(seed, ++i, &want);
                    continue;
                }
                k++;
                if (o->kind != w->kind || o->topic != w->topic)
                    wrong = "a record of another kind or topic";
                else if (o->offset != next_offset[o->topic]++)
                    wrong = "offsets have a gap";
                else if (o->time_us != w->time_us || !model_same_text(o->key, w->key) ||
                         !model_same_text(o->value, w->value) || !qn_str_eq(o->headers, w->headers))
                    wrong = "a record is not what was appended";
            }
            qn_log_reader_release(r);
        } while (flow == QN_MORE && wrong == NULL);
        qn_log_reader_free(r);
    }
    if (wrong == NULL && k != 0)
        wrong = "an append is there in part";
    *appends_end = i;
    if (wrong == NULL && i > 0) {
        struct qn_buf payload = {0};
        uint64_t position = 0, offset;
        uint32_t topic;

        i--;
        if (qn_log_last_commit(lg, 7, &position, NULL, &payload, NULL) != QN_OK || position != i ||
            payload.len != 8 || memcmp(payload.data, &i, 8) != 0)
            wrong = "the last commit is not that of the last append";
        if (qn_log_cursor(lg, qn_str_of(i % 2 ? "sink one" : "sink two"), &topic, &offset, NULL) !=
                QN_OK ||
            topic != i % MODEL_TOPICS || offset != i)
            wrong = "a cursor is not where the last append put it";
        qn_buf_fini(&payload);
    }
    return wrong;
}

#endif
