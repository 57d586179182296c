/* SPDX-License-Identifier: Apache-2.0
 * top_view.h - what `quern top` shows: the view of a running pipeline, and one line for a pipe.
 *
 * Pure: what was seen and a screen in, text out. Thread: main. Memory: text goes to the caller's
 * buffer. */
#ifndef QN_CLI_TOP_VIEW_H
#define QN_CLI_TOP_VIEW_H

#include "cli/canvas.h"
#include "cli/status_read.h"

enum { QN_TOP_HISTORY = 60 };

struct qn_top {
    const struct qn_seen_status *now;
    const char *lost;                /* why there is no newer status; NULL = it is the newest    */
    double rate[QN_TOP_HISTORY];     /* events per second, oldest first; NaN = not known         */
    uint32_t rates;                  /* of them, at the end of the array                         */
    double stage_ns[QN_SEEN_STAGES]; /* per stage, of the time that is shown                 */
    double stage_events;             /* read in that time; NaN = not known                   */
};

/* Draws the view at the cursor and returns how many lines, all ended: fewer than screen->rows
 * where the screen is redrawn, else as many as there are. */
unsigned qn_top_draw(const struct qn_top *t, const struct qn_screen *screen, struct qn_buf *out);

/* One line, ended. */
void qn_top_line(const struct qn_top *t, struct qn_buf *out);

#endif
