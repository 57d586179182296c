/* SPDX-License-Identifier: Apache-2.0
 * canvas.h - text drawn line by line on a screen of a known size.
 *
 * A line is put together piece by piece; columns are counted, and what goes beyond the right edge
 * is cut, so that a narrow terminal never wraps a line and the next redraw finds its place. Pure:
 * no descriptor, no clock. Thread: the caller's. Memory: the caller's buffer. */
#ifndef QN_CLI_CANVAS_H
#define QN_CLI_CANVAS_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

struct qn_screen {
    unsigned columns, rows;
    bool has_color;
    bool has_utf8;
    bool is_redrawn; /* a line ends by erasing what an earlier frame left behind it */
};

enum { QN_CANVAS_COLUMNS_MAX = 100 }; /* wider screens are not filled */

/* Styles: the digits of an SGR sequence; NULL = plain. */
#define QN_BOLD   "1"
#define QN_DIM    "2"
#define QN_RED    "31"
#define QN_GREEN  "32"
#define QN_YELLOW "33"
#define QN_CYAN   "36"
#define QN_PLAIN  NULL

/* In the caller's memory, by qn_canvas_init. */
struct qn_canvas {
    struct qn_buf *out;
    const struct qn_screen *screen;
    unsigned width;     /* columns used                                            */
    unsigned lines_max; /* lines that may be begun; what goes beyond is not drawn  */
    unsigned column;    /* of the line being drawn                                 */
    unsigned lines;     /* ended                                                   */
};

void qn_canvas_init(struct qn_canvas *c, const struct qn_screen *screen, struct qn_buf *out);

/* Text at the cursor, printf-like, cut at the right edge. Control characters become '?': text may
 * come from outside. */
void qn_canvas_put(struct qn_canvas *c, const char *style, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Blanks up to a column; nothing where the cursor is there or beyond. */
void qn_canvas_to(struct qn_canvas *c, unsigned column);
/* Ends the line, without blanks at its end where nothing is redrawn. */
void qn_canvas_line(struct qn_canvas *c);

/* A bar of share (0 to 1) * columns cells, in eighths of a cell where the screen has UTF-8. */
void qn_canvas_bar(struct qn_canvas *c, const char *style, double share, unsigned columns);
/* One cell a value, as high as its share (0 to 1); negative: nothing. */
void qn_canvas_spark(struct qn_canvas *c, const char *style, const double *share, unsigned count);

#endif
