/* SPDX-License-Identifier: Apache-2.0
 * source_generate.h - made-up card transactions: customers who pay at terminals near home, and
 * three kinds of fraud.
 *
 * After the published recipe of the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot,
 * Bontempi, 2022, chapter 3, "Transaction data simulator"): customers and terminals lie on a 100 x
 * 100 map; a customer has a mean amount U(5, 100), a deviation of half of it and a mean number of
 * payments a day U(0, 4), and pays at terminals within `radius`. Per day: a Poisson number of
 * payments at times normal(12:00, 20000 s), those outside the day dropped; amounts normal, or U(0,
 * 2 mean) where that is negative, in cents. Fraud: (1) every amount above 220; (2) two terminals a
 * day are compromised, all their payments for 28 days are fraud; (3) three customers a day leak
 * their card, a third of their payments for 14 days are five times as large and fraud.
 *
 * Invariant: the events are a pure function of the options, in order of time, whatever the sizes of
 * the calls. Thread: one owner. Memory: the world plus one day of events, whatever the length; a
 * call allocates only when a day is larger than every day before. */
#ifndef QN_SOURCE_SOURCE_GENERATE_H
#define QN_SOURCE_SOURCE_GENERATE_H

#include "base/options.h"
#include "base/status.h"
#include "base/text.h"

#include <stdint.h>

/* Options; text and ranges are in QN_SOURCE_GENERATE_ROWS. */
struct qn_generate_options {
    int64_t customers; /* on the map                                    */
    int64_t terminals; /* on the map                                    */
    int64_t radius;    /* how far customers go to pay, in map units     */
    int64_t days;      /* length of the stream; 0 = no end              */
    int64_t seed;
    const char *start; /* first day, "YYYY-MM-DD"                       */
};

/* The option rows, to be put into a command's table: `owner` is the command's options struct,
 * `member` its struct qn_generate_options. */
#define QN_SOURCE_GENERATE_ROWS(owner, member)                                                     \
    {.name = "seed",                                                                               \
     .type = QN_OPT_INT,                                                                           \
     .value = "N",                                                                                 \
     .fallback = "1",                                                                              \
     .max = INT64_MAX,                                                                             \
     .since = "0.1",                                                                               \
     .help = "of the generated events: the same seed, the same events",                            \
     .offset = offsetof(owner, member) + offsetof(struct qn_generate_options, seed)},              \
        {.name = "customers",                                                                      \
         .type = QN_OPT_INT,                                                                       \
         .value = "N",                                                                             \
         .fallback = "5000",                                                                       \
         .min = 3,                                                                                 \
         .max = 10000000,                                                                          \
         .since = "0.1",                                                                           \
         .help = "customers on the map; about two payments a day each",                            \
         .offset = offsetof(owner, member) + offsetof(struct qn_generate_options, customers)},     \
        {.name = "terminals",                                                                      \
         .type = QN_OPT_INT,                                                                       \
         .value = "N",                                                                             \
         .fallback = "10000",                                                                      \
         .min = 2,                                                                                 \
         .max = 10000000,                                                                          \
         .since = "0.1",                                                                           \
         .help = "terminals on the map",                                                           \
         .offset = offsetof(owner, member) + offsetof(struct qn_generate_options, terminals)},     \
        {.name = "radius",                                                                         \
         .type = QN_OPT_INT,                                                                       \
         .value = "N",                                                                             \
         .fallback = "5",                                                                          \
         .min = 1,                                                                                 \
         .max = 200,                                                                               \
         .since = "0.1",                                                                           \
         .help = "how far customers go to pay, on a map of 100 x 100",                             \
         .offset = offsetof(owner, member) + offsetof(struct qn_generate_options, radius)},        \
        {.name = "days",                                                                           \
         .type = QN_OPT_INT,                                                                       \
         .value = "N",                                                                             \
         .fallback = "0",                                                                          \
         .max = 1000000,                                                                           \
         .unit = "days",                                                                           \
         .since = "0.1",                                                                           \
         .help = "length of the generated stream, 0 = no end",                                     \
         .offset = offsetof(owner, member) + offsetof(struct qn_generate_options, days)},          \
    {                                                                                              \
        .name = "start", .type = QN_OPT_TEXT, .value = "DATE", .fallback = "2018-04-01",           \
        .since = "0.1", .help = "first day of the generated stream",                               \
        .offset = offsetof(owner, member) + offsetof(struct qn_generate_options, start)            \
    }

struct qn_generate; /* private */

/* Draws the map. QN_INVALID: `start` is not a date; QN_LIMIT: so many terminals within reach of so
 * many customers that the lists of who pays where pass 2^31 entries. */
qn_status qn_source_generate_new(const struct qn_generate_options *opt, struct qn_generate **out,
                                 struct qn_err *err);
void qn_source_generate_free(struct qn_generate *g); /* NULL is fine */

/* Bytes of the longest line, its line end included. */
enum { QN_GENERATE_LINE_MAX = 192 };

/* Writes up to `max` events as NDJSON lines one behind the other into `out`, which has room for
 * max * QN_GENERATE_LINE_MAX bytes:
 * {"transaction_id":"0","created_at":"2018-04-01T00:00:31Z","customer_id":"596",
 * "terminal_id":"3156","amount":57.16,"tx_fraud":false}. lines[i] borrows line i without its line
 * end. *count is how many came and *bytes how much they take; 0 only when the stream is over.
 * QN_NOMEM: a day did not fit into memory; the generator must not be used again. */
qn_status qn_source_generate_read(struct qn_generate *g, char *out, struct qn_str *lines,
                                  uint32_t max, uint32_t *count, size_t *bytes, struct qn_err *err);

/* Memory it holds. */
size_t qn_source_generate_bytes(const struct qn_generate *g);

#endif
