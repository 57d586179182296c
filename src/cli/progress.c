/* SPDX-License-Identifier: Apache-2.0
 * progress.c - the progress bar of long work: on a terminal ten times a second and erased at the
 * end, else a line per 10 s.
 *
 * Thread: main. */
#include "cli/cli.h"

#include <stdio.h>

static const int64_t ON_TERMINAL_NS = 100 * 1000000LL, ELSEWHERE_NS = 10 * 1000000000LL;

void qn_progress_start(struct qn_progress *p, struct qn_cli *c, const char *what)
{
    *p = (struct qn_progress){.cli = c, .what = what};
    p->start_ns = c->clock->mono_ns(c->clock->st);
    p->shown_ns = p->start_ns;
}

static void bar(char out[32], double share)
{
    unsigned full = (unsigned)(share * 20);

    for (unsigned i = 0; i < 20; i++)
        out[i] = i < full ? '#' : '.';
    out[20] = '\0';
}

void qn_progress_update(struct qn_progress *p, uint64_t events, uint64_t done_bytes,
                        uint64_t total_bytes)
{
    struct qn_cli *c = p->cli;
    int64_t now = c->clock->mono_ns(c->clock->st);
    char text[160], cells[32];
    double seconds, rate;
    int n;

    if (now - p->shown_ns < (c->err_is_terminal ? ON_TERMINAL_NS : ELSEWHERE_NS))
        return;
    p->shown_ns = now;
    seconds = (double)(now - p->start_ns) / 1e9;
    rate = (double)events / seconds;
    if (total_bytes > 0 && done_bytes > 0) {
        double share = (double)done_bytes / (double)total_bytes;

        bar(cells, share);
        n = snprintf(text, sizeof text, "[%s] %3.0f %%  %llu %s  %.0f/s  %.0f s left", cells,
                     100 * share, (unsigned long long)events, p->what, rate,
                     seconds / share - seconds);
    } else {
        n = snprintf(text, sizeof text, "%llu %s  %.0f/s", (unsigned long long)events, p->what,
                     rate);
    }
    if (n <= 0)
        return;
    if (!c->err_is_terminal) {
        qn_cli_say(c, "%s", text);
        return;
    }
    p->is_shown = true;
    (void)qn_file_write_all(c->files, c->err, "stderr", "\r\033[K", 4, NULL);
    (void)qn_file_write_all(c->files, c->err, "stderr", text,
                            (size_t)n < sizeof text ? (size_t)n : sizeof text - 1, NULL);
}

void qn_progress_end(struct qn_progress *p)
{
    if (p->is_shown)
        (void)qn_file_write_all(p->cli->files, p->cli->err, "stderr", "\r\033[K", 4, NULL);
    p->is_shown = false;
}
