/* SPDX-License-Identifier: Apache-2.0
 * event_fixture.h - a small schema and batch for the tests of this room, built from a line of text.
 *
 * fixture_init(&x, "id:string, at:timestamp, payload.n:int64?") makes fields of these paths in this
 * order; '?' marks optional ones. Types: bool int64 double decimal2 string timestamp epoch_s
 * epoch_ms epoch_us epoch_ns list. The first timestamp is the time. Thread: the test's. */
#ifndef QN_TESTS_EVENT_FIXTURE_H
#define QN_TESTS_EVENT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"
#include "base/clock.h"
#include "event/contract.h"
#include "event/decode.h"
#include "event/encode.h"

enum { FIXTURE_FIELDS = 200, FIXTURE_ROWS = 64, FIXTURE_PARTS = 8 };

struct fixture {
    struct qn_arena boot;
    struct qn_field fields[FIXTURE_FIELDS];
    struct qn_str parts[FIXTURE_FIELDS][FIXTURE_PARTS];
    struct qn_schema schema;
    struct qn_batch b;
    struct qn_err err;
    char *text[FIXTURE_ROWS]; /* padded copies of what was given */
};

static void fixture_type(struct qn_field *f, const char *type, size_t n)
{
    static const struct {
        const char *name;
        struct qn_kind kind;
        enum qn_time_unit unit;
    } types[] = {{"bool", {QN_BOOL, 0}, 0},
                 {"int64", {QN_INT64, 0}, 0},
                 {"double", {QN_DOUBLE, 0}, 0},
                 {"decimal2", {QN_DECIMAL, 2}, 0},
                 {"string", {QN_STRING, 0}, 0},
                 {"timestamp", {QN_TIMESTAMP, 0}, QN_TIME_TEXT},
                 {"epoch_s", {QN_TIMESTAMP, 0}, QN_TIME_S},
                 {"epoch_ms", {QN_TIMESTAMP, 0}, QN_TIME_MS},
                 {"epoch_us", {QN_TIMESTAMP, 0}, QN_TIME_US},
                 {"epoch_ns", {QN_TIMESTAMP, 0}, QN_TIME_NS},
                 {"list", {QN_LIST, 0}, 0}};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strlen(types[i].name) == n && memcmp(types[i].name, type, n) == 0) {
            f->kind = types[i].kind;
            f->unit = types[i].unit;
            return;
        }
    abort();
}

/* The fields only; the caller may change them before fixture_ready. */
static inline void fixture_fields(struct fixture *x, const char *text)
{
    memset(x, 0, sizeof *x);
    x->schema = (struct qn_schema){.name = qn_str_of("s"),
                                   .fields = x->fields,
                                   .id = -1,
                                   .key = -1,
                                   .time = -1,
                                   .version = 0xABC};
    while (*text != '\0') {
        uint32_t i = x->schema.field_count++;
        struct qn_field *f = &x->fields[i];
        const char *colon = strchr(text, ':'), *end = colon + strcspn(colon, ",?"), *at = text;

        f->name = f->from = (struct qn_str){text, (uint32_t)(colon - text)};
        f->path = x->parts[i];
        while (at <= colon) {
            size_t n = strcspn(at, ".:");

            x->parts[i][f->path_count++] = (struct qn_str){at, (uint32_t)n};
            at += n + 1;
        }
        fixture_type(f, colon + 1, (size_t)(end - colon - 1));
        f->is_optional = *end == '?';
        end += f->is_optional;
        if (f->kind.type == QN_TIMESTAMP && x->schema.time < 0)
            x->schema.time = (int32_t)i;
        text = end + strspn(end, ", ");
    }
    if (x->schema.time < 0)
        x->schema.time = 0;
}

static inline void fixture_ready(struct fixture *x)
{
    assert_int_equal(qn_batch_init(&x->b, &x->boot, &x->schema, 1, FIXTURE_ROWS, 1, &x->err),
                     QN_OK);
    assert_int_equal(qn_decode_json_prepare(&x->schema, &x->boot, &x->err), QN_OK);
}

static inline void fixture_init(struct fixture *x, const char *text)
{
    fixture_fields(x, text);
    fixture_ready(x);
}

static inline void fixture_empty(struct fixture *x)
{
    qn_batch_reset(&x->b);
    for (int i = 0; i < FIXTURE_ROWS; i++) {
        free(x->text[i]);
        x->text[i] = NULL;
    }
}

static inline void fixture_fini(struct fixture *x)
{
    fixture_empty(x);
    qn_batch_fini(&x->b);
    qn_arena_fini(&x->boot);
}

/* Adds a row; its bytes are copied to a block that ends exactly QN_DECODE_PAD behind them, filled
 * with `pad`. */
static inline uint32_t fixture_add_bytes(struct fixture *x, const char *p, size_t n,
                                         const char *pad)
{
    uint32_t row = x->b.rows++;
    char *copy = malloc(n + QN_DECODE_PAD);

    if (n > 0)
        memcpy(copy, p, n);
    for (size_t i = 0; i < QN_DECODE_PAD; i++)
        copy[n + i] = pad[i % strlen(pad)];
    x->text[row] = copy;
    x->b.raw[row] = (struct qn_str){copy, (uint32_t)n};
    return row;
}

static inline uint32_t fixture_add(struct fixture *x, const char *text)
{
    return fixture_add_bytes(x, text, strlen(text), "\n{\"a\":1}");
}

static inline void fixture_json(struct fixture *x)
{
    qn_decode_json(&x->b, &x->schema, 0, 0, x->b.rows, 0);
}

/* What a row has become: "dead reason field" or the values as a JSON array, e.g. ["a",null,1].
 * Lives until the next call. */
static inline const char *fixture_show(struct fixture *x, uint32_t row)
{
    static struct qn_buf out;

    qn_buf_clear(&out);
    if (x->b.verdict[row] == QN_DEAD) {
        qn_buf_printf(&out, "dead %s", qn_reason_name((enum qn_reason)x->b.reason[row]));
        if (x->b.reason_field[row] != QN_NO_FIELD)
            qn_buf_printf(&out, " %.*s", QN_STR_ARG(x->fields[x->b.reason_field[row]].from));
        for (uint32_t c = 0; c < x->b.col_count; c++)
            if (x->b.cols[c].valid[row])
                qn_buf_text(&out, " and still valid");
    } else {
        for (uint32_t c = 0; c < x->b.col_count; c++) {
            qn_buf_text(&out, c == 0 ? "[" : ",");
            qn_encode_json_value(&out, &x->b.cols[c], row);
        }
        qn_buf_text(&out, "]");
    }
    qn_buf_byte(&out, '\0');
    return out.data;
}

/* Decodes one JSON event alone. */
static inline const char *fixture_one(struct fixture *x, const char *text)
{
    fixture_empty(x);
    fixture_add(x, text);
    fixture_json(x);
    return fixture_show(x, 0);
}

static const char *const fixture_forms[] = {"portable", "avx2", "avx512", "neon"};
enum { FIXTURE_FORMS = 4 };

#endif
