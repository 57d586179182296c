/* SPDX-License-Identifier: Apache-2.0
 * clock.c - the system's clocks and randomness, and a small reproducible generator.
 *
 * Whoever needs time gets a table at start; these are the real ones. Generator: xoshiro256** and
 * splitmix64 by Blackman and Vigna (public domain); unbiased range by Lemire, "Fast random integer
 * generation in an interval" (2019). Thread: any; a qn_rng has one owner. */
#include "base/clock.h"

#include "base/check.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

static int64_t system_wall_us(void *st)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t system_mono_ns(void *st)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

const struct qn_clock qn_clock_system = {system_wall_us, system_mono_ns, NULL};

static void system_random(void *st, void *out, size_t bytes)
{
    unsigned char *at = out;

    while (bytes > 0) {
        ssize_t n = getrandom(at, bytes, 0);

        if (n < 0 && errno == EINTR)
            continue;
        QN_ASSERT(n > 0);
        at += n;
        bytes -= (size_t)n;
    }
}

const struct qn_random qn_random_system = {system_random, NULL};

static uint64_t rotate_left(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void qn_rng_seed(struct qn_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9E3779B97F4A7C15U);

        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        r->s[i] = z ^ (z >> 31);
    }
}

uint64_t qn_rng_next(struct qn_rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double qn_rng_unit(struct qn_rng *r)
{
    return (double)(qn_rng_next(r) >> 11) * 0x1p-53;
}

uint32_t qn_rng_below(struct qn_rng *r, uint32_t limit)
{
    uint64_t m;

    QN_ASSERT(limit > 0);
    m = (qn_rng_next(r) >> 32) * limit;
    if ((uint32_t)m < limit) {
        uint32_t floor = -limit % limit;

        while ((uint32_t)m < floor)
            m = (qn_rng_next(r) >> 32) * limit;
    }
    return (uint32_t)(m >> 32);
}
