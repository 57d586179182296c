/* SPDX-License-Identifier: Apache-2.0
 * report.h - the program's own log: one line per change of state, as text or JSON, on stderr.
 *
 *   2026-05-01T10:00:00.123Z info  log: recovered torn=0 bytes=1024
 *   {"time":"2026-05-01T10:00:00.123Z","level":"info","room":"log","text":"recovered","torn":0,
 *    "bytes":1024}
 *
 * Words `name=value` at the end of a line are its fields; a value with blanks stands in quotes.
 * Never a line per event, never a secret. The same line (room and format, or room and code of an
 * error) more than 5 times in 10 s is held back and counted; after that the count goes out with the
 * last of them: "(37 more like this)", in JSON "more":37. Thread: any; a line is written whole,
 * under a lock. Memory: all of it at start; a line is cut at 2 KiB. */
#ifndef QN_MONITOR_REPORT_H
#define QN_MONITOR_REPORT_H

#include "base/clock.h"
#include "base/status.h"

struct qn_report; /* private */

enum qn_level { QN_LEVEL_DEBUG, QN_LEVEL_INFO, QN_LEVEL_WARN, QN_LEVEL_ERROR };
enum qn_report_form { QN_REPORT_TEXT, QN_REPORT_JSON };

/* Writes to fd, which stays the caller's, lines of level `least` and above. clock is kept. */
qn_status qn_report_new(int fd, enum qn_report_form form, enum qn_level least,
                        const struct qn_clock *clock, struct qn_report **out, struct qn_err *err);
void qn_report_free(struct qn_report *r); /* says what it held back; NULL is fine */

/* room: "log", "sink", "http", ...; static text. r NULL: nothing is written. A line that cannot be
 * written is lost: there is nobody left to tell. */
void qn_report_say(struct qn_report *r, enum qn_level level, const char *room, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Counts anew what may be held back, behind what was: somebody asked for something, and every line
 * of the answer is to be seen, however often. */
void qn_report_anew(struct qn_report *r);
/* The text of an error, with its place; fields of the JSON form: code, file, line, column. */
void qn_report_err(struct qn_report *r, enum qn_level level, const char *room,
                   const struct qn_err *err);

#endif
