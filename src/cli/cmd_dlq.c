/* SPDX-License-Identifier: Apache-2.0
 * cmd_dlq.c - `quern dlq list|show|replay SPEC`: dead letters of the log: how many and why, one of
 * them in full, and those sent through again that a fix has cured.
 *
 * Looking opens the log for reading only and goes beside `quern run`. Sending is an append, and a
 * log has one writer: the command where nothing runs, the running pipeline otherwise. Letters hold
 * bytes of strangers: what is not JSON is printed without control characters. Thread: main. Memory:
 * the command's arena, one batch of letters. */
#include "base/number.h"
#include "base/timestamp.h"
#include "cli/commands.h"
#include "cli/open_log.h"
#include "engine/dead_letters.h"
#include "log/dead_letter.h"

#include <inttypes.h>
#include <stdlib.h>

enum { READ_MAX = 256, REASONS_MAX = 64, NAME_BYTES = 64, EXCERPT_BYTES = 60 };

struct dlq_options {
    const char *reason, *stream;
    int64_t from, to, limit;
    bool json, yes, dry_run;
};

static const struct qn_option options[] = {
    {.name = "reason",
     .type = QN_OPT_TEXT,
     .short_name = 'r',
     .value = "REASON",
     .since = "0.2",
     .help = "only letters with this reason (docs/errors.md)",
     .offset = offsetof(struct dlq_options, reason)},
    {.name = "stream",
     .type = QN_OPT_TEXT,
     .short_name = 's',
     .value = "STREAM",
     .since = "0.2",
     .help = "only letters from this stream or output",
     .offset = offsetof(struct dlq_options, stream)},
    {.name = "from",
     .type = QN_OPT_INT,
     .value = "OFFSET",
     .fallback = "-1",
     .min = -1,
     .max = INT64_MAX,
     .since = "0.2",
     .help = "first letter (-1: the oldest; list: the newest --limit)",
     .offset = offsetof(struct dlq_options, from)},
    {.name = "to",
     .type = QN_OPT_INT,
     .value = "OFFSET",
     .fallback = "-1",
     .min = -1,
     .max = INT64_MAX,
     .since = "0.2",
     .help = "first letter behind the range (-1: to the end)",
     .offset = offsetof(struct dlq_options, to)},
    {.name = "limit",
     .type = QN_OPT_INT,
     .short_name = 'n',
     .value = "N",
     .fallback = "20",
     .max = INT64_MAX,
     .unit = "letters",
     .since = "0.2",
     .help = "list: most letters to print, 0 = all",
     .offset = offsetof(struct dlq_options, limit)},
    {.name = "json",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "list: NDJSON, one letter a line; show, replay: one JSON object",
     .offset = offsetof(struct dlq_options, json)},
    {.name = "yes",
     .type = QN_OPT_FLAG,
     .short_name = 'y',
     .since = "0.2",
     .help = "replay: send them; without it, say what would be sent",
     .offset = offsetof(struct dlq_options, yes)},
    {.name = "dry-run",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "replay: only say what would be sent, whatever else is said",
     .offset = offsetof(struct dlq_options, dry_run)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_dlq = {
    .name = "dlq",
    .summary = "dead letters: count, look at, send again after a fix",
    .positional = "list|show|replay SPEC [OFFSET]",
    .options = options,
    .examples = {"quern dlq list card-fraud.yaml --reason missing_field",
                 "quern dlq show card-fraud.yaml 17",
                 "quern dlq replay card-fraud.yaml --reason missing_field --yes"},
};

/* Words of a letter: never a control character on a terminal. */
static void put_words(struct qn_buf *b, struct qn_str s)
{
    if (!qn_utf8_valid(s.p, s.len)) {
        qn_json_string(b, s);
        return;
    }
    for (uint32_t i = 0; i < s.len; i++)
        qn_buf_byte(b, (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7F ? '?' : s.p[i]);
}

static void put_time(struct qn_buf *b, int64_t us)
{
    char text[QN_TIMESTAMP_LEN];

    qn_buf_add(b, text, qn_timestamp_print(text, us));
}

static int print_and_leave(struct qn_cli *c, struct qn_buf *b, qn_status rc, struct qn_err *err)
{
    int code = QN_EXIT_OK;

    if (rc == QN_OK && b->failed)
        rc = qn_err_set(err, QN_NOMEM, "out of memory to print dead letters");
    if (rc != QN_OK)
        code = qn_cli_fail(c, err);
    else if (*c->stop)
        code = QN_EXIT_INTERRUPTED;
    else if (b->len > 0 && !qn_cli_write(c, b->data, b->len))
        code = QN_EXIT_FAILED;
    qn_buf_fini(b);
    return code;
}

/* ---- walking ---------------------------------------------------------------------------------*/

/* What list and show share. */
struct look {
    struct qn_cli *cli;
    struct qn_log *log;
    const struct dlq_options *opt;
    struct qn_dead_selection sel;
    struct qn_dead_sent sent;
    struct qn_log_topic_info info; /* of the topic; next == first: there are none */
    uint32_t topic;
};

typedef bool look_fn(void *arg, const struct qn_log_record *letter); /* false = enough */

/* The selected letters, oldest first. */
static qn_status walk(struct look *k, look_fn *each, void *arg, struct qn_err *err)
{
    struct qn_log_record list[READ_MAX];
    struct qn_log_reader *r = NULL;
    enum qn_flow flow = QN_MORE;
    bool goes_on = k->info.next > k->info.first && k->sel.from < k->info.next;
    qn_status rc = QN_OK;

    if (goes_on)
        rc = qn_log_reader_new(k->log, &(struct qn_log_selection){&k->topic, 1, false}, &r, err);
    if (rc == QN_OK && goes_on && k->sel.from > k->info.first)
        rc = qn_log_reader_seek(r, k->topic, k->sel.from, err);
    while (rc == QN_OK && goes_on && flow == QN_MORE && !*k->cli->stop) {
        uint32_t n = 0;

        rc = qn_log_reader_next(r, list, READ_MAX, &n, &flow, err);
        for (uint32_t i = 0; rc == QN_OK && goes_on && i < n; i++)
            if (qn_dead_selected(&k->sel, list[i].offset, list[i].headers))
                goes_on = each(arg, &list[i]);
        qn_log_reader_release(r);
    }
    qn_log_reader_free(r);
    return rc;
}

static qn_status look_open(struct look *k, const struct qn_plan *plan, struct qn_err *err)
{
    struct qn_err why = {0};
    qn_status rc;

    QN_TRY(qn_cli_log(k->cli, plan, &k->log, NULL, err));
    rc = qn_log_topic(k->log, qn_str_of(QN_TOPIC_DEAD), false, &k->topic, &why);
    if (rc == QN_OK)
        qn_log_topic_info(k->log, k->topic, &k->info);
    else if (rc != QN_NOT_FOUND)
        *err = why;
    if (rc != QN_OK && rc != QN_NOT_FOUND)
        return rc;
    return qn_dead_sent_read(k->log, &k->sent, err);
}

static void look_close(struct look *k)
{
    qn_dead_sent_fini(&k->sent);
    (void)qn_log_close(k->log, NULL);
}

/* ---- list ------------------------------------------------------------------------------------*/

struct reason {
    char name[NAME_BYTES];
    uint64_t count, sent;
};

struct list {
    struct look *look;
    struct reason reasons[REASONS_MAX];
    uint32_t reason_count;
    uint64_t count, sent, skip, left;
    struct qn_buf *out;
    bool is_cut; /* the reader of our output has left */
};

static bool count_letter(void *arg, const struct qn_log_record *letter)
{
    struct list *l = arg;
    const bool was_sent = qn_dead_was_sent(&l->look->sent, letter->offset);
    struct qn_dead_letter d;
    struct qn_str name;
    uint32_t i = 0;

    qn_dead_letter_read(letter->headers, &d);
    name = qn_utf8_cut(d.reason, NAME_BYTES - 1);
    l->count++;
    l->sent += was_sent;
    while (i < l->reason_count && !qn_str_is(name, l->reasons[i].name))
        i++;
    if (i == REASONS_MAX)
        return true;
    if (i == l->reason_count) {
        l->reason_count++;
        if (name.len > 0)
            memcpy(l->reasons[i].name, name.p, name.len);
    }
    l->reasons[i].count++;
    l->reasons[i].sent += was_sent;
    return true;
}

static int by_count(const void *x, const void *y)
{
    const struct reason *a = x, *b = y;

    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return strcmp(a->name, b->name);
}

/* Words of our own reasons; sinks say theirs in the letter. */
static const char *reason_text(const char *name)
{
    for (int i = 1; i < QN_REASON_COUNT; i++)
        if (strcmp(name, qn_reason_name((enum qn_reason)i)) == 0)
            return qn_reason_text((enum qn_reason)i);
    return "";
}

static void put_counts(struct list *l)
{
    struct qn_buf *b = l->out;

    qn_buf_printf(b, "%" PRIu64 " dead letter%s", l->count, l->count == 1 ? "" : "s");
    if (l->sent > 0)
        qn_buf_printf(b, ", %" PRIu64 " of them sent again", l->sent);
    qn_buf_byte(b, '\n');
    qsort(l->reasons, l->reason_count, sizeof l->reasons[0], by_count);
    for (uint32_t i = 0; i < l->reason_count; i++) {
        qn_buf_printf(b, "  %10" PRIu64 "  ", l->reasons[i].count);
        put_words(b, qn_str_of(l->reasons[i].name));
        for (size_t n = strlen(l->reasons[i].name); n < 14; n++)
            qn_buf_byte(b, ' ');
        qn_buf_printf(b, "  %s\n", reason_text(l->reasons[i].name));
    }
}

static void put_excerpt(struct qn_buf *b, struct qn_str event)
{
    struct qn_str cut = qn_utf8_cut(event, EXCERPT_BYTES);

    if (!qn_utf8_valid(cut.p, cut.len)) {
        qn_buf_printf(b, "%u bytes that are not UTF-8", event.len);
        return;
    }
    put_words(b, cut);
    if (cut.len < event.len)
        qn_buf_text(b, "...");
}

static void put_line(struct list *l, const struct qn_log_record *letter)
{
    struct qn_buf *b = l->out;
    struct qn_dead_letter d;

    qn_dead_letter_read(letter->headers, &d);
    qn_buf_printf(b, "%6" PRIu64 "  ", letter->offset);
    put_time(b, letter->append_us);
    qn_buf_printf(b, "  %.*s:0:%" PRIu64 "  ", QN_STR_ARG(d.topic), d.offset);
    put_words(b, d.reason);
    if (d.field.p != NULL) {
        qn_buf_byte(b, ' ');
        put_words(b, d.field);
    }
    if (qn_dead_was_sent(&l->look->sent, letter->offset))
        qn_buf_text(b, " (sent again)");
    qn_buf_text(b, "  ");
    put_excerpt(b, letter->value);
    qn_buf_byte(b, '\n');
}

static bool print_letter(void *arg, const struct qn_log_record *letter)
{
    struct list *l = arg;
    struct qn_buf *b = l->out;

    if (l->skip > 0) {
        l->skip--;
        return true;
    }
    if (l->left == 0)
        return false;
    l->left--;
    if (l->look->opt->json) {
        qn_dead_letter_json(letter, b);
        qn_buf_byte(b, '\n');
    } else {
        put_line(l, letter);
    }
    if (b->failed)
        return false;
    if (b->len < 65536)
        return true;
    l->is_cut = !qn_cli_write(l->look->cli, b->data, b->len);
    qn_buf_clear(b);
    return !l->is_cut;
}

/* A reason that no letter has and we do not know is a slip of the pen. */
static qn_status check_reason(const struct list *l, struct qn_err *err)
{
    const char *asked = l->look->opt->reason;
    struct qn_str names[QN_REASON_COUNT];
    int near;

    if (asked == NULL || l->count > 0 || reason_text(asked)[0] != '\0')
        return QN_OK;
    for (int i = 0; i < QN_REASON_COUNT; i++)
        names[i] = qn_str_of(qn_reason_name((enum qn_reason)i));
    near = qn_nearest(qn_str_of(asked), names, QN_REASON_COUNT);
    if (near > 0)
        return qn_err_set(err, QN_INVALID,
                          "no dead letter has the reason '%s' (did you mean "
                          "'%.*s'?)",
                          asked, QN_STR_ARG(names[near]));
    return qn_err_set(err, QN_INVALID,
                      "no dead letter has the reason '%s'; 'quern dlq list' without --reason shows "
                      "which there are",
                      asked);
}

static int list_letters(struct look *k, struct qn_buf *out, struct qn_err *err)
{
    struct list l = {.look = k, .out = out};
    const uint64_t limit = k->opt->limit > 0 ? (uint64_t)k->opt->limit : UINT64_MAX;
    qn_status rc = walk(k, count_letter, &l, err);
    int code;

    if (rc == QN_OK)
        rc = check_reason(&l, err);
    if (rc == QN_OK && !k->opt->json)
        put_counts(&l);
    l.left = limit;
    if (k->opt->from < 0 && l.count > limit)
        l.skip = l.count - limit;
    if (rc == QN_OK)
        rc = walk(k, print_letter, &l, err);
    if (rc == QN_OK && !k->opt->json && !l.is_cut && l.count > limit)
        qn_cli_say(k->cli, "%s %" PRIu64 " of %" PRIu64 "; --limit 0 shows all",
                   l.look->opt->from < 0 ? "the newest" : "the first", limit, l.count);
    code = print_and_leave(k->cli, out, rc, err);
    return rc == QN_OK && l.is_cut ? QN_EXIT_FAILED : code;
}

/* ---- show ------------------------------------------------------------------------------------*/

struct shown {
    struct look *look;
    struct qn_buf *out;
    bool is_found;
};

static void put_member(struct qn_buf *b, const char *name, struct qn_str value)
{
    if (value.p == NULL)
        return;
    qn_buf_printf(b, "  %-10s ", name);
    put_words(b, value);
    qn_buf_byte(b, '\n');
}

static void put_headers(struct qn_buf *b, struct qn_str headers)
{
    struct qn_buf own = {0};
    struct qn_log_header h;
    struct qn_str rest;
    bool is_first = true;

    qn_dead_letter_strip(headers, &own);
    b->failed |= own.failed;
    rest = (struct qn_str){own.data, (uint32_t)own.len};
    while (qn_log_header_next(&rest, &h)) {
        qn_buf_printf(b, "  %-10s ", is_first ? "headers" : "");
        is_first = false;
        put_words(b, h.name);
        qn_buf_text(b, ": ");
        put_words(b, h.value);
        qn_buf_byte(b, '\n');
    }
    qn_buf_fini(&own);
}

static void put_letter(struct shown *s, const struct qn_log_record *letter)
{
    struct qn_buf *b = s->out;
    struct qn_dead_letter d;

    qn_dead_letter_read(letter->headers, &d);
    qn_buf_printf(b, "dead letter %" PRIu64 "\n  %-10s ", letter->offset, "dead at");
    put_time(b, letter->append_us);
    qn_buf_byte(b, '\n');
    put_member(b, "reason", d.reason);
    put_member(b, "text", d.text);
    put_member(b, "field", d.field);
    put_member(b, "expected", d.expected);
    put_member(b, "stage", d.stage);
    put_member(b, "module", d.module);
    qn_buf_printf(b, "  %-10s %.*s:0:%" PRIu64 "\n", "position", QN_STR_ARG(d.topic), d.offset);
    put_member(b, "pipeline", d.pipeline);
    put_member(b, "contract", d.contract);
    if (d.attempts > 0)
        qn_buf_printf(b, "  %-10s %u\n", "attempts", d.attempts);
    put_member(b, "key", letter->key);
    put_headers(b, letter->headers);
    qn_buf_printf(b, "  %-10s %s\n", "sent again",
                  qn_dead_was_sent(&s->look->sent, letter->offset) ? "yes"
                  : qn_str_is(d.stage, "TASK_PUT")                 ? "never: it is no event"
                                                                   : "no");
    qn_buf_printf(b, "  %-10s %u bytes\n", "event", letter->value.len);
    if (qn_utf8_valid(letter->value.p, letter->value.len)) {
        put_words(b, letter->value);
    } else {
        qn_buf_text(b, "base64: ");
        qn_base64(b, letter->value);
    }
    qn_buf_byte(b, '\n');
}

static bool show_letter(void *arg, const struct qn_log_record *letter)
{
    struct shown *s = arg;

    s->is_found = true;
    if (s->look->opt->json) {
        qn_dead_letter_json(letter, s->out);
        qn_buf_byte(s->out, '\n');
    } else {
        put_letter(s, letter);
    }
    return false;
}

static qn_status not_found(const struct look *k, uint64_t offset, struct qn_err *err)
{
    if (k->info.next == k->info.first)
        return qn_err_set(err, QN_NOT_FOUND, "the log has no dead letters");
    return qn_err_set(err, QN_NOT_FOUND,
                      "there is no dead letter %" PRIu64 ": the log holds %" PRIu64 " to %" PRIu64,
                      offset, k->info.first, k->info.next - 1);
}

static int show(struct look *k, uint64_t offset, struct qn_buf *out, struct qn_err *err)
{
    struct shown s = {.look = k, .out = out};
    qn_status rc = QN_OK;

    k->sel = (struct qn_dead_selection){.from = offset, .end = offset + 1};
    if (offset >= k->info.first && offset < k->info.next)
        rc = walk(k, show_letter, &s, err);
    if (rc == QN_OK && !s.is_found && !*k->cli->stop)
        rc = not_found(k, offset, err);
    return print_and_leave(k->cli, out, rc, err);
}

static int look_at(struct look *k, const struct qn_plan *plan, int64_t offset)
{
    struct qn_buf out = {0};
    struct qn_err err = {0};
    qn_status rc = look_open(k, plan, &err);
    int code;

    if (rc != QN_OK)
        code = qn_cli_fail(k->cli, &err);
    else if (offset < 0)
        code = list_letters(k, &out, &err);
    else
        code = show(k, (uint64_t)offset, &out, &err);
    look_close(k);
    return code;
}

/* ---- replay ----------------------------------------------------------------------------------*/

/* One process writes the log: what runs is asked to send them, or stopped first. */
static void say_how(struct qn_cli *c, const struct qn_plan *plan, const struct dlq_options *opt)
{
    const char *http = plan->serve.http != NULL ? plan->serve.http : "127.0.0.1:8090";

    qn_cli_say(c,
               "a running pipeline holds the log: ask it (curl -X POST "
               "'http://%.*s/v1/dlq/replay%s%s', docs/http.md), or stop it, send, and start it "
               "again",
               (int)strcspn(http, ","), http, opt->reason != NULL ? "?reason=" : "",
               opt->reason != NULL ? opt->reason : "");
}

static int replay(struct qn_cli *c, const struct qn_plan *plan, const struct dlq_options *opt,
                  const struct qn_dead_selection *sel)
{
    const bool is_trial = !opt->yes || opt->dry_run;
    struct qn_dead_replay sums = {0};
    struct qn_log *lg = NULL;
    struct qn_err err = {0};
    struct qn_buf b = {0};
    qn_status rc =
        is_trial ? qn_cli_log(c, plan, &lg, NULL, &err) : qn_cli_log_writer(c, plan, &lg, &err);

    if (rc == QN_OK)
        rc = qn_dead_letters_replay(lg, plan, sel, is_trial, &sums, &err);
    if (lg != NULL && qn_log_close(lg, rc == QN_OK ? &err : NULL) != QN_OK && rc == QN_OK)
        rc = err.code;
    if (rc == QN_OK && opt->json)
        qn_dead_replay_json(&sums, &b);
    else if (rc == QN_OK || sums.sent > 0)
        qn_dead_replay_words(&sums, is_trial, &b);
    qn_buf_byte(&b, '\n');
    if (rc == QN_OK && sums.sent > 0 && is_trial)
        qn_cli_say(c, "nothing was sent: add --yes");
    else if (rc == QN_OK && sums.sent > 0)
        qn_cli_say(c, "'quern run %s' reads them next", plan->file);
    if (rc != QN_OK && sums.sent > 0)
        qn_cli_say(c, "%.*s before this; the same command goes on", (int)b.len - 1, b.data);
    if (rc == QN_DENIED)
        say_how(c, plan, opt);
    if (rc != QN_OK)
        qn_buf_clear(&b);
    return print_and_leave(c, &b, rc, &err);
}

/* ---- the command -----------------------------------------------------------------------------*/

enum verb { LIST, SHOW, REPLAY, VERBS };
static const char *const verbs[VERBS] = {"list", "show", "replay"};

static bool find_verb(struct qn_cli *c, const char *text, enum verb *verb)
{
    struct qn_str names[VERBS];
    int near;

    for (int i = 0; i < VERBS; i++) {
        names[i] = qn_str_of(verbs[i]);
        if (strcmp(text, verbs[i]) == 0) {
            *verb = (enum verb)i;
            return true;
        }
    }
    near = qn_nearest(qn_str_of(text), names, VERBS);
    if (near >= 0)
        qn_cli_say(c,
                   "quern dlq: unknown subcommand '%.40s' (did you mean '%s'?); try 'quern dlq "
                   "--help'",
                   text, verbs[near]);
    else
        qn_cli_say(c, "quern dlq: unknown subcommand '%.40s'; it is list, show or replay", text);
    return false;
}

/* Options that the subcommand would not look at are refused, not ignored. */
static bool check_options(struct qn_cli *c, enum verb verb, const struct dlq_options *opt,
                          const struct qn_option_list *rest)
{
    const char *wrong = NULL;

    if (verb != REPLAY && opt->yes)
        wrong = "--yes";
    else if (verb != REPLAY && opt->dry_run)
        wrong = "--dry-run";
    else if (verb == SHOW && (opt->reason != NULL || opt->stream != NULL))
        wrong = opt->reason != NULL ? "--reason" : "--stream";
    else if (verb == SHOW && (opt->from >= 0 || opt->to >= 0))
        wrong = opt->from >= 0 ? "--from" : "--to";
    if (wrong != NULL)
        qn_cli_say(c, "quern dlq %s: %s is not an option of it; try 'quern dlq --help'",
                   verbs[verb], wrong);
    else if (verb == SHOW && rest->count < 3)
        qn_cli_say(c,
                   "quern dlq show: OFFSET is missing: the first number of a line of 'quern dlq "
                   "list %s'",
                   rest->items[1]);
    else if (verb != SHOW && rest->count > 2)
        qn_cli_say(c, "quern dlq %s: unexpected argument '%.80s'; a range is --from A --to B",
                   verbs[verb], rest->items[2]);
    else
        return true;
    return false;
}

int qn_cmd_dlq(struct qn_cli *c, int argc, char **argv)
{
    struct dlq_options opt = {0};
    struct look k = {.cli = c, .opt = &opt};
    struct qn_option_list rest;
    struct qn_plan *plan;
    int64_t offset = -1;
    enum verb verb;
    int code;

    if (!qn_cli_options(c, &qn_usage_dlq, argc, argv, &opt, &rest, &code))
        return code;
    if (!find_verb(c, rest.items[0], &verb) || !check_options(c, verb, &opt, &rest))
        return QN_EXIT_USAGE;
    if (verb == SHOW && (!qn_text_int64(qn_str_of(rest.items[2]), &offset) || offset < 0)) {
        qn_cli_say(c, "quern dlq show: '%.40s' is no offset: a number from 0 on", rest.items[2]);
        return QN_EXIT_USAGE;
    }
    plan = qn_cli_plan(c, rest.items[1], &code);
    if (plan == NULL)
        return code;
    k.sel = (struct qn_dead_selection){.end = opt.to < 0 ? UINT64_MAX : (uint64_t)opt.to};
    if (opt.from > 0)
        k.sel.from = (uint64_t)opt.from;
    if (opt.reason != NULL)
        k.sel.reason = qn_str_of(opt.reason);
    if (opt.stream != NULL)
        k.sel.stream = qn_str_of(opt.stream);
    code = verb == REPLAY ? replay(c, plan, &opt, &k.sel) : look_at(&k, plan, offset);
    qn_plan_free(plan);
    return code;
}
