/* SPDX-License-Identifier: Apache-2.0
 * test_table.c - the keyed table against a naive list: create, find, remove, order, memory, hostile
 * hashes. */
#include "../seed.h"
#include "base/clock.h"
#include "state/slab.h"
#include "state/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { KEYS = 3000 };

/* What the twin knows of key i. */
struct known {
    char text[64];
    struct qn_str key;
    uint64_t hash;
    uint64_t *record; /* NULL = not in the table */
    uint64_t value;
};

/* hash_bits: how many bits of the hash differ at all; 0 = all keys collide. */
static struct known *known_new(uint64_t hash_mask, struct qn_rng *r)
{
    struct known *k = calloc(KEYS, sizeof *k);

    assert_non_null(k);
    for (int i = 0; i < KEYS; i++) {
        int len = snprintf(k[i].text, sizeof k[i].text,
                           i % 3 == 0 ? "%d" : "a-key-that-does-not-fit-the-header-%d", i);

        k[i].key = (struct qn_str){k[i].text, (uint32_t)(i == 0 ? 0 : len)};
        k[i].hash = qn_rng_next(r) & hash_mask;
    }
    return k;
}

/* Walks the table and checks it against `order`, the live keys by age. */
static void check_order(struct qn_table *t, struct known *k, const int *order, int count)
{
    uint64_t cursor = 0;
    struct qn_str key;

    assert_int_equal(qn_table_count(t), count);
    for (int i = 0; i < count; i++) {
        uint64_t *rec = qn_table_next(t, &cursor, &key);

        assert_ptr_equal(rec, k[order[i]].record);
        assert_true(qn_str_eq(key, k[order[i]].key));
        assert_int_equal(rec[1], k[order[i]].value);
        assert_int_equal(qn_table_hash(rec), k[order[i]].hash);
    }
    assert_null(qn_table_next(t, &cursor, &key));
    assert_null(qn_table_next(t, &cursor, &key));
}

static void random_walk(uint64_t hash_mask, int keys, int steps, uint64_t seed)
{
    struct qn_rng r;
    struct qn_table *t = NULL;
    int *order = calloc(KEYS, sizeof *order);
    int count = 0;

    qn_rng_seed(&r, seed);
    struct known *k = known_new(hash_mask, &r);

    assert_int_equal(qn_table_new(24, qn_rng_next(&r), &t, NULL), QN_OK);
    for (int step = 0; step < steps; step++) {
        enum { MANY = 100 };
        struct qn_str ks[MANY];
        uint64_t hs[MANY];
        void *out[MANY];
        int who[MANY];
        uint32_t n = 1 + qn_rng_below(&r, MANY);

        for (uint32_t i = 0; i < n; i++) {
            who[i] = (int)qn_rng_below(&r, (uint32_t)keys);
            ks[i] = k[who[i]].key;
            hs[i] = k[who[i]].hash;
        }
        if (qn_rng_below(&r, 3) == 0) {
            qn_table_find(t, ks, hs, n, out);
            for (uint32_t i = 0; i < n; i++)
                assert_ptr_equal(out[i], k[who[i]].record);
        } else {
            assert_int_equal(qn_table_get(t, ks, hs, n, out, NULL), QN_OK);
            for (uint32_t i = 0; i < n; i++) {
                struct known *x = &k[who[i]];
                uint64_t *rec = out[i];

                if (x->record == NULL) {
                    assert_true(rec[0] == 0 && rec[1] == 0 && rec[2] == 0);
                    x->record = rec;
                    x->value = rec[1] = qn_rng_next(&r);
                    order[count++] = who[i];
                }
                assert_ptr_equal(rec, x->record);
                assert_int_equal(rec[1], x->value);
            }
        }
        for (uint32_t i = 0; i < n && qn_rng_below(&r, 2); i++) {
            struct known *x = &k[who[i]];

            qn_table_remove(t, x->key, x->hash);
            for (int j = 0, m = 0; x->record != NULL && j < count; j++) {
                if (order[j] != who[i])
                    order[m++] = order[j];
            }
            count -= x->record != NULL;
            x->record = NULL;
        }
        if (step % 64 == 0)
            check_order(t, k, order, count);
    }
    check_order(t, k, order, count);
    qn_table_free(t);
    free(k);
    free(order);
}

static void equals_twin(void **state)
{
    uint64_t seed = test_seed(42);

    (void)state;
    random_walk(UINT64_MAX, KEYS, 1500, seed);
    random_walk(UINT64_MAX, 20, 500, seed + 1);
    random_walk(0xFF, 500, 300, seed + 2); /* many keys per hash: bytes decide */
    random_walk(0, 60, 200, seed + 3);     /* all keys of one hash             */
}

/* The walk may remove the record it stands on. */
static void removes_while_walking(void **state)
{
    struct qn_rng r;
    struct qn_table *t = NULL;
    uint64_t cursor = 0;
    struct qn_str key;
    void *rec;
    int seen = 0;

    (void)state;
    qn_rng_seed(&r, 1);
    struct known *k = known_new(UINT64_MAX, &r);

    assert_int_equal(qn_table_new(8, 5, &t, NULL), QN_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(qn_table_get(t, &k[i].key, &k[i].hash, 1, &rec, NULL), QN_OK);
    while ((rec = qn_table_next(t, &cursor, &key)) != NULL) {
        assert_true(qn_str_eq(key, k[seen].key));
        if (seen++ % 2 == 0)
            qn_table_remove(t, key, qn_table_hash(rec));
    }
    assert_int_equal(seen, 100);
    assert_int_equal(qn_table_count(t), 50);
    qn_table_free(t);
    free(k);
}

/* Rows of several tables at once; those that only look create nothing. */
static void looks_in_many_tables(void **state)
{
    enum { N = 40 };
    struct qn_table *t[2] = {NULL, NULL}, *tables[N];
    struct qn_str keys[N];
    uint64_t hashes[N];
    uint8_t creates[N];
    void *out[N];

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(qn_table_new(8, 9, &t[i], NULL), QN_OK);
    for (int i = 0; i < N; i++) {
        tables[i] = t[i % 2];
        keys[i] = qn_str_of("one");
        hashes[i] = 77;
        creates[i] = i == 4 || i == 35;
    }
    assert_int_equal(qn_table_look(tables, keys, hashes, creates, N, out, NULL), QN_OK);
    for (int i = 0; i < N; i++) {
        assert_true(i < 4        ? out[i] == NULL
                    : i % 2 == 0 ? out[i] == out[4]
                    : i < 35     ? out[i] == NULL
                                 : out[i] == out[35]);
    }
    assert_int_equal(qn_table_count(t[0]) + qn_table_count(t[1]), 2);
    qn_table_free(t[0]);
    qn_table_free(t[1]);
    qn_table_free(NULL);
}

static void every_allocation_may_fail(void **state)
{
    struct qn_rng r;
    bool failed = true;

    (void)state;
    qn_rng_seed(&r, 3);
    struct known *k = known_new(UINT64_MAX, &r);

    for (uint64_t nth = 1; failed; nth++) {
        struct qn_table *t = NULL;
        struct qn_err err = {0};
        int made = 0;
        void *rec;

        qn_mem_fail_at(nth, false);
        qn_status rc = qn_table_new(100, 1, &t, &err);

        while (rc == QN_OK && made < 500) {
            rc = qn_table_get(t, &k[made].key, &k[made].hash, 1, &rec, &err);
            made += rc == QN_OK;
        }
        qn_mem_fail_at(0, false);
        failed = rc != QN_OK;
        if (failed)
            assert_true(rc == QN_NOMEM && err.code == QN_NOMEM);
        for (int i = 0; t != NULL && i < 500;
             i++) { /* what was made is whole; the rest can still be made */
            qn_table_find(t, &k[i].key, &k[i].hash, 1, &rec);
            assert_int_equal(rec != NULL, i < made);
        }
        for (int i = 0; t != NULL && i < 500; i++)
            assert_int_equal(qn_table_get(t, &k[i].key, &k[i].hash, 1, &rec, NULL), QN_OK);
        qn_table_free(t);
    }
    free(k);
}

/* Churn settles: what leaves is used again. */
static void steady_state_allocates_nothing(void **state)
{
    struct qn_rng r;
    struct qn_table *t = NULL;
    uint64_t before = 0;
    void *rec;

    (void)state;
    qn_rng_seed(&r, 4);
    struct known *k = known_new(UINT64_MAX, &r);

    assert_int_equal(qn_table_new(50, 1, &t, NULL), QN_OK);
    for (int i = 0; i < KEYS * 3; i++) {
        struct known *x = &k[i % KEYS], *old = &k[(i + KEYS - 200) % KEYS];

        if (i == KEYS)
            before = qn_mem_count();
        assert_int_equal(qn_table_get(t, &x->key, &x->hash, 1, &rec, NULL), QN_OK);
        qn_table_remove(t, old->key, old->hash);
    }
    assert_int_equal(qn_mem_count(), before);
    size_t estimate = 200 * qn_table_key_bytes(50, 37);

    print_message("bytes %zu for 200 keys, estimate %zu\n", qn_table_bytes(t), estimate);
    assert_true(qn_table_bytes(t) < 2 * estimate);
    qn_table_free(t);
    free(k);
}

static void slab_pieces(void **state)
{
    struct qn_slab s = {0};
    void *p[400];
    size_t last = 0;

    (void)state;
    for (size_t bytes = 1; bytes <= 20000; bytes++) {
        size_t size = qn_slab_round(bytes);

        assert_true(size >= bytes && size >= last);
        assert_true(bytes <= 64 || size <= bytes + bytes / 4 + 16);
        assert_int_equal(qn_slab_round(size), size);
        last = size;
    }
    for (int round = 0; round < 3; round++) {
        uint64_t before = qn_mem_count();

        for (int i = 0; i < 400; i++) {
            size_t bytes = (size_t)i * 53 + 1;

            p[i] = qn_slab_alloc(&s, bytes);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % 16, 0);
            memset(p[i], i, bytes);
        }
        if (round > 0) /* only those above the classes */
            assert_int_equal(qn_mem_count() - before, 400 - (QN_SLAB_PIECE_MAX - 1) / 53 - 1);
        for (int i = 0; i < 400; i++) {
            assert_int_equal(*((unsigned char *)p[i] + i * 53), i & 255);
            qn_slab_free(&s, p[i], (size_t)i * 53 + 1);
        }
    }
    qn_slab_free(&s, NULL, 5);
    qn_slab_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_twin),
        cmocka_unit_test(removes_while_walking),
        cmocka_unit_test(looks_in_many_tables),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(steady_state_allocates_nothing),
        cmocka_unit_test(slab_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
