/* SPDX-License-Identifier: Apache-2.0
 * fuzz_status.c - any bytes as the status of a server: read, then drawn on a screen whose size the
 * bytes choose.
 *
 * Holds: lists keep to their room, an error leaves an empty status, no line is wider than the
 * screen, and no control character but the line end is written where nothing is redrawn. */
#include "base/check.h"
#include "cli/top_view.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void draw(const struct qn_seen_status *s, unsigned columns)
{
    const struct qn_screen screen = {.columns = columns, .rows = 24, .has_utf8 = true};
    struct qn_top top = {.now = s};
    struct qn_buf out = {0};
    unsigned column = 0;

    memcpy(top.stage_ns, s->stage_ns, sizeof(top.stage_ns));
    qn_top_draw(&top, &screen, &out);
    for (size_t i = 0; i < out.len; i++) {
        unsigned char c = (unsigned char)out.data[i];

        QN_ASSERT(c == '\n' || (c >= ' ' && c != 0x7F));
        column = c == '\n' ? 0 : column + ((c & 0xC0) != 0x80);
        QN_ASSERT(column <= columns);
    }
    qn_top_line(&top, &out);
    qn_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_str text = {(const char *)data, (uint32_t)size};
    struct qn_arena arena = {0};
    struct qn_seen_status s;
    struct qn_err err = {0};
    qn_status rc = qn_seen_status_read(text, &arena, &s, &err);

    QN_ASSERT(s.stream_count <= QN_SEEN_ITEMS && s.sink_count <= QN_SEEN_ITEMS);
    QN_ASSERT(s.bin_count <= QN_SEEN_BINS);
    QN_ASSERT(rc == QN_OK || (rc == QN_INVALID && s.stream_count == 0 && s.pipeline.len == 0));
    draw(&s, 1 + (size > 0 ? data[size - 1] : 0) % 120);
    qn_arena_fini(&arena);
    return 0;
}
