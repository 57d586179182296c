/* SPDX-License-Identifier: Apache-2.0
 * schema_registry.h - schemas by their id, from whatever speaks the REST API of Confluent's
 * registry (Apicurio, Karapace, Redpanda, ...).
 *
 *   GET URL/schemas/ids/ID                       {"schema", "schemaType", "references"}
 *   GET URL/subjects/SUBJECT/versions/VERSION    the same, of a reference
 *
 * One try a call, over all URLs: whoever asks decides when to ask again. A schema is unknown only
 * where a registry says so in its own words (404 with error_code 404xx); any other answer means
 * that nothing is known yet. Nothing is kept here. Thread: one at a time. Memory: answers in the
 * given arena; at most QN_REGISTRY_ANSWER_MAX each. */
#ifndef QN_LOG_SCHEMA_REGISTRY_H
#define QN_LOG_SCHEMA_REGISTRY_H

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

enum { QN_REGISTRY_ANSWER_MAX = 4 << 20, QN_REGISTRY_REFERENCES_MAX = 256 };

struct qn_registry; /* private */

struct qn_registry_options {
    const char *url;              /* several joined by commas are asked in turn               */
    const char *basic_auth;       /* "USER:PASSWORD", or NULL                                 */
    const char *token;            /* bearer, or NULL                                          */
    const char *ca_file;          /* certificates (PEM) instead of the system's, or NULL      */
    int64_t timeout_us;           /* of one request                                           */
    bool (*must_stop)(void *arg); /* asked while waiting; NULL = never                  */
    void *must_stop_arg;
};

enum qn_schema_type { QN_SCHEMA_AVRO, QN_SCHEMA_PROTOBUF, QN_SCHEMA_JSON, QN_SCHEMA_OTHER };
const char *qn_schema_type_name(enum qn_schema_type t); /* "AVRO" */

struct qn_schema_reference {
    struct qn_str name, subject; /* name: "other.proto", "com.example.Address" */
    int64_t version;
};
struct qn_schema_text {
    enum qn_schema_type type;
    struct qn_str schema;
    const struct qn_schema_reference *references;
    uint32_t reference_count;
};

/* NULL, or what is wrong with a URL (one, or several joined by commas), in words that follow
 * "'...' ". */
const char *qn_registry_url_check(const char *url);

/* Borrows the options' texts; connects to nothing. */
qn_status qn_registry_new(const struct qn_registry_options *opt, struct qn_registry **out,
                          struct qn_err *err);
void qn_registry_free(struct qn_registry *r); /* NULL is fine */

/* QN_NOT_FOUND: a registry that is well has no such schema. QN_INTERRUPTED: must_stop said so.
 * Everything else may be otherwise later: QN_IO no answer, QN_DENIED, QN_INVALID an answer that is
 * none of a registry. */
qn_status qn_registry_schema(struct qn_registry *r, uint32_t id, struct qn_arena *arena,
                             struct qn_schema_text *out, struct qn_err *err);
qn_status qn_registry_reference(struct qn_registry *r, const struct qn_schema_reference *ref,
                                struct qn_arena *arena, struct qn_schema_text *out,
                                struct qn_err *err);

/* An answer's body. QN_INVALID: not what a registry says. */
qn_status qn_registry_answer_read(struct qn_str json, struct qn_arena *arena,
                                  struct qn_schema_text *out, struct qn_err *err);
/* The error_code of an answer, 0 where it has none. */
int64_t qn_registry_error_read(struct qn_str json, struct qn_arena *arena);

#endif
