/* SPDX-License-Identifier: Apache-2.0
 * log_local.h - the durable log on a disk of this machine: topics in one sequence of checksummed
 * frames.
 *
 *   appenders ── qn_log_append ──► queue ──► log thread: one frame in flight ──► disk ──► readers
 *
 * All topics share one endless sequence of bytes; a position in it is an LSN, and the order of the
 * LSNs is the order in which inputs were merged. An append is atomic: its records, commits, control
 * records and cursors become durable together or not at all, and nobody sees them before. The bytes
 * are described in log_format.h and docs/formats.md.
 *
 * After a failed write or sync nothing more is acknowledged (fatal in the error): leave the
 * process, open again. A full disk is not fatal: appends answer QN_FULL (retriable), readers go on,
 * and appending resumes when space returns.
 *
 * Thread: a qn_log is shared; an append or a reader belongs to one thread at a time. Memory: the
 * log's own, bounded by its options; reading and appending reuse their buffers. */
#ifndef QN_LOG_LOG_LOCAL_H
#define QN_LOG_LOG_LOCAL_H

#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "base/text.h"
#include "log/log_file.h"

struct qn_log;        /* private */
struct qn_log_append; /* private */
struct qn_log_reader; /* private */

enum {
    QN_LOG_APPEND_BYTES_MAX = 8 * 1024 * 1024 - 65536, /* of one append, encoded; see
                                                          qn_log_append_limit */
    QN_LOG_TOPICS_MAX = 1024,
    QN_LOG_CURSORS_MAX = 256,
    QN_LOG_STAGES_MAX = 64,
    QN_LOG_HOLDS_MAX = 64,
    QN_LOG_NAME_MAX = 255,           /* bytes of a topic's, cursor's or hold's name */
    QN_LOG_COMMIT_BYTES_MAX = 65536, /* of a commit's payload; what is longer goes to control
                                        records of the same append */
};
#define QN_LOG_NO_TIME   INT64_MIN  /* event time of a record that has none */
#define QN_LOG_NO_OFFSET UINT64_MAX /* removes a cursor */

enum qn_log_codec { QN_LOG_PLAIN, QN_LOG_LZ4, QN_LOG_ZSTD };

/* What a section of a frame holds; the numbers are part of the format. */
enum qn_log_kind {
    QN_LOG_RECORDS = 1,
    QN_LOG_COMMIT = 2,  /* by a stage of the engine: position consumed and its own bytes */
    QN_LOG_CONTROL = 3, /* records of a topic that changes behaviour, not data           */
    QN_LOG_CURSOR = 4,  /* how far a sink has delivered a topic                          */
    QN_LOG_TOPIC = 5,   /* a new topic: written by the log itself                        */
    QN_LOG_DICTIONARY = 6,
};

/* ---- opening ---------------------------------------------------------------------------------*/

struct qn_log_options {
    const struct qn_files *files;   /* NULL = qn_files_system  */
    const struct qn_clock *clock;   /* NULL = qn_clock_system  */
    const struct qn_random *random; /* NULL = qn_random_system */
    uint64_t segment_bytes;         /* of segments made from now on; 0 = 256 MiB, multiple of 4 KiB,
                                       64 KiB to 4 GiB */
    uint64_t queue_bytes;    /* most bytes waiting for the log thread; 0 = 64 MiB           */
    uint64_t reserve_bytes;  /* end of a segment that only reserved appends may use while no
                                next segment could be prepared; 0 = an eighth               */
    enum qn_log_codec codec; /* of frames written from now on                               */
    bool is_read_only;       /* no lock, nothing is changed, no threads; beside a writer too */
    bool is_threadless;      /* every step is done by the caller, for tests and tools       */
    bool may_be_volatile;    /* `durability: none`: no syncs; any file system               */
};

/* What recovery found and did. */
struct qn_log_recovery {
    bool is_new;            /* the folder held no log                                       */
    bool was_buffered;      /* the last segment could not be read past the page cache       */
    uint64_t torn_lsn;      /* where a torn tail was cut                                    */
    uint64_t torn_bytes;    /* bytes from there that were not zero; 0 = the log ended clean */
    uint32_t rebuilt;       /* indices made anew from their segments                        */
    uint64_t frames, bytes; /* read in the last segment                                     */
    char torn_why[64];      /* in words                                                     */
};

/* Opens the log in the folder dir, made where it is not there, and recovers it: cuts a torn tail of
 * the last segment; QN_CORRUPT with file, byte and remedy for any other damage; QN_DENIED naming
 * the process while another one has it open; QN_UNSUPPORTED on a file system that cannot keep a
 * promise. recovery may be NULL. May block for as long as reading one segment takes. */
qn_status qn_log_open(const char *dir, const struct qn_log_options *opt, struct qn_log **out,
                      struct qn_log_recovery *recovery, struct qn_err *err);

/* Writes what is queued, waits, and gives the folder free. No append or reader may be left. NULL is
 * fine. QN_OK, or why the last appends did not become durable. */
qn_status qn_log_close(struct qn_log *lg, struct qn_err *err);

/* The random number the log was born with, as 32 hex digits and a NUL: what is kept elsewhere about
 * its offsets should say whose they are. */
enum { QN_LOG_ID_TEXT = 33 };
void qn_log_identity(const struct qn_log *lg, char out[QN_LOG_ID_TEXT]);

/* ---- topics ----------------------------------------------------------------------------------*/

/* The number of a topic, made where create is true and there is none (it becomes durable with the
 * next frame). QN_NOT_FOUND, QN_INVALID (a name is 1 to 255 bytes without control bytes), QN_LIMIT.
 */
qn_status qn_log_topic(struct qn_log *lg, struct qn_str name, bool create, uint32_t *topic,
                       struct qn_err *err);

/* How long records of a topic are kept: until older than age_us (by append time) or until `bytes`
 * of the topic lie behind them, whichever comes first; 0 = without that limit, both 0 = for ever
 * (the default). A segment goes as a whole, the oldest first, when every topic in it agrees and
 * nothing below is held. Not stored: set it at every start. */
void qn_log_retain(struct qn_log *lg, uint32_t topic, int64_t age_us, uint64_t bytes);

struct qn_log_topic_info {
    struct qn_str name;           /* lives as long as the log                          */
    uint64_t first, next;         /* durable offsets [first, next)                     */
    uint64_t bytes;               /* of its sections, before compression               */
    int64_t min_event, max_event; /* QN_LOG_NO_TIME where it has no records or times   */
    int64_t min_append, max_append;
};
/* The topics are numbered from 0. */
uint32_t qn_log_topic_count(struct qn_log *lg);
void qn_log_topic_info(struct qn_log *lg, uint32_t topic, struct qn_log_topic_info *info);

/* ---- appending -------------------------------------------------------------------------------*/

struct qn_log_header {
    struct qn_str name, value;
};

/* A record as given and as handed out. */
struct qn_log_record {
    struct qn_str key, value; /* p NULL = null, which is not the empty text                */
    int64_t time_us;          /* event time or QN_LOG_NO_TIME                              */
    struct qn_str headers;    /* encoded: qn_log_header_next; given: qn_log_header_add     */
    /* Set when read: */
    uint64_t offset;       /* of a commit: the position it consumed up to               */
    uint64_t lsn;          /* of the frame: equal for what became durable together      */
    int64_t append_us;     /* when the frame was written, for ages                      */
    uint32_t topic;        /* of a commit: the stage                                    */
    uint32_t partition;    /* of a topic in Kafka; 0 in a local log                     */
    enum qn_log_kind kind; /* RECORDS, CONTROL or COMMIT (its payload is the value)     */
};

void qn_log_header_add(struct qn_buf *headers, struct qn_str name, struct qn_str value);
/* Takes the next header off the front of *headers; false at the end. */
bool qn_log_header_next(struct qn_str *headers, struct qn_log_header *out);

/* An open, empty append. It may be used again and again (qn_log_append_reset). */
qn_status qn_log_append_new(struct qn_log *lg, struct qn_log_append **out, struct qn_err *err);
void qn_log_append_free(struct qn_log_append *a);  /* not while it is submitted; NULL is fine */
void qn_log_append_reset(struct qn_log_append *a); /* forgets its content, keeps its memory   */
/* What this append may use of the space kept for the engine and the sinks when the disk is full. */
void qn_log_append_reserved(struct qn_log_append *a, bool is_reserved);

/* Adds to the append; bytes are copied. A change of topic or kind begins a new section, so that the
 * order of records of several topics is kept: who does not need it adds topic by topic. QN_LIMIT
 * (the append keeps what it had) when the append would grow beyond qn_log_append_limit, QN_NOMEM.
 */
qn_status qn_log_append_record(struct qn_log_append *a, uint32_t topic, enum qn_log_kind kind,
                               const struct qn_log_record *r, struct qn_err *err);
qn_status qn_log_append_cursor(struct qn_log_append *a, struct qn_str name, uint32_t topic,
                               uint64_t offset, struct qn_err *err);
/* position: how far the stage has consumed its inputs, an LSN. At most one per stage and append. */
qn_status qn_log_append_commit(struct qn_log_append *a, uint32_t stage, uint64_t position,
                               struct qn_str payload, struct qn_err *err);
uint32_t qn_log_append_records(const struct qn_log_append *a); /* added so far */
size_t qn_log_append_bytes(const struct qn_log_append *a);     /* encoded      */
/* Most bytes an append of this log may have: QN_LOG_APPEND_BYTES_MAX, less where segments are
 * small. A record takes its bytes and at most 40 more, a section 40. */
size_t qn_log_append_limit(struct qn_log *lg);

/* Where an append came to lie. */
struct qn_log_place {
    uint64_t lsn, end_lsn; /* of its frame; end: where the next one begins */
    int64_t append_us;
};

/* Hands the append to the log thread; it must not be touched until it is done. QN_FULL (retriable)
 * when the queue or the disk is full (qn_log_is_full tells which); an append that failed so may be
 * submitted again as it is. on_done, where not NULL, is
 * called once, on the log thread and without locks, when the append is durable (rc QN_OK) or failed
 * (err is valid during the call): it may reset and submit the append again, but not block. Without
 * on_done: qn_log_wait. */
typedef void qn_log_done(void *arg, struct qn_log_append *a, qn_status rc,
                         const struct qn_err *err);
qn_status qn_log_submit(struct qn_log *lg, struct qn_log_append *a, qn_log_done *on_done, void *arg,
                        struct qn_err *err);
/* Asks to be called, on the log thread and without locks, when the append has its offsets
 * (qn_log_append_first) and is on the disk, but no reader can see it yet: whoever waits for what
 * others make of these records can say so before anybody has read them. The append may still fail
 * afterwards: on_done tells. Stays set until changed; NULL = nobody asks. */
typedef void qn_log_placed(void *arg, struct qn_log_append *a);
void qn_log_append_watch(struct qn_log_append *a, qn_log_placed *on_place, void *arg);
/* Blocks until a submitted append is durable or failed. place may be NULL. */
qn_status qn_log_wait(struct qn_log *lg, struct qn_log_append *a, struct qn_log_place *place,
                      struct qn_err *err);
/* Both; waits for room in the queue, never for room on the disk. */
qn_status qn_log_commit(struct qn_log *lg, struct qn_log_append *a, struct qn_log_place *place,
                        struct qn_err *err);
/* After success, and in qn_log_placed: the offset of its first record of a topic (those of one
 * append follow each other) or QN_LOG_NO_OFFSET. */
uint64_t qn_log_append_first(const struct qn_log_append *a, uint32_t topic);

/* True while ordinary appends are refused because no further segment can be had; asks the disk
 * again, at most once a second. */
bool qn_log_is_full(struct qn_log *lg);

/* ---- what is durable -------------------------------------------------------------------------*/

struct qn_log_ends {
    uint64_t first_lsn; /* of the oldest segment                       */
    uint64_t end_lsn;   /* where the next frame will begin             */
    uint64_t bytes;     /* of all segments on disk                     */
    uint32_t segments;
    uint64_t frames, syncs, append_count, append_bytes; /* written by this process */
    bool is_full, is_fatal;
};
void qn_log_ends(struct qn_log *lg, struct qn_log_ends *out);

/* The last durable commit of a stage: its position, the LSN of its frame, its payload (out is
 * cleared first). QN_NOT_FOUND when there is none. position and lsn may be NULL. */
qn_status qn_log_last_commit(struct qn_log *lg, uint32_t stage, uint64_t *position, uint64_t *lsn,
                             struct qn_buf *payload, struct qn_err *err);
/* The durable place of a cursor. QN_NOT_FOUND. */
qn_status qn_log_cursor(struct qn_log *lg, struct qn_str name, uint32_t *topic, uint64_t *offset,
                        struct qn_err *err);
/* The cursors and stages by number, for lists: false behind the last one. name lives until the
 * cursor is removed. */
bool qn_log_cursor_at(struct qn_log *lg, uint32_t index, struct qn_str *name, uint32_t *topic,
                      uint64_t *offset);
bool qn_log_stage_at(struct qn_log *lg, uint32_t index, uint32_t *stage, uint64_t *position,
                     uint64_t *lsn);

/* ---- retention -------------------------------------------------------------------------------*/

/* Everything from lsn on stays until the hold is moved or cleared: a snapshot's position, a
 * client's place. Cursors and readers hold by themselves. QN_LIMIT, QN_INVALID (name). */
qn_status qn_log_hold(struct qn_log *lg, struct qn_str name, uint64_t lsn, struct qn_err *err);
void qn_log_release_hold(struct qn_log *lg, struct qn_str name);

/* Removes what retention allows now. The log's own thread does this by itself about once a second;
 * *removed (may be NULL): segments. */
qn_status qn_log_trim(struct qn_log *lg, uint32_t *removed, struct qn_err *err);

/* ---- reading ---------------------------------------------------------------------------------*/

struct qn_log_selection {
    const uint32_t *topics; /* count 0 = all topics */
    uint32_t topic_count;
    bool commits; /* commits of all stages too */
};

/* A reader stands at the oldest record of its topics, and holds what lies from its place on. */
qn_status qn_log_reader_new(struct qn_log *lg, const struct qn_log_selection *what,
                            struct qn_log_reader **out, struct qn_err *err);
void qn_log_reader_free(struct qn_log_reader *r); /* NULL is fine */

/* Moves. Of one topic: its records before offset are left out, and the reader goes on at the place
 * where that record lies. Calls without reading in between belong together, one per topic: the
 * reader then goes on at the earliest of the places, in the order of the log. QN_NOT_FOUND when the
 * offset was removed by retention (the error's offset is the first that is there) or is not reached
 * yet (it is the next one). */
qn_status qn_log_reader_seek(struct qn_log_reader *r, uint32_t topic, uint64_t offset,
                             struct qn_err *err);
/* To the first frame at or after lsn. QN_NOT_FOUND when lsn lies before the oldest segment. */
qn_status qn_log_reader_seek_lsn(struct qn_log_reader *r, uint64_t lsn, struct qn_err *err);
/* To the first section of its topics with an event time (or append time) at or after time_us, or
 * the end. Sections are coarse: earlier records of the same section are handed out as well. */
qn_status qn_log_reader_seek_time(struct qn_log_reader *r, bool by_append, int64_t time_us,
                                  struct qn_err *err);

/* Hands out up to max records that are durable. Never waits. *flow: QN_MORE = records were given;
 * QN_IDLE = none now. What was handed out lives until qn_log_reader_release (several calls may add
 * up to one batch). QN_CORRUPT names file, byte and topics; the reader stays before the damage and
 * gives what lies before it first. */
qn_status qn_log_reader_next(struct qn_log_reader *r, struct qn_log_record *out, uint32_t max,
                             uint32_t *count, enum qn_flow *flow, struct qn_err *err);
void qn_log_reader_release(struct qn_log_reader *r);
/* Waits until there may be more, at most timeout_ms. False at the time-out and in a threadless
 * log. */
bool qn_log_reader_wait(struct qn_log_reader *r, int64_t timeout_ms);

/* ---- checking --------------------------------------------------------------------------------*/

struct qn_log_check {
    uint64_t frames, sections, records, bytes;
    uint32_t segments, damaged;
};
/* Reads everything and checks every checksum, length, chain and offset. Each finding is told as one
 * error (code, file, offset, text); goes on behind it where it can. QN_OK also with findings. */
qn_status qn_log_verify(struct qn_log *lg, void (*found)(void *arg, const struct qn_err *err),
                        void *arg, struct qn_log_check *out, struct qn_err *err);

struct qn_log_segment_info {
    uint64_t first_lsn, end_lsn, bytes;
    int64_t min_append, max_append;
    char file[64]; /* its name in the folder */
};
/* The segments from the oldest: false behind the last one. */
bool qn_log_segment_at(struct qn_log *lg, uint32_t index, struct qn_log_segment_info *out);

#endif
