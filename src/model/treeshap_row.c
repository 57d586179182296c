/* SPDX-License-Identifier: Apache-2.0
 * treeshap_row.c - a tree that runs in parts, for a single row.
 *
 * A block of rows looks up a register of entries for each row's own; a row alone reads one entry of
 * each table, from a cache line of its own, and waits for them. So for it the tables are kept a
 * second time, turned round: all that goes with one mask or one pattern lies together. Which lines
 * a row reads is known once its masks and patterns are, so those of many parts come first and the
 * lines are asked for ahead. The operations are those of treeshap_tree.inc in their order, with the
 * inputs of a group in the lanes of a vector instead of rows, so the bits are equal. Thread: any.
 * Memory: the caller's. */
#include "model/treeshap_int.h"

enum { AHEAD = 32, LINE = 8 /* doubles */ };

typedef double pair __attribute__((vector_size(16), may_alias));

/* ---- tables ---- */

/* Doubles of one mask's entries. */
static inline uint32_t wide_of(uint32_t points)
{
    return points <= 2 ? 2 : 4;
}

/* Of one pattern's at a point: the sum, then the group's inputs. */
static inline uint32_t lanes_of(const struct qn_shap_part *p)
{
    return p->own == 0 ? 0 : p->own == 1 ? 2 : 4;
}

static inline uint32_t gains_at(const struct qn_shap_part *p, uint32_t points)
{
    return (p->low + (p->outer > 4 ? 16u : 0)) * wide_of(points);
}

static inline uint32_t values_at(const struct qn_shap_part *p, uint32_t points)
{
    return gains_at(p, points) + (p->gains * points + LINE - 1) / LINE * LINE;
}

uint32_t qn_shap_row_size(const struct qn_shap_part *p, uint32_t points)
{
    return values_at(p, points) + lanes_of(p) * points * p->entries;
}

/* from[q * entries + at], to[at * wide + q] */
static void turn_round(const double *from, uint32_t points, uint32_t entries, double *to)
{
    for (uint32_t at = 0; at < entries; at++) {
        for (uint32_t q = 0; q < points; q++)
            to[at * wide_of(points) + q] = from[q * entries + at];
    }
}

void qn_shap_put_row(const struct qn_shap_part *p, uint32_t points, const double *table,
                     double *row)
{
    const double *values = table + qn_shap_part_values(p, points);
    const uint32_t lanes = lanes_of(p);
    double *to = row + values_at(p, points);

    memset(row, 0, qn_shap_row_size(p, points) * sizeof(*row));
    turn_round(table, points, p->low, row);
    if (p->outer > 4)
        turn_round(table + points * p->low, points, 16, row + p->low * wide_of(points));
    memcpy(row + gains_at(p, points), table + qn_shap_part_gains(p, points),
           p->gains * points * sizeof(*row));
    for (uint32_t v = 0; lanes > 0 && v <= p->own; v++) {
        for (uint32_t q = 0; q < points; q++) {
            for (uint32_t at = 0; at < p->entries; at++)
                to[(at * points + q) * lanes + v] = values[(v * points + q) * p->entries + at];
        }
    }
}

/* ---- decisions ---- */

struct way {
    uint8_t mask, pattern;
};

/* struct qn_shap_turn, for one row. */
static struct way way_of(const struct qn_shap_step *s, const int8_t *codes, uint32_t before)
{
    uint32_t mask = before & s->part.keep, pattern = 0, on = UINT32_MAX;

    for (uint32_t k = 0; k < s->part.turns; k++) {
        const struct qn_shap_turn *t = &s->turn[k];
        const uint32_t r = -(uint32_t)(codes[t->code] > t->limit), value = t->pattern_value;

        pattern += (on & r & value) + (~on & 2 * value);
        on &= r ^ (uint32_t)t->left;
        mask |= on & t->mask_value;
        on |= (uint32_t)t->last;
    }
    return (struct way){.mask = (uint8_t)mask, .pattern = (uint8_t)pattern};
}

static inline void ask_for(const struct qn_shap_part *p, const double *table, struct way way,
                           uint32_t points)
{
    const uint32_t doubles = lanes_of(p) * points;
    const double *values = table + values_at(p, points) + way.pattern * doubles;

    __builtin_prefetch(table + (way.mask & 15) * wide_of(points));
    __builtin_prefetch(table + gains_at(p, points));
    for (uint32_t d = 0; d < doubles; d += LINE)
        __builtin_prefetch(values + d);
}

/* ---- numbers ---- */

#define INLINED QN_COPIED

/* Sums of a group, and what its inputs get. */
INLINED void run_own(const struct qn_shap_part *part, const pair *values, const double *p,
                     double *cur, double *parts, uint32_t points, uint32_t pairs)
{
    const uint32_t *slot = part->slot + part->gains;
    pair got[2] = {{0}};

    for (uint32_t q = 0; q < points; q++) {
        for (uint32_t h = 0; h < pairs; h++) {
            const pair y = (pair){p[q], p[q]} * values[q * pairs + h];

            if (h == 0)
                cur[q] = y[0];
            if (q == 0)
                got[h] = y;
            else
                got[h] += y;
        }
    }
    parts[slot[0]] += got[0][1];
    if (pairs == 2)
        parts[slot[1]] += got[1][0];
    if (pairs == 2 && part->own > 2)
        parts[slot[2]] += got[1][1];
}

/* What outer inputs get, and what becomes of the sums. */
INLINED void run_gains(const struct qn_shap_part *part, const double *gain, const double *off,
                       uint32_t mask, double *cur, const struct qn_shap_row *r, uint32_t points)
{
    double *left = r->left + part->level * points;

    for (uint32_t n = 0, u = 0;; n++, left -= points) {
        for (const uint32_t end = u + part->due[n]; u < end; u++, gain += points) {
            const double *from = mask >> part->bit[u] & 1 ? gain : off;
            double got = cur[0] * from[0];

            for (uint32_t q = 1; q < points; q++)
                got += cur[q] * from[q];
            r->parts[part->slot[u]] += got;
        }
        if (n == part->joins)
            break;
        for (uint32_t q = 0; q < points; q++)
            cur[q] += left[q];
    }
    for (uint32_t q = 0; part->leaves_sum && q < points; q++)
        left[q] = cur[q];
}

INLINED void run_part(const struct qn_shap_part *part, const double *table, struct way way,
                      const struct qn_shap_row *r, uint32_t points)
{
    const uint32_t wide = wide_of(points);
    const double *low = table + (way.mask & 15u) * wide;
    const double *values = table + values_at(part, points);
    double p[QN_SHAP_PART_POINTS], cur[QN_SHAP_PART_POINTS];

    for (uint32_t q = 0; q < points; q++)
        p[q] = low[q];
    if (part->outer > 4) {
        const double *high = table + (part->low + (way.mask >> 4)) * wide;

        for (uint32_t q = 0; q < points; q++)
            p[q] *= high[q];
    }
    if (part->own == 0)
        memcpy(cur, p, sizeof(cur));
    else if (part->own == 1)
        run_own(part, (const pair *)(values + way.pattern * 2u * points), p, cur, r->parts, points,
                1);
    else
        run_own(part, (const pair *)(values + way.pattern * 4u * points), p, cur, r->parts, points,
                2);
    run_gains(part, table + gains_at(part, points), r->off, way.mask, cur, r, points);
}

INLINED void run_tree(const struct qn_shap_tree *t, const struct qn_shap_row *r, uint32_t points)
{
    uint32_t mask = 0;

    for (uint32_t first = 0; first < t->count; first += AHEAD) {
        const struct qn_shap_step *s = &t->steps[first];
        const uint32_t count = t->count - first < AHEAD ? t->count - first : AHEAD;
        struct way ways[AHEAD];

        for (uint32_t i = 0; i < count; i++) {
            ways[i] = way_of(&s[i], r->codes, mask);
            mask = ways[i].mask;
            ask_for(&s[i].part, t->row + s[i].row, ways[i], points);
        }
        for (uint32_t i = 0; i < count; i++)
            run_part(&s[i].part, t->row + s[i].row, ways[i], r, points);
    }
}

void qn_shap_run_row(const struct qn_shap_tree *t, const struct qn_shap_row *r, uint32_t points)
{
    switch (points) {
    case 1:
        run_tree(t, r, 1);
        break;
    case 2:
        run_tree(t, r, 2);
        break;
    case 3:
        run_tree(t, r, 3);
        break;
    default:
        run_tree(t, r, QN_SHAP_PART_POINTS);
    }
}
