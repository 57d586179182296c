/* SPDX-License-Identifier: Apache-2.0
 * fuzz_http_body.c - any bytes as a request: body, CloudEvents, query, headers.
 *
 * The first byte chooses. Holds: pieces lie in the body, in order; a valid array is split into its
 * elements and a body whose pieces are all valid is valid; what a CloudEvent hands on is valid JSON
 * or was base64; headers are readable; decoded text is UTF-8; unpacking stays within its limit. */
#include "base/check.h"
#include "base/json.h"
#include "log/log_local.h"
#include "serve/body_split.h"
#include "serve/body_unpack.h"
#include "serve/cloudevents.h"
#include "serve/http_text.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_valid(struct qn_str text, struct qn_arena *a)
{
    struct qn_json_reader r;

    qn_json_open(&r, text, a);
    return qn_json_skip(&r, qn_json_next(&r)) && qn_json_next(&r) == QN_JSON_END;
}

/* How many elements the outermost array has; the text is valid. */
static uint32_t count_elements(struct qn_str text, struct qn_arena *a)
{
    struct qn_json_reader r;
    enum qn_json_kind kind;
    uint32_t n = 0;

    qn_json_open(&r, text, a);
    if (qn_json_next(&r) != QN_JSON_ARRAY)
        return 1;
    while ((kind = qn_json_next(&r)) != QN_JSON_CLOSE) {
        QN_ASSERT(qn_json_skip(&r, kind));
        n++;
    }
    return n;
}

static void split(struct qn_str body, enum qn_split_form form, struct qn_arena *a)
{
    bool body_valid = is_valid(body, a), all_valid = true;
    const char *behind = body.p;
    struct qn_split s;
    struct qn_str piece;
    uint32_t n = 0;

    qn_split_open(&s, form, body);
    for (; qn_split_next(&s, &piece); n++) {
        QN_ASSERT(piece.len > 0);
        QN_ASSERT(piece.p >= behind);
        behind = piece.p + piece.len;
        QN_ASSERT(behind <= body.p + body.len);
        all_valid &= (uint8_t)piece.p[0] != 0xEF && is_valid(piece, a); /* no mark inside */
    }
    QN_ASSERT(!qn_split_next(&s, &piece));
    if (form == QN_SPLIT_LINES) {
        QN_ASSERT(s.error == NULL);
        return;
    }
    if (body_valid) {
        QN_ASSERT(s.error == NULL);
        QN_ASSERT(all_valid);
        QN_ASSERT(n == count_elements(body, a));
    } else {
        QN_ASSERT(s.error != NULL || !all_valid || n == 0);
    }
}

static void cloudevent(struct qn_str body, struct qn_arena *a)
{
    struct qn_buf headers = {0};
    struct qn_str event, rest;
    struct qn_log_header h;
    struct qn_err err = {0};

    if (qn_cloudevent_read(body, a, &event, &headers, &err) == QN_OK) {
        bool is_borrowed = event.p >= body.p && event.p < body.p + body.len;

        QN_ASSERT(!is_borrowed || is_valid(event, a));
        rest = (struct qn_str){headers.data, (uint32_t)headers.len};
        while (qn_log_header_next(&rest, &h))
            QN_ASSERT(h.name.len > 0);
        QN_ASSERT(rest.len == 0);
    } else {
        QN_ASSERT(err.text[0] != '\0');
    }
    qn_buf_fini(&headers);
}

static void words(struct qn_str text, struct qn_arena *a)
{
    static const char *const offers[] = {"application/json", "text/event-stream"};
    struct qn_str rest = text, name, value, out;
    size_t seen = 0;

    while (qn_query_next(&rest, &name, &value)) {
        seen += name.len + value.len;
        QN_ASSERT(seen <= text.len);
        if (qn_percent_decode(value, true, a, &out))
            QN_ASSERT(qn_utf8_valid(out.p, out.len));
    }
    rest = text;
    while (qn_path_next(&rest, &name))
        QN_ASSERT(name.p + name.len <= text.p + text.len);
    QN_ASSERT(qn_accept_best(text, offers, 2) < 2);
    QN_ASSERT(qn_media_type(text).len <= text.len);
    QN_ASSERT(qn_bearer(text).len <= text.len);
    (void)qn_traceparent_valid(text);
    (void)qn_packing_of(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { LIMIT = 1 << 16 };
    struct qn_arena a = {0};
    struct qn_buf out = {0};
    struct qn_err err = {0};
    struct qn_str body;

    if (size == 0)
        return 0;
    body = (struct qn_str){(const char *)data + 1, (uint32_t)size - 1};
    switch (data[0]) {
    case 'l':
        split(body, QN_SPLIT_LINES, &a);
        break;
    case 'c':
        cloudevent(body, &a);
        break;
    case 'q':
        words(body, &a);
        break;
    case 'g':
    case 'z':
        if (qn_unpack(data[0] == 'g' ? QN_PACKING_GZIP : QN_PACKING_ZSTD, body, LIMIT, &out,
                      &err) == QN_OK)
            QN_ASSERT(out.len <= LIMIT);
        break;
    default:
        split(body, QN_SPLIT_JSON, &a);
    }
    qn_buf_fini(&out);
    qn_arena_fini(&a);
    return 0;
}
