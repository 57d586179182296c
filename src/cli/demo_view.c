/* SPDX-License-Identifier: Apache-2.0
 * demo_view.c - draws the state of a demo as text.
 *
 * Thread: main. Memory: the caller's buffer. */
#include "cli/demo_view.h"

#include "base/number.h"
#include "base/real_math.h"
#include "base/timestamp.h"
#include "cli/amounts.h"

#include <stdio.h>

enum {
    ROWS_TALL = 30, /* from here on the histogram shows every bin   */
    BAR_COLUMNS = 36,
};

/* 1234567 -> "1,234,567". */
static const char *grouped(char out[32], uint64_t v)
{
    char digits[QN_NUMBER_MAX];
    unsigned n = qn_print_uint64(digits, v), k = 0;

    for (unsigned i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            out[k++] = ',';
        out[k++] = digits[i];
    }
    out[k] = '\0';
    return out;
}

/* "93.1 %", or "-" where there is nothing to divide by. */
static const char *percent(char out[32], uint64_t part, uint64_t whole)
{
    if (whole == 0)
        return "-";
    snprintf(out, 32, "%.1f %%", 100.0 * (double)part / (double)whole);
    return out;
}

static const char *moment(char out[QN_TIMESTAMP_LEN + 1], int64_t us, unsigned from, unsigned end)
{
    char text[QN_TIMESTAMP_LEN];

    qn_timestamp_print(text, us);
    text[10] = ' ';
    memcpy(out, text + from, end - from);
    out[end - from] = '\0';
    return out;
}

/* What the engine does when it need not wait; of a service, how fresh its answers are. */
static void draw_speed(struct qn_canvas *c, const struct qn_demo_state *s)
{
    char a[QN_AMOUNT_MAX], b[QN_AMOUNT_MAX], d[QN_AMOUNT_MAX];

    qn_canvas_put(c, QN_DIM, s->is_service ? "event age  " : "engine     ");
    if (s->is_service)
        qn_canvas_put(c, QN_PLAIN, "%10s at p50   %s at p99   %s of log",
                      qn_amount_ms(a, s->age_p50_ms), qn_amount_ms(b, s->age_p99_ms),
                      qn_amount_bytes(d, (double)s->log_bytes));
    else if (s->busy_ns > 0)
        qn_canvas_put(c, QN_PLAIN,
                      "%10s events/s when not waiting; busy %.0f %% of the time; %.0f MB",
                      grouped(a, (uint64_t)((double)s->events / ((double)s->busy_ns / 1e9))),
                      100.0 * (double)s->busy_ns / (double)(s->elapsed_ns > 0 ? s->elapsed_ns : 1),
                      (double)s->bytes / 1e6);
    qn_canvas_line(c);
}

static void draw_head(struct qn_canvas *c, const struct qn_demo_state *s)
{
    char a[32], b[32], t[QN_TIMESTAMP_LEN + 1];

    qn_canvas_put(c, QN_BOLD, "quern demo %s", s->name);
    if (s->events > 0)
        qn_canvas_put(c, QN_PLAIN, "    %s", moment(t, s->time_us, 0, 16));
    qn_canvas_put(c, QN_DIM, "    (Ctrl-C ends)");
    qn_canvas_line(c);
    qn_canvas_put(c, QN_DIM, "%s customers pay at %s terminals: %u features, %u trees, %u thread%s",
                  grouped(a, s->customers), grouped(b, s->terminals), s->features, s->trees,
                  s->threads, s->threads == 1 ? "" : "s");
    qn_canvas_line(c);
    if (s->url != NULL) {
        qn_canvas_put(c, QN_DIM, "dashboard  ");
        qn_canvas_put(c, QN_CYAN, "%s", s->url);
        qn_canvas_line(c);
    }
    qn_canvas_line(c);
}

static void draw_progress(struct qn_canvas *c, const struct qn_demo_state *s)
{
    char a[32], b[32], l[32], d[32];

    qn_canvas_put(c, QN_DIM, "events     ");
    qn_canvas_put(c, QN_BOLD, "%10s  ", grouped(a, s->events));
    if (s->events_end > 0) {
        qn_canvas_bar(c, QN_CYAN, (double)s->events / (double)s->events_end, 20);
        qn_canvas_put(c, QN_PLAIN, " %3.0f %%  ",
                      100.0 * (double)s->events / (double)s->events_end);
    }
    qn_canvas_put(c, QN_BOLD, "%s/s", grouped(b, (uint64_t)s->rate));
    qn_canvas_line(c);
    qn_canvas_put(c, QN_DIM, "verdicts   ");
    qn_canvas_put(c, QN_PLAIN, "%10s scored   %s late   %s dead   %s shed",
                  grouped(a, s->counts.verdict[QN_SCORED]), grouped(l, s->counts.verdict[QN_LATE]),
                  grouped(d, s->counts.verdict[QN_DEAD]), grouped(b, s->counts.verdict[QN_SHED]));
    qn_canvas_line(c);
    draw_speed(c, s);
    qn_canvas_line(c);
}

/* Where n stands on a logarithmic scale that ends at max: 0 for nothing, 1 for max. */
static double magnitude(uint64_t n, uint64_t max)
{
    return max > 0 ? qn_log1p((double)n) / qn_log1p((double)max) : 0;
}

static void draw_scores(struct qn_canvas *c, const struct qn_demo_state *s)
{
    unsigned step = c->screen->rows >= ROWS_TALL ? 1 : 2;
    uint64_t max = 0;

    for (unsigned i = 0; i < QN_DEMO_BINS; i++)
        max = s->bin[i] > max ? s->bin[i] : max;
    qn_canvas_put(c, QN_DIM, "score      %-*s  %10s   %s", BAR_COLUMNS,
                  s->is_service ? "(logarithmic, the last minute)" : "(logarithmic)", "events",
                  s->is_service ? "" : "of these fraud");
    qn_canvas_line(c);
    for (unsigned i = 0; i < QN_DEMO_BINS; i += step) {
        uint64_t n = 0, fraud = 0;
        char a[32], p[32];

        for (unsigned k = i; k < i + step; k++) {
            n += s->bin[k];
            fraud += s->bin_fraud[k];
        }
        qn_canvas_put(c, QN_PLAIN, "%.1f - %.1f  ", i / 10.0, (i + step) / 10.0);
        qn_canvas_bar(c,
                      i >= 5         ? QN_RED
                      : i + step > 5 ? QN_PLAIN
                                     : QN_CYAN,
                      magnitude(n, max * step), BAR_COLUMNS);
        qn_canvas_put(c, QN_PLAIN, "  %10s", grouped(a, n));
        if (!s->is_service)
            qn_canvas_put(c, QN_PLAIN, "   %10s", percent(p, fraud, n));
        qn_canvas_line(c);
    }
    qn_canvas_line(c);
}

static void draw_alerts(struct qn_canvas *c, const struct qn_demo_state *s)
{
    unsigned room = c->screen->rows > c->lines + 3 ? c->screen->rows - c->lines - 3 : 1;
    unsigned count = s->alerts < QN_DEMO_ALERTS ? (unsigned)s->alerts : QN_DEMO_ALERTS;
    char a[32], p[32], t[QN_TIMESTAMP_LEN + 1];

    qn_canvas_put(c, QN_DIM, "alerts     ");
    qn_canvas_put(c, QN_BOLD, "%10s", grouped(a, s->alerts));
    qn_canvas_put(c, QN_DIM, "  score > 0.5;  ");
    qn_canvas_put(c, QN_GREEN, "precision %s", percent(p, s->alerts_fraud, s->alerts));
    qn_canvas_put(c, QN_PLAIN, ",  %s of fraud found", percent(p, s->alerts_fraud, s->frauds));
    qn_canvas_line(c);
    qn_canvas_put(c, QN_DIM, "  %-19s %10s %10s %10s  %6s  in truth", "time", "customer",
                  "terminal", "amount", "score");
    qn_canvas_line(c);
    room = room < QN_DEMO_ALERTS ? room : QN_DEMO_ALERTS;
    for (unsigned i = 0; i < room; i++) {
        if (i < count) {
            const struct qn_demo_alert *al = &s->last[(s->alerts - 1 - i) % QN_DEMO_ALERTS];

            qn_canvas_put(c, QN_PLAIN, "  %-19s %10s %10s %10s  %6.3f  ",
                          moment(t, al->time_us, 0, 19), al->customer, al->terminal, al->amount,
                          al->score);
            qn_canvas_put(c, al->is_fraud ? QN_RED : QN_DIM, "%s",
                          al->is_fraud ? "fraud" : "no fraud");
        }
        qn_canvas_line(c);
    }
}

unsigned qn_demo_view_draw(const struct qn_demo_state *s, const struct qn_screen *screen,
                           struct qn_buf *out)
{
    struct qn_canvas c;

    qn_canvas_init(&c, screen, out);
    draw_head(&c, s);
    draw_progress(&c, s);
    draw_scores(&c, s);
    draw_alerts(&c, s);
    return c.lines;
}

void qn_demo_view_line(const struct qn_demo_state *s, struct qn_buf *out)
{
    char a[32], b[32], c[32], d[32], p[32], t[QN_TIMESTAMP_LEN + 1];

    qn_buf_printf(out, "%10s events  %s  %9s/s  %s scored  %s late  %s dead  ",
                  grouped(a, s->events), moment(t, s->time_us, 0, 16),
                  grouped(b, (uint64_t)s->rate), grouped(c, s->counts.verdict[QN_SCORED]),
                  grouped(d, s->counts.verdict[QN_LATE]), grouped(p, s->counts.verdict[QN_DEAD]));
    qn_buf_printf(out, "%s alerts  precision %s\n", grouped(a, s->alerts),
                  percent(p, s->alerts_fraud, s->alerts));
}

static void summary_next(const struct qn_screen *screen, const char *program, struct qn_buf *out)
{
    static const char *const rows[][2] = {
        {"demo --write-files .", "its spec and model, here"},
        {"check card-fraud.yaml", "the plan, memory per key"},
        {"demo -n 100000 --write-events events.ndjson", "such events as a file"},
        {"pipe card-fraud.yaml < events.ndjson", "predictions as NDJSON"},
        {"init events.ndjson", "a first spec from events"},
    };

    qn_buf_text(out, "\nwhat next\n");
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        qn_buf_printf(out, "  %s%s %-43s%s %s\n", screen->has_color ? "\033[" QN_BOLD "m" : "",
                      program, rows[i][0], screen->has_color ? "\033[0m" : "", rows[i][1]);
}

void qn_demo_view_summary(const struct qn_demo_state *s, const struct qn_screen *screen,
                          const char *program, struct qn_buf *out)
{
    char a[32], b[32], c[32], d[32], e[32];
    double seconds = (double)s->elapsed_ns / 1e9, busy = (double)s->busy_ns / 1e9;
    int64_t days = (s->time_us - s->first_us) / INT64_C(86400000000) + (s->events > 0);

    qn_buf_printf(
        out,
        "\n%s card transactions of %lld day%s in %.1f s:\n  %s scored, %s late, %s dead, %s shed\n",
        grouped(a, s->events), (long long)days, days == 1 ? "" : "s", seconds,
        grouped(b, s->counts.verdict[QN_SCORED]), grouped(c, s->counts.verdict[QN_LATE]),
        grouped(d, s->counts.verdict[QN_DEAD]), grouped(e, s->counts.verdict[QN_SHED]));
    if (busy > 0)
        qn_buf_printf(out,
                      "the engine worked for %.1f s of it:\n"
                      "  %s events/s on %u thread%s, %.0f MB of memory\n",
                      busy, grouped(a, (uint64_t)((double)s->events / busy)), s->threads,
                      s->threads == 1 ? "" : "s", (double)s->bytes / 1e6);
    qn_buf_printf(
        out,
        "%s alerts:\n  %s of them were fraud (precision), %s of all fraud was found (recall)\n",
        grouped(a, s->alerts), percent(b, s->alerts_fraud, s->alerts),
        percent(c, s->alerts_fraud, s->frauds));
    summary_next(screen, program, out);
}
