/* SPDX-License-Identifier: Apache-2.0
 * real_math.h - exp, log and friends as fixed sequences of double operations, the same bits on
 * every CPU.
 *
 * libm chooses code by CPU and differs between versions, so a prediction must not pass through it
 * (docs/decisions.md). Accuracy: the double functions below 1 ulp. qn_expf and qn_logf give the
 * bits of the C library's on glibc since 2.27 (2 of all 4.3 billion inputs differ where that one
 * uses FMA), because that is what the training libraries call. Compile with -ffp-contract=off.
 * Thread: any; no state. */
#ifndef QN_BASE_REAL_MATH_H
#define QN_BASE_REAL_MATH_H

double qn_exp(double x); /* overflow -> inf, underflow -> 0 or denormal, NaN -> NaN */
double qn_log(double x); /* 0 -> -inf, negative -> NaN */
double qn_log1p(double x);
double qn_pow2(double x); /* 2^x */
float qn_expf(float x);
float qn_logf(float x);

#endif
