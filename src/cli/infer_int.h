/* SPDX-License-Identifier: Apache-2.0
 * infer_int.h - what is noted of a sample of events; shared by infer_watch.c, which notes, and
 * infer_schema.c, which decides.
 *
 * Facts only, no guesses: whoever decides sees all of a field at once. Thread: main. Memory: as
 * infer_schema.h says; the watches and their tables of values are the heap's, freed by
 * qn_infer_free. */
#ifndef QN_CLI_INFER_INT_H
#define QN_CLI_INFER_INT_H

#include "cli/infer_schema.h"

enum kind_bit {
    SAW_BOOL = 1,
    SAW_INT = 2,    /* a number without fraction that fits int64 */
    SAW_NUMBER = 4, /* any other number                          */
    SAW_TEXT = 8,
    SAW_LIST = 16, /* of numbers */
    SAW_OTHER_LIST = 32,
    SAW_OBJECT = 64,
    SAW_HUGE = 128, /* a number beyond double */
};

enum {
    INFER_DECIMALS_MAX = 4,  /* decimals that a guessed decimal has at most */
    INFER_BROKEN_BYTES = 80, /* kept of the first broken event              */
};

/* Hashes of the values seen; open addressing, 0 stands for "empty" (a hash of 0 is counted as 1).
 */
struct infer_distinct {
    uint64_t *slot;
    uint64_t cap, count;
    bool is_full; /* counting has stopped */
    bool has_repeat;
};

/* Facts of one field. */
struct infer_watch {
    struct qn_str path;
    bool is_unwritable; /* a name on the path cannot stand in `from` */
    uint32_t kinds;     /* enum kind_bit */
    uint64_t values;
    uint64_t last_event; /* 1 + number of the last event with a value */
    unsigned decimals;   /* most decimals of a number; INFER_DECIMALS_MAX + 1 = more */
    uint64_t with_cents; /* numbers that need exactly two decimals */
    double min, max;
    bool has_other_text; /* a text that is no time */
    int unit; /* of numbers as epochs: enum qn_time_unit; 0 = not a time, -1 = none seen yet */
    int64_t newest_us, disorder_us;
    bool has_time, is_sorted;
    struct infer_distinct distinct;
    struct qn_str example[QN_INFER_EXAMPLES];
    uint32_t example_count;
};

struct qn_infer {
    struct qn_arena *arena;    /* the caller's: names, examples, result */
    struct qn_arena scratch;   /* one event                             */
    struct infer_watch *watch; /* [QN_INFER_FIELDS_MAX]                 */
    uint32_t count, cursor;    /* fields known; where the next one is likely */
    uint32_t ignored;
    uint64_t events, broken;
    const char *broken_why; /* of the first broken event, and how it begins */
    char broken_text[INFER_BROKEN_BYTES];
    uint32_t broken_len;
    bool is_csv;
    uint32_t column_count; /* CSV: cells of the header */
};

static inline qn_status infer_no_memory(struct qn_err *err)
{
    return qn_err_set(err, QN_NOMEM, "out of memory for the sample");
}

#endif
