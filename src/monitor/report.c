/* SPDX-License-Identifier: Apache-2.0
 * report.c - lines on stderr: limited, formatted, written.
 *
 *   say ──► same line again? ── yes, too often ──► counted, its text kept
 *                    │ no
 *                    ▼
 *           text or JSON ──► one write
 *
 * What was held back goes out when its 10 s are over, by the next line that is said (of whatever
 * kind), or at the end. Kinds of lines live in a fixed table; when it is full the oldest makes
 * room. Thread: any; one lock for all of it. Memory: struct and buffer, at start. */
#include "monitor/report.h"

#include "base/buffer.h"
#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/timestamp.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    TEXT_MAX = 2048,
    LINE_MAX_BYTES = 6 * TEXT_MAX + 1024, /* JSON escapes a byte with at most six */
    KINDS_MAX = 64,
    KEPT_BYTES = 256, /* of the last line held back */
    IN_A_ROW = 5,
    FIELDS_MAX = 16,
};
static const int64_t span_ns = INT64_C(10) * 1000000000;

/* What one line says. */
struct line {
    enum qn_level level;
    const char *room;
    struct qn_str text;       /* fields at its end included           */
    const struct qn_err *err; /* where it is one                      */
    uint64_t more;            /* lines of this kind that it stands for */
};

/* Lines of one room and format. */
struct kind {
    uint64_t hash; /* 0 = free */
    int64_t begun_ns;
    uint32_t written; /* since begun_ns */
    uint64_t held;
    enum qn_level level; /* of the last one held */
    const char *room;
    uint32_t kept_bytes;
    char kept[KEPT_BYTES]; /* its text */
};

struct qn_report {
    int fd;
    enum qn_report_form form;
    enum qn_level least;
    const struct qn_clock *clock;
    pthread_mutex_t lock;
    struct qn_buf buf;
    char text[TEXT_MAX];
    struct kind kinds[KINDS_MAX];
};

qn_status qn_report_new(int fd, enum qn_report_form form, enum qn_level least,
                        const struct qn_clock *clock, struct qn_report **out, struct qn_err *err)
{
    struct qn_report *r = qn_mem_zalloc(1, sizeof(*r));

    if (r == NULL || qn_buf_room(&r->buf, LINE_MAX_BYTES) == NULL) {
        qn_mem_free(r);
        return qn_err_set(err, QN_NOMEM, "out of memory for the program's log");
    }
    r->fd = fd;
    r->form = form;
    r->least = least;
    r->clock = clock;
    pthread_mutex_init(&r->lock, NULL);
    *out = r;
    return QN_OK;
}

/* ---- one line --------------------------------------------------------------------------------*/

struct field {
    struct qn_str name, value; /* value without its quotes */
    bool is_quoted;
};

static bool is_name_byte(char c, bool is_first)
{
    return (c >= 'a' && c <= 'z') || c == '_' || (!is_first && c >= '0' && c <= '9');
}

/* Takes the last word off *text where it is name=value; the words before it stay. */
static bool take_field(struct qn_str *text, struct field *out)
{
    uint32_t end = text->len, at = end, name;

    out->is_quoted = end > 0 && text->p[end - 1] == '"';
    if (out->is_quoted)
        for (at = --end; at > 0 && text->p[at - 1] != '"';)
            at--;
    else
        while (at > 0 && text->p[at - 1] != ' ' && text->p[at - 1] != '=' && text->p[at - 1] != '"')
            at--;
    out->value = (struct qn_str){text->p + at, end - at};
    at -= out->is_quoted && at > 0;
    if (at == 0 || text->p[at - 1] != '=')
        return false;
    name = --at;
    while (name > 0 && is_name_byte(text->p[name - 1], false))
        name--;
    out->name = (struct qn_str){text->p + name, at - name};
    if (name == at || !is_name_byte(text->p[name], true) || name == 0 || text->p[name - 1] != ' ')
        return false;
    text->len = name - 1;
    return true;
}

static bool is_taken(struct qn_str name, const struct field *fields, uint32_t count)
{
    static const char *const own[] = {"time", "level", "room",   "text",
                                      "code", "file",  "column", "more"};

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (qn_str_is(name, own[i]))
            return true;
    for (uint32_t i = 0; i < count; i++)
        if (qn_str_eq(name, fields[i].name))
            return true;
    return false;
}

static bool is_number(struct qn_str text)
{
    struct qn_decimal_text d;

    return text.len > 0 && text.len < 32 &&
           qn_number_scan(text.p, text.p + text.len, &d) == text.len;
}

static void put_member(struct qn_buf *b, struct qn_str name, struct qn_str value, bool is_bare)
{
    qn_buf_printf(b, ",\"%.*s\":", QN_STR_ARG(name));
    if (is_bare)
        qn_buf_add(b, value.p, value.len);
    else
        qn_json_string(b, value);
}

static void put_count(struct qn_buf *b, const char *name, uint64_t value)
{
    char text[QN_NUMBER_MAX];

    put_member(b, qn_str_of(name), (struct qn_str){text, qn_print_uint64(text, value)}, true);
}

static void put_json(struct qn_buf *b, const struct line *l, const char *time, const char *level)
{
    struct field fields[FIELDS_MAX];
    struct qn_str text = l->text;
    uint32_t count = 0;

    while (l->err == NULL && count < FIELDS_MAX) {
        struct qn_str before = text;

        if (!take_field(&text, &fields[count]))
            break;
        if (is_taken(fields[count].name, fields, count)) {
            text = before;
            break;
        }
        count++;
    }
    qn_buf_printf(b, "{\"time\":\"%sZ\",\"level\":\"%s\",\"room\":\"%s\"", time, level, l->room);
    put_member(b, qn_str_of("text"), text, false);
    while (count-- > 0)
        put_member(b, fields[count].name, fields[count].value,
                   !fields[count].is_quoted && is_number(fields[count].value));
    if (l->err != NULL) {
        put_member(b, qn_str_of("code"), qn_str_of(qn_status_name(l->err->code)), false);
        if (l->err->file[0] != '\0')
            put_member(b, qn_str_of("file"), qn_str_of(l->err->file), false);
        if (l->err->line > 0)
            put_count(b, "line", l->err->line);
        if (l->err->col > 0)
            put_count(b, "column", l->err->col);
        if (l->err->has_offset)
            put_count(b, "offset", l->err->offset);
    }
    if (l->more > 0)
        put_count(b, "more", l->more);
    qn_buf_text(b, "}\n");
}

/* Bytes that would end the line or upset a terminal are shown as '?'. */
static void put_plain(struct qn_buf *b, struct qn_str text)
{
    bool is_utf8 = qn_utf8_valid(text.p, text.len);

    for (uint32_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.p[i];

        qn_buf_byte(b, c < 0x20 || c == 0x7F || (c >= 0x80 && !is_utf8) ? '?' : (char)c);
    }
}

static void put_text(struct qn_buf *b, const struct line *l, const char *time, const char *level)
{
    qn_buf_printf(b, "%sZ %-5s %s: ", time, level, l->room);
    if (l->err != NULL && l->err->file[0] != '\0') {
        put_plain(b, qn_str_of(l->err->file));
        if (l->err->line > 0)
            qn_buf_printf(b, ":%u", l->err->line);
        if (l->err->line > 0 && l->err->col > 0)
            qn_buf_printf(b, ":%u", l->err->col);
        qn_buf_text(b, ": ");
    }
    put_plain(b, l->text);
    if (l->err != NULL && l->err->has_offset)
        qn_buf_printf(b, " (byte %llu)", (unsigned long long)l->err->offset);
    if (l->more > 0)
        qn_buf_printf(b, " (%llu more like this)", (unsigned long long)l->more);
    qn_buf_byte(b, '\n');
}

static void write_line(struct qn_report *r, const struct line *l)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    char time[QN_TIMESTAMP_LEN];

    qn_timestamp_print(time, r->clock->wall_us(r->clock->st));
    time[23] = '\0'; /* milliseconds are enough */
    qn_buf_clear(&r->buf);
    if (r->form == QN_REPORT_JSON)
        put_json(&r->buf, l, time, levels[l->level]);
    else
        put_text(&r->buf, l, time, levels[l->level]);
    qn_file_write_all(&qn_files_system, r->fd, "the program's log", r->buf.data, r->buf.len, NULL);
}

/* ---- how often -------------------------------------------------------------------------------*/

/* Writes what a kind held back, and forgets it. */
static void kind_flush(struct qn_report *r, struct kind *k)
{
    if (k->hash != 0 && k->held > 0)
        write_line(r, &(struct line){.level = k->level,
                                     .room = k->room,
                                     .text = {k->kept, k->kept_bytes},
                                     .more = k->held});
    k->hash = 0;
    k->held = 0;
    k->written = 0;
}

/* The place of a kind; whose time is over goes out first. */
static struct kind *kind_of(struct qn_report *r, uint64_t hash)
{
    int64_t now = r->clock->mono_ns(r->clock->st);
    struct kind *spare = NULL;

    for (unsigned i = 0; i < KINDS_MAX; i++)
        if (r->kinds[i].hash != 0 && now - r->kinds[i].begun_ns >= span_ns)
            kind_flush(r, &r->kinds[i]);
    for (unsigned i = 0; i < KINDS_MAX; i++) {
        struct kind *k = &r->kinds[i];

        if (k->hash == hash)
            return k;
        if (spare == NULL || (spare->hash != 0 && (k->hash == 0 || k->begun_ns < spare->begun_ns)))
            spare = k;
    }
    kind_flush(r, spare);
    spare->hash = hash;
    spare->begun_ns = now;
    return spare;
}

static void say_limited(struct qn_report *r, uint64_t hash, const struct line *l)
{
    struct kind *k = kind_of(r, hash != 0 ? hash : 1);

    if (k->written < IN_A_ROW) {
        k->written++;
        write_line(r, l);
        return;
    }
    k->held++;
    k->level = l->level;
    k->room = l->room;
    k->kept_bytes = qn_utf8_cut(l->text, KEPT_BYTES).len;
    memcpy(k->kept, l->text.p, k->kept_bytes);
}

static uint64_t hash_of(const char *room, const void *what, size_t bytes)
{
    return qn_hash(what, bytes, qn_hash(room, strlen(room), 0));
}

void qn_report_say(struct qn_report *r, enum qn_level level, const char *room, const char *fmt, ...)
{
    struct line l = {.level = level, .room = room};
    va_list args;
    int n;

    if (r == NULL || level < r->least)
        return;
    pthread_mutex_lock(&r->lock);
    va_start(args, fmt);
    n = vsnprintf(r->text, TEXT_MAX, fmt, args);
    va_end(args);
    QN_ASSERT(n >= 0);
    l.text = (struct qn_str){r->text, (uint32_t)n};
    if (n >= TEXT_MAX) /* cut, perhaps inside of a character */
        l.text = qn_utf8_cut((struct qn_str){r->text, TEXT_MAX - 1}, TEXT_MAX - 2);
    say_limited(r, hash_of(room, fmt, strlen(fmt)), &l);
    pthread_mutex_unlock(&r->lock);
}

void qn_report_err(struct qn_report *r, enum qn_level level, const char *room,
                   const struct qn_err *err)
{
    struct line l = {.level = level, .room = room, .text = qn_str_of(err->text), .err = err};

    if (r == NULL || level < r->least)
        return;
    pthread_mutex_lock(&r->lock);
    say_limited(r, hash_of(room, &err->code, sizeof(err->code)), &l);
    pthread_mutex_unlock(&r->lock);
}

void qn_report_anew(struct qn_report *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < KINDS_MAX; i++)
        kind_flush(r, &r->kinds[i]);
    pthread_mutex_unlock(&r->lock);
}

void qn_report_free(struct qn_report *r)
{
    if (r == NULL)
        return;
    for (unsigned i = 0; i < KINDS_MAX; i++)
        kind_flush(r, &r->kinds[i]);
    pthread_mutex_destroy(&r->lock);
    qn_buf_fini(&r->buf);
    qn_mem_free(r);
}
