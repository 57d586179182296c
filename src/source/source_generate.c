/* SPDX-License-Identifier: Apache-2.0
 * source_generate.c - draws a map of customers and terminals once, then one day of transactions at
 * a time.
 *
 * A day is drawn customer by customer and then sorted by second; equal seconds keep the customers'
 * order. Only
 * +, -, *, /, sqrt and qn_log, qn_exp touch a random number, so the same seed gives the same bytes
 * on every machine. Two generators: one draws the map, the other the days, so that the map does not
 * depend on how a day is drawn. Thread and memory: source_generate.h. */
#include "source/source_generate.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/real_math.h"
#include "base/timestamp.h"

#define DAY_SECONDS 86400
#define DAY_US      (INT64_C(86400) * 1000000)
#define MAP_SIDE    100.0

enum {
    BIG_CENTS = 22000, /* scenario 1: larger amounts are fraud         */
    BAD_TERMINALS = 2, /* scenario 2: newly compromised per day        */
    BAD_TERMINAL_DAYS = 28,
    BAD_CUSTOMERS = 3, /* scenario 3: newly compromised per day        */
    BAD_CUSTOMER_DAYS = 14,
    BAD_CUSTOMER_FACTOR = 5,
    RADIX_BITS = 9, /* two passes of it cover the seconds of a day  */
    GRID_MAX = 100, /* cells per side of the grid over the map      */
};

struct place {
    double x, y;
};

/* A customer's habits. */
struct customer {
    double mean, deviation; /* of an amount                                  */
    double none_chance;     /* exp(-payments a day): Poisson's chance of 0   */
    uint32_t first, count;  /* its terminals in qn_generate.reach            */
    int32_t bad_until_day;  /* exclusive                                     */
};

struct transaction {
    uint32_t second, customer, terminal;
    bool is_fraud;
    int64_t cents;
};

struct qn_generate {
    struct qn_rng rng; /* of the days                                   */
    double spare;      /* second value of the last pair of normals      */
    bool has_spare;
    uint32_t customer_count, terminal_count;
    struct customer *customers;
    uint32_t *reach; /* terminals each customer pays at               */
    size_t reach_count;
    int32_t *terminal_bad_until_day;
    int64_t start_us;
    int32_t day, days;                 /* next day to draw; how many there are          */
    char date[11];                     /* "2018-04-01T" of the day that is drawn        */
    struct transaction *today, *other; /* the day, and room to sort it in       */
    size_t today_cap;
    size_t today_count, today_next;
    uint64_t id; /* of the next transaction                       */
};

static double uniform(struct qn_rng *r, double from, double to)
{
    return from + (to - from) * qn_rng_unit(r);
}

/* A standard normal value: polar method (Marsaglia and Bray, 1964). */
static double normal(struct qn_generate *g)
{
    double u, v, s, factor;

    if (g->has_spare) {
        g->has_spare = false;
        return g->spare;
    }
    do {
        u = 2.0 * qn_rng_unit(&g->rng) - 1.0;
        v = 2.0 * qn_rng_unit(&g->rng) - 1.0;
        s = u * u + v * v;
    } while (s >= 1.0 || s == 0.0);
    factor = __builtin_sqrt(-2.0 * qn_log(s) / s);
    g->spare = v * factor;
    g->has_spare = true;
    return u * factor;
}

/* Poisson by multiplying uniforms (Knuth): none_chance = exp(-mean), the mean is small. */
static uint32_t poisson(struct qn_rng *r, double none_chance)
{
    double p = qn_rng_unit(r);
    uint32_t n = 0;

    while (p > none_chance) {
        p *= qn_rng_unit(r);
        n++;
    }
    return n;
}

/* Terminals by grid cell: those of cell c are index[start[c]] to index[start[c + 1]], in ascending
 * order. */
struct grid {
    uint32_t side;
    uint32_t *start, *index;
};

static uint32_t grid_cell(const struct grid *gr, double v)
{
    uint32_t c = (uint32_t)(v / MAP_SIDE * gr->side);

    return c < gr->side ? c : gr->side - 1;
}

static bool grid_init(struct grid *gr, const struct place *terminals, uint32_t count,
                      int64_t radius)
{
    uint32_t cells, sum = 0;

    gr->side = (uint32_t)(MAP_SIDE / (double)radius);
    gr->side = gr->side < 1 ? 1 : gr->side > GRID_MAX ? GRID_MAX : gr->side;
    cells = gr->side * gr->side;
    gr->start = qn_mem_zalloc((size_t)cells + 2, sizeof(*gr->start));
    gr->index = qn_mem_zalloc(count, sizeof(*gr->index));
    if (gr->start == NULL || gr->index == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++)
        gr->start[grid_cell(gr, terminals[i].y) * gr->side + grid_cell(gr, terminals[i].x) + 2]++;
    for (uint32_t c = 2; c < cells + 2; c++) {
        sum += gr->start[c];
        gr->start[c] = sum;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t c = grid_cell(gr, terminals[i].y) * gr->side + grid_cell(gr, terminals[i].x);

        gr->index[gr->start[c + 1]++] = i;
    }
    return true;
}

static void grid_fini(struct grid *gr)
{
    qn_mem_free(gr->start);
    qn_mem_free(gr->index);
}

/* Terminals nearer than radius to `home`: counts them and, where out is not NULL, writes them. */
static uint32_t grid_near(const struct grid *gr, const struct place *terminals, struct place home,
                          double radius, uint32_t *out)
{
    uint32_t n = 0, x0 = grid_cell(gr, home.x), y0 = grid_cell(gr, home.y);

    for (uint32_t y = y0 > 0 ? y0 - 1 : 0; y <= y0 + 1 && y < gr->side; y++)
        for (uint32_t x = x0 > 0 ? x0 - 1 : 0; x <= x0 + 1 && x < gr->side; x++)
            for (uint32_t k = gr->start[y * gr->side + x]; k < gr->start[y * gr->side + x + 1];
                 k++) {
                struct place t = terminals[gr->index[k]];
                double dx = t.x - home.x, dy = t.y - home.y;

                if (dx * dx + dy * dy < radius * radius) {
                    if (out != NULL)
                        out[n] = gr->index[k];
                    n++;
                }
            }
    return n;
}

/* Which terminals each customer pays at. */
static qn_status new_reach(struct qn_generate *g, const struct place *homes,
                           const struct place *terminals, int64_t radius, struct qn_err *err)
{
    struct grid gr = {0};
    qn_status rc = QN_OK;
    uint64_t total = 0;

    if (!grid_init(&gr, terminals, g->terminal_count, radius)) {
        rc = qn_err_set(err, QN_NOMEM, "no memory for %u terminals", g->terminal_count);
        goto out;
    }
    for (uint32_t i = 0; i < g->customer_count; i++) {
        struct customer *c = &g->customers[i];

        c->count = grid_near(&gr, terminals, homes[i], (double)radius, NULL);
        c->first = (uint32_t)total;
        total += c->count;
        if (total > INT32_MAX) {
            rc = qn_err_set(err, QN_LIMIT,
                            "%u customers with %u terminals within %lld are too many pairs: use a "
                            "smaller radius",
                            g->customer_count, g->terminal_count, (long long)radius);
            goto out;
        }
    }
    if (total == 0) {
        rc = qn_err_set(
            err, QN_INVALID,
            "no customer has a terminal within %lld: use a larger radius or more terminals",
            (long long)radius);
        goto out;
    }
    g->reach_count = total;
    g->reach = qn_mem_zalloc(total, sizeof(*g->reach));
    if (g->reach == NULL) {
        rc = qn_err_set(err, QN_NOMEM, "no memory for %llu pairs of customer and terminal",
                        (unsigned long long)total);
        goto out;
    }
    for (uint32_t i = 0; i < g->customer_count; i++)
        grid_near(&gr, terminals, homes[i], (double)radius, g->reach + g->customers[i].first);
out:
    grid_fini(&gr);
    return rc;
}

/* Draws the map: homes and habits, then places of terminals. */
static qn_status new_world(struct qn_generate *g, const struct qn_generate_options *opt,
                           struct qn_err *err)
{
    struct place *homes = qn_mem_zalloc(g->customer_count, sizeof(*homes));
    struct place *terminals = qn_mem_zalloc(g->terminal_count, sizeof(*terminals));
    struct qn_rng r;
    qn_status rc;

    g->customers = qn_mem_zalloc(g->customer_count, sizeof(*g->customers));
    g->terminal_bad_until_day =
        qn_mem_zalloc(g->terminal_count, sizeof(*g->terminal_bad_until_day));
    if (homes == NULL || terminals == NULL || g->customers == NULL ||
        g->terminal_bad_until_day == NULL) {
        rc = qn_err_set(err, QN_NOMEM, "no memory for %u customers and %u terminals",
                        g->customer_count, g->terminal_count);
        goto out;
    }
    qn_rng_seed(&r, (uint64_t)opt->seed);
    for (uint32_t i = 0; i < g->customer_count; i++) {
        struct customer *c = &g->customers[i];

        homes[i].x = uniform(&r, 0, MAP_SIDE);
        homes[i].y = uniform(&r, 0, MAP_SIDE);
        c->mean = uniform(&r, 5, 100);
        c->deviation = c->mean / 2;
        c->none_chance = qn_exp(-uniform(&r, 0, 4));
    }
    for (uint32_t i = 0; i < g->terminal_count; i++) {
        terminals[i].x = uniform(&r, 0, MAP_SIDE);
        terminals[i].y = uniform(&r, 0, MAP_SIDE);
    }
    qn_rng_seed(&g->rng, qn_rng_next(&r));
    rc = new_reach(g, homes, terminals, opt->radius, err);
out:
    qn_mem_free(homes);
    qn_mem_free(terminals);
    return rc;
}

/* First day, and how many there are: text knows no day after 9999-12-31. */
static qn_status new_days(struct qn_generate *g, const char *start, int64_t days,
                          struct qn_err *err)
{
    char text[21];
    size_t n = strlen(start);
    int64_t end_us, days_max;

    if (n == 10) {
        memcpy(text, start, n);
        memcpy(text + n, "T00:00:00Z", 11);
        if (qn_timestamp_parse(qn_str_of(text), &g->start_us)) {
            qn_timestamp_parse(qn_str_of("9999-12-31T00:00:00Z"), &end_us);
            days_max = (end_us - g->start_us) / DAY_US + 1;
            g->days = (int32_t)(days > 0 && days < days_max ? days : days_max);
            return QN_OK;
        }
    }
    return qn_err_set(err, QN_INVALID, "'%s' is not a day to start at: write it as 2018-04-01",
                      start);
}

qn_status qn_source_generate_new(const struct qn_generate_options *opt, struct qn_generate **out,
                                 struct qn_err *err)
{
    struct qn_generate *g;
    qn_status rc;

    QN_ASSERT(opt->customers >= BAD_CUSTOMERS && opt->customers <= UINT32_MAX);
    QN_ASSERT(opt->terminals >= BAD_TERMINALS && opt->terminals <= UINT32_MAX);
    QN_ASSERT(opt->radius >= 1);
    QN_ASSERT(opt->days >= 0 && opt->days <= INT32_MAX);
    *out = NULL;
    g = qn_mem_zalloc(1, sizeof(*g));
    if (g == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for the generator");
    g->customer_count = (uint32_t)opt->customers;
    g->terminal_count = (uint32_t)opt->terminals;
    rc = new_days(g, opt->start, opt->days, err);
    if (rc == QN_OK)
        rc = new_world(g, opt, err);
    if (rc != QN_OK) {
        qn_source_generate_free(g);
        return rc;
    }
    *out = g;
    return QN_OK;
}

void qn_source_generate_free(struct qn_generate *g)
{
    if (g == NULL)
        return;
    qn_mem_free(g->customers);
    qn_mem_free(g->reach);
    qn_mem_free(g->terminal_bad_until_day);
    qn_mem_free(g->today);
    qn_mem_free(g->other);
    qn_mem_free(g);
}

/* Twice the room for a day. */
static qn_status day_grow(struct qn_generate *g, struct qn_err *err)
{
    size_t cap = g->today_cap == 0 ? 4096 : g->today_cap * 2;
    struct transaction *p;

    p = qn_mem_realloc(g->today, cap * sizeof(*p));
    if (p != NULL) {
        g->today = p;
        p = qn_mem_realloc(g->other, cap * sizeof(*p));
    }
    if (p == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for a day of %zu transactions", cap);
    g->other = p;
    g->today_cap = cap;
    return QN_OK;
}

/* Who is compromised from today on. */
static void day_compromise(struct qn_generate *g)
{
    uint32_t terminals[BAD_TERMINALS], customers[BAD_CUSTOMERS];

    for (int i = 0; i < BAD_TERMINALS; i++) {
        do
            terminals[i] = qn_rng_below(&g->rng, g->terminal_count);
        while (i > 0 && terminals[i] == terminals[0]);
        g->terminal_bad_until_day[terminals[i]] = g->day + BAD_TERMINAL_DAYS;
    }
    for (int i = 0; i < BAD_CUSTOMERS; i++) {
        do
            customers[i] = qn_rng_below(&g->rng, g->customer_count);
        while ((i > 0 && customers[i] == customers[0]) || (i > 1 && customers[i] == customers[1]));
        g->customers[customers[i]].bad_until_day = g->day + BAD_CUSTOMER_DAYS;
    }
}

/* One payment: false when its time falls outside the day or nothing is within reach. Draws in this
 * order: time, amount, terminal, fraud. */
static bool day_pay(struct qn_generate *g, uint32_t customer, struct transaction *t)
{
    const struct customer *c = &g->customers[customer];
    double second = DAY_SECONDS / 2.0 + 20000.0 * normal(g);
    double amount;

    if (!(second >= 1.0 && second < DAY_SECONDS))
        return false;
    amount = c->mean + c->deviation * normal(g);
    if (amount < 0)
        amount = uniform(&g->rng, 0, 2 * c->mean);
    if (c->count == 0)
        return false;
    t->second = (uint32_t)second;
    t->customer = customer;
    t->terminal = g->reach[c->first + qn_rng_below(&g->rng, c->count)];
    t->cents = (int64_t)(amount * 100.0 + 0.5);
    t->is_fraud = t->cents > BIG_CENTS || g->terminal_bad_until_day[t->terminal] > g->day;
    if (c->bad_until_day > g->day && qn_rng_below(&g->rng, 3) == 0) {
        t->cents *= BAD_CUSTOMER_FACTOR;
        t->is_fraud = true;
    }
    return true;
}

/* Sorts by second: two stable counting passes of RADIX_BITS. */
static void day_sort(struct qn_generate *g)
{
    for (unsigned shift = 0; shift < 2 * RADIX_BITS; shift += RADIX_BITS) {
        uint32_t at[(1 << RADIX_BITS) + 1] = {0};
        uint32_t mask = (1 << RADIX_BITS) - 1;
        struct transaction *from = g->today;

        for (size_t i = 0; i < g->today_count; i++)
            at[((from[i].second >> shift) & mask) + 1]++;
        for (uint32_t d = 1; d <= mask; d++)
            at[d] += at[d - 1];
        for (size_t i = 0; i < g->today_count; i++)
            g->other[at[(from[i].second >> shift) & mask]++] = from[i];
        g->today = g->other;
        g->other = from;
    }
}

static qn_status draw_day(struct qn_generate *g, struct qn_err *err)
{
    char text[QN_TIMESTAMP_LEN];

    QN_ASSERT(g->day < g->days);
    g->today_count = g->today_next = 0;
    day_compromise(g);
    for (uint32_t i = 0; i < g->customer_count; i++)
        for (uint32_t n = poisson(&g->rng, g->customers[i].none_chance); n > 0; n--) {
            if (g->today_count == g->today_cap)
                QN_TRY(day_grow(g, err));
            if (day_pay(g, i, &g->today[g->today_count]))
                g->today_count++;
        }
    day_sort(g);
    qn_timestamp_print(text, g->start_us + g->day * DAY_US);
    memcpy(g->date, text, sizeof(g->date));
    g->day++;
    return QN_OK;
}

#define PUT(p, literal) (memcpy((p), (literal), sizeof(literal) - 1), (p) + sizeof(literal) - 1)

static char *put_two(char *p, uint32_t v)
{
    p[0] = (char)('0' + v / 10);
    p[1] = (char)('0' + v % 10);
    return p + 2;
}

static char *put_line(const struct qn_generate *g, const struct transaction *t, char *p)
{
    p = PUT(p, "{\"transaction_id\":\"");
    p += qn_print_uint64(p, g->id);
    p = PUT(p, "\",\"created_at\":\"");
    memcpy(p, g->date, sizeof(g->date));
    p = put_two(p + sizeof(g->date), t->second / 3600);
    *p++ = ':';
    p = put_two(p, t->second / 60 % 60);
    *p++ = ':';
    p = put_two(p, t->second % 60);
    p = PUT(p, "Z\",\"customer_id\":\"");
    p += qn_print_uint64(p, t->customer);
    p = PUT(p, "\",\"terminal_id\":\"");
    p += qn_print_uint64(p, t->terminal);
    p = PUT(p, "\",\"amount\":");
    p += qn_print_scaled(p, t->cents, 2);
    return t->is_fraud ? PUT(p, ",\"tx_fraud\":true}\n") : PUT(p, ",\"tx_fraud\":false}\n");
}

qn_status qn_source_generate_read(struct qn_generate *g, char *out, struct qn_str *lines,
                                  uint32_t max, uint32_t *count, size_t *bytes, struct qn_err *err)
{
    char *p = out;
    uint32_t n = 0;

    while (n < max) {
        char *line = p;

        if (g->today_next == g->today_count) {
            if (g->day == g->days)
                break;
            QN_TRY(draw_day(g, err));
            continue;
        }
        p = put_line(g, &g->today[g->today_next++], p);
        QN_DCHECK(p - line <= QN_GENERATE_LINE_MAX);
        lines[n++] = (struct qn_str){line, (uint32_t)(p - line) - 1};
        g->id++;
    }
    *count = n;
    *bytes = (size_t)(p - out);
    return QN_OK;
}

size_t qn_source_generate_bytes(const struct qn_generate *g)
{
    return sizeof(*g) + g->customer_count * sizeof(*g->customers) +
           g->reach_count * sizeof(*g->reach) +
           g->terminal_count * sizeof(*g->terminal_bad_until_day) +
           2 * g->today_cap * sizeof(*g->today);
}
