/* SPDX-License-Identifier: Apache-2.0
 * plain_engine.h - what an engine without a log, snapshots or crashes makes of events: what the
 * tests of the service hold its records against.
 *
 *     plain_add(&p, stream, event) ...; plain_run(&p, plan, 1, 0); p.out[0] ...; plain_fini(&p);
 */
#ifndef QN_TESTS_PLAIN_ENGINE_H
#define QN_TESTS_PLAIN_ENGINE_H

#include "engine/output_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PLAIN_OUTPUTS = 3, PLAIN_DEAD = PLAIN_OUTPUTS, PLAIN_STREAMS = 4 };

struct plain_event {
    size_t start; /* in events */
    uint32_t len;
    uint8_t stream;
};

struct plain {
    struct qn_buf events; /* one behind the other */
    struct plain_event *list;
    uint32_t count, cap, next;
    uint32_t offsets[PLAIN_STREAMS];      /* of the next event of each stream         */
    struct qn_buf out[PLAIN_OUTPUTS + 1]; /* by output of the plan; then dead letters */
};

static inline void plain_add(struct plain *p, uint32_t stream, struct qn_str event)
{
    if (p->count == p->cap) {
        p->cap = p->cap > 0 ? p->cap * 2 : 1024;
        p->list = realloc(p->list, p->cap * sizeof *p->list);
        assert_non_null(p->list);
    }
    p->list[p->count++] = (struct plain_event){p->events.len, event.len, (uint8_t)stream};
    qn_buf_add(&p->events, event.p, event.len);
}

static inline qn_status plain_read(void *st, struct qn_batch *b, enum qn_flow *flow,
                                   struct qn_err *err)
{
    struct plain *p = st;

    (void)err;
    while (p->next < p->count && b->rows < b->rows_max) {
        const struct plain_event *e = &p->list[p->next++];

        b->raw[b->rows] = (struct qn_str){p->events.data + e->start, e->len};
        b->stream[b->rows] = e->stream;
        b->partition[b->rows] = 0;
        b->offset[b->rows++] = p->offsets[e->stream]++;
    }
    *flow = b->rows > 0 ? QN_MORE : QN_END;
    return QN_OK;
}

static inline void plain_release(void *st)
{
    (void)st;
}

static inline const struct qn_csv_header *const *plain_csv(void *st, uint32_t stream)
{
    (void)st;
    (void)stream;
    return NULL;
}

static inline int64_t plain_write(void *st, int fd, const void *bytes, size_t count)
{
    qn_buf_add(&((struct plain *)st)->out[fd - 1], bytes, count);
    return (int64_t)count;
}

/* All events through an engine of their own; rows: most of a batch, 0 = as usual. */
static inline void plain_run(struct plain *p, struct qn_plan *plan, uint32_t threads, uint32_t rows)
{
    const struct qn_engine_options en_opt = {.threads = threads, .rows_max = rows};
    struct qn_files files = {.write = plain_write, .st = p};
    struct qn_output_target targets[PLAIN_OUTPUTS] = {{1, "1"}, {2, "2"}, {3, "3"}};
    struct qn_outputs_options opt = {.kind = QN_RECORDS_PREDICTIONS,
                                     .files = &files,
                                     .targets = targets,
                                     .dead = {PLAIN_DEAD + 1, "dead"},
                                     .workers = threads};
    struct qn_input in = {.read = plain_read, .release = plain_release, .csv = plain_csv, .st = p};
    struct qn_outputs *outputs;
    struct qn_output out;
    struct qn_engine *en;
    struct qn_err err = {0};
    enum qn_flow flow = QN_MORE;

    assert_true(plan->output_count <= PLAIN_OUTPUTS && plan->schema_count <= PLAIN_STREAMS);
    qn_buf_room(&p->events, QN_DECODE_PAD);
    assert_int_equal(qn_outputs_new(plan, &opt, &outputs, &err), QN_OK);
    out = qn_outputs_output(outputs);
    assert_int_equal(qn_engine_new(plan, &en_opt, &in, &out, &en, &err), QN_OK);
    while (flow != QN_END)
        if (qn_step(en, &flow, &err) != QN_OK)
            fail_msg("step: %s", err.text);
    assert_int_equal(qn_engine_finish(en, &err), QN_OK);
    qn_engine_free(en);
    qn_outputs_free(outputs);
}

static inline void plain_fini(struct plain *p)
{
    free(p->list);
    qn_buf_fini(&p->events);
    for (int i = 0; i <= PLAIN_OUTPUTS; i++)
        qn_buf_fini(&p->out[i]);
}

#endif
