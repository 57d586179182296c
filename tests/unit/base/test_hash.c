/* SPDX-License-Identifier: Apache-2.0
 * test_hash.c - the hash of keys is XXH3 and stays it. */
#include "base/hash.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <xxhash.h>

/* Values that are stored (lanes, shards): from the reference implementation, they may never change.
 */
static void test_fixed(void **state)
{
    assert_true(qn_hash(NULL, 0, 0) == UINT64_C(0x2D06800538D394C2));
    assert_true(qn_hash("a", 1, 0) == UINT64_C(0xE6C632B61E964E1F));
    assert_true(qn_hash("abc", 3, 0) == UINT64_C(0x78AF5F94892F3950));
}

static void test_against_library(void **state)
{
    struct qn_str column[500];
    uint64_t out[500];
    char text[500];

    for (unsigned i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 131 + 7);
    for (unsigned i = 0; i < 500; i++)
        column[i] = (struct qn_str){text, i};
    for (uint64_t seed = 0; seed < 3; seed++) {
        qn_hash_column(column, 500, seed, out);
        for (unsigned i = 0; i < 500; i++) {
            assert_true(out[i] == XXH3_64bits_withSeed(text, i, seed));
            assert_true(out[i] == qn_hash(text, i, seed));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fixed),
                                       cmocka_unit_test(test_against_library)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
