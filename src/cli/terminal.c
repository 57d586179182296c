/* SPDX-License-Identifier: Apache-2.0
 * terminal.c - standard output as a screen.
 *
 * A frame is one write, and the cursor is hidden only inside it, so that no signal can leave it
 * hidden. Thread: main. Memory: the caller's buffer. */
#include "cli/terminal.h"

#include <sys/ioctl.h>

/* The first of the variables that decide about text is set and names UTF-8. */
static bool has_utf8(const struct qn_cli *c)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (unsigned i = 0; i < 3; i++) {
        const char *v = qn_cli_variable(c, names[i]);

        if (v != NULL && *v != '\0')
            return strcasestr(v, "utf-8") != NULL || strcasestr(v, "utf8") != NULL;
    }
    return false;
}

/* The size may change while we run: asked for every frame. */
static void measure(struct qn_terminal *t)
{
    struct winsize w = {0};

    t->screen.columns = t->screen.is_redrawn ? 80 : QN_CANVAS_COLUMNS_MAX;
    t->screen.rows = 24;
    if (ioctl(t->cli->out, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 && w.ws_row > 0) {
        t->screen.columns = w.ws_col;
        t->screen.rows = w.ws_row;
    }
}

void qn_terminal_init(struct qn_terminal *t, struct qn_cli *cli)
{
    const char *term = qn_cli_variable(cli, "TERM"), *no_color = qn_cli_variable(cli, "NO_COLOR");
    bool is_smart = qn_file_is_terminal(cli->out) && term != NULL && strcmp(term, "dumb") != 0;

    *t = (struct qn_terminal){.cli = cli};
    t->screen.is_redrawn = is_smart;
    measure(t);
    t->screen.has_color = is_smart && (no_color == NULL || *no_color == '\0');
    t->screen.has_utf8 = has_utf8(cli);
}

void qn_terminal_begin(struct qn_terminal *t, struct qn_buf *frame)
{
    measure(t);
    qn_buf_clear(frame);
    if (!t->screen.is_redrawn)
        return;
    qn_buf_text(frame, "\033[?25l");
    if (t->lines_drawn > 0)
        qn_buf_printf(frame, "\033[%uA\r", t->lines_drawn);
}

bool qn_terminal_end(struct qn_terminal *t, struct qn_buf *frame, unsigned lines)
{
    t->lines_drawn = lines;
    if (t->screen.is_redrawn)
        qn_buf_text(frame, "\033[J\033[?25h");
    return frame->failed || qn_cli_write(t->cli, frame->data, frame->len);
}
