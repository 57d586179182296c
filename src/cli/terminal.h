/* SPDX-License-Identifier: Apache-2.0
 * terminal.h - standard output as a screen: what it can show, and one frame drawn over the other.
 *
 *     qn_terminal_begin(&t, &frame);
 *     lines = draw(..., &t.screen, &frame);
 *     alive = qn_terminal_end(&t, &frame, lines);
 *
 * Thread: main. */
#ifndef QN_CLI_TERMINAL_H
#define QN_CLI_TERMINAL_H

#include "cli/canvas.h"
#include "cli/cli.h"

/* In the caller's memory. */
struct qn_terminal {
    struct qn_cli *cli;
    struct qn_screen
        screen;           /* is_redrawn: standard output is a terminal that can move its cursor */
    unsigned lines_drawn; /* of the frame that stands there                                     */
};

/* Looks at standard output, TERM, NO_COLOR and the variables that name the character set. */
void qn_terminal_init(struct qn_terminal *t, struct qn_cli *cli);
/* Clears the buffer and goes to where the last frame began, with the size the screen has now. */
void qn_terminal_begin(struct qn_terminal *t, struct qn_buf *frame);
/* Writes the frame in one piece. False: the reader is gone. */
bool qn_terminal_end(struct qn_terminal *t, struct qn_buf *frame, unsigned lines);

#endif
