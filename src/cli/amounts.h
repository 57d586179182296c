/* SPDX-License-Identifier: Apache-2.0
 * amounts.h - numbers, times and sizes as people read them, the same way as the dashboard does
 * (src/serve/dashboard/format.js).
 *
 * What is not there (NaN) is "-". Each writes into `out`, NUL-terminated, and returns it. Thread:
 * any; no state. */
#ifndef QN_CLI_AMOUNTS_H
#define QN_CLI_AMOUNTS_H

#include <stdint.h>

enum { QN_AMOUNT_MAX = 32 };

const char *qn_amount_count(char out[QN_AMOUNT_MAX], double v);    /* 123,456, then 1.23 M     */
const char *qn_amount_rate(char out[QN_AMOUNT_MAX], double v);     /* per second: 12.3/s       */
const char *qn_amount_bytes(char out[QN_AMOUNT_MAX], double v);    /* 512 B, 184 MB            */
const char *qn_amount_ms(char out[QN_AMOUNT_MAX], double v);       /* 0.31 ms, 41.3 ms         */
const char *qn_amount_duration(char out[QN_AMOUNT_MAX], double s); /* of seconds: 1 h 2 min    */
const char *qn_amount_share(char out[QN_AMOUNT_MAX], double part, double whole); /* 12.3 %    */

#endif
