/* SPDX-License-Identifier: Apache-2.0
 * log_int.h - the inside of the local log, shared by the files log_*.c of this room.
 *
 *   log_recover.c  open, recovery, close       log_append.c  encoding of appends
 *   log_segment.c  files, windows, walking     log_write.c   queue, frames, roll, the two threads
 *   log_state.c    topics, cursors, commits    log_index.c   where records lie
 *   log_retain.c   holds and removal           log_read.c    readers
 *   log_verify.c   checking everything
 *
 * Locks: `lock` guards what is published: segments, indices, topics, cursors, stages, holds, the
 * lists of readers and of waiting appends, `next_file`. Files are read and written without it. What
 * belongs to the writer (struct qn_log_writer) is touched by the log thread only; in a threadless
 * log that is whoever commits. */
#ifndef QN_LOG_LOG_INT_H
#define QN_LOG_LOG_INT_H

#include "base/check.h"
#include "base/memory.h"
#include "log/log_format.h"

#include <pthread.h>

enum { QN_LOG_PATH_MAX = 4096, QN_LOG_LOADED_MAX = 16 /* indices of old segments in memory */ };

/* ---- segments and their indices --------------------------------------------------------------*/

/* Where one section lies. */
struct qn_log_entry {
    uint64_t lsn, first;
    int64_t min_event, max_event, append_us;
    uint32_t topic, count, length; /* length: of the frame, without padding */
    uint16_t kind;
};

/* What a segment holds of one topic; kept in memory for every segment. */
struct qn_log_span {
    uint32_t topic;
    uint64_t first, next, bytes;
    int64_t min_event, max_event, min_append, max_append;
};

struct qn_log_segment {
    uint64_t first_lsn, size;
    uint64_t end_lsn; /* behind the last durable frame      */
    uint32_t crc;     /* of the last frame                  */
    int64_t min_append, max_append;
    bool has_commits;
    struct qn_log_span *spans;
    uint32_t span_count, span_cap;
    struct qn_log_entry *entries; /* in the order of the log; NULL while not loaded */
    uint32_t entry_count, entry_cap;
    bool is_loaded;
    uint64_t used_at; /* for the choice of the index to unload */
};

void qn_log_segment_free(struct qn_log_segment *s);
/* Room for `more` entries and spans, so that qn_log_index_note cannot fail. */
qn_status qn_log_index_reserve(struct qn_log_segment *s, uint32_t more, struct qn_err *err);
void qn_log_index_note(struct qn_log_segment *s, const struct qn_log_frame *f,
                       const struct qn_log_section *sec);
/* The first entry at or behind lsn, by bisection; the index is loaded. */
uint32_t qn_log_index_find(const struct qn_log_segment *s, uint64_t lsn);
const struct qn_log_span *qn_log_segment_span(const struct qn_log_segment *s, uint32_t topic);

/* ---- state -----------------------------------------------------------------------------------*/

struct qn_log_topic_state {
    char *name;
    uint32_t name_len;
    uint64_t first;    /* oldest offset that is kept      */
    uint64_t next;     /* durable                         */
    uint64_t assigned; /* next offset to give: the writer */
    bool is_declared;  /* its name is durable             */
    int64_t keep_age_us;
    uint64_t keep_bytes;
};

struct qn_log_cursor_state {
    char *name;
    uint32_t name_len, topic;
    uint64_t offset; /* QN_LOG_NO_OFFSET: not durable yet, or (without a name) a free slot */
};

struct qn_log_stage_state {
    uint32_t stage;
    uint64_t position, lsn;
    struct qn_buf payload;
};

struct qn_log_hold_state {
    char name[QN_LOG_NAME_MAX + 1];
    uint32_t name_len; /* 0 = free */
    uint64_t lsn;
};

struct qn_log_state {
    struct qn_log_topic_state *topics[QN_LOG_TOPICS_MAX];
    uint32_t topic_count;
    struct qn_log_cursor_state cursors[QN_LOG_CURSORS_MAX];
    uint32_t cursor_count;
    struct qn_log_stage_state stages[QN_LOG_STAGES_MAX];
    uint32_t stage_count;
};

void qn_log_state_fini(struct qn_log_state *st);
struct qn_log_topic_state *qn_log_state_topic(struct qn_log_state *st, struct qn_str name,
                                              uint32_t *number);
qn_status qn_log_state_add_topic(struct qn_log_state *st, struct qn_str name, uint32_t *number,
                                 struct qn_err *err);
/* Bytes of the dictionary, at most. */
size_t qn_log_state_bytes(const struct qn_log_state *st);
/* Makes sure that noting this section will find its slots and memory, within the limits. */
qn_status qn_log_state_reserve(struct qn_log_state *st, const struct qn_log_section *s,
                               struct qn_err *err);
/* A durable section changes topics, cursors, stages. False where it contradicts the state: a gap of
 * offsets, an unknown topic; *why says it. */
bool qn_log_state_note(struct qn_log_state *st, const struct qn_log_frame *f,
                       const struct qn_log_section *s, const char **why);
/* The body of a dictionary section. Offsets as durable. */
void qn_log_state_write(const struct qn_log_state *st, struct qn_buf *out);
/* Reads one into an empty state. QN_CORRUPT, QN_NOMEM. */
qn_status qn_log_state_read(struct qn_log_state *st, struct qn_str body, struct qn_err *err);

/* ---- appends ---------------------------------------------------------------------------------*/

enum qn_log_append_phase { QN_LOG_OPEN, QN_LOG_QUEUED, QN_LOG_DONE };

struct qn_log_append {
    struct qn_log *log;
    struct qn_buf body;         /* closed sections and the open one            */
    size_t section_at;          /* where the open section begins               */
    struct qn_log_section open; /* its header so far; kind 0 = none            */
    int64_t time_us;            /* event time of the record before             */
    uint32_t sections, records;
    bool is_reserved;
    /* Set by the log: */
    enum qn_log_append_phase phase;
    qn_status rc;
    struct qn_err err;
    struct qn_log_place place;
    qn_log_done *on_done;
    void *arg;
    qn_log_placed *on_place;
    void *place_arg;
    struct qn_log_append *next;
};

/* Ends the open section. */
void qn_log_append_close(struct qn_log_append *a);
/* Gives each section of records its first offset (topics' `assigned` move on) and tells whether
 * there is a commit. */
bool qn_log_append_assign(struct qn_log_append *a, struct qn_log_state *st);

/* ---- the log ---------------------------------------------------------------------------------*/

/* Of the log thread alone. */
struct qn_log_writer {
    int fd;                         /* of the last segment */
    uint32_t crc;                   /* of the last frame   */
    struct qn_buf own;              /* sections of the log itself, then frames as a whole */
    struct qn_buf raw, pack;        /* compression */
    uint32_t last_backlog, growing; /* appends waiting at the last take; takes it grew in a row */
};

struct qn_log {
    char dir[QN_LOG_PATH_MAX - 64];
    struct qn_log_options opt;
    struct qn_log_id id;
    int lock_fd;

    pthread_mutex_t keep_lock; /* one at a time prepares, seals, trims; taken before `lock` */
    pthread_mutex_t lock;
    pthread_cond_t work;     /* the log thread: something is queued, or stop        */
    pthread_cond_t keep;     /* the keeper: something to prepare or seal, or stop   */
    pthread_cond_t done;     /* appenders: finished, or room in the queue           */
    pthread_cond_t readable; /* readers                                             */
    pthread_cond_t prepared; /* the log thread: the keeper has tried                */
    pthread_t log_thread, keeper_thread;
    bool has_log_thread, has_keeper;
    bool stop, keeper_stop;

    /* Under lock: */
    struct qn_log_segment **segments; /* oldest first; the last is written to */
    uint32_t segment_count, segment_cap;
    struct qn_log_state state;
    struct qn_log_hold_state holds[QN_LOG_HOLDS_MAX];
    struct qn_log_reader *readers;
    uint64_t end_lsn; /* durable; readers see nothing beyond */
    struct qn_log_append *first_waiting, **last_waiting;
    uint64_t waiting_bytes;
    uint32_t waiting_count;
    int next_file; /* prepared segment, or -1                         */
    uint64_t next_size;
    bool is_preparing, wants_next; /* the keeper is at it; it should be               */
    bool is_needed;                /* nothing can be written before it is there         */
    uint32_t prepare_tries;        /* counts finished tries, good or not              */
    bool is_full;                  /* the last try ended in QN_FULL                   */
    int64_t full_ns;               /* when                                            */
    struct qn_err full;            /* why it is full                                  */
    struct qn_err fatal;           /* code QN_OK while all is well                    */
    uint32_t sealed; /* segments whose index file is written or not wanted: all before */
    uint64_t frames, syncs, append_count, append_bytes;
    uint64_t use_count;
    uint32_t spares;    /* the keeper's */
    struct qn_buf seal; /* the keeper's: index file */

    struct qn_log_writer w;
};

/* A frame that a reader wants. */
struct qn_log_want {
    uint64_t lsn;
    uint32_t length, topic; /* topic: for messages */
    uint16_t kind;
};
enum { QN_LOG_WANTS_MAX = 64 };

struct qn_log_chunk; /* log_read.c: bytes of frames as read, or unpacked */
struct qn_log_reader {
    struct qn_log *log;
    bool *selected; /* by number of the topic; NULL = all */
    uint64_t *from; /* first wanted offset, by number of the topic */
    bool commits;
    uint64_t lsn;    /* next frame to read from disk; guarded by the lock: holds what follows */
    bool is_placing; /* seeks since the last read */
    int fd;          /* of the segment being read, or -1 */
    uint64_t fd_lsn; /* its first LSN */
    struct qn_log_chunk *chunks; /* held for what was handed out, newest first */
    struct qn_log_chunk *spare;
    struct qn_log_chunk *current, *raw; /* of the frame being handed out */
    size_t held_bytes;
    struct qn_log_want wants[QN_LOG_WANTS_MAX]; /* frames of the current chunk */
    uint32_t want_count, want_at;
    const char *frame_at; /* the next frame in the current chunk */
    /* The frame being handed out: */
    struct qn_log_frame frame;
    const char *at, *end; /* sections left */
    struct qn_log_section section;
    const char *record, *record_end;
    uint32_t record_left;
    uint64_t offset;
    int64_t time_us;
    struct qn_log_reader *prev, *next;
};

/* ---- files -----------------------------------------------------------------------------------*/

void qn_log_path(const struct qn_log *lg, uint64_t lsn, const char *ending, char *out);
void qn_log_name_path(const struct qn_log *lg, const char *name, char *out);
qn_status qn_log_sync(const struct qn_log *lg, int fd, const char *name, struct qn_err *err);
qn_status qn_log_sync_folder(const struct qn_log *lg, struct qn_err *err);

/* Makes the file <lsn>.next of `size` bytes, allocated, zero (or a spare used again), with its
 * header, durable. On QN_FULL nothing of it is left. *fd is open for writing. Not under lock. */
qn_status qn_log_prepare(struct qn_log *lg, uint64_t lsn, uint64_t size, int *fd,
                         struct qn_err *err);
/* Writes the dictionary into the prepared file as its first frame, gives it its final name and
 * makes it the last segment. The writer's fd and crc move there. Not under lock. */
qn_status qn_log_begin_segment(struct qn_log *lg, int fd, uint64_t lsn, uint64_t size,
                               struct qn_err *err);

/* A view of a file that moves forward. What lies behind the end of the file reads as zeros. */
struct qn_log_window {
    const struct qn_files *files;
    int fd;
    const char *name;
    char *buf;
    size_t cap, len;
    uint64_t at; /* place of buf[0] in the file, a multiple of 4 KiB */
};
qn_status qn_log_window_get(struct qn_log_window *w, uint64_t offset, size_t bytes, const char **p,
                            struct qn_err *err);

/* The frames of one segment in order, checked. */
struct qn_log_walk {
    struct qn_log_window window;
    uint64_t id, first_lsn, size;
    uint64_t lsn;      /* of the next frame                    */
    uint32_t prev_crc; /* of the one before, where has_prev    */
    bool has_prev;
    const char *why; /* why there is no good frame at lsn    */
    struct qn_buf raw;
};
/* *found false: no good frame at w->lsn, see why; sections are those of *f otherwise, until the
 * next call. */
qn_status qn_log_walk_next(struct qn_log_walk *w, bool *found, struct qn_log_frame *f,
                           struct qn_str *sections, struct qn_err *err);
/* Looks behind w->lsn for a frame that is good where it lies. */
qn_status qn_log_walk_scan_on(struct qn_log_walk *w, bool *found, uint64_t *lsn,
                              struct qn_err *err);
/* After a scan found a good frame at w->lsn: the walk goes on there, whatever it should follow. */
qn_status qn_log_walk_resume(struct qn_log_walk *w, struct qn_err *err);
void qn_log_walk_fini(struct qn_log_walk *w);
/* Checks what a frame unpacks to; shared with the readers. NULL or why not. */
const char *qn_log_frame_unpack(const char *frame, const struct qn_log_frame *f, char *raw);

/* ---- steps of others -------------------------------------------------------------------------*/

/* Reads <lsn>.idx into s. QN_NOT_FOUND or QN_CORRUPT: make it anew. */
qn_status qn_log_index_load(const struct qn_log *lg, struct qn_log_segment *s, struct qn_err *err);
/* Makes the index of a complete segment from its frames. next_prev_crc: what the next segment says
 * the last frame's CRC is. QN_CORRUPT names the place. */
qn_status qn_log_index_rebuild(struct qn_log *lg, struct qn_log_segment *s, uint32_t next_prev_crc,
                               struct qn_err *err);
/* Writes <lsn>.idx. A failure costs time at the next start, nothing else. */
qn_status qn_log_index_save(struct qn_log *lg, const struct qn_log_segment *s,
                            struct qn_buf *scratch, struct qn_err *err);
/* Under lock; drops entries of the least used complete segments beyond QN_LOG_LOADED_MAX. */
void qn_log_index_unload(struct qn_log *lg);

qn_status qn_log_threads_start(struct qn_log *lg, struct qn_err *err);
void qn_log_threads_stop(struct qn_log *lg);
void qn_log_end_write(struct qn_log *lg, uint64_t end_lsn, uint32_t crc);

/* Adds a segment at the end of the list. Not under lock. */
qn_status qn_log_segment_add(struct qn_log *lg, uint64_t lsn, uint64_t size,
                             struct qn_log_segment **out, struct qn_err *err);

#endif
