/* SPDX-License-Identifier: Apache-2.0
 * clock.h - time and randomness from outside, behind tables that a test replaces.
 *
 * The engine never looks at a clock: time is data. Progress bars, benchmarks and probe seeds do,
 * through here. Thread: any. */
#ifndef QN_BASE_CLOCK_H
#define QN_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

struct qn_clock {
    int64_t (*wall_us)(void *st); /* microseconds since 1970, UTC; may jump          */
    int64_t (*mono_ns)(void *st); /* nanoseconds since some moment; never goes back  */
    void *st;
};
extern const struct qn_clock qn_clock_system;

struct qn_random {
    void (*fill)(void *st, void *out, size_t bytes);
    void *st;
};
extern const struct qn_random qn_random_system; /* getrandom; aborts if the kernel refuses */

/* A small reproducible generator (xoshiro256**, Blackman and Vigna) for generators and tests. In
 * the caller's memory. */
struct qn_rng {
    uint64_t s[4];
};
void qn_rng_seed(struct qn_rng *r, uint64_t seed); /* splitmix64 fills the state */
uint64_t qn_rng_next(struct qn_rng *r);
double qn_rng_unit(struct qn_rng *r);                    /* [0, 1), 53 bits */
uint32_t qn_rng_below(struct qn_rng *r, uint32_t limit); /* [0, limit), unbiased; limit > 0 */

#endif
