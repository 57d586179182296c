/* SPDX-License-Identifier: Apache-2.0
 * service.h - a pipeline that runs until it is told to stop: a log, an engine on it, sources in
 * front and deliveries behind.
 *
 *   qn_ingest, sources ──► log (input topics) ──► engine thread ──► log (output topics) ──►
 * readers, │                              deliveries snapshots
 *
 * Topics of the log: one per stream, by its name; one per output, `predictions` first, by its name;
 * `dead` and `control`. One commit of the engine is one append: outputs, dead letters, and how far
 * the inputs were consumed (docs/formats.md). Whoever asks from outside (HTTP, tests) goes through
 * here and through readers of the log, never into the engine. Thread: every function may be called
 * from any thread unless it says otherwise; none is called from inside a qn_ingest_done. */
#ifndef QN_ENGINE_SERVICE_H
#define QN_ENGINE_SERVICE_H

#include "base/clock.h"
#include "engine/dead_letters.h"
#include "event/batch.h"
#include "log/log_local.h"
#include "monitor/metrics.h"
#include "spec/plan.h"

struct qn_service; /* private */
struct qn_ingest;  /* private */
struct qn_report;  /* monitor/report.h: the program's own log */

/* ---- life ------------------------------------------------------------------------------------*/

enum qn_phase {
    QN_PHASE_STARTING, /* restoring a snapshot, replaying the log behind it           */
    QN_PHASE_RUNNING,
    QN_PHASE_FULL,     /* no space: nothing is accepted, the rest goes on             */
    QN_PHASE_DRAINING, /* told to stop: nothing is accepted, what was is finished     */
    QN_PHASE_STOPPED,
    QN_PHASE_FAILED /* the log can no longer be trusted: the process must leave    */
};
const char *qn_phase_name(enum qn_phase p); /* "running" */

struct qn_service_options {
    const struct qn_files *files;
    const struct qn_clock *clock;
    const struct qn_random *random;
    struct qn_metrics *metrics;
    struct qn_report *report;
    uint32_t threads; /* of the engine */
    /* How the plan was loaded; outlives the service. A log in Kafka needs it: each partition has a
     * plan of its own. */
    const struct qn_plan_options *load;
    /* The one stage of the plan that runs here, by its name; NULL = all. */
    const char *stage;
};

/* Asks for what a start needs of others: the bucket of the snapshots, where there is one. As
 * qn_s3_list. */
qn_status qn_service_check(const struct qn_plan *plan, const struct qn_clock *clock,
                           const struct qn_random *random, struct qn_err *err);
/* Opens the log and everything the plan names; nothing moves yet. The plan must outlive the
 * service and serves it alone. */
qn_status qn_service_new(struct qn_plan *plan, const struct qn_service_options *opt,
                         struct qn_service **out, struct qn_err *err);
/* Starts all threads. Recovery goes on behind it: qn_service_phase. */
qn_status qn_service_start(struct qn_service *sv, struct qn_err *err);
enum qn_phase qn_service_phase(struct qn_service *sv);
/* Grows at least ten times a second while the engine's thread is alive. */
uint64_t qn_service_beats(struct qn_service *sv);
/* True and *err filled where the phase is QN_PHASE_FAILED. */
bool qn_service_failure(struct qn_service *sv, struct qn_err *err);
/* Stops accepting, finishes what is in the log, takes a snapshot, all within limit_ms; then stops
 * every thread. QN_INTERRUPTED when the limit was too short: nothing is lost, the next start
 * replays. */
qn_status qn_service_stop(struct qn_service *sv, int64_t limit_ms, struct qn_err *err);
void qn_service_free(struct qn_service *sv); /* stopped, or never started; NULL is fine */

/* ---- events in -------------------------------------------------------------------------------*/

/* What an ingest waits for: its events durable, or their predictions too. */
enum qn_ingest_wait { QN_INGEST_DURABLE, QN_INGEST_SCORED };

/* An open, empty ingest of one stream: events that become durable together, or not at all. Belongs
 * to one thread at a time. */
qn_status qn_ingest_new(struct qn_service *sv, uint32_t stream, struct qn_ingest **out,
                        struct qn_err *err);
void qn_ingest_free(struct qn_ingest *in); /* not between submit and done; NULL is fine */
/* Adds one event, one JSON text; headers as qn_log_header_add makes them. Bytes are copied. The
 * contract is checked at once, so that the answer has a verdict per event; a broken one goes into
 * the log like the others and is dead-lettered by the engine. QN_LIMIT: the request is too large.
 */
qn_status qn_ingest_add(struct qn_ingest *in, struct qn_str event, struct qn_str headers,
                        struct qn_err *err);
/* Checks the contract without handing the ingest over: the rows then have their verdicts, as after
 * done. For whoever has to answer about events that were taken before. */
qn_status qn_ingest_check(struct qn_ingest *in, struct qn_err *err);
/* Called once, on a thread of the service, without locks; must not block. */
typedef void qn_ingest_done(void *arg, struct qn_ingest *in);
/* Hands the ingest over. QN_FULL (retriable): too much is waiting, or the disk is full
 * (qn_service_phase tells which); QN_CLOSED: starting or draining. Then done is not called and the
 * ingest may be submitted again. */
qn_status qn_ingest_submit(struct qn_ingest *in, enum qn_ingest_wait wait, qn_ingest_done *done,
                           void *arg, struct qn_err *err);

/* After done. QN_OK, or why the events are not known to be durable. */
qn_status qn_ingest_status(const struct qn_ingest *in, struct qn_err *err);
uint32_t qn_ingest_count(const struct qn_ingest *in);
struct qn_ingest_row {
    uint64_t offset;          /* in the stream's topic                                        */
    enum qn_verdict verdict;  /* of the contract; with QN_INGEST_SCORED: the engine's         */
    enum qn_reason reason;    /* where the verdict is not QN_SCORED                           */
    struct qn_str field;      /* path of the field that broke the contract; p NULL = none     */
    struct qn_str prediction; /* the record, with QN_INGEST_SCORED where scored; p NULL = none */
};
/* Borrowed until the ingest is freed. */
void qn_ingest_row(const struct qn_ingest *in, uint32_t i, struct qn_ingest_row *out);

/* Sends dead letters through again: dead_letters.h. One call after the other, so that none is sent
 * twice. QN_CLOSED: starting or draining; QN_FULL: no space. May block for as long as the log takes
 * to write them. */
qn_status qn_service_replay_dead(struct qn_service *sv, const struct qn_dead_selection *sel,
                                 bool is_trial, struct qn_dead_replay *out, struct qn_err *err);

/* ---- looking in ------------------------------------------------------------------------------*/

const struct qn_plan *qn_service_plan(struct qn_service *sv);
/* NULL where the log lies in Kafka: what needs a local one is not there. */
struct qn_log *qn_service_log(struct qn_service *sv);
uint32_t qn_service_stream_topic(struct qn_service *sv, uint32_t stream);
uint32_t qn_service_output_topic(struct qn_service *sv, uint32_t output);
uint32_t qn_service_dead_topic(struct qn_service *sv);

/* Appends what `GET /v1/status` answers, one JSON object: docs/formats.md, "Status". */
void qn_service_status(struct qn_service *sv, struct qn_buf *json);
/* Appends the latest window features of a key, as of its newest event: {"key":{"customer_id":"C1"},
 * "as_of":"...","features":{...}}. by: the fields of the group, as in the spec ("customer_id",
 * "a, b"); key: one value per field, as text. QN_NOT_FOUND: no such group (names the nearest), or
 * no such key. May block for as long as one batch takes. */
qn_status qn_service_features(struct qn_service *sv, struct qn_str by, const struct qn_str *key,
                              uint32_t key_count, struct qn_buf *json, struct qn_err *err);

#endif
