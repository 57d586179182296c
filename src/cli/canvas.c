/* SPDX-License-Identifier: Apache-2.0
 * canvas.c - text drawn line by line on a screen of a known size.
 *
 * Every piece passes qn_canvas_put, the one place that counts columns and lets no control character
 * through. Thread: the caller's. Memory: the caller's buffer. */
#include "cli/canvas.h"

#include <stdarg.h>
#include <stdio.h>

enum { PIECE_MAX = 512 };

void qn_canvas_init(struct qn_canvas *c, const struct qn_screen *screen, struct qn_buf *out)
{
    *c = (struct qn_canvas){.out = out, .screen = screen, .lines_max = UINT32_MAX};
    c->width = screen->columns < QN_CANVAS_COLUMNS_MAX ? screen->columns : QN_CANVAS_COLUMNS_MAX;
}

/* Control characters of ASCII, and U+0080 to U+009F, which terminals obey as well. Returns how many
 * bytes it takes, 0 where it is none. */
static unsigned control_bytes(const unsigned char *p)
{
    if (p[0] < 0x20 || p[0] == 0x7F)
        return 1;
    return p[0] == 0xC2 && p[1] >= 0x80 && p[1] <= 0x9F ? 2 : 0;
}

/* Adds what fits of the text. */
static void add_cut(struct qn_canvas *c, const char *text)
{
    const char *from = text;

    for (; *text != '\0'; text++) {
        unsigned control = control_bytes((const unsigned char *)text);

        if (((unsigned char)*text & 0xC0) == 0x80) /* the rest of a code point */
            continue;
        if (c->column == c->width)
            break;
        c->column++;
        if (control > 0) {
            qn_buf_add(c->out, from, (size_t)(text - from));
            qn_buf_byte(c->out, '?');
            text += control - 1;
            from = text + 1;
        }
    }
    qn_buf_add(c->out, from, (size_t)(text - from));
}

void qn_canvas_put(struct qn_canvas *c, const char *style, const char *fmt, ...)
{
    char text[PIECE_MAX];
    va_list ap;
    int n;

    if (c->lines >= c->lines_max)
        return;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n <= 0)
        return;
    if (style != NULL && c->screen->has_color)
        qn_buf_printf(c->out, "\033[%sm", style);
    add_cut(c, text);
    if (style != NULL && c->screen->has_color)
        qn_buf_text(c->out, "\033[0m");
}

void qn_canvas_to(struct qn_canvas *c, unsigned column)
{
    if (c->column < column)
        qn_canvas_put(c, QN_PLAIN, "%*s", (int)(column - c->column), "");
}

void qn_canvas_line(struct qn_canvas *c)
{
    if (c->lines >= c->lines_max)
        return;
    if (!c->screen->is_redrawn)
        while (c->out->len > 0 && c->out->data[c->out->len - 1] == ' ')
            c->out->len--;
    qn_buf_text(c->out, c->screen->is_redrawn ? "\033[K\n" : "\n");
    c->column = 0;
    c->lines++;
}

void qn_canvas_bar(struct qn_canvas *c, const char *style, double share, unsigned columns)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double cells = share < 0 ? 0 : share > 1 ? columns : share * columns;
    unsigned full = (unsigned)cells, part = (unsigned)((cells - full) * 8), used = full;
    char text[PIECE_MAX] = "";
    size_t n = 0;

    for (unsigned i = 0; i < full && n + 8 < sizeof(text); i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", c->screen->has_utf8 ? "█" : "#");
    if (c->screen->has_utf8 && part > 0) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", eighths[part]);
        used++;
    }
    qn_canvas_put(c, style, "%s", text);
    qn_canvas_put(c, QN_PLAIN, "%*s", (int)(columns - used), "");
}

void qn_canvas_spark(struct qn_canvas *c, const char *style, const double *share, unsigned count)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const plain[] = {".", ":", "-", "=", "+", "*", "%", "#"};
    char text[PIECE_MAX] = "";
    size_t n = 0;

    for (unsigned i = 0; i < count && n + 4 < sizeof(text); i++) {
        int step = (int)(share[i] * 8);
        const char *cell = " ";

        step = step > 7 ? 7 : step;
        if (share[i] >= 0)
            cell = c->screen->has_utf8 ? blocks[step] : plain[step];
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", cell);
    }
    qn_canvas_put(c, style, "%s", text);
}
