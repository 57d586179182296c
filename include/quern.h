/* SPDX-License-Identifier: Apache-2.0
 * quern.h - the public C API: event bytes in, prediction records out, in your own process.
 *
 * One opaque handle runs one spec, as `quern pipe` does, with the same answers to the last bit.
 * Nothing of the inside shows: records are the NDJSON lines of docs/formats.md. Thread: a pipeline
 * belongs to one thread at a time; different pipelines are independent. Memory: the pipeline owns
 * all it hands out; a record is borrowed until the callback returns. Experimental until
 * version 1.0: functions may change between minor versions. */
#ifndef QUERN_H
#define QUERN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QN_API __attribute__((visibility("default")))

struct qn_pipeline; /* opaque */

/* What a call answers. 0 is good. */
enum qn_result {
    QN_RESULT_OK = 0,
    QN_RESULT_SPEC = 1,   /* the spec has mistakes; the message lists them all     */
    QN_RESULT_MEMORY = 2, /* out of memory                                         */
    QN_RESULT_WORLD = 3,  /* a file cannot be read, a model cannot be used         */
    QN_RESULT_USAGE = 4,  /* an unknown stream, a call after a failure             */
};

/* "0.1.0"; static. */
QN_API const char *qn_version(void);

/* Takes one record: NDJSON without the line end, not NUL-terminated, borrowed until it returns.
 * Called from inside qn_pipeline_feed and qn_pipeline_flush, on the caller's thread, in the order
 * of the events. */
typedef void qn_record_fn(void *user, const char *record, size_t bytes);

/* How a pipeline runs. {0} is a valid default: one thread, nobody listens, variables from no
 * environment. */
struct qn_pipeline_options {
    qn_record_fn *prediction;       /* every scored event; may be NULL                         */
    qn_record_fn *dead;             /* every dead letter; may be NULL                          */
    void *user;                     /* handed to both                                          */
    uint32_t threads;               /* 0 = 1; shows in no answer                               */
    const char *const *environment; /* "NAME=value", NULL-ended, for ${NAME}; NULL = none      */
};

/* Loads a spec from a file, or from text (`name` stands for the file in messages; its folder is
 * where model files are looked for). On failure *out is NULL and `message` (of message_bytes, may
 * be NULL) holds what is wrong, with places, as `quern check` prints it, cut to fit and
 * NUL-terminated. */
QN_API enum qn_result qn_pipeline_open(const char *path, const struct qn_pipeline_options *options,
                                       struct qn_pipeline **out, char *message,
                                       size_t message_bytes);
QN_API enum qn_result qn_pipeline_open_text(const char *text, size_t bytes, const char *name,
                                            const struct qn_pipeline_options *options,
                                            struct qn_pipeline **out, char *message,
                                            size_t message_bytes);

/* Feeds NDJSON of a stream (NULL = the main stream): any number of bytes, cut anywhere; a line is
 * an event once its line end has come. Answers of whole batches arrive through the callbacks before
 * it returns; the bytes are not kept. A broken event is no failure: it is a dead letter. */
QN_API enum qn_result qn_pipeline_feed(struct qn_pipeline *p, const char *stream, const void *bytes,
                                       size_t n);

/* Answers everything fed so far, a last line without its line end included. */
QN_API enum qn_result qn_pipeline_flush(struct qn_pipeline *p);

/* Events by verdict since the start: read = scored + late + dead + shed, after every call. */
struct qn_pipeline_counts {
    uint64_t read, scored, late, dead, shed;
};
QN_API void qn_pipeline_count(const struct qn_pipeline *p, struct qn_pipeline_counts *out);

/* What the last failed call found, one sentence; "" when none failed. Borrowed until the next call.
 */
QN_API const char *qn_pipeline_error(const struct qn_pipeline *p);

/* Lets go of everything, without flushing. NULL is fine. */
QN_API void qn_pipeline_close(struct qn_pipeline *p);

#ifdef __cplusplus
}
#endif

#endif
