/* SPDX-License-Identifier: Apache-2.0
 * seed.h - the seed of a test that draws what it does.
 *
 * A check must give the same verdict twice, so it draws the same cases twice; campaigns
 * (QUERN_LONG) draw others each time. */
#ifndef TESTS_SEED_H
#define TESTS_SEED_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* QUERN_SEED; else a new one under QUERN_LONG, else the usual one. Printed, so that a failure can
 * be repeated. */
static inline uint64_t test_seed(uint64_t usual)
{
    const char *asked = getenv("QUERN_SEED");
    uint64_t seed = usual;
    struct timespec now;

    if (asked != NULL) {
        seed = strtoull(asked, NULL, 10);
    } else if (getenv("QUERN_LONG") != NULL) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        seed = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    }
    printf("QUERN_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#endif
