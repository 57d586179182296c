/* SPDX-License-Identifier: Apache-2.0
 * test_log_file.c - records of files and pipes: against a naive splitter with reads of every size,
 * compressed, cut, damaged, too large, failing at the n-th read or allocation, and waiting for a
 * pipe. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "../seed.h"
#include "base/clock.h"
#include "event/decode.h"
#include "event/schema.h"
#include "log/log_file.h"

/* --- a file in memory --- */

struct memory_file {
    struct qn_files files;
    const char *data;
    size_t size, at;
    size_t read_max;       /* bytes a read gives at most; 0 = as many as asked for      */
    struct qn_rng *random; /* then the size of each read is drawn from 1 to read_max   */
    int reads, fail_read;  /* the n-th read fails with EIO; 0 = none                    */
    int opened, closed;
};

static int memory_open(void *st, const char *path, enum qn_open how)
{
    struct memory_file *m = st;

    (void)how;
    if (strstr(path, "missing") != NULL)
        return -ENOENT;
    m->opened++;
    m->at = 0;
    m->reads = 0;
    return 1000;
}

static int64_t memory_read(void *st, int fd, void *p, size_t bytes)
{
    struct memory_file *m = st;
    size_t n = m->size - m->at;

    assert_int_equal(fd, 1000);
    if (++m->reads == m->fail_read)
        return -EIO;
    if (m->read_max > 0) {
        size_t limit =
            m->random != NULL ? 1 + qn_rng_below(m->random, (uint32_t)m->read_max) : m->read_max;

        n = n < limit ? n : limit;
    }
    n = n < bytes ? n : bytes;
    memcpy(p, m->data + m->at, n);
    m->at += n;
    return (int64_t)n;
}

static int memory_close(void *st, int fd)
{
    (void)fd;
    ((struct memory_file *)st)->closed++;
    return 0;
}

static int64_t memory_size(void *st, int fd)
{
    (void)fd;
    return (int64_t)((struct memory_file *)st)->size;
}

static void memory_init(struct memory_file *m, const char *data, size_t size)
{
    *m = (struct memory_file){.data = data, .size = size};
    m->files = (struct qn_files){.open = memory_open,
                                 .read = memory_read,
                                 .close = memory_close,
                                 .size = memory_size,
                                 .st = m};
}

/* --- everything a reader gives, as one text: records between bars, '!' in front of cut ones --- */

enum { KEPT_MAX = 64 };

struct kept {
    struct qn_record r[KEPT_MAX];
    uint32_t n;
};

static void put_kept(struct kept *k, struct qn_buf *out, int64_t *offset)
{
    for (uint32_t i = 0; i < k->n; i++) {
        volatile char pad =
            k->r[i].raw.p[k->r[i].raw.len + QN_DECODE_PAD - 1]; /* must be readable */

        (void)pad;
        assert_int_equal(k->r[i].offset, (*offset)++);
        if (k->r[i].is_too_large)
            qn_buf_byte(out, '!');
        qn_buf_add(out, k->r[i].raw.p, k->r[i].raw.len);
        qn_buf_byte(out, '|');
    }
    k->n = 0;
}

/* Reads to the end with calls of up to max_call records and a release whenever `hold` of them are
 * held. */
static qn_status read_all(struct memory_file *m, enum qn_format format, uint32_t max_call,
                          uint32_t hold, struct qn_buf *out, struct qn_err *err)
{
    struct qn_log_file *f;
    struct qn_str header;
    struct kept kept = {.n = 0};
    enum qn_flow flow = QN_MORE;
    int64_t offset = 0;
    qn_status rc;

    qn_buf_clear(out);
    rc = qn_log_file_open(&m->files, "a file", format, &f, err);
    if (rc != QN_OK)
        return rc;
    if (format == QN_FORMAT_CSV && (rc = qn_log_file_header(f, &header, err)) == QN_OK) {
        qn_buf_add(out, header.p, header.len);
        qn_buf_byte(out, '#');
    }
    while (rc == QN_OK && flow != QN_END) {
        uint32_t n = 0, max = hold - kept.n < max_call ? hold - kept.n : max_call;

        rc = qn_log_file_read(f, kept.r + kept.n, max, true, &n, &flow, err);
        if (rc != QN_OK)
            break;
        assert_true(flow != QN_IDLE);
        assert_int_equal(flow == QN_MORE, n > 0);
        kept.n += n;
        if (kept.n == hold || flow == QN_END) {
            put_kept(&kept, out, &offset);
            qn_log_file_release(f);
        }
    }
    if (rc != QN_OK) { /* it stays so */
        uint32_t n;
        struct qn_err again;

        put_kept(&kept, out, &offset);
        if (rc != QN_NOMEM && (format != QN_FORMAT_CSV || offset > 0))
            assert_int_equal(qn_log_file_read(f, kept.r, 1, true, &n, &flow, &again), rc);
    }
    qn_log_file_close(f);
    qn_buf_byte(out, '\0');
    return rc;
}

static const char *all(const char *text, size_t size, enum qn_format format)
{
    static struct qn_buf out;
    struct memory_file m;
    static struct qn_err err;

    memory_init(&m, text, size);
    if (read_all(&m, format, 5, 7, &out, &err) != QN_OK)
        return err.text;
    assert_int_equal(m.opened, m.closed);
    return out.data;
}

#define ALL(text, format) all((text), sizeof(text) - 1, (format))

static void test_lines(void **state)
{
    (void)state;
    assert_string_equal(ALL("", QN_FORMAT_NDJSON), "");
    assert_string_equal(ALL("\n\r\n  \n\t\r\n", QN_FORMAT_NDJSON), "");
    assert_string_equal(ALL("a\nb\n", QN_FORMAT_NDJSON), "a|b|");
    assert_string_equal(ALL("a\r\nb", QN_FORMAT_NDJSON), "a|b|");
    assert_string_equal(ALL("a\n\n\nb\n \n", QN_FORMAT_NDJSON), "a|b|");
    assert_string_equal(ALL("a\rb\nc\r", QN_FORMAT_NDJSON), "a\rb|c|");
    assert_string_equal(ALL("\"a\nb\"\n", QN_FORMAT_NDJSON), "\"a|b\"|");
    assert_string_equal(ALL("\xEF\xBB\xBF{}\n{}\n", QN_FORMAT_NDJSON), "{}|{}|");
    assert_string_equal(ALL("\xEF\xBB\xBF", QN_FORMAT_NDJSON), "");
    assert_string_equal(ALL("\xEF\xBB", QN_FORMAT_NDJSON), "\xEF\xBB|");
    assert_string_equal(ALL(" a\n", QN_FORMAT_NDJSON), " a|");
    assert_string_equal(ALL("(x\n", QN_FORMAT_NDJSON), "(x|");
    assert_string_equal(ALL("(", QN_FORMAT_NDJSON), "(|");
    assert_string_equal(ALL("\x1f", QN_FORMAT_NDJSON), "\x1f|");
    assert_string_equal(ALL("P*x\n", QN_FORMAT_NDJSON), "P*x|");
}

static void test_csv(void **state)
{
    (void)state;
    assert_string_equal(ALL("a,b\n1,2\n", QN_FORMAT_CSV), "a,b#1,2|");
    assert_string_equal(ALL("\xEF\xBB\xBF"
                            "a,b\r\n1,2\r\n\r\n3,4",
                            QN_FORMAT_CSV),
                        "a,b#1,2|3,4|");
    assert_string_equal(ALL("a\n\"x\ny\",1\n\"\"\"\n\"\nz\n", QN_FORMAT_CSV),
                        "a#\"x\ny\",1|\"\"\"\n\"|z|");
    assert_string_equal(ALL("\"a\nb\"\n1\n", QN_FORMAT_CSV), "\"a\nb\"#1|");
    assert_string_equal(ALL("a\n5\" pipe\nb\n", QN_FORMAT_CSV), "a#5\" pipe|b|");
    assert_string_equal(ALL("a\n\"x\"y\"\nb\n", QN_FORMAT_CSV), "a#\"x\"y\"|b|");
    assert_string_equal(ALL("a\nx,\"never closed\nb\n", QN_FORMAT_CSV), "a#x,\"never closed\nb\n|");
    assert_string_equal(ALL("a\n \n", QN_FORMAT_CSV), "a# |");
    assert_non_null(strstr(ALL("", QN_FORMAT_CSV), "is empty"));
    assert_non_null(strstr(ALL("\n\n", QN_FORMAT_CSV), "is empty"));
    assert_string_equal(ALL("a", QN_FORMAT_CSV), "a#");
}

/* --- twin --- */

/* Where records end, by the definition; out as read_all. */
static void naive(const char *p, size_t n, enum qn_format format, struct qn_buf *out)
{
    bool is_header = format == QN_FORMAT_CSV;
    size_t at = 0;

    qn_buf_clear(out);
    while (at < n) {
        bool quoted = false, at_cell = true, is_blank = true;
        size_t end = at, len;

        for (; end < n && (quoted || p[end] != '\n'); end++) {
            if (format != QN_FORMAT_CSV)
                continue;
            if (quoted) {
                if (p[end] == '"' && end + 1 < n && p[end + 1] == '"')
                    end++;
                else if (p[end] == '"')
                    quoted = false;
            } else if (p[end] == '"' && at_cell) {
                quoted = true;
            }
            at_cell = !quoted && p[end] == ',';
        }
        len = end - at;
        if (len > 0 && p[at + len - 1] == '\r')
            len--;
        for (size_t i = 0; i < len; i++)
            is_blank &= format != QN_FORMAT_CSV &&
                        (p[at + i] == ' ' || p[at + i] == '\t' || p[at + i] == '\r');
        if (!is_blank) {
            if (len > QN_EVENT_BYTES_MAX)
                qn_buf_byte(out, '!');
            qn_buf_add(out, p + at, len > QN_EVENT_BYTES_MAX ? QN_EVENT_BYTES_MAX : len);
            qn_buf_byte(out, is_header ? '#' : '|');
            is_header = false;
        }
        at = end + 1;
    }
    qn_buf_byte(out, '\0');
}

static void expect_twin(struct memory_file *m, const char *plain, size_t plain_size,
                        enum qn_format format, uint32_t max_call, uint32_t hold)
{
    struct qn_buf got = {0}, expected = {0};
    struct qn_err err = {0};
    qn_status rc;

    naive(plain, plain_size, format, &expected);
    rc = read_all(m, format, max_call, hold, &got, &err);
    if (rc != QN_OK && format == QN_FORMAT_CSV && strchr(expected.data, '#') == NULL)
        assert_int_equal(rc, QN_INVALID);
    else
        assert_int_equal(rc, QN_OK);
    if (rc == QN_OK) {
        assert_int_equal(got.len, expected.len);
        assert_memory_equal(got.data, expected.data, got.len);
    }
    qn_buf_fini(&got);
    qn_buf_fini(&expected);
}

static void test_twin(void **state)
{
    struct memory_file m;
    struct qn_rng r;

    (void)state;
    qn_rng_seed(&r, test_seed(20180411));
    for (int i = 0; i < 3000; i++) {
        char text[200];
        size_t n = qn_rng_below(&r, sizeof text);
        enum qn_format format = qn_rng_below(&r, 2) ? QN_FORMAT_CSV : QN_FORMAT_NDJSON;

        for (size_t k = 0; k < n; k++)
            text[k] = "ab,\"\n\r \"\n"[qn_rng_below(&r, 9)];
        memory_init(&m, text, n);
        for (m.read_max = 0; m.read_max < 9; m.read_max += m.read_max < 3 ? 1 : 2)
            expect_twin(&m, text, n, format, 1 + qn_rng_below(&r, 9), 1 + qn_rng_below(&r, 20));
    }
}

/* Long enough for many blocks, so that records are cut by block ends at all places while others are
 * held. */
static char *long_text(struct qn_rng *r, size_t *n, bool is_csv)
{
    struct qn_buf text = {0};

    for (int i = 0; text.len < 1500000; i++) {
        uint32_t len = qn_rng_below(r, qn_rng_below(r, 50) == 0 ? 60000 : 300);

        qn_buf_printf(&text, is_csv && i % 3 == 0 ? "\"%d\n\"\"" : "%d,", i);
        for (uint32_t k = 0; k < len; k++)
            qn_buf_byte(&text, (char)('a' + k % 26));
        qn_buf_text(&text, is_csv && i % 3 == 0 ? "\"\n" : i % 5 == 0 ? "\r\n" : "\n");
    }
    *n = text.len;
    return text.data;
}

static void test_blocks(void **state)
{
    struct qn_rng r;

    (void)state;
    qn_rng_seed(&r, 7);
    for (int is_csv = 0; is_csv < 2; is_csv++) {
        static const size_t sizes[] = {0, 1000000, 4096, 100000};
        struct memory_file m;
        size_t n;
        char *text = long_text(&r, &n, is_csv);

        memory_init(&m, text, n);
        for (int k = 0; k < 8; k++) {
            m.read_max = sizes[k % 4];
            m.random = k >= 4 && m.read_max > 0 ? &r : NULL;
            expect_twin(&m, text, n, is_csv ? QN_FORMAT_CSV : QN_FORMAT_NDJSON,
                        1 + 13u * (uint32_t)k, 1 + qn_rng_below(&r, KEPT_MAX));
        }
        qn_mem_free(text);
    }
}

static void test_too_large(void **state)
{
    static const size_t sizes[] = {QN_EVENT_BYTES_MAX - 1, QN_EVENT_BYTES_MAX,
                                   QN_EVENT_BYTES_MAX + 1, QN_EVENT_BYTES_MAX + 2,
                                   QN_EVENT_BYTES_MAX + 3, 3 * QN_EVENT_BYTES_MAX};
    struct memory_file m;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int kind = 0; kind < 6;
             kind++) { /* LF, CR LF, at the end; CSV also quoted with line ends inside */
            struct qn_buf text = {0};
            size_t from;

            qn_buf_text(&text, "h\nfirst\n");
            from = text.len;
            for (size_t k = 0; k < sizes[i]; k++)
                qn_buf_byte(&text, kind >= 3 && k % 50 == 49 ? '\n' : 'x');
            if (kind >= 3) {
                text.data[from] = '"';
                text.data[text.len - 1] = '"';
            }
            qn_buf_text(&text, kind % 3 == 0 ? "\nlast\n" : kind % 3 == 1 ? "\r\nlast" : "");
            memory_init(&m, text.data, text.len);
            /* byte by byte where a CR may stand alone at the edge of what is too large */
            for (int reads = 0; reads < (i == 1 && kind % 3 == 1 ? 4 : 3); reads++) {
                static const size_t read_max[] = {0, 100001, 65536, 1};

                m.read_max = read_max[reads];
                expect_twin(&m, text.data, text.len, kind >= 3 ? QN_FORMAT_CSV : QN_FORMAT_NDJSON,
                            3, 4);
            }
            qn_buf_fini(&text);
        }
}

/* --- compressed --- */

static size_t gzip_member(const char *p, size_t n, char *out, size_t cap)
{
    z_stream z = {0};
    size_t used;

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)p;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    used = z.total_out;
    deflateEnd(&z);
    return used;
}

static size_t zstd_frame(const char *p, size_t n, char *out, size_t cap)
{
    size_t used = ZSTD_compress(out, cap, p, n, 3);

    assert_false(ZSTD_isError(used));
    return used;
}

typedef size_t pack_fn(const char *p, size_t n, char *out, size_t cap);

/* Three members or frames, the middle one of nothing. */
static size_t pack(pack_fn *fn, const char *p, size_t n, char *out, size_t cap, size_t *first)
{
    size_t used = fn(p, n / 3, out, cap);

    *first = used;
    used += fn(p, 0, out + used, cap - used);
    return used + fn(p + n / 3, n - n / 3, out + used, cap - used);
}

static void test_compressed(void **state)
{
    static pack_fn *const packs[] = {gzip_member, zstd_frame};
    size_t n, cap = 1 << 22, first;
    char *packed = malloc(cap), *text;
    struct qn_rng r;

    (void)state;
    qn_rng_seed(&r, 3);
    text = long_text(&r, &n, false);
    for (int k = 0; k < 2; k++) {
        struct memory_file m;

        memory_init(&m, packed, pack(packs[k], text, n, packed, cap, &first));
        for (int reads = 0; reads < 3; reads++) {
            m.read_max = reads == 0 ? 0 : reads == 1 ? 1000 : 17;
            expect_twin(&m, text, n, QN_FORMAT_NDJSON, 20, 50);
        }
    }
    qn_mem_free(text);
    free(packed);
}

/* Cut anywhere: an error that names the byte, after all records before it; at the border of members
 * simply the end. */
static void test_cut(void **state)
{
    static pack_fn *const packs[] = {gzip_member, zstd_frame};
    static const char text[] = "first\nsecond, longer\nthird\nfourth and so on\nlast";
    char packed[1000];
    struct qn_buf got = {0};

    (void)state;
    for (int k = 0; k < 2; k++) {
        size_t first, size = pack(packs[k], text, sizeof text - 1, packed, sizeof packed, &first);

        for (size_t cut = 4; cut <= size; cut++)
            for (size_t read_max = 0; read_max < 2; read_max++) {
                struct memory_file m;
                struct qn_err err = {0};
                char *exact = malloc(cut);
                qn_status rc;

                memcpy(exact, packed, cut);
                memory_init(&m, exact, cut);
                m.read_max = read_max;
                rc = read_all(&m, QN_FORMAT_NDJSON, 3, 8, &got, &err);
                if (rc == QN_CORRUPT) {
                    assert_true(err.has_offset);
                    assert_true(err.offset <= cut);
                    assert_non_null(strstr(err.text, "byte"));
                    assert_string_equal(err.file, "a file");
                    assert_memory_equal(got.data, "first|second, longer|",
                                        got.len - 1 < 21 ? got.len - 1 : 21);
                } else {
                    assert_int_equal(rc, QN_OK);
                    assert_true(cut == size || cut == first || got.len - 1 <= sizeof text / 3 + 2);
                    if (cut == size)
                        assert_string_equal(got.data,
                                            "first|second, longer|third|fourth and so on|last|");
                }
                free(exact);
            }
    }
    qn_buf_fini(&got);
}

static void test_damaged(void **state)
{
    static pack_fn *const packs[] = {gzip_member, zstd_frame};
    char text[2000], packed[4000];
    struct qn_buf got = {0};
    struct qn_rng r;
    struct memory_file m;
    struct qn_err err;
    int corrupt = 0;

    (void)state;
    qn_rng_seed(&r, 11);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "abcdefgh\n"[qn_rng_below(&r, 9)];
    for (int k = 0; k < 2; k++) {
        size_t first, size = pack(packs[k], text, sizeof text, packed, sizeof packed, &first);

        for (size_t at = 0; at < size; at++) {
            packed[at] ^= (char)(1 << at % 8);
            memory_init(&m, packed, size);
            corrupt += read_all(&m, QN_FORMAT_NDJSON, 9, 9, &got, &err) == QN_CORRUPT;
            packed[at] ^= (char)(1 << at % 8);
        }
        memset(packed + size, 0,
               40); /* zeros behind gzip are padding, behind zstd they are nothing known */
        memory_init(&m, packed, size + 40);
        assert_int_equal(read_all(&m, QN_FORMAT_NDJSON, 9, 9, &got, &err),
                         k == 0 ? QN_OK : QN_CORRUPT);
        packed[size + 3] = 'x';
        m.at = 0;
        assert_int_equal(read_all(&m, QN_FORMAT_NDJSON, 9, 9, &got, &err), QN_CORRUPT);
        if (k == 0)
            assert_int_equal(err.offset, size + 3);
    }
    assert_true(corrupt > 500);
    qn_buf_fini(&got);
}

/* --- failures --- */

static void test_read_errors(void **state)
{
    static const char text[] = "first\nsecond\nthird\n";
    struct qn_buf got = {0};
    struct memory_file m;
    struct qn_err err = {0};
    struct qn_log_file *f;

    (void)state;
    memory_init(&m, text, sizeof text - 1);
    m.read_max = 4;
    for (m.fail_read = 1; m.fail_read <= 6; m.fail_read++) {
        static const char *const before[] = {
            "", "", "first|", "first|", "first|second|", "first|second|third|"};

        assert_int_equal(read_all(&m, QN_FORMAT_NDJSON, 5, 5, &got, &err), QN_IO);
        assert_int_equal(err.offset, m.fail_read < 6 ? 4 * (m.fail_read - 1) : 19);
        assert_string_equal(got.data, before[m.fail_read - 1]);
    }
    assert_int_equal(qn_log_file_open(&m.files, "missing", QN_FORMAT_AUTO, &f, &err), QN_NOT_FOUND);
    assert_null(f);
    assert_non_null(strstr(err.text, "missing"));
    assert_int_equal(m.opened, m.closed);
    qn_log_file_close(NULL);
    qn_buf_fini(&got);
}

/* Every allocation fails in turn: an error, or all the records; never some of them and silence. */
static void test_no_memory(void **state)
{
    char *packed = malloc(1 << 21), *text = malloc(600000);
    struct qn_buf got = {0}, expected = {0};
    size_t first;

    (void)state;
    for (size_t i = 0; i < 600000; i++)
        text[i] = i % 997 == 0 || i == 599999 ? '\n' : 'x';
    for (int kind = 0; kind < 4; kind++) {
        struct memory_file m;
        enum qn_format format = kind == 1 ? QN_FORMAT_CSV : QN_FORMAT_NDJSON;
        uint64_t nth = 0;
        qn_status rc;

        if (kind < 2)
            memory_init(&m, text, 600000);
        else
            memory_init(
                &m, packed,
                pack(kind == 2 ? gzip_member : zstd_frame, text, 600000, packed, 1 << 21, &first));
        naive(text, 600000, format, &expected);
        do {
            struct qn_err err = {0};

            qn_buf_clear(&got);
            qn_buf_room(&got, 700000); /* the test's own memory does not count */
            qn_mem_fail_at(++nth, false);
            rc = read_all(&m, format, 60, 64, &got, &err);
            qn_mem_fail_at(0, false);
            assert_true(rc == QN_NOMEM || rc == QN_OK);
        } while (rc == QN_NOMEM);
        assert_true(nth > 3);
        assert_string_equal(got.data, expected.data);
    }
    qn_buf_fini(&got);
    qn_buf_fini(&expected);
    free(packed);
    free(text);
}

/* A reader that goes on after an allocation failed has lost nothing. */
static void test_goes_on_after_no_memory(void **state)
{
    static const char text[] = "head\nfirst\nsecond\n";
    struct memory_file m;
    struct qn_log_file *f;
    struct qn_record r[4];
    struct qn_err err;
    struct qn_str header;
    enum qn_flow flow;
    uint32_t n;

    (void)state;
    memory_init(&m, text, sizeof text - 1);
    assert_int_equal(qn_log_file_open(&m.files, "x.csv", QN_FORMAT_AUTO, &f, &err), QN_OK);
    assert_int_equal(qn_log_file_format(f), QN_FORMAT_CSV);
    for (uint64_t nth = 1; nth < 4; nth++) {
        qn_mem_fail_at(nth, false);
        if (qn_log_file_header(f, &header, &err) == QN_OK)
            break;
    }
    qn_mem_fail_at(0, false);
    assert_int_equal(qn_log_file_header(f, &header, &err), QN_OK);
    assert_true(qn_str_is(header, "head"));
    assert_int_equal(qn_log_file_read(f, r, 4, false, &n, &flow, &err), QN_OK);
    assert_int_equal(n, 2);
    assert_int_equal(r[0].offset, 0);
    assert_true(qn_str_is(r[0].raw, "first"));
    qn_log_file_close(f);
}

/* --- pipes --- */

static void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void test_pipe(void **state)
{
    struct qn_log_file *f;
    struct qn_record r[8];
    struct qn_err err;
    enum qn_flow flow;
    uint32_t n;
    uint64_t done, size;
    int ends[2], old = dup(0);

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], 0), 0);
    close(ends[0]);
    assert_int_equal(qn_log_file_open(&qn_files_system, "-", QN_FORMAT_AUTO, &f, &err), QN_OK);
    assert_int_equal(qn_log_file_read(f, r, 8, false, &n, &flow, &err), QN_OK);
    assert_int_equal(flow, QN_IDLE);
    say(ends[1], "first\nseco");
    assert_int_equal(qn_log_file_read(f, r, 8, true, &n, &flow, &err),
                     QN_OK); /* does not wait for the second */
    assert_int_equal(n, 1);
    assert_int_equal(flow, QN_MORE);
    assert_int_equal(qn_log_file_read(f, r + 1, 7, false, &n, &flow, &err), QN_OK);
    assert_int_equal(flow, QN_IDLE);
    say(ends[1], "nd\nthird\n");
    assert_int_equal(qn_log_file_read(f, r + 1, 7, true, &n, &flow, &err), QN_OK);
    assert_int_equal(n, 2);
    assert_true(qn_str_is(r[0].raw, "first")); /* still there */
    assert_true(qn_str_is(r[1].raw, "second"));
    qn_log_file_release(f);
    say(ends[1], "last");
    close(ends[1]);
    assert_int_equal(qn_log_file_read(f, r, 8, true, &n, &flow, &err), QN_OK);
    assert_int_equal(n, 1);
    assert_int_equal(r[0].offset, 3);
    assert_int_equal(qn_log_file_read(f, r, 8, true, &n, &flow, &err), QN_OK);
    assert_int_equal(flow, QN_END);
    qn_log_file_progress(f, &done, &size);
    assert_int_equal(done, 23);
    assert_int_equal(size, 0);
    qn_log_file_close(f);
    assert_int_equal(dup2(old, 0), 0);
    close(old);
}

/* A gzip stream that comes in pieces answers with what can be told so far. */
static void test_compressed_pipe(void **state)
{
    static const char text[] = "first\nsecond\n";
    char packed[200];
    size_t size = gzip_member(text, sizeof text - 1, packed, sizeof packed);
    struct qn_log_file *f;
    struct qn_record r[8];
    struct qn_err err;
    enum qn_flow flow;
    uint32_t n, seen = 0;
    int ends[2], old = dup(0);

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], 0), 0);
    close(ends[0]);
    assert_int_equal(qn_log_file_open(&qn_files_system, "-", QN_FORMAT_NDJSON, &f, &err), QN_OK);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(write(ends[1], packed + i, 1), 1);
        assert_int_equal(qn_log_file_read(f, r + seen, 8 - seen, false, &n, &flow, &err), QN_OK);
        assert_true(flow != QN_END);
        seen += n;
    }
    assert_int_equal(seen, 2);
    close(ends[1]);
    assert_int_equal(qn_log_file_read(f, r + seen, 8 - seen, false, &n, &flow, &err), QN_OK);
    assert_int_equal(flow, QN_END);
    assert_true(qn_str_is(r[1].raw, "second"));
    qn_log_file_close(f);
    assert_int_equal(dup2(old, 0), 0);
    close(old);
}

static void test_formats(void **state)
{
    static const struct {
        const char *name;
        enum qn_format format;
    } cases[] = {{"a.csv", QN_FORMAT_CSV},         {"a.csv.gz", QN_FORMAT_CSV},
                 {"dir/a.csv.zst", QN_FORMAT_CSV}, {"a.ndjson", QN_FORMAT_NDJSON},
                 {"csv", QN_FORMAT_NDJSON},        {"a.csv.txt", QN_FORMAT_NDJSON}};
    struct memory_file m;
    struct qn_err err;
    struct qn_log_file *f;

    (void)state;
    memory_init(&m, "", 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(qn_log_file_open(&m.files, cases[i].name, QN_FORMAT_AUTO, &f, &err),
                         QN_OK);
        assert_int_equal(qn_log_file_format(f), cases[i].format);
        qn_log_file_close(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_twin),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_read_errors),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_goes_on_after_no_memory),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_compressed_pipe),
        cmocka_unit_test(test_formats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
