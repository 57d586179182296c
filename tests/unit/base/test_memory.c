/* SPDX-License-Identifier: Apache-2.0
 * test_memory.c - the door's counter and planned failures; arenas. */
#include "base/clock.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_door(void **state)
{
    uint64_t before = qn_mem_count();
    void *p = qn_mem_alloc(0), *q = qn_mem_zalloc(3, 5), *r = qn_mem_aligned(256, 10);
    char *s = qn_mem_strdup("hello!", 5);

    assert_non_null(p);
    assert_memory_equal(q, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15);
    assert_int_equal((uintptr_t)r % 256, 0);
    assert_string_equal(s, "hello");
    assert_int_equal(qn_mem_count(), before + 4);
    p = qn_mem_realloc(p, 100);
    assert_non_null(p);
    memset(p, 1, 100);
    assert_null(qn_mem_zalloc(SIZE_MAX / 2, 3));
    assert_null(qn_mem_alloc(SIZE_MAX));
    assert_null(qn_mem_aligned(64, SIZE_MAX - 10));
    assert_null(qn_mem_strdup("", SIZE_MAX));
    qn_mem_free(p);
    qn_mem_free(q);
    qn_mem_free(r);
    qn_mem_free(s);
    qn_mem_free(NULL);
}

static void test_planned_failure(void **state)
{
    void *a, *b, *c;

    qn_mem_fail_at(2, false);
    a = qn_mem_alloc(1);
    b = qn_mem_alloc(1);
    c = qn_mem_alloc(1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    qn_mem_fail_at(1, true);
    assert_null(qn_mem_zalloc(1, 1));
    assert_null(qn_mem_realloc(a, 2));
    assert_null(qn_mem_aligned(16, 2));
    assert_null(qn_mem_strdup("a", 1));
    qn_mem_fail_at(0, false);
    qn_mem_free(a);
    qn_mem_free(c);
}

static void test_arena_basics(void **state)
{
    struct qn_arena a = {0};
    char *s, *p;
    uint64_t *z;

    s = qn_arena_strdup(&a, "abcdef", 3);
    assert_string_equal(s, "abc");
    assert_string_equal(qn_arena_strdup(&a, NULL, 0), "");
    assert_non_null(qn_arena_alloc(&a, 0));
    assert_ptr_not_equal(qn_arena_alloc(&a, 0), qn_arena_alloc(&a, 0));
    p = qn_arena_alloc(&a, 10);
    memset(p, 0xFF, 10);
    z = QN_NEW_N(&a, uint64_t, 100);
    for (int i = 0; i < 100; i++)
        assert_true(z[i] == 0);
    for (size_t align = 1; align <= 4096; align *= 2) {
        p = qn_arena_aligned(&a, align, 100);
        assert_int_equal((uintptr_t)p % (align < 16 ? 16 : align), 0);
        memset(p, 1, 100);
    }
    assert_null(qn_arena_zalloc(&a, SIZE_MAX / 4, 8));
    assert_null(qn_arena_alloc(&a, SIZE_MAX));
    assert_null(qn_arena_alloc(&a, PTRDIFF_MAX - 1));
    assert_string_equal(s, "abc");
    qn_arena_fini(&a);
    assert_int_equal(a.total_bytes, 0);
    assert_null(a.first);
    assert_non_null(qn_arena_alloc(&a, 1));
    qn_arena_fini(&a);
}

/* The same work after a reset allocates nothing: that is what batches rely on. */
static void test_reset_keeps_blocks(void **state)
{
    struct qn_arena a;
    uint64_t count = 0;
    size_t total = 0;

    qn_arena_init(&a, 4096);
    for (int round = 0; round < 5; round++) {
        qn_arena_reset(&a);
        for (unsigned i = 0; i < 200; i++) {
            size_t n = i % 50 == 7 ? 9000 : i * 3;
            unsigned char *p = qn_arena_alloc(&a, n);

            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            memset(p, (int)i, n);
        }
        if (round == 0) {
            count = qn_mem_count();
            total = a.total_bytes;
        }
        assert_int_equal(qn_mem_count(), count);
        assert_int_equal(a.total_bytes, total);
    }
    qn_arena_fini(&a);
}

/* Pieces never overlap, whatever the order of sizes, alignments and resets: each keeps its own
 * pattern. */
static void test_random(void **state)
{
    enum { PIECES = 400 };
    unsigned char *piece[PIECES];
    size_t size[PIECES];
    struct qn_arena a;
    struct qn_rng rng;
    uint64_t seed = (uint64_t)qn_clock_system.mono_ns(NULL);

    printf("seed %llu\n", (unsigned long long)seed);
    qn_rng_seed(&rng, seed);
    qn_arena_init(&a, 2000);
    for (int round = 0; round < 30; round++) {
        unsigned n = 1 + qn_rng_below(&rng, PIECES);

        for (unsigned i = 0; i < n; i++) {
            size[i] = qn_rng_below(&rng, qn_rng_below(&rng, 20) == 0 ? 8000 : 200);
            piece[i] = qn_arena_aligned(&a, (size_t)1 << qn_rng_below(&rng, 9), size[i]);
            assert_non_null(piece[i]);
            memset(piece[i], (int)(i * 37 + 11), size[i]);
        }
        for (unsigned i = 0; i < n; i++)
            for (size_t k = 0; k < size[i]; k++)
                assert_int_equal(piece[i][k], (unsigned char)(i * 37 + 11));
        qn_arena_reset(&a);
    }
    qn_arena_fini(&a);
}

static void test_arena_out_of_memory(void **state)
{
    struct qn_arena a;

    for (uint64_t nth = 1; nth < 8; nth++) {
        unsigned refused = 0;

        qn_arena_init(&a, 128);
        qn_mem_fail_at(nth, false);
        for (int i = 0; i < 20; i++) {
            char *p = qn_arena_alloc(&a, 50);

            refused += p == NULL;
            if (p != NULL)
                memset(p, i, 50);
        }
        qn_mem_fail_at(0, false);
        assert_int_equal(refused, 1);
        qn_arena_reset(&a);
        assert_non_null(qn_arena_strdup(&a, "x", 1));
        qn_arena_fini(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_door),         cmocka_unit_test(test_planned_failure),
        cmocka_unit_test(test_arena_basics), cmocka_unit_test(test_reset_keeps_blocks),
        cmocka_unit_test(test_random),       cmocka_unit_test(test_arena_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
