/* SPDX-License-Identifier: Apache-2.0
 * process.c - /proc/self read as text.
 *
 * /proc/self/stat (proc(5)) is "PID (NAME) STATE ..." with fields counted from 1; NAME may hold
 * blanks and parentheses, so counting begins behind the last ')', at field 3:
 *
 *   14, 15   time used in user and system mode, in ticks
 *   22       start after boot, in ticks
 *   24       resident pages
 *
 * Thread: any; no state. */
#include "base/process.h"

#include "base/number.h"

#include <math.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 4 * 1024 * 1024 };

/* The next word of *rest (blanks and line ends separate), taken off its front; empty at the end. */
static struct qn_str next_word(struct qn_str *rest)
{
    struct qn_str word = *rest;

    while (word.len > 0 && (word.p[0] == ' ' || word.p[0] == '\n'))
        word = (struct qn_str){word.p + 1, word.len - 1};
    rest->p = word.p;
    for (rest->len = word.len; rest->len > 0 && rest->p[0] != ' ' && rest->p[0] != '\n';)
        *rest = (struct qn_str){rest->p + 1, rest->len - 1};
    word.len -= rest->len;
    return word;
}

static double number_or_nan(struct qn_str word)
{
    int64_t v;

    return qn_text_int64(word, &v) ? (double)v : NAN;
}

static bool read_text(const struct qn_files *files, const char *path, struct qn_buf *b,
                      struct qn_str *out)
{
    if (qn_file_read_all(files, path, FILE_BYTES_MAX, b, NULL) != QN_OK)
        return false;
    *out = (struct qn_str){b->data, (uint32_t)b->len};
    return true;
}

/* What follows the line's name in a file of lines "NAME REST"; empty where there is none. */
static struct qn_str behind_name(struct qn_str text, const char *name)
{
    size_t n = strlen(name);

    while (text.len > n) {
        const char *end = memchr(text.p, '\n', text.len);
        uint32_t line = end == NULL ? text.len : (uint32_t)(end - text.p) + 1;

        if (line > n && memcmp(text.p, name, n) == 0)
            return (struct qn_str){text.p + n, line - (uint32_t)n};
        text = (struct qn_str){text.p + line, text.len - line};
    }
    return (struct qn_str){NULL, 0};
}

/* Fills what stat tells; *start_ticks: since boot. */
static void look_stat(struct qn_str text, struct qn_process *out, double *start_ticks)
{
    double ticks = (double)sysconf(_SC_CLK_TCK), used = 0;
    const char *name_end = memrchr(text.p, ')', text.len);

    if (name_end == NULL)
        return;
    text = (struct qn_str){name_end + 1, (uint32_t)(text.p + text.len - name_end) - 1};
    for (unsigned field = 3; field <= 24; field++) {
        double v = number_or_nan(next_word(&text));

        if (field == 14 || field == 15)
            used += v;
        else if (field == 22)
            *start_ticks = v;
        else if (field == 24)
            out->resident_bytes = v * (double)sysconf(_SC_PAGESIZE);
    }
    out->cpu_seconds = used / ticks;
}

static void count_one(void *arg, const char *name)
{
    *(double *)arg += 1;
}

void qn_process_look(const struct qn_files *files, struct qn_process *out)
{
    struct qn_buf b = {0};
    double start_ticks = NAN, fds = -1; /* the listing holds one descriptor itself */
    struct qn_str text;

    *out = (struct qn_process){NAN, NAN, NAN, NAN, NAN};
    if (read_text(files, "/proc/self/stat", &b, &text))
        look_stat(text, out, &start_ticks);
    if (read_text(files, "/proc/stat", &b, &text)) {
        text = behind_name(text, "btime ");
        out->start_seconds =
            number_or_nan(next_word(&text)) + start_ticks / (double)sysconf(_SC_CLK_TCK);
    }
    if (read_text(files, "/proc/self/limits", &b, &text)) {
        text = behind_name(text, "Max open files ");
        text = next_word(&text);
        out->max_fds = qn_str_is(text, "unlimited") ? INFINITY : number_or_nan(text);
    }
    if (files->list_folder(files->st, "/proc/self/fd", count_one, &fds) == 0)
        out->open_fds = fds;
    qn_buf_fini(&b);
}
