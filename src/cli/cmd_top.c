/* SPDX-License-Identifier: Apache-2.0
 * cmd_top.c - `quern top URL`: a running pipeline, live in the terminal.
 *
 * Asks for /v1/status once a second and draws it in place (top_view.h); without a terminal it is
 * one line a second, with --once one view. Once it has seen a status it outlives a server that goes
 * away and comes back. The token never stands on the command line, where every user of the machine
 * could read it. Thread: main. Memory: two answers with an arena each, the one shown and the next.
 */
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/terminal.h"
#include "cli/top_view.h"

#include <poll.h>

static const int64_t SECOND_NS = 1000000000;

enum {
    TOKEN_MAX = 4096,
    MARKS = 10 /* seconds over which the engine's time is shown */
};

struct top_options {
    bool once, json;
    const char *token_file;
};

static const struct qn_option options[] = {
    {.name = "once",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "show the pipeline as it is now, and end",
     .offset = offsetof(struct top_options, once)},
    {.name = "json",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "print the status as JSON, once",
     .offset = offsetof(struct top_options, json)},
    {.name = "token-file",
     .type = QN_OPT_TEXT,
     .value = "FILE",
     .since = "0.2",
     .help = "file with the bearer token (default: the environment variable QUERN_TOKEN)",
     .offset = offsetof(struct top_options, token_file)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_top = {
    .name = "top",
    .summary = "a running pipeline, live in the terminal",
    .positional = "URL",
    .options = options,
    .examples = {"quern top http://127.0.0.1:8080", "quern top 127.0.0.1:8080 --once",
                 "quern top https://quern.example --token-file token --json"},
};

/* What the engine had done at one second, to show what it does now. */
struct mark {
    double stage_ns[QN_SEEN_STAGES], read;
};

/* An answer and what was read from it; texts lie in both memories. */
struct sight {
    struct qn_buf answer;
    struct qn_arena arena;
    struct qn_seen_status status;
};

struct top {
    struct qn_cli *cli;
    struct qn_terminal terminal;
    struct qn_fetch *fetch;
    struct qn_buf frame;
    struct sight sights[2]; /* the one shown, and the one to be filled next          */
    unsigned shown;
    struct qn_top view;
    struct mark marks[MARKS]; /* number n is at n % MARKS                               */
    uint64_t seen;            /* statuses                                               */
    struct qn_err trouble;
};

/* ---- the token -------------------------------------------------------------------------------*/

/* Fills `token`, NUL-terminated; empty = none. Nothing in it can end a header. */
static qn_status read_token(const struct qn_cli *c, const char *path, struct qn_buf *token,
                            struct qn_err *err)
{
    const char *variable = qn_cli_variable(c, "QUERN_TOKEN");

    if (path != NULL)
        QN_TRY(qn_file_read_all(c->files, path, TOKEN_MAX, token, err));
    else if (variable != NULL)
        qn_buf_text(token, variable);
    while (token->len > 0 &&
           (token->data[token->len - 1] == '\n' || token->data[token->len - 1] == '\r'))
        token->len--;
    if (path != NULL && token->len == 0)
        return qn_err_set(err, QN_INVALID, "'%s' is empty; a token is expected there", path);
    for (size_t i = 0; i < token->len; i++)
        if (token->data[i] <= ' ' || token->data[i] == 0x7F)
            return qn_err_set(err, QN_INVALID, "%s%s%s holds more than one word; a token is one",
                              path != NULL ? "'" : "", path != NULL ? path : "QUERN_TOKEN",
                              path != NULL ? "'" : "");
    qn_buf_byte(token, '\0');
    return token->failed ? qn_err_set(err, QN_NOMEM, "out of memory for the token") : QN_OK;
}

/* ---- seeing ----------------------------------------------------------------------------------*/

static double sum_of_streams(const struct qn_seen_status *s, size_t member)
{
    double sum = __builtin_nan("");

    for (uint32_t i = 0; i < s->stream_count; i++) {
        double v = *(const double *)(const void *)((const char *)&s->streams[i] + member);

        if (v == v)
            sum = sum == sum ? sum + v : v;
    }
    return sum;
}

/* The time per stage since the oldest mark; since the start where nothing moved. */
static void see_stages(struct top *t)
{
    const struct qn_seen_status *s = t->view.now;
    struct mark now = {.read = sum_of_streams(s, offsetof(struct qn_seen_stream, read))};
    const struct mark *old = &t->marks[t->seen < MARKS ? 0 : t->seen % MARKS];
    bool is_moving = t->seen > 0 && now.read > old->read;

    memcpy(now.stage_ns, s->stage_ns, sizeof(now.stage_ns));
    for (unsigned i = 0; i < QN_SEEN_STAGES; i++)
        is_moving = is_moving && !(now.stage_ns[i] < old->stage_ns[i]);
    t->view.stage_events = is_moving ? now.read - old->read : now.read;
    for (unsigned i = 0; i < QN_SEEN_STAGES; i++)
        t->view.stage_ns[i] = now.stage_ns[i] - (is_moving ? old->stage_ns[i] : 0);
    t->marks[t->seen++ % MARKS] = now;
}

static void see_rate(struct top *t)
{
    struct qn_top *v = &t->view;

    memmove(v->rate, v->rate + 1, sizeof(v->rate) - sizeof(v->rate[0]));
    v->rate[QN_TOP_HISTORY - 1] =
        v->lost != NULL ? __builtin_nan("")
                        : sum_of_streams(v->now, offsetof(struct qn_seen_stream, rate));
    v->rates += v->rates < QN_TOP_HISTORY;
}

/* Asks once. After a failure what was seen last stays, and view.lost says why. */
static qn_status look(struct top *t)
{
    struct sight *next = &t->sights[1 - t->shown];
    qn_status rc = qn_fetch(t->fetch, &next->answer, &t->trouble);

    qn_arena_reset(&next->arena);
    if (rc == QN_OK)
        rc = qn_seen_status_read((struct qn_str){next->answer.data, (uint32_t)next->answer.len},
                                 &next->arena, &next->status, &t->trouble);
    t->view.lost = rc != QN_OK ? t->trouble.text : NULL;
    if (rc == QN_OK) {
        t->shown = 1 - t->shown;
        t->view.now = &next->status;
        see_stages(t);
    }
    if (t->view.now != NULL)
        see_rate(t);
    return rc;
}

/* ---- showing ---------------------------------------------------------------------------------*/

static bool show_json(struct top *t)
{
    struct qn_buf *answer = &t->sights[t->shown].answer;

    qn_buf_byte(answer, '\n');
    return qn_cli_write(t->cli, answer->data, answer->len);
}

/* One view, of whatever length; nothing is redrawn. */
static bool show_once(struct top *t)
{
    t->terminal.screen.is_redrawn = false;
    qn_terminal_begin(&t->terminal, &t->frame);
    qn_top_draw(&t->view, &t->terminal.screen, &t->frame);
    return qn_terminal_end(&t->terminal, &t->frame, 0);
}

static bool show_live(struct top *t)
{
    unsigned lines;

    if (t->terminal.screen.is_redrawn) {
        qn_terminal_begin(&t->terminal, &t->frame);
        lines = qn_top_draw(&t->view, &t->terminal.screen, &t->frame);
        return qn_terminal_end(&t->terminal, &t->frame, lines);
    }
    if (t->view.lost != NULL) { /* a line for a pipe is of something new */
        qn_cli_say(t->cli, "quern top: %s; trying again", t->view.lost);
        return true;
    }
    qn_buf_clear(&t->frame);
    qn_top_line(&t->view, &t->frame);
    return t->frame.failed || qn_cli_write(t->cli, t->frame.data, t->frame.len);
}

/* Waits for the next second of the clock it began with; a signal ends it early. */
static void wait_for(const struct top *t, int64_t at_ns)
{
    const struct qn_clock *clock = t->cli->clock;
    int64_t left_ns;

    while (!*t->cli->stop && (left_ns = at_ns - clock->mono_ns(clock->st)) > 0)
        poll(NULL, 0, (int)(left_ns / 1000000) + 1);
}

static int watch(struct top *t)
{
    const struct qn_clock *clock = t->cli->clock;
    int64_t next_ns = clock->mono_ns(clock->st);

    for (;;) {
        int64_t now_ns;

        if (*t->cli->stop)
            return QN_EXIT_INTERRUPTED;
        if (!show_live(t))
            return QN_EXIT_OK; /* the reader has left */
        now_ns = clock->mono_ns(clock->st);
        next_ns = next_ns + SECOND_NS > now_ns ? next_ns + SECOND_NS : now_ns + SECOND_NS;
        wait_for(t, next_ns);
        if (!*t->cli->stop)
            (void)look(t);
    }
}

/* ---- the command -----------------------------------------------------------------------------*/

static int run(struct top *t, const char *url, const struct top_options *opt)
{
    struct qn_buf token = {0};
    struct qn_err err = {0};
    qn_status rc = read_token(t->cli, opt->token_file, &token, &err);
    bool is_written;

    if (rc == QN_OK)
        rc = qn_fetch_new(url, "/v1/status", token.len > 1 ? token.data : NULL, t->cli->stop,
                          &t->fetch, &err);
    qn_buf_fini(&token);
    if (rc != QN_OK)
        return qn_cli_fail(t->cli, &err);
    if (look(t) != QN_OK)
        return qn_cli_fail(t->cli, &t->trouble);
    if (!opt->json && !opt->once)
        return watch(t);
    is_written = opt->json ? show_json(t) : show_once(t);
    return is_written ? QN_EXIT_OK : QN_EXIT_FAILED;
}

int qn_cmd_top(struct qn_cli *c, int argc, char **argv)
{
    struct top_options opt = {0};
    struct top t = {.cli = c};
    struct qn_option_list rest;
    int code;

    if (!qn_cli_options(c, &qn_usage_top, argc, argv, &opt, &rest, &code))
        return code;
    qn_terminal_init(&t.terminal, c);
    code = run(&t, rest.items[0], &opt);
    qn_fetch_free(t.fetch);
    for (unsigned i = 0; i < 2; i++) {
        qn_buf_fini(&t.sights[i].answer);
        qn_arena_fini(&t.sights[i].arena);
    }
    qn_buf_fini(&t.frame);
    return code;
}
