/* SPDX-License-Identifier: Apache-2.0
 * test_gpu.c - machines without NVIDIA's driver have no devices, whatever the library turns out to
 * be; what a driver says is asked in tests/e2e/test_gpu.py. */
#include "base/gpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void has_no_devices(const char *library)
{
    struct qn_gpu found[QN_GPUS_MAX];
    struct qn_gpus *g = qn_gpus_new(library);

    assert_non_null(g);
    assert_int_equal(qn_gpus_look(g, found), 0);
    assert_int_equal(qn_gpus_look(g, found), 0);
    qn_gpus_free(g);
}

static void test_no_library(void **state)
{
    (void)state;
    has_no_devices("/nowhere/libnvidia-ml.so.1");
}

static void test_another_library(void **state)
{
    (void)state;
    has_no_devices("libm.so.6");
}

static void test_never_asked(void **state)
{
    (void)state;
    qn_gpus_free(qn_gpus_new(NULL));
    qn_gpus_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_library),
        cmocka_unit_test(test_another_library),
        cmocka_unit_test(test_never_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
