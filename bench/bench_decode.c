/* SPDX-License-Identifier: Apache-2.0
 * bench_decode.c - nanoseconds per event to read, split, decode and check a file, for every vector
 * form of this CPU.
 *
 *   bench_decode FILE [ROUNDS]      NDJSON or CSV events of the fraud example (bench/README.md)
 *
 * Processor time, the best of ROUNDS passes over the file, one thread. Not a test: it only prints.
 */
#include "event/contract.h"
#include "event/decode.h"
#include "event/encode.h"
#include "log/log_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 4096 };

static struct qn_field field(const char *name, enum qn_type type, uint8_t scale)
{
    struct qn_str *s = malloc(sizeof *s);

    *s = qn_str_of(name);
    return (struct qn_field){
        .name = *s, .from = *s, .path = s, .path_count = 1, .kind = {type, scale}};
}

static void die(const struct qn_err *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

/* Processor time of this thread, so that a busy machine disturbs little. */
static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct times {
    int64_t split, decode, check, late, encode;
    uint64_t rows, bytes, dead;
};

static void pass(const char *path, struct qn_batch *b, struct qn_schema *s, struct qn_arena *boot,
                 struct times *t)
{
    static struct qn_record records[ROWS];
    struct qn_csv_header header;
    const struct qn_csv_header *headers[1] = {&header};
    struct qn_watermark w = {0};
    struct qn_log_file *f;
    struct qn_str line;
    struct qn_buf out = {0};
    struct qn_err err;
    enum qn_flow flow;
    bool is_csv;

    if (qn_log_file_open(&qn_files_system, path, QN_FORMAT_AUTO, &f, &err) != QN_OK)
        die(&err);
    is_csv = qn_log_file_format(f) == QN_FORMAT_CSV;
    if (is_csv && (qn_log_file_header(f, &line, &err) != QN_OK ||
                   qn_csv_header_read(&header, line, s, boot, &err) != QN_OK))
        die(&err);
    for (;;) {
        int64_t t0 = cpu_ns(), t1, t2, t3, t4, t5;
        uint32_t n;

        qn_batch_reset(b);
        if (qn_log_file_read(f, records, ROWS, true, &n, &flow, &err) != QN_OK)
            die(&err);
        if (flow == QN_END)
            break;
        for (uint32_t i = 0; i < n; i++) {
            b->raw[i] = records[i].raw;
            b->offset[i] = records[i].offset;
            t->bytes += records[i].raw.len;
        }
        b->rows = n;
        t1 = cpu_ns();
        if (is_csv)
            qn_decode_csv(b, s, headers, 0, 0, n, 0);
        else
            qn_decode_json(b, s, 0, 0, n, 0);
        t2 = cpu_ns();
        qn_contract_check(b, s, 0, 0, n);
        t3 = cpu_ns();
        qn_contract_lateness(b, s, 1, &w);
        t4 = cpu_ns();
        qn_buf_clear(&out);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t c = 0; c < b->col_count; c++)
                qn_encode_json_value(&out, &b->cols[c], i);
        t5 = cpu_ns();
        for (uint32_t i = 0; i < n; i++)
            t->dead += b->verdict[i] == QN_DEAD;
        t->split += t1 - t0;
        t->decode += t2 - t1;
        t->check += t3 - t2;
        t->late += t4 - t3;
        t->encode += t5 - t4;
        t->rows += n;
        qn_log_file_release(f);
    }
    qn_buf_fini(&out);
    qn_log_file_close(f);
}

static void keep_min(int64_t *best, int64_t v)
{
    if (*best == 0 || v < *best)
        *best = v;
}

int main(int argc, char **argv)
{
    static const char *const forms[] = {"portable", "avx2", "avx512", "neon"};
    struct qn_field fields[] = {
        field("transaction_id", QN_STRING, 0), field("created_at", QN_TIMESTAMP, 0),
        field("customer_id", QN_STRING, 0),    field("terminal_id", QN_STRING, 0),
        field("amount", QN_DECIMAL, 2),        field("tx_fraud", QN_BOOL, 0)};
    struct qn_schema s = {.name = qn_str_of("transactions"),
                          .fields = fields,
                          .field_count = 6,
                          .id = 0,
                          .time = 1,
                          .key = 2,
                          .lateness_us = 10000000,
                          .within_us = 10000000};
    struct qn_arena boot = {0};
    struct qn_batch b;
    struct qn_err err;
    int rounds = argc > 2 ? atoi(argv[2]) : 5;

    if (argc < 2) {
        fprintf(stderr, "usage: bench_decode FILE [ROUNDS]\n");
        return 2;
    }
    fields[4].has_min = true;
    if (qn_batch_init(&b, &boot, &s, 1, ROWS, 1, &err) != QN_OK ||
        qn_decode_json_prepare(&s, &boot, &err) != QN_OK)
        die(&err);
    for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
        struct times best = {0};

        if (!qn_decode_force(forms[k]))
            continue;
        for (int r = 0; r < rounds; r++) {
            struct times t = {0};

            pass(argv[1], &b, &s, &boot, &t);
            keep_min(&best.split, t.split);
            keep_min(&best.decode, t.decode);
            keep_min(&best.check, t.check);
            keep_min(&best.late, t.late);
            keep_min(&best.encode, t.encode);
            best.rows = t.rows;
            best.bytes = t.bytes;
            best.dead = t.dead;
        }
        if (best.rows > 0)
            printf("%-9s rows %llu (dead %llu, %.0f bytes each)  ns/event: read+split %.1f  decode "
                   "%.1f  check %.1f  "
                   "lateness %.1f  encode 6 values %.1f\n",
                   forms[k], (unsigned long long)best.rows, (unsigned long long)best.dead,
                   (double)best.bytes / (double)best.rows, (double)best.split / (double)best.rows,
                   (double)best.decode / (double)best.rows, (double)best.check / (double)best.rows,
                   (double)best.late / (double)best.rows, (double)best.encode / (double)best.rows);
    }
    qn_batch_fini(&b);
    qn_arena_fini(&boot);
    for (size_t i = 0; i < 6; i++)
        free((void *)(uintptr_t)fields[i].path);
    return 0;
}
