/* SPDX-License-Identifier: Apache-2.0
 * output_files.c - records to files; the end of stop "commit" on the path of an event.
 *
 * Thread and memory: see output_files.h. */
#include "engine/output_files.h"

#include "base/check.h"

struct target {
    struct qn_output_target to;
    uint64_t written; /* records */
};

struct qn_outputs {
    struct qn_arena arena;
    const struct qn_files *files;
    struct qn_record_encoder *encoder;
    struct qn_records records;
    struct target *targets; /* [output_count + 1]; the last takes the dead letters */
    uint32_t output_count;
};

static qn_status targets_init(struct qn_outputs *o, const struct qn_plan *plan,
                              const struct qn_outputs_options *opt, struct qn_err *err)
{
    struct qn_record_options records = {.kind = opt->kind,
                                        .wants_dead = opt->dead.fd >= 0,
                                        .columns = opt->columns,
                                        .column_count = opt->column_count,
                                        .workers = opt->workers};
    const uint32_t count = opt->kind == QN_RECORDS_PREDICTIONS ? plan->output_count : 1;
    bool *is_wanted = QN_NEW_N(&o->arena, bool, count);

    o->output_count = count;
    o->targets = QN_NEW_N(&o->arena, struct target, count + 1);
    if (!is_wanted || !o->targets)
        return qn_err_set(err, QN_NOMEM, "out of memory for the outputs");
    for (uint32_t i = 0; i < count; i++) {
        o->targets[i].to = opt->targets[i];
        is_wanted[i] = opt->targets[i].fd >= 0;
    }
    o->targets[count].to = opt->dead;
    records.is_wanted = is_wanted;
    QN_TRY(qn_record_encoder_new(plan, &records, &o->encoder, err));
    QN_ASSERT(qn_record_outputs(o->encoder) == count);
    return qn_records_init(&o->records, o->encoder, err);
}

qn_status qn_outputs_new(const struct qn_plan *plan, const struct qn_outputs_options *opt,
                         struct qn_outputs **out, struct qn_err *err)
{
    struct qn_outputs *o = qn_mem_zalloc(1, sizeof *o);
    qn_status rc;

    *out = NULL;
    if (o == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the outputs");
    qn_arena_init(&o->arena, 0);
    o->files = opt->files;
    rc = targets_init(o, plan, opt, err);
    if (rc != QN_OK) {
        qn_outputs_free(o);
        return rc;
    }
    *out = o;
    return QN_OK;
}

void qn_outputs_free(struct qn_outputs *o)
{
    if (o == NULL)
        return;
    qn_records_fini(&o->records);
    qn_record_encoder_free(o->encoder);
    qn_arena_fini(&o->arena);
    qn_mem_free(o);
}

static void outputs_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                           uint32_t first, uint32_t end, uint32_t worker)
{
    struct qn_outputs *o = st;

    qn_records_encode(&o->records, o->encoder, en, r, first, end, worker);
}

static qn_status target_commit(struct qn_outputs *o, uint32_t output, struct qn_err *err)
{
    struct target *t = &o->targets[output];

    for (uint32_t w = 0; w < o->records.workers; w++) {
        const struct qn_record_slice *s = qn_records_slice(&o->records, output, w);

        if (s->bytes.len > 0)
            QN_TRY(qn_file_write_all(o->files, t->to.fd, t->to.name, s->bytes.data, s->bytes.len,
                                     err));
        t->written += s->count;
    }
    return QN_OK;
}

static qn_status outputs_commit(void *st, const struct qn_engine *en,
                                const struct qn_step_result *r, struct qn_err *err)
{
    struct qn_outputs *o = st;

    QN_TRY(qn_records_check(&o->records, err));
    QN_TRY(target_commit(o, o->output_count, err));
    for (uint32_t i = 0; i < o->output_count; i++)
        QN_TRY(target_commit(o, i, err));
    qn_records_clear(&o->records);
    return QN_OK;
}

struct qn_output qn_outputs_output(struct qn_outputs *o)
{
    return (struct qn_output){
        .encode = outputs_encode, .commit = outputs_commit, .st = o, .commits_beside = true};
}

qn_status qn_outputs_begin(struct qn_outputs *o, struct qn_err *err)
{
    const struct qn_output_target *to = &o->targets[0].to;
    struct qn_buf b = {0};
    qn_status rc = QN_OK;

    qn_record_header(o->encoder, &b);
    if (b.failed)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for the header of the table");
    else if (b.len > 0 && to->fd >= 0)
        rc = qn_file_write_all(o->files, to->fd, to->name, b.data, b.len, err);
    qn_buf_fini(&b);
    return rc;
}

uint64_t qn_outputs_written(const struct qn_outputs *o, uint32_t output)
{
    QN_ASSERT(output < o->output_count);
    return o->targets[output].written;
}
