/* SPDX-License-Identifier: Apache-2.0
 * check.c - the end of a program that found a bug in itself.
 *
 * One line to stderr, then abort, so that a core file holds the state in which the condition
 * failed. Nothing is allocated and no lock is taken but stderr's. Thread: any. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void qn_assert_failed(const char *file, int line, const char *cond)
{
    fprintf(stderr, "quern: bug: %s:%d: %s\n", file, line, cond);
    abort();
}
