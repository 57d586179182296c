/* SPDX-License-Identifier: Apache-2.0
 * test_log_local_damage.c - files cut at every length, flipped bits, missing and foreign segments.
 *
 * Holds: a torn tail is cut and everything before it is there; any other damage stops with file and
 * byte, in opening, in reading or in verifying; never a wrong record. */
#include "log/log_format.h"
#include "log_disk.h"
#include "log_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SEGMENT = 128 * 1024, SEED = 11 };

static int64_t now_us = 1000000;
static int64_t fake_wall(void *st)
{
    return now_us += 1000;
}
static int64_t fake_mono(void *st)
{
    return now_us * 1000;
}
static const struct qn_clock fake_clock = {fake_wall, fake_mono, NULL};

static struct qn_log_options options_of(struct disk *d)
{
    return (struct qn_log_options){
        .files = &d->table, .clock = &fake_clock, .segment_bytes = SEGMENT, .is_threadless = true};
}

static void append(struct disk *d, uint64_t from, uint64_t end)
{
    struct qn_log_options opt = options_of(d);
    struct qn_log_append *a;
    struct qn_err err = {0};
    struct qn_log *lg;

    if (qn_log_open("log", &opt, &lg, NULL, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(model_topics(lg, &err), QN_OK);
    assert_int_equal(qn_log_append_new(lg, &a, &err), QN_OK);
    for (uint64_t i = from; i < end; i++) {
        assert_int_equal(model_encode(a, SEED, i, &err), QN_OK);
        if (qn_log_commit(lg, a, NULL, &err) != QN_OK)
            fail_msg("%s", err.text);
    }
    qn_log_append_free(a);
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
    disk_forget(d, "end"); /* as after a crash: nothing says how much there was */
}

static struct disk_file *segment_file(struct disk *d, uint64_t lsn, const char *ending)
{
    char name[64];
    struct disk_name *n;

    snprintf(name, sizeof name, "%020llu.%s", (unsigned long long)lsn, ending);
    n = disk_find(d->now, name);
    return n == NULL ? NULL : &d->files[n->file];
}

/* Opens; if that works, reads everything. *end: appends there. */
static qn_status open_and_read(struct disk *d, uint64_t *end, struct qn_log_recovery *rec,
                               struct qn_err *err)
{
    struct qn_log_options opt = options_of(d);
    uint64_t first = 0;
    const char *wrong;
    struct qn_log *lg;
    qn_status rc = qn_log_open("log", &opt, &lg, rec, err);

    if (rc != QN_OK)
        return rc;
    wrong = model_check(lg, SEED, &first, end);
    if (wrong != NULL) {
        rc = strncmp(wrong, "read: ", 6) == 0 ? QN_CORRUPT : QN_INVALID;
        if (rc == QN_CORRUPT)
            assert_non_null(strstr(wrong, "damaged at byte"));
        else
            print_message("%s\n", wrong);
    }
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    disk_forget(d, "end");
    return rc;
}

/* Where the frames of a segment lie. */
static unsigned frames_of(const struct disk_file *f, size_t *at, size_t *length, unsigned max)
{
    unsigned n = 0;

    for (size_t p = QN_LOG_SECTOR; p + QN_LOG_FRAME_HEADER <= f->now_size && n < max;
         p += qn_log_padded(length[n - 1])) {
        if (qn_little_get32(f->now + p) != QN_LOG_MAGIC_FRAME)
            break;
        at[n] = p;
        length[n++] = qn_little_get32(f->now + p + 8);
    }
    return n;
}

/* The last frame cut at every length, rest zero or garbage; and the file itself cut there. */
static void test_torn_tail(void **state)
{
    struct disk *d = disk_new(1);
    static size_t at[200], length[200];
    struct qn_log_recovery rec;
    struct qn_err err = {0};
    struct disk_file *f;
    char *whole;
    unsigned n;

    append(d, 0, 9);
    f = segment_file(d, 0, "seg");
    whole = malloc(DISK_FILE_BYTES);
    memcpy(whole, f->now, DISK_FILE_BYTES);
    n = frames_of(f, at, length, 200);
    assert_int_equal(n, 10); /* and the dictionary */
    for (size_t cut = 0; cut <= length[n - 1]; cut += cut < 80 || cut + 80 > length[n - 1] ? 1 : 13)
        for (int how = 0; how < 3; how++) {
            uint64_t end = 0;
            bool is_whole;

            memcpy(f->now, whole, DISK_FILE_BYTES);
            f->now_size = SEGMENT;
            memset(f->now + at[n - 1] + cut, how == 1 ? 0xA5 : 0, SEGMENT - at[n - 1] - cut);
            if (how == 2)
                f->now_size = at[n - 1] + cut;
            /* Zeros that were cut are not missed. */
            is_whole = memcmp(f->now + at[n - 1], whole + at[n - 1], length[n - 1]) == 0;
            assert_int_equal(open_and_read(d, &end, &rec, &err), QN_OK);
            assert_int_equal(end, is_whole ? 9 : 8);
            if (!is_whole && how == 1) {
                assert_true(rec.torn_bytes > 0);
                assert_int_equal(rec.torn_lsn, at[n - 1]);
            }
            assert_int_equal(f->now_size, SEGMENT);
            assert_int_equal(open_and_read(d, &end, &rec, &err), QN_OK);
            assert_int_equal(rec.torn_bytes, 0); /* it was cut for good */
        }
    append(d, 9, 12); /* and the log goes on */
    free(whole);
    disk_free(d);
}

/* One bit in any frame but the last of the last segment: found, with its place. */
static void test_flipped_bits(void **state)
{
    struct disk *d = disk_new(2);
    static size_t at[200], length[200];
    struct disk_file *f, *sealed;
    struct qn_log_recovery rec;
    struct qn_err err;
    struct qn_rng rng;
    uint64_t end;
    char *whole[2] = {malloc(SEGMENT), malloc(SEGMENT)};
    unsigned n;

    print_message("seed 2\n");
    qn_rng_seed(&rng, 2);
    append(d, 0, 60);
    sealed = segment_file(d, 0, "seg");
    f = segment_file(d, SEGMENT, "seg");
    assert_non_null(f);
    n = frames_of(f, at, length, 200);
    assert_true(n > 3);
    memcpy(whole[0], sealed->now, SEGMENT);
    memcpy(whole[1], f->now, SEGMENT);
    for (int round = 0; round < 600; round++) {
        struct disk_file *g = round % 2 ? f : sealed;
        unsigned k, count = frames_of(g, at, length, 200);
        bool is_last, is_header = qn_rng_below(&rng, 3) == 0;
        size_t byte;
        qn_status rc;

        k = qn_rng_below(&rng, count);
        is_last = g == f && k == count - 1;
        byte = at[k] + qn_rng_below(&rng, is_header ? QN_LOG_FRAME_HEADER : (uint32_t)length[k]);
        if (round % 50 == 0) {
            byte = qn_rng_below(&rng, QN_LOG_SMALL_HEADER); /* of the segment */
            is_last = false;
        }
        g->now[byte] = (char)(g->now[byte] ^ 1 << qn_rng_below(&rng, 8));
        memset(&err, 0, sizeof err);
        end = 0;
        rc = open_and_read(d, &end, &rec, &err);
        if (is_last) {
            assert_int_equal(rc, QN_OK);
            assert_int_equal(end, 59);
        } else if (rc != QN_CORRUPT) {
            fail_msg("round %d: byte %zu of frame %u of %s: %s", round, byte, k,
                     g == f ? "the last segment" : "a sealed one", qn_status_name(rc));
        } else if (g == f) {
            assert_non_null(strstr(err.file, "00000000000000131072.seg"));
            assert_true(err.has_offset);
        }
        memcpy(sealed->now, whole[0], SEGMENT); /* opening may have cut */
        memcpy(f->now, whole[1], SEGMENT);
    }
    assert_int_equal(open_and_read(d, &end, &rec, &err), QN_OK);
    assert_int_equal(end, 60);
    free(whole[0]);
    free(whole[1]);
    disk_free(d);
}

/* A frame that is right in itself but is not the one that was written there (a misplaced or lost
 * write): the one behind it tells. */
static void test_chain(void **state)
{
    struct disk *d = disk_new(9);
    static size_t at[200], length[200];
    struct qn_log_recovery rec;
    struct qn_err err = {0};
    struct disk_file *f;
    uint64_t end = 0;

    append(d, 0, 9);
    f = segment_file(d, 0, "seg");
    assert_int_equal(frames_of(f, at, length, 200), 10);
    f->now[at[4] + length[4] - 1] ^= 1;
    qn_log_frame_seal(f->now + at[4], (uint32_t)length[4]);
    assert_int_equal(open_and_read(d, &end, &rec, &err), QN_CORRUPT);
    assert_int_equal(err.offset, at[5]);
    assert_non_null(strstr(err.text, "does not follow the one before"));
    disk_free(d);
}

static unsigned findings;
static char finding[800];
static void count_finding(void *arg, const struct qn_err *err)
{
    findings++;
    snprintf(finding, sizeof finding, "%s: %s", err->file, err->text);
}

static void test_verify(void **state)
{
    struct disk *d = disk_new(3);
    struct qn_log_options opt = options_of(d);
    static size_t at[200], length[200];
    struct qn_log_check check;
    struct disk_file *f;
    struct qn_err err = {0};
    struct qn_log *lg;

    append(d, 0, 120);
    opt.is_read_only = true;
    assert_int_equal(qn_log_open("log", &opt, &lg, NULL, &err), QN_OK);
    findings = 0;
    assert_int_equal(qn_log_verify(lg, count_finding, NULL, &check, &err), QN_OK);
    if (findings > 0)
        fail_msg("%s", finding);
    assert_int_equal(check.damaged, 0);
    assert_int_equal(check.frames, 120 + check.segments);
    assert_true(check.segments >= 3);
    f = segment_file(d, SEGMENT, "seg");
    assert_true(frames_of(f, at, length, 200) > 8);
    f->now[at[3] + 100] ^= 4;
    f->now[at[6] + 30] ^= 4;
    assert_int_equal(qn_log_verify(lg, count_finding, NULL, &check, &err), QN_OK);
    assert_int_equal(check.damaged, 2);
    assert_int_equal(findings, 2);
    assert_non_null(strstr(finding, "00000000000000131072.seg: byte "));
    qn_log_close(lg, NULL);
    disk_free(d);
}

/* What an index says is checked against the frames; a lost one is made anew. */
static void test_index(void **state)
{
    struct disk *d = disk_new(4);
    struct qn_log_recovery rec;
    struct qn_err err = {0};
    struct disk_file *f;
    uint64_t end;

    append(d, 0, 60);
    f = segment_file(d, 0, "idx");
    assert_non_null(f);
    for (size_t byte = 0; byte < f->now_size; byte += byte < 80 ? 1 : 97) {
        f->now[byte] ^= 16;
        end = 0;
        assert_int_equal(open_and_read(d, &end, &rec, &err), QN_OK);
        assert_int_equal(end, 60);
        assert_int_equal(rec.rebuilt, 1);
        f = segment_file(d, 0, "idx");
    }
    disk_forget(d, "00000000000000000000.idx");
    assert_int_equal(open_and_read(d, &end, &rec, &err), QN_OK);
    assert_int_equal(rec.rebuilt, 1);
    assert_int_equal(open_and_read(d, &end, &rec, &err), QN_OK);
    assert_int_equal(rec.rebuilt, 0);
    /* Without its index, damage in a sealed segment is met at once. */
    disk_forget(d, "00000000000000000000.idx");
    segment_file(d, 0, "seg")->now[QN_LOG_SECTOR * 3 + 10] ^= 1;
    assert_int_equal(open_and_read(d, &end, &rec, &err), QN_CORRUPT);
    assert_non_null(strstr(err.file, "00000000000000000000.seg"));
    assert_non_null(strstr(err.text, "damaged at byte 12288"));
    disk_free(d);
}

static void expect_refusal(struct disk *d, const char *words)
{
    struct qn_log_options opt = options_of(d);
    struct qn_err err = {0};
    struct qn_log *lg;

    assert_int_equal(qn_log_open("log", &opt, &lg, NULL, &err), QN_CORRUPT);
    assert_null(lg);
    if (strstr(err.text, words) == NULL)
        fail_msg("'%s' is not in '%s'", words, err.text);
}

static void test_segments(void **state)
{
    struct disk *d = disk_new(5), *other = disk_new(6);
    char a[64], b[64];
    int file;

    append(d, 0, 150);
    append(other, 0, 10);
    snprintf(a, sizeof a, "%020d.seg", SEGMENT);
    snprintf(b, sizeof b, "%020d.seg", SEGMENT * 2);
    file = disk_find(d->now, a)->file;
    disk_unset(d->now, a);
    expect_refusal(d, "segments are missing: 00000000000000000000.seg ends at LSN 131072 and the "
                      "next one in 'log' is 00000000000000262144.seg");
    disk_set(d->now, a, file);
    /* Under another name; of another log. */
    disk_set(d->now, b, file);
    expect_refusal(d, "belongs to another place");
    disk_free(d);
    d = disk_new(7);
    append(d, 0, 50);
    memcpy(segment_file(d, SEGMENT, "seg")->now + 16, segment_file(other, 0, "seg")->now + 16, 16);
    qn_little_put32(segment_file(d, SEGMENT, "seg")->now + 4, 0);
    expect_refusal(d, "the checksum of its header is wrong");
    disk_free(d);
    /* Closed with more in it than there is now. */
    d = disk_new(8);
    append(d, 0, 20);
    {
        struct qn_log_options opt = options_of(d);
        struct qn_err err = {0};
        static size_t at[100], length[100];
        struct qn_log *lg;
        unsigned n;

        assert_int_equal(qn_log_open("log", &opt, &lg, NULL, &err), QN_OK);
        assert_int_equal(qn_log_close(lg, &err), QN_OK);
        n = frames_of(segment_file(d, 0, "seg"), at, length, 100);
        segment_file(d, 0, "seg")->now[at[n - 1] + 70] ^= 1;
        expect_refusal(d, "it was closed with more in it");
        disk_forget(d, "00000000000000000000.seg");
        expect_refusal(d, "was a log but holds no segment");
    }
    disk_free(d);
    disk_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torn_tail), cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_chain),     cmocka_unit_test(test_verify),
        cmocka_unit_test(test_index),     cmocka_unit_test(test_segments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
