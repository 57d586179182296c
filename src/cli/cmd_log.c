/* SPDX-License-Identifier: Apache-2.0
 * cmd_log.c - `quern log SPEC|DIR`: what a local log holds: topics, positions, times, sizes; its
 * checksums verified; its records printed.
 *
 * Opens for reading only, takes no lock and changes nothing, so it may run beside the writer; then
 * it shows the log as it was at the start. Thread: main. Memory: the command's arena, and one batch
 * of records. */
#include "base/timestamp.h"
#include "cli/commands.h"
#include "cli/open_log.h"

#include <inttypes.h>
#include <sys/stat.h>

enum { BATCH = 256 };

struct log_options {
    bool verify;
    const char *print;
    int64_t from, limit;
};

static const struct qn_option options[] = {
    {.name = "verify",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "read everything and check every checksum, chain and offset; exit code 3 when "
             "something is damaged",
     .offset = offsetof(struct log_options, verify)},
    {.name = "print",
     .type = QN_OPT_TEXT,
     .short_name = 'p',
     .value = "TOPIC",
     .since = "0.2",
     .help = "print the records of a topic as NDJSON instead",
     .offset = offsetof(struct log_options, print)},
    {.name = "from",
     .type = QN_OPT_INT,
     .value = "OFFSET",
     .fallback = "-1",
     .min = -1,
     .max = INT64_MAX,
     .since = "0.2",
     .help = "first record to print (-1: the oldest)",
     .offset = offsetof(struct log_options, from)},
    {.name = "limit",
     .type = QN_OPT_INT,
     .short_name = 'n',
     .value = "N",
     .fallback = "0",
     .max = INT64_MAX,
     .unit = "records",
     .since = "0.2",
     .help = "most records to print, 0 = all",
     .offset = offsetof(struct log_options, limit)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_log = {
    .name = "log",
    .summary = "a local log: topics, positions, times, checksums, records",
    .positional = "SPEC|DIR",
    .options = options,
    .examples = {"quern log card-fraud.yaml", "quern log ./data --verify",
                 "quern log ./data --print predictions --from 1000 --limit 10"},
};

/* ---- the overview ----------------------------------------------------------------------------*/

static void put_time(struct qn_buf *b, int64_t us)
{
    char text[QN_TIMESTAMP_LEN];

    if (us == QN_LOG_NO_TIME)
        qn_buf_text(b, "-");
    else
        qn_buf_add(b, text, qn_timestamp_print(text, us));
}

static void put_range(struct qn_buf *b, const char *what, int64_t from, int64_t to)
{
    qn_buf_printf(b, "    %-9s ", what);
    put_time(b, from);
    qn_buf_text(b, " to ");
    put_time(b, to);
    qn_buf_byte(b, '\n');
}

static void put_topic(struct qn_buf *b, const struct qn_log_topic_info *t)
{
    qn_buf_printf(
        b, "  %.*s\n    %-9s [%" PRIu64 ", %" PRIu64 "), %" PRIu64 " records, %" PRIu64 " bytes\n",
        QN_STR_ARG(t->name), "offsets", t->first, t->next, t->next - t->first, t->bytes);
    if (t->min_append == QN_LOG_NO_TIME)
        return;
    put_range(b, "events", t->min_event, t->max_event);
    put_range(b, "appended", t->min_append, t->max_append);
}

static void overview(struct qn_log *lg, const struct qn_log_recovery *rec, struct qn_buf *b)
{
    struct qn_log_ends e;
    struct qn_str name;
    uint64_t position, lsn;
    uint32_t number;

    qn_log_ends(lg, &e);
    qn_buf_printf(b, "segments   %u, %" PRIu64 " bytes\n", e.segments, e.bytes);
    qn_buf_printf(b, "positions  LSN %" PRIu64 " to %" PRIu64 "\n", e.first_lsn, e.end_lsn);
    if (rec->torn_bytes > 0)
        qn_buf_printf(
            b, "tail       %" PRIu64 " bytes behind LSN %" PRIu64 " were never acknowledged (%s)\n",
            rec->torn_bytes, rec->torn_lsn, rec->torn_why);
    qn_buf_text(b, "topics\n");
    for (uint32_t i = 0; i < qn_log_topic_count(lg); i++) {
        struct qn_log_topic_info t;

        qn_log_topic_info(lg, i, &t);
        put_topic(b, &t);
    }
    for (uint32_t i = 0; qn_log_cursor_at(lg, i, &name, &number, &position); i++) {
        struct qn_log_topic_info t = {.name = {"?", 1}};

        if (number < qn_log_topic_count(lg))
            qn_log_topic_info(lg, number, &t);
        qn_buf_printf(b, "%s  %.*s at %.*s %" PRIu64 ", %" PRIu64 " behind\n",
                      i == 0 ? "cursors\n" : "", QN_STR_ARG(name), QN_STR_ARG(t.name), position,
                      t.next > position ? t.next - position : 0);
    }
    for (uint32_t i = 0; qn_log_stage_at(lg, i, &number, &position, &lsn); i++)
        qn_buf_printf(b, "%s  stage %u consumed up to %" PRIu64 ", committed at LSN %" PRIu64 "\n",
                      i == 0 ? "commits\n" : "", number, position, lsn);
}

/* ---- verifying -------------------------------------------------------------------------------*/

static void say_finding(void *arg, const struct qn_err *err)
{
    qn_cli_say(arg, "%s: %s", err->file, err->text);
}

static int verify(struct qn_cli *c, struct qn_log *lg, struct qn_buf *b)
{
    struct qn_log_check check;
    struct qn_err err = {0};

    if (qn_log_verify(lg, say_finding, c, &check, &err) != QN_OK)
        return qn_cli_fail(c, &err);
    qn_buf_printf(b,
                  "verified   %u segments, %" PRIu64 " frames, %" PRIu64 " records, %" PRIu64
                  " bytes: %u damaged\n",
                  check.segments, check.frames, check.records, check.bytes, check.damaged);
    return check.damaged == 0 ? QN_EXIT_OK : QN_EXIT_DIFFERENT;
}

/* ---- printing --------------------------------------------------------------------------------*/

/* "name": text, or "name_base64" where it is not UTF-8. */
static void put_bytes(struct qn_buf *b, const char *name, struct qn_str v)
{
    if (v.p == NULL) {
        qn_buf_printf(b, ",\"%s\":null", name);
    } else if (qn_utf8_valid(v.p, v.len)) {
        qn_buf_printf(b, ",\"%s\":", name);
        qn_json_string(b, v);
    } else {
        qn_buf_printf(b, ",\"%s_base64\":\"", name);
        qn_base64(b, v);
        qn_buf_byte(b, '"');
    }
}

static void put_headers(struct qn_buf *b, struct qn_str headers)
{
    struct qn_log_header h;
    bool is_first = true;

    if (headers.len == 0)
        return;
    qn_buf_text(b, ",\"headers\":[");
    while (qn_log_header_next(&headers, &h)) {
        qn_buf_text(b, is_first ? "[" : ",[");
        qn_json_string(b, h.name);
        qn_buf_byte(b, ',');
        qn_json_string(b, h.value);
        qn_buf_byte(b, ']');
        is_first = false;
    }
    qn_buf_byte(b, ']');
}

static void put_record(struct qn_buf *b, const struct qn_log_record *r)
{
    qn_buf_printf(b, "{\"offset\":%" PRIu64 ",\"lsn\":%" PRIu64 ",\"append_time\":\"", r->offset,
                  r->lsn);
    put_time(b, r->append_us);
    qn_buf_text(b, "\",\"event_time\":");
    if (r->time_us == QN_LOG_NO_TIME) {
        qn_buf_text(b, "null");
    } else {
        qn_buf_byte(b, '"');
        put_time(b, r->time_us);
        qn_buf_byte(b, '"');
    }
    put_bytes(b, "key", r->key);
    put_bytes(b, "value", r->value);
    put_headers(b, r->headers);
    qn_buf_text(b, "}\n");
}

static int print_records(struct qn_cli *c, struct qn_log *lg, const struct log_options *opt,
                         uint32_t topic)
{
    const struct qn_log_selection what = {.topics = &topic, .topic_count = 1};
    struct qn_log_record list[BATCH];
    uint64_t left = opt->limit > 0 ? (uint64_t)opt->limit : UINT64_MAX;
    struct qn_log_reader *r = NULL;
    enum qn_flow flow = QN_MORE;
    struct qn_buf b = {0};
    struct qn_err err = {0};
    qn_status rc = qn_log_reader_new(lg, &what, &r, &err);
    bool is_written = true;
    uint32_t n;

    if (rc == QN_OK && opt->from >= 0)
        rc = qn_log_reader_seek(r, topic, (uint64_t)opt->from, &err);
    while (rc == QN_OK && flow == QN_MORE && left > 0 && is_written && !*c->stop) {
        rc = qn_log_reader_next(r, list, left < BATCH ? (uint32_t)left : BATCH, &n, &flow, &err);
        if (rc != QN_OK)
            break;
        qn_buf_clear(&b);
        for (uint32_t i = 0; i < n; i++)
            put_record(&b, &list[i]);
        left -= n;
        qn_log_reader_release(r);
        if (b.failed)
            rc = qn_err_set(&err, QN_NOMEM, "out of memory to print records");
        else if (b.len > 0)
            is_written = qn_cli_write(c, b.data, b.len);
    }
    qn_buf_fini(&b);
    qn_log_reader_free(r);
    if (rc != QN_OK)
        return qn_cli_fail(c, &err);
    if (*c->stop)
        return QN_EXIT_INTERRUPTED;
    return is_written ? QN_EXIT_OK : QN_EXIT_FAILED;
}

/* ---- the command -----------------------------------------------------------------------------*/

static int run(struct qn_cli *c, struct qn_log *lg, const struct qn_log_recovery *rec,
               const struct log_options *opt)
{
    int code = QN_EXIT_OK;
    struct qn_buf b = {0};

    if (opt->print != NULL) {
        struct qn_err err = {0};
        uint32_t topic;

        if (qn_log_topic(lg, qn_str_of(opt->print), false, &topic, &err) != QN_OK)
            return qn_cli_fail(c, &err);
        return print_records(c, lg, opt, topic);
    }
    overview(lg, rec, &b);
    if (opt->verify)
        code = verify(c, lg, &b);
    if (!qn_cli_write(c, b.data, b.len) && code == QN_EXIT_OK)
        code = QN_EXIT_FAILED;
    qn_buf_fini(&b);
    return code;
}

/* DIR, or the folder `log` in it: what stands in a spec is the folder around. */
static qn_status open_log(struct qn_cli *c, const char *dir, struct qn_log **lg,
                          struct qn_log_recovery *rec, struct qn_err *err)
{
    const struct qn_log_options opt = {.files = c->files, .clock = c->clock, .is_read_only = true};
    qn_status rc = qn_log_open(dir, &opt, lg, rec, err);
    struct qn_buf inner = {0};

    if (rc != QN_NOT_FOUND)
        return rc;
    qn_buf_printf(&inner, "%s/log", dir);
    qn_buf_byte(&inner, '\0');
    if (!inner.failed && qn_log_open(inner.data, &opt, lg, rec, NULL) == QN_OK)
        rc = QN_OK;
    qn_buf_fini(&inner);
    return rc;
}

/* What is a file is a spec. */
static bool is_spec(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int qn_cmd_log(struct qn_cli *c, int argc, char **argv)
{
    struct log_options opt = {0};
    struct qn_log_recovery rec;
    struct qn_option_list rest;
    struct qn_plan *plan = NULL;
    struct qn_log *lg = NULL;
    struct qn_err err = {0};
    qn_status rc;
    int code;

    if (!qn_cli_options(c, &qn_usage_log, argc, argv, &opt, &rest, &code))
        return code;
    if (is_spec(rest.items[0])) {
        plan = qn_cli_plan(c, rest.items[0], &code);
        if (plan == NULL)
            return code;
        rc = qn_cli_log(c, plan, &lg, &rec, &err);
    } else {
        rc = open_log(c, rest.items[0], &lg, &rec, &err);
    }
    code = rc == QN_OK ? run(c, lg, &rec, &opt) : qn_cli_fail(c, &err);
    (void)qn_log_close(lg, NULL);
    qn_plan_free(plan);
    return code;
}
