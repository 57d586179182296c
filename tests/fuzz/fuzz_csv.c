/* SPDX-License-Identifier: Apache-2.0
 * fuzz_csv.c - a whole CSV input: decompression by content, records, header, cells of every type.
 *
 * Besides not crashing: reads of one byte and of any size give the same records, and each record's
 * cells come back when they are written and read again. */
#include "base/check.h"
#include "event/decode.h"
#include "event/encode.h"
#include "log/log_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS = 6 };

static struct qn_field fields[FIELDS];
static struct qn_str names[FIELDS];
static struct qn_schema schema = {
    .fields = fields, .field_count = FIELDS, .id = -1, .key = -1, .time = 3};
static struct qn_arena boot;
static struct qn_batch b;

static void ready(void)
{
    static const struct qn_kind kinds[FIELDS] = {{QN_BOOL, 0},      {QN_INT64, 0},   {QN_STRING, 0},
                                                 {QN_TIMESTAMP, 0}, {QN_DECIMAL, 2}, {QN_LIST, 0}};
    static const char *const texts[FIELDS] = {"b", "i", "s", "t", "m", "l"};

    for (int i = 0; i < FIELDS; i++) {
        names[i] = qn_str_of(texts[i]);
        fields[i] = (struct qn_field){.name = names[i],
                                      .from = names[i],
                                      .path = &names[i],
                                      .path_count = 1,
                                      .kind = kinds[i],
                                      .is_optional = true};
    }
    QN_ASSERT(qn_batch_init(&b, &boot, &schema, 1, 1, 1, NULL) == QN_OK);
}

struct input {
    const uint8_t *data;
    size_t size, at, read_max;
};

static int input_open(void *st, const char *path, enum qn_open how)
{
    return 1000;
}

static int64_t input_read(void *st, int fd, void *p, size_t bytes)
{
    struct input *in = st;
    size_t n = in->size - in->at;

    n = n < in->read_max ? n : in->read_max;
    n = n < bytes ? n : bytes;
    if (n > 0)
        memcpy(p, in->data + in->at, n);
    in->at += n;
    return (int64_t)n;
}

static int input_close(void *st, int fd)
{
    return 0;
}

static int64_t input_size(void *st, int fd)
{
    return (int64_t)((struct input *)st)->size;
}

static void row(struct qn_str raw, const struct qn_csv_header *h, struct qn_buf *out)
{
    const struct qn_csv_header *headers[1] = {h};
    int64_t us;

    qn_batch_reset(&b);
    b.rows = 1;
    b.raw[0] = raw;
    qn_decode_csv(&b, &schema, headers, 0, 0, 1, 0);
    qn_buf_printf(out, "%d %d %d", b.verdict[0], b.reason[0], b.reason_field[0]);
    for (int c = 0; c < FIELDS; c++) {
        qn_buf_byte(out, ',');
        qn_encode_csv_cell(out, &b.cols[c], 0);
    }
    if (b.verdict[0] != QN_DEAD)
        QN_ASSERT(qn_decode_csv_time(&schema, h, raw, &us) == b.cols[3].valid[0]);
}

/* What was decoded, written as CSV, decodes to the same again. */
static void again(const struct qn_csv_header *plain)
{
    struct qn_buf line = {0}, first = {0}, second = {0};

    if (b.verdict[0] == QN_DEAD)
        return;
    for (int c = 0; c < FIELDS; c++) {
        if (c > 0)
            qn_buf_byte(&line, ',');
        qn_encode_csv_cell(&line, &b.cols[c], 0);
    }
    qn_buf_room(&line, QN_DECODE_PAD);
    row((struct qn_str){line.data, (uint32_t)line.len}, plain, &first);
    QN_ASSERT(b.verdict[0] == QN_SCORED);
    for (int c = 0; c < FIELDS; c++) {
        if (c > 0)
            qn_buf_byte(&second, ',');
        qn_encode_csv_cell(&second, &b.cols[c], 0);
    }
    QN_ASSERT(second.len == line.len && memcmp(second.data, line.data, line.len) == 0);
    qn_buf_fini(&line);
    qn_buf_fini(&first);
    qn_buf_fini(&second);
}

/* QN_OK when the input was read to its end. */
static qn_status run(const uint8_t *data, size_t size, size_t read_max, struct qn_buf *out)
{
    struct input in = {data, size, 0, read_max};
    struct qn_files files = {.open = input_open,
                             .read = input_read,
                             .close = input_close,
                             .size = input_size,
                             .st = &in};
    struct qn_csv_header h, plain;
    struct qn_arena a = {0};
    struct qn_record r[3];
    struct qn_log_file *f;
    struct qn_str header;
    enum qn_flow flow = QN_MORE;
    qn_status rc;
    uint32_t n;

    QN_ASSERT(qn_log_file_open(&files, "x", QN_FORMAT_CSV, &f, NULL) == QN_OK);
    rc = qn_log_file_header(f, &header, NULL);
    if (rc == QN_OK)
        rc = qn_csv_header_read(&h, header, &schema, &a, NULL);
    QN_ASSERT(qn_csv_header_read(&plain, qn_str_of("b,i,s,t,m,l"), &schema, &a, NULL) == QN_OK);
    while (rc == QN_OK && flow == QN_MORE && out->len < 1 << 20) {
        rc = qn_log_file_read(f, r, 3, true, &n, &flow, NULL);
        for (uint32_t i = 0; rc == QN_OK && i < n; i++) {
            row(r[i].raw, &h, out);
            again(&plain);
        }
        qn_log_file_release(f);
    }
    qn_buf_printf(out, "status %d", rc);
    qn_log_file_close(f);
    qn_arena_fini(&a);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_buf whole = {0}, bytes = {0};
    qn_status rc;

    if (size > 1 << 14)
        return 0;
    if (b.rows_max == 0)
        ready();
    rc = run(data, size, 1 << 20, &whole);
    if (whole.len < 1 << 20) {
        QN_ASSERT((run(data, size, 1, &bytes) == QN_OK) == (rc == QN_OK));
        /* How much of a damaged stream comes out before it is found out depends on the pieces it is
         * given in. */
        QN_ASSERT(rc != QN_OK ||
                  (whole.len == bytes.len && memcmp(whole.data, bytes.data, whole.len) == 0));
    }
    qn_buf_fini(&whole);
    qn_buf_fini(&bytes);
    return 0;
}
