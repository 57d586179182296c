/* SPDX-License-Identifier: Apache-2.0
 * demo_view.c - draws the state of a demo as text.
 *
 * A line is put together by put(), which counts columns and stops at the right edge, so that a
 * narrow terminal never wraps a line and the next redraw finds its place. Thread: main. Memory: the
 * caller's buffer. */
#include "cli/demo_view.h"

#include "base/number.h"
#include "base/real_math.h"
#include "base/timestamp.h"

#include <stdarg.h>
#include <stdio.h>

#define BOLD  "1"
#define DIM   "2"
#define RED   "31"
#define GREEN "32"
#define CYAN  "36"
#define PLAIN NULL

enum {
    WIDTH_MAX = 100, /* wider screens are not filled                 */
    ROWS_TALL = 30,  /* from here on the histogram shows every bin   */
    BAR_COLUMNS = 36,
};

struct canvas {
    struct qn_buf *out;
    const struct qn_demo_screen *screen;
    unsigned width, column, lines;
};

/* Text at the cursor, in a style (the digits of an SGR sequence), cut at the right edge. */
__attribute__((format(printf, 3, 4))) static void put(struct canvas *c, const char *style,
                                                      const char *fmt, ...)
{
    char text[512];
    va_list ap;
    unsigned i;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n <= 0)
        return;
    for (i = 0; i < sizeof(text) - 1 && text[i] != '\0'; i++) {
        if (((unsigned char)text[i] & 0xC0) == 0x80) /* the rest of a code point */
            continue;
        if (c->column == c->width)
            break;
        c->column++;
    }
    if (style != NULL && c->screen->has_color)
        qn_buf_printf(c->out, "\033[%sm", style);
    qn_buf_add(c->out, text, i);
    if (style != NULL && c->screen->has_color)
        qn_buf_text(c->out, "\033[0m");
}

static void line_end(struct canvas *c)
{
    qn_buf_text(c->out, "\033[K\n");
    c->column = 0;
    c->lines++;
}

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

/* A bar of share * columns cells, in eighths of a cell where the screen can show them. */
static void bar(struct canvas *c, const char *style, double share, unsigned columns)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double cells = share < 0 ? 0 : share > 1 ? columns : share * columns;
    unsigned full = (unsigned)cells, part = (unsigned)((cells - full) * 8), used = full;
    char text[QN_DEMO_TEXT * 8] = "";
    size_t n = 0;

    for (unsigned i = 0; i < full; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", c->screen->has_utf8 ? "█" : "#");
    if (c->screen->has_utf8 && part > 0) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", eighths[part]);
        used++;
    }
    put(c, style, "%s", text);
    put(c, PLAIN, "%*s", (int)(columns - used), "");
}

static void draw_head(struct canvas *c, const struct qn_demo_state *s)
{
    char a[32], b[32], t[QN_TIMESTAMP_LEN + 1];

    put(c, BOLD, "quern demo %s", s->name);
    if (s->events > 0)
        put(c, PLAIN, "    %s", moment(t, s->time_us, 0, 16));
    put(c, DIM, "    (Ctrl-C ends)");
    line_end(c);
    put(c, DIM, "%s customers pay at %s terminals: %u features, %u trees, %u thread%s",
        grouped(a, s->customers), grouped(b, s->terminals), s->features, s->trees, s->threads,
        s->threads == 1 ? "" : "s");
    line_end(c);
    line_end(c);
}

static void draw_progress(struct canvas *c, const struct qn_demo_state *s)
{
    char a[32], b[32], l[32], d[32];

    put(c, DIM, "events     ");
    put(c, BOLD, "%10s  ", grouped(a, s->events));
    if (s->events_end > 0) {
        bar(c, CYAN, (double)s->events / (double)s->events_end, 20);
        put(c, PLAIN, " %3.0f %%  ", 100.0 * (double)s->events / (double)s->events_end);
    }
    put(c, BOLD, "%s/s", grouped(b, (uint64_t)s->rate));
    line_end(c);
    put(c, DIM, "verdicts   ");
    put(c, PLAIN, "%10s scored   %s late   %s dead   %s shed",
        grouped(a, s->counts.verdict[QN_SCORED]), grouped(l, s->counts.verdict[QN_LATE]),
        grouped(d, s->counts.verdict[QN_DEAD]), grouped(b, s->counts.verdict[QN_SHED]));
    line_end(c);
    put(c, DIM, "engine     ");
    if (s->busy_ns > 0)
        put(c, PLAIN, "%10s events/s when not waiting; busy %.0f %% of the time; %.0f MB",
            grouped(a, (uint64_t)((double)s->events / ((double)s->busy_ns / 1e9))),
            100.0 * (double)s->busy_ns / (double)(s->elapsed_ns > 0 ? s->elapsed_ns : 1),
            (double)s->bytes / 1e6);
    line_end(c);
    line_end(c);
}

/* Where n stands on a logarithmic scale that ends at max: 0 for nothing, 1 for max. */
static double magnitude(uint64_t n, uint64_t max)
{
    return max > 0 ? qn_log1p((double)n) / qn_log1p((double)max) : 0;
}

static void draw_scores(struct canvas *c, const struct qn_demo_state *s)
{
    unsigned step = c->screen->rows >= ROWS_TALL ? 1 : 2;
    uint64_t max = 0;

    for (unsigned i = 0; i < QN_DEMO_BINS; i++)
        max = s->bin[i] > max ? s->bin[i] : max;
    put(c, DIM, "score      %-*s  %10s   of these fraud", BAR_COLUMNS, "(logarithmic)", "events");
    line_end(c);
    for (unsigned i = 0; i < QN_DEMO_BINS; i += step) {
        uint64_t n = 0, fraud = 0;
        char a[32], p[32];

        for (unsigned k = i; k < i + step; k++) {
            n += s->bin[k];
            fraud += s->bin_fraud[k];
        }
        put(c, PLAIN, "%.1f - %.1f  ", i / 10.0, (i + step) / 10.0);
        bar(c, i >= 5 ? RED : i + step > 5 ? PLAIN : CYAN, magnitude(n, max * step), BAR_COLUMNS);
        put(c, PLAIN, "  %10s", grouped(a, n));
        put(c, PLAIN, "   %10s", percent(p, fraud, n));
        line_end(c);
    }
    line_end(c);
}

static void draw_alerts(struct canvas *c, const struct qn_demo_state *s)
{
    unsigned room = c->screen->rows > c->lines + 3 ? c->screen->rows - c->lines - 3 : 1;
    unsigned count = s->alerts < QN_DEMO_ALERTS ? (unsigned)s->alerts : QN_DEMO_ALERTS;
    char a[32], p[32], t[QN_TIMESTAMP_LEN + 1];

    put(c, DIM, "alerts     ");
    put(c, BOLD, "%10s", grouped(a, s->alerts));
    put(c, DIM, "  score > 0.5;  ");
    put(c, GREEN, "precision %s", percent(p, s->alerts_fraud, s->alerts));
    put(c, PLAIN, ",  %s of fraud found", percent(p, s->alerts_fraud, s->frauds));
    line_end(c);
    put(c, DIM, "  %-19s %10s %10s %10s  %6s  in truth", "time", "customer", "terminal", "amount",
        "score");
    line_end(c);
    room = room < QN_DEMO_ALERTS ? room : QN_DEMO_ALERTS;
    for (unsigned i = 0; i < room; i++) {
        if (i < count) {
            const struct qn_demo_alert *al = &s->last[(s->alerts - 1 - i) % QN_DEMO_ALERTS];

            put(c, PLAIN, "  %-19s %10s %10s %10s  %6.3f  ", moment(t, al->time_us, 0, 19),
                al->customer, al->terminal, al->amount, al->score);
            put(c, al->is_fraud ? RED : DIM, "%s", al->is_fraud ? "fraud" : "no fraud");
        }
        line_end(c);
    }
}

unsigned qn_demo_view_draw(const struct qn_demo_state *s, const struct qn_demo_screen *screen,
                           struct qn_buf *out)
{
    struct canvas c = {.out = out, .screen = screen};

    c.width = screen->columns < WIDTH_MAX ? screen->columns : WIDTH_MAX;
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

static void summary_next(const struct qn_demo_screen *screen, const char *program,
                         struct qn_buf *out)
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
        qn_buf_printf(out, "  %s%s %-43s%s %s\n", screen->has_color ? "\033[" BOLD "m" : "",
                      program, rows[i][0], screen->has_color ? "\033[0m" : "", rows[i][1]);
}

void qn_demo_view_summary(const struct qn_demo_state *s, const struct qn_demo_screen *screen,
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
