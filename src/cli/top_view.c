/* SPDX-License-Identifier: Apache-2.0
 * top_view.c - draws what `quern top` shows, the most important first, so that a small screen loses
 * the least.
 *
 * Texts come from the server: the canvas lets no control character of theirs through. Thread: main.
 * Memory: the caller's buffer. */
#include "cli/top_view.h"

#include "base/real_math.h"
#include "cli/amounts.h"

#include <stdio.h>

enum { LABEL = 14, NAME = 22, BIN_COLUMNS = 20, CLOCK_AT = 11, CLOCK_LEN = 8 };

static bool is_there(double v)
{
    return v == v;
}

static double sum_of(double sum, double v)
{
    return !is_there(v) ? sum : is_there(sum) ? sum + v : v;
}

/* --- pieces of a line --- */

static void label(struct qn_canvas *c, const char *name)
{
    qn_canvas_put(c, QN_DIM, "%-*s", LABEL, name);
}

/* A text from outside in a column of its own; "-" where it is empty. */
static void name(struct qn_canvas *c, const char *style, struct qn_str text, unsigned columns)
{
    unsigned end = c->column + columns;

    if (text.len == 0)
        text = qn_str_of("-");
    text = qn_utf8_cut(text, columns - 1);
    qn_canvas_put(c, style, "%.*s", QN_STR_ARG(text));
    qn_canvas_to(c, end);
}

/* A figure that ends at the right edge of its column. */
static void figure(struct qn_canvas *c, const char *text, unsigned columns)
{
    qn_canvas_put(c, QN_PLAIN, "%*s", (int)columns, text);
}

static void count(struct qn_canvas *c, double v, unsigned columns)
{
    char text[QN_AMOUNT_MAX];

    figure(c, qn_amount_count(text, v), columns);
}

/* The cells of a row of counts grow small where max is large: a logarithmic share of it. */
static double magnitude(double v, double max)
{
    return max > 0 && v > 0 ? qn_log1p(v) / qn_log1p(max) : -1;
}

/* --- the head --- */

static const char *phase_style(const struct qn_top *t)
{
    if (t->lost != NULL || qn_str_is(t->now->phase, "full") || qn_str_is(t->now->phase, "failed"))
        return QN_RED;
    return qn_str_is(t->now->phase, "running") ? QN_GREEN : QN_YELLOW;
}

static void draw_head(struct qn_canvas *c, const struct qn_top *t)
{
    const struct qn_seen_status *s = t->now;
    struct qn_str spec = qn_utf8_cut(s->spec, 8), clock = {"-", 1};
    char up[QN_AMOUNT_MAX];

    if (s->now.len >= CLOCK_AT + CLOCK_LEN)
        clock = (struct qn_str){s->now.p + CLOCK_AT, CLOCK_LEN};
    name(c, QN_BOLD, s->pipeline, s->pipeline.len + 2);
    if (t->lost != NULL)
        qn_canvas_put(c, phase_style(t), "connection lost");
    else
        qn_canvas_put(c, phase_style(t), "%.*s",
                      QN_STR_ARG(s->phase.len > 0 ? s->phase : qn_str_of("-")));
    qn_canvas_put(c, QN_DIM, "  up %s  spec %.*s  quern %.*s  %.*s UTC",
                  qn_amount_duration(up, s->uptime_s), QN_STR_ARG(spec), QN_STR_ARG(s->version),
                  QN_STR_ARG(clock));
    if (c->screen->is_redrawn)
        qn_canvas_put(c, QN_DIM, "  (Ctrl-C ends)");
    qn_canvas_line(c);
}

/* What the phase asks to be said. There is always this line, so that nothing jumps. */
static void draw_detail(struct qn_canvas *c, const struct qn_top *t)
{
    const struct qn_seen_status *s = t->now;
    char a[QN_AMOUNT_MAX], b[QN_AMOUNT_MAX];

    if (t->lost != NULL) {
        qn_canvas_put(c, QN_RED, "what was seen last; trying again: %s", t->lost);
    } else if (qn_str_is(s->phase, "starting") && s->total > 0) {
        qn_canvas_put(c, QN_PLAIN, "replaying the log ");
        qn_canvas_bar(c, QN_CYAN, s->done / s->total, 24);
        qn_canvas_put(c, QN_PLAIN, " %s of %s", qn_amount_count(a, s->done),
                      qn_amount_count(b, s->total));
    } else if (s->detail.len > 0) {
        qn_canvas_put(c, phase_style(t), "%.*s", QN_STR_ARG(s->detail));
    }
    qn_canvas_line(c);
}

/* --- what flows --- */

static void draw_rate(struct qn_canvas *c, const struct qn_top *t)
{
    double share[QN_TOP_HISTORY], max = 0, rate = __builtin_nan(""), backlog = rate;
    uint32_t shown = t->rates < QN_TOP_HISTORY / 2 ? t->rates : QN_TOP_HISTORY / 2;
    const double *rates = &t->rate[QN_TOP_HISTORY - shown];
    char text[QN_AMOUNT_MAX];

    for (uint32_t i = 0; i < t->now->stream_count; i++) {
        rate = sum_of(rate, t->now->streams[i].rate);
        backlog = sum_of(backlog, t->now->streams[i].backlog);
    }
    for (uint32_t i = 0; i < shown; i++)
        max = rates[i] > max ? rates[i] : max;
    for (uint32_t i = 0; i < shown; i++)
        share[i] = !is_there(rates[i]) ? -1 : max > 0 ? rates[i] / max : 0;
    label(c, "throughput");
    qn_canvas_put(c, QN_BOLD, "%-12s", qn_amount_rate(text, rate));
    if (shown > 1)
        qn_canvas_spark(c, QN_CYAN, share, shown);
    qn_canvas_put(c, QN_PLAIN, "%sbacklog %s", shown > 1 ? "   " : "",
                  qn_amount_count(text, backlog));
    qn_canvas_line(c);
}

static void draw_age(struct qn_canvas *c, const struct qn_seen_status *s)
{
    char a[QN_AMOUNT_MAX], b[QN_AMOUNT_MAX], d[QN_AMOUNT_MAX];

    label(c, "event age");
    qn_canvas_put(c, QN_PLAIN, "p50 %s   p90 %s   ", qn_amount_ms(a, s->age_p50),
                  qn_amount_ms(b, s->age_p90));
    qn_canvas_put(c, QN_BOLD, "p99 %s", qn_amount_ms(d, s->age_p99));
    qn_canvas_line(c);
}

static void draw_verdicts(struct qn_canvas *c, const struct qn_seen_status *s)
{
    double v[5];
    char text[5][QN_AMOUNT_MAX];

    for (unsigned k = 0; k < 5; k++)
        v[k] = __builtin_nan("");
    for (uint32_t i = 0; i < s->stream_count; i++) {
        const struct qn_seen_stream *st = &s->streams[i];
        const double add[5] = {st->read, st->scored, st->late, st->dead, st->shed};

        for (unsigned k = 0; k < 5; k++)
            v[k] = sum_of(v[k], add[k]);
    }
    for (unsigned k = 0; k < 5; k++)
        qn_amount_count(text[k], v[k]);
    label(c, "verdicts");
    qn_canvas_put(c, QN_PLAIN, "%s read = %s scored + %s late + %s dead + %s shed", text[0],
                  text[1], text[2], text[3], text[4]);
    qn_canvas_line(c);
}

static void draw_scores(struct qn_canvas *c, const struct qn_seen_status *s)
{
    uint32_t shown = s->bin_count < BIN_COLUMNS ? s->bin_count : BIN_COLUMNS;
    double share[BIN_COLUMNS], max = 0;
    char text[QN_AMOUNT_MAX];

    for (uint32_t i = 0; i < shown; i++)
        max = s->bins[i] > max ? s->bins[i] : max;
    for (uint32_t i = 0; i < shown; i++)
        share[i] = magnitude(s->bins[i], max);
    label(c, "scores");
    if (max > 0) {
        qn_canvas_put(c, QN_DIM, "0 ");
        qn_canvas_spark(c, QN_CYAN, share, shown);
        qn_canvas_put(c, QN_DIM, " 1   ");
    }
    qn_canvas_put(c, QN_PLAIN, "%s in the last minute", qn_amount_count(text, s->score_count));
    if (is_there(s->score_mean))
        qn_canvas_put(c, QN_PLAIN, ", mean %.3f", s->score_mean);
    qn_canvas_line(c);
    qn_canvas_line(c);
}

/* --- tables --- */

static void draw_streams(struct qn_canvas *c, const struct qn_seen_status *s)
{
    char text[QN_AMOUNT_MAX];

    if (s->stream_count < 2)
        return;
    qn_canvas_put(c, QN_DIM, "%-*s%9s%10s%10s%7s%7s%6s%9s", NAME, "stream", "rate", "read",
                  "scored", "late", "dead", "shed", "backlog");
    qn_canvas_line(c);
    for (uint32_t i = 0; i < s->stream_count; i++) {
        const struct qn_seen_stream *st = &s->streams[i];

        name(c, QN_PLAIN, st->name, NAME);
        figure(c, qn_amount_rate(text, st->rate), 9);
        count(c, st->read, 10);
        count(c, st->scored, 10);
        count(c, st->late, 7);
        count(c, st->dead, 7);
        count(c, st->shed, 6);
        count(c, st->backlog, 9);
        qn_canvas_line(c);
    }
    qn_canvas_line(c);
}

static void draw_outputs(struct qn_canvas *c, const struct qn_seen_status *s)
{
    char text[QN_AMOUNT_MAX];

    if (s->output_count == 0)
        return;
    qn_canvas_put(c, QN_DIM, "%-*s%10s%11s   takes", NAME, "output", "rate", "records");
    qn_canvas_line(c);
    for (uint32_t i = 0; i < s->output_count; i++) {
        const struct qn_seen_output *o = &s->outputs[i];

        name(c, QN_PLAIN, o->name, NAME);
        figure(c, qn_amount_rate(text, o->rate), 10);
        count(c, o->records, 11);
        qn_canvas_put(c, QN_PLAIN, "   %.*s",
                      QN_STR_ARG(o->when.len > 0 ? o->when : qn_str_of("every prediction")));
        qn_canvas_line(c);
    }
    qn_canvas_line(c);
}

/* What a state of a sink or a source means: a style, and for sinks a word. */
static const char *state_style(struct qn_str state)
{
    static const struct {
        const char *state, *style;
    } styles[] = {{"closed", QN_GREEN},     {"running", QN_GREEN},    {"reading", QN_GREEN},
                  {"half-open", QN_YELLOW}, {"half_open", QN_YELLOW}, {"paused", QN_YELLOW},
                  {"open", QN_RED},         {"failed", QN_RED},       {"full", QN_RED},
                  {"stopped", QN_RED}};

    for (unsigned i = 0; i < sizeof(styles) / sizeof(styles[0]); i++)
        if (qn_str_is(state, styles[i].state))
            return styles[i].style;
    return QN_PLAIN;
}

static struct qn_str sink_word(struct qn_str state)
{
    if (qn_str_is(state, "closed") || qn_str_is(state, "running"))
        return qn_str_of("delivering");
    if (qn_str_is(state, "half-open") || qn_str_is(state, "half_open") ||
        qn_str_is(state, "waiting"))
        return qn_str_of("trying again");
    return qn_str_is(state, "open") ? qn_str_of("down") : state;
}

static void draw_reason_of_state(struct qn_canvas *c, struct qn_str detail)
{
    if (detail.len == 0)
        return;
    qn_canvas_put(c, QN_DIM, "    %.*s", QN_STR_ARG(detail));
    qn_canvas_line(c);
}

static void draw_sinks(struct qn_canvas *c, const struct qn_seen_status *s)
{
    if (s->sink_count == 0)
        return;
    qn_canvas_put(c, QN_DIM, "%-*s%-14s%10s%11s%9s%9s", NAME, "sink", "state", "lag", "delivered",
                  "failed", "dead");
    qn_canvas_line(c);
    for (uint32_t i = 0; i < s->sink_count; i++) {
        const struct qn_seen_sink *k = &s->sinks[i];

        name(c, QN_PLAIN, k->name, NAME);
        name(c, state_style(k->state), sink_word(k->state), 14);
        count(c, k->lag, 10);
        count(c, k->delivered, 11);
        count(c, k->failed, 9);
        count(c, k->dead, 9);
        qn_canvas_line(c);
        draw_reason_of_state(c, k->detail);
    }
    qn_canvas_line(c);
}

static void draw_sources(struct qn_canvas *c, const struct qn_seen_status *s)
{
    if (s->source_count == 0)
        return;
    qn_canvas_put(c, QN_DIM, "%-*s%-14s%10s", NAME, "source", "state", "records");
    qn_canvas_line(c);
    for (uint32_t i = 0; i < s->source_count; i++) {
        const struct qn_seen_source *k = &s->sources[i];

        name(c, QN_PLAIN, k->name, NAME);
        name(c, state_style(k->state), k->state, 14);
        count(c, k->records, 10);
        qn_canvas_line(c);
        draw_reason_of_state(c, k->detail);
    }
    qn_canvas_line(c);
}

/* --- the rest, a line each --- */

static void draw_dead(struct qn_canvas *c, const struct qn_seen_status *s)
{
    char text[QN_AMOUNT_MAX];

    label(c, "dead letters");
    if (s->reason_count == 0)
        qn_canvas_put(c, QN_PLAIN, "none");
    for (uint32_t i = 0; i < s->reason_count; i++)
        qn_canvas_put(c, QN_PLAIN, "%s%.*s %s", i > 0 ? ", " : "", QN_STR_ARG(s->reasons[i].reason),
                      qn_amount_count(text, s->reasons[i].count));
    qn_canvas_line(c);
}

static void draw_models(struct qn_canvas *c, const struct qn_seen_status *s)
{
    char text[QN_AMOUNT_MAX];

    for (uint32_t i = 0; i < s->model_count; i++) {
        const struct qn_seen_model *m = &s->models[i];
        struct qn_str version = qn_utf8_cut(m->version, 8);

        label(c, i == 0 ? "models" : "");
        qn_canvas_put(c, QN_PLAIN, "%.*s: %.*s", QN_STR_ARG(m->name), QN_STR_ARG(m->format));
        if (m->trees > 0)
            qn_canvas_put(c, QN_PLAIN, ", %s trees", qn_amount_count(text, m->trees));
        if (m->kernel.len > 0)
            qn_canvas_put(c, QN_PLAIN, ", %.*s", QN_STR_ARG(m->kernel));
        if (version.len > 0)
            qn_canvas_put(c, QN_PLAIN, ", %.*s", QN_STR_ARG(version));
        qn_canvas_put(c, m->in_use ? QN_GREEN : QN_DIM, m->in_use ? "   in service" : "   loaded");
        qn_canvas_line(c);
    }
}

/* The dearest stage first, so that a narrow screen loses the cheapest. */
static void draw_stages(struct qn_canvas *c, const struct qn_top *t)
{
    bool is_shown[QN_SEEN_STAGES] = {false};
    double total = 0;
    char text[QN_AMOUNT_MAX];

    for (unsigned i = 0; i < QN_SEEN_STAGES; i++)
        total += t->stage_ns[i] > 0 ? t->stage_ns[i] : 0;
    if (!(total > 0))
        return;
    label(c, "engine");
    if (t->stage_events > 0)
        qn_canvas_put(c, QN_PLAIN,
                      "%s an event: ", qn_amount_ms(text, total / t->stage_events / 1e6));
    for (unsigned n = 0; n < QN_SEEN_STAGES; n++) {
        unsigned max = QN_SEEN_STAGES;

        for (unsigned i = 0; i < QN_SEEN_STAGES; i++)
            if (!is_shown[i] && t->stage_ns[i] > (max < QN_SEEN_STAGES ? t->stage_ns[max] : 0))
                max = i;
        if (max == QN_SEEN_STAGES)
            break;
        is_shown[max] = true;
        qn_canvas_put(c, QN_PLAIN, "%s%s %.0f %%", n > 0 ? ", " : "", qn_seen_stages[max],
                      100 * t->stage_ns[max] / total);
    }
    qn_canvas_line(c);
}

static void draw_log(struct qn_canvas *c, const struct qn_seen_status *s)
{
    const struct qn_seen_log *lg = &s->log;
    char a[QN_AMOUNT_MAX], b[QN_AMOUNT_MAX], d[QN_AMOUNT_MAX], e[QN_AMOUNT_MAX];

    label(c, "log");
    if (lg->full)
        qn_canvas_put(c, QN_RED, "full   ");
    qn_canvas_put(c, QN_PLAIN, "%s in %s segment%s", qn_amount_bytes(a, lg->bytes),
                  qn_amount_count(b, lg->segments), lg->segments == 1 ? "" : "s");
    qn_canvas_put(c, QN_PLAIN, "   sync p50 %s, p99 %s", qn_amount_ms(a, lg->sync_p50),
                  qn_amount_ms(b, lg->sync_p99));
    qn_canvas_put(c, QN_PLAIN, "   %s", qn_amount_rate(a, lg->syncs_per_s));
    qn_canvas_line(c);
    label(c, "snapshot");
    if (is_there(s->snapshot.age_s))
        qn_canvas_put(
            c, QN_PLAIN, "%s ago   %s in %s, paused %s", qn_amount_duration(a, s->snapshot.age_s),
            qn_amount_bytes(b, s->snapshot.bytes), qn_amount_ms(d, s->snapshot.duration_ms),
            qn_amount_ms(e, s->snapshot.pause_ms));
    else
        qn_canvas_put(c, QN_PLAIN, "none yet");
    qn_canvas_line(c);
}

static void draw_process(struct qn_canvas *c, const struct qn_seen_status *s)
{
    char a[QN_AMOUNT_MAX], b[QN_AMOUNT_MAX], d[QN_AMOUNT_MAX], e[QN_AMOUNT_MAX];

    label(c, "process");
    qn_canvas_put(c, QN_PLAIN, "%s of memory, %s open files, %s of processor time",
                  qn_amount_bytes(a, s->rss_bytes), qn_amount_count(b, s->fds),
                  qn_amount_duration(d, s->cpu_s));
    qn_canvas_line(c);
    label(c, "state");
    qn_canvas_put(c, QN_PLAIN, "%s keys in %s", qn_amount_count(a, s->keys),
                  qn_amount_bytes(e, s->key_bytes));
    qn_canvas_line(c);
}

unsigned qn_top_draw(const struct qn_top *t, const struct qn_screen *screen, struct qn_buf *out)
{
    struct qn_canvas c;

    qn_canvas_init(&c, screen, out);
    if (screen->is_redrawn)
        c.lines_max = screen->rows > 1 ? screen->rows - 1 : 1;
    draw_head(&c, t);
    draw_detail(&c, t);
    draw_rate(&c, t);
    draw_age(&c, t->now);
    draw_verdicts(&c, t->now);
    draw_scores(&c, t->now);
    draw_streams(&c, t->now);
    draw_sinks(&c, t->now);
    draw_sources(&c, t->now);
    draw_outputs(&c, t->now);
    draw_dead(&c, t->now);
    draw_models(&c, t->now);
    draw_stages(&c, t);
    draw_log(&c, t->now);
    draw_process(&c, t->now);
    return c.lines;
}

void qn_top_line(const struct qn_top *t, struct qn_buf *out)
{
    const struct qn_screen plain = {.columns = QN_CANVAS_COLUMNS_MAX};
    const struct qn_seen_status *s = t->now;
    double v[5];
    char text[5][QN_AMOUNT_MAX], age[QN_AMOUNT_MAX];
    struct qn_canvas c;

    qn_canvas_init(&c, &plain, out);
    c.width = 240;
    for (unsigned k = 0; k < 5; k++)
        v[k] = __builtin_nan("");
    for (uint32_t i = 0; i < s->stream_count; i++) {
        const struct qn_seen_stream *st = &s->streams[i];
        const double add[5] = {st->rate, st->scored, st->late, st->dead, st->backlog};

        for (unsigned k = 0; k < 5; k++)
            v[k] = sum_of(v[k], add[k]);
    }
    qn_amount_rate(text[0], v[0]);
    for (unsigned k = 1; k < 5; k++)
        qn_amount_count(text[k], v[k]);
    if (s->now.len >= CLOCK_AT + CLOCK_LEN)
        qn_canvas_put(&c, QN_PLAIN, "%.*s  ", CLOCK_LEN, s->now.p + CLOCK_AT);
    name(&c, QN_PLAIN, s->phase, 9);
    qn_canvas_put(&c, QN_PLAIN, "%10s  age p99 %-8s  %s scored  %s late  %s dead  backlog %s",
                  text[0], qn_amount_ms(age, s->age_p99), text[1], text[2], text[3], text[4]);
    qn_canvas_line(&c);
}
