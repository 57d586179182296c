/* SPDX-License-Identifier: Apache-2.0
 * file_int.h - the parts of the file sink: lines, the position that makes it exactly-once, and
 * finished files.
 *
 *   alerts.ndjson            the file that grows
 *   alerts.ndjson.position   what of it is certain: bytes, and the offset of the next record
 *   alerts-20260501T100000Z-000000004711.ndjson[.gz]   finished: begun then, first record's offset
 *
 * A position is written as a whole (a new file under another name, then renamed) and only after the
 * bytes it speaks of are on the disk. So a start cuts the file to the position, whatever a crash
 * left behind it, and leaves out records before `next`, however far back the cursor stands. The
 * rename that finishes a file is announced in the position first: a start completes it. Thread: the
 * delivery's. */
#ifndef QN_SINK_FILE_INT_H
#define QN_SINK_FILE_INT_H

#include "sink/sink.h"

enum { QN_SINK_PATH_MAX = 3072, QN_SINK_NAME_MAX = 3200 }; /* bytes, the NUL included */

enum qn_file_format { QN_FILE_BY_ENDING, QN_FILE_NDJSON, QN_FILE_CSV };

/* Filled by the option table in sink_file.c. */
struct qn_file_options {
    const char *path;
    int format;                    /* enum qn_file_format                                */
    struct qn_option_list columns; /* of a CSV file, members of the record               */
    int64_t rotate_bytes;          /* 0 = never                                          */
    int64_t rotate_age_us;         /* 0 = never; from the first record of a file         */
    bool gzip;                     /* finished files                                     */
};
bool qn_file_is_csv(const struct qn_file_options *o);

/* ---- lines (file_line.c) ---- */

/* Appends the header of a CSV file; nothing for NDJSON. */
void qn_file_head(const struct qn_file_options *o, struct qn_buf *out);
/* Appends the record as a line. False: it cannot be one, *error says why, nothing was appended. */
bool qn_file_line(const struct qn_file_options *o, struct qn_str record, struct qn_arena *arena,
                  struct qn_buf *out, const char **error);

/* ---- the position (file_position.c) ---- */

struct qn_file_position {
    uint64_t next;     /* offset of the first record that is in no file           */
    uint64_t bytes;    /* of the growing file                                     */
    uint64_t first;    /* offset of its first record; meaningful where begun_us   */
    int64_t begun_us;  /* when that was written, wall clock; 0 = it has no record */
    bool is_finishing; /* the growing file is to get the name `finished`          */
    char finished[QN_SINK_NAME_MAX];
};
/* QN_NOT_FOUND where there is none; QN_CORRUPT. is_other: it belongs to another sink or log, so
 * that `next` means nothing. */
qn_status qn_file_position_read(const struct qn_sink_boot *boot, const char *path,
                                struct qn_file_position *out, bool *is_other, struct qn_err *err);
qn_status qn_file_position_write(const struct qn_sink_boot *boot, const char *path,
                                 const struct qn_file_position *p, struct qn_err *err);
/* Reads the text of a position file; false where it is none. owner is borrowed from text and
 * arena. */
bool qn_file_position_parse(struct qn_str text, struct qn_arena *arena,
                            struct qn_file_position *out, struct qn_str *log, struct qn_str *sink);
/* Syncs the folder a file lies in. */
qn_status qn_file_sync_folder(const struct qn_sink_boot *boot, const char *path,
                              struct qn_err *err);

/* ---- finished files (file_finish.c) ---- */

/* Decides the name of a finished file: free at this moment. QN_LIMIT where the path is too long. */
qn_status qn_file_finished_name(const struct qn_file_options *o, const struct qn_sink_boot *boot,
                                const struct qn_file_position *p, char out[QN_SINK_NAME_MAX],
                                struct qn_err *err);
/* Gives the growing file its name, packed where the options say so. Done already is fine: it may be
 * called again after a crash at any moment. The growing file must be closed. */
qn_status qn_file_finish(const struct qn_file_options *o, const struct qn_sink_boot *boot,
                         const struct qn_file_position *p, struct qn_err *err);

#endif
