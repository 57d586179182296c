/* SPDX-License-Identifier: Apache-2.0
 * status_read.h - what `GET /v1/status` answers, as a struct: docs/formats.md, "Status".
 *
 * Every member may be missing, of another kind than expected or new: what is not understood is
 * skipped. A number that is not there is NaN, a text is empty, a list has no items. Thread: the
 * caller's. */
#ifndef QN_CLI_STATUS_READ_H
#define QN_CLI_STATUS_READ_H

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

enum { QN_SEEN_ITEMS = 16, QN_SEEN_BINS = 64, QN_SEEN_STAGES = 7 };
extern const char *const qn_seen_stages[QN_SEEN_STAGES]; /* "read", in the order of the path */

struct qn_seen_stream {
    struct qn_str name;
    double read, scored, late, dead, shed, backlog, rate;
};
struct qn_seen_reason {
    struct qn_str stream, reason;
    double count;
};
struct qn_seen_output {
    struct qn_str name, when; /* when: empty = takes every prediction */
    double records, rate;
};
struct qn_seen_sink {
    struct qn_str name, kind, state, detail;
    double lag, delivered, failed, dead;
};
struct qn_seen_source {
    struct qn_str name, kind, state, detail;
    double records;
};
struct qn_seen_model {
    struct qn_str name, version, format, kernel;
    double trees;
    bool in_use;
};
struct qn_seen_log {
    double bytes, segments, end_lsn, sync_p50, sync_p99, syncs_per_s;
    bool full;
};
struct qn_seen_snapshot {
    double age_s, bytes, duration_ms, pause_ms, count;
};

struct qn_seen_status {
    struct qn_str pipeline, spec, version, phase, detail, now, newest_event;
    double uptime_s;
    double done, total;               /* of the start                                  */
    double age_p50, age_p90, age_p99; /* ms                                            */
    double score_count, score_mean;   /* of the last minute                            */
    double bins[QN_SEEN_BINS];        /* equal width over 0 to 1                       */
    double stage_ns[QN_SEEN_STAGES];  /* since the start                               */
    double keys, key_bytes;           /* of the state                                  */
    double rss_bytes, cpu_s, fds;     /* of the process                                */
    struct qn_seen_log log;
    struct qn_seen_snapshot snapshot;
    uint32_t bin_count, stream_count, reason_count, output_count, sink_count, source_count,
        model_count; /* what goes beyond QN_SEEN_ITEMS is left out */
    struct qn_seen_stream streams[QN_SEEN_ITEMS];
    struct qn_seen_reason reasons[QN_SEEN_ITEMS];
    struct qn_seen_output outputs[QN_SEEN_ITEMS];
    struct qn_seen_sink sinks[QN_SEEN_ITEMS];
    struct qn_seen_source sources[QN_SEEN_ITEMS];
    struct qn_seen_model models[QN_SEEN_ITEMS];
};

/* Reads one JSON object. Texts borrow from `json` or lie in the arena. QN_INVALID: it is no JSON
 * object; *out is then empty. */
qn_status qn_seen_status_read(struct qn_str json, struct qn_arena *arena,
                              struct qn_seen_status *out, struct qn_err *err);

#endif
