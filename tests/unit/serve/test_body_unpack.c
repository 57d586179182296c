/* SPDX-License-Identifier: Apache-2.0
 * test_body_unpack.c - compressed bodies: whole, in parts, cut, damaged, larger than they look. */
#include "base/memory.h"
#include "serve/body_unpack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

static size_t pack(enum qn_packing kind, const char *text, size_t n, char *to, size_t room)
{
    z_stream z = {0};

    if (kind == QN_PACKING_ZSTD)
        return ZSTD_compress(to, room, text, n, 3);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, MAX_WBITS + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)to;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static qn_status unpack(enum qn_packing kind, const char *p, size_t n, size_t limit,
                        struct qn_buf *out)
{
    struct qn_err err = {0};
    qn_status rc = qn_unpack(kind, (struct qn_str){p, (uint32_t)n}, limit, out, &err);

    assert_true(rc == QN_OK || (err.code == rc && err.text[0] != '\0'));
    return rc;
}

static void check_kind(enum qn_packing kind)
{
    enum { LARGE = 1 << 20 };
    char small[256], *large = calloc(1, LARGE), *packed = malloc(LARGE);
    struct qn_buf out = {0};
    size_t n = pack(kind, "{\"a\":1}", 7, small, sizeof small), m;

    assert_int_equal(unpack(kind, small, n, 7, &out), QN_OK);
    assert_int_equal(out.len, 7);
    assert_memory_equal(out.data, "{\"a\":1}", 7);
    assert_int_equal(unpack(kind, small, n, 6, &out), QN_LIMIT);
    for (size_t cut = 0; cut < n; cut++) {
        char *copy = malloc(cut + 1);

        memcpy(copy, small, cut);
        assert_int_equal(unpack(kind, copy, cut, 100, &out), QN_INVALID);
        free(copy);
    }
    memcpy(small + n, small, n); /* two after each other */
    assert_int_equal(unpack(kind, small, 2 * n, 100, &out), QN_OK);
    assert_int_equal(out.len, 14);
    small[n / 2] ^= 0x55;
    assert_int_equal(unpack(kind, small, n, 100, &out), QN_INVALID);
    assert_int_equal(unpack(kind, "plain", 5, 100, &out), QN_INVALID);
    m = pack(kind, large, LARGE, packed, LARGE); /* a bomb */
    assert_true(m < LARGE / 100);
    assert_int_equal(unpack(kind, packed, m, LARGE - 1, &out), QN_LIMIT);
    assert_true(out.cap < 3 * LARGE);
    assert_int_equal(unpack(kind, packed, m, LARGE, &out), QN_OK);
    assert_int_equal(out.len, LARGE);
    qn_buf_fini(&out);
    free(large);
    free(packed);
}

static void test_gzip(void **state)
{
    (void)state;
    check_kind(QN_PACKING_GZIP);
}

static void test_zstd(void **state)
{
    (void)state;
    check_kind(QN_PACKING_ZSTD);
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(qn_packing_of((struct qn_str){NULL, 0}), QN_PACKING_NONE);
    assert_int_equal(qn_packing_of(qn_str_of("GZip")), QN_PACKING_GZIP);
    assert_int_equal(qn_packing_of(qn_str_of("zstd")), QN_PACKING_ZSTD);
    assert_int_equal(qn_packing_of(qn_str_of("br")), QN_PACKING_UNKNOWN);
    assert_int_equal(qn_packing_of(qn_str_of("gzip, gzip")), QN_PACKING_UNKNOWN);
}

static void test_no_memory(void **state)
{
    char small[256];
    size_t n = pack(QN_PACKING_GZIP, "{}", 2, small, sizeof small);
    struct qn_buf out = {0};

    (void)state;
    qn_mem_fail_at(1, true);
    assert_int_equal(unpack(QN_PACKING_GZIP, small, n, 100, &out), QN_NOMEM);
    n = pack(QN_PACKING_ZSTD, "{}", 2, small, sizeof small);
    assert_int_equal(unpack(QN_PACKING_ZSTD, small, n, 100, &out), QN_NOMEM);
    qn_mem_fail_at(0, false);
    qn_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
