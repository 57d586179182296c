/* SPDX-License-Identifier: Apache-2.0
 * metrics.c - series are made, counted and looked at.
 *
 * Counting is one atomic addition, observing three. A histogram is read word by word while others
 * add to it: what a reader sees is a little older in one cell than in the next, and never goes
 * back. Thread: any; `making` guards the lists while they grow. Memory: boot; freed with the
 * metrics. */
#include "monitor/metrics.h"

#include "base/check.h"
#include "base/memory.h"
#include "monitor/metrics_int.h"

#include <math.h>

const struct qn_metric_row qn_metric_rows[QN_METRIC_COUNT] = {
#define ROW(id, name, type, labels, help, worry)                                                   \
    [QN_METRIC_##id] = {name, type, labels, help, worry},
    QN_METRIC_LIST(ROW)
#undef ROW
};

static const struct qn_bounds bounds_seconds = {
    14, {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}};
static const struct qn_bounds bounds_sizes = {
    15, {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}};

static bool is_histogram(enum qn_metric_type type)
{
    return type == QN_SECONDS || type == QN_SIZES;
}

/* ---- making ----------------------------------------------------------------------------------*/

static struct qn_series *series_new(enum qn_metric_type type, struct qn_str labels)
{
    size_t histogram_at = sizeof(struct qn_series);
    size_t labels_at = histogram_at + (is_histogram(type) ? sizeof(struct qn_histogram) : 0);
    char *memory = qn_mem_aligned(_Alignof(struct qn_series), labels_at + labels.len + 1);
    struct qn_series *s = (struct qn_series *)memory;

    if (memory == NULL)
        return NULL;
    memset(memory, 0, labels_at);
    s->type = type;
    if (is_histogram(type)) {
        s->histogram = (struct qn_histogram *)(memory + histogram_at);
        s->bounds = type == QN_SECONDS ? &bounds_seconds : &bounds_sizes;
    }
    if (labels.len > 0)
        memcpy(memory + labels_at, labels.p, labels.len);
    s->labels = (struct qn_str){memory + labels_at, labels.len};
    return s;
}

qn_status qn_metrics_new(struct qn_metrics **out, struct qn_err *err)
{
    struct qn_metrics *m = qn_mem_zalloc(1, sizeof(*m));

    if (m != NULL) {
        m->lost = series_new(QN_SECONDS, (struct qn_str){NULL, 0});
        m->gpus = qn_gpus_new(NULL);
    }
    if (m == NULL || m->lost == NULL || m->gpus == NULL) {
        if (m != NULL) {
            qn_mem_free(m->lost);
            qn_gpus_free(m->gpus);
        }
        qn_mem_free(m);
        return qn_err_set(err, QN_NOMEM, "out of memory for the metrics");
    }
    pthread_mutex_init(&m->making, NULL);
    *out = m;
    return QN_OK;
}

void qn_metrics_free(struct qn_metrics *m)
{
    if (m == NULL)
        return;
    for (unsigned i = 0; i < QN_METRIC_COUNT; i++)
        for (struct qn_series *s = m->first[i], *next; s != NULL; s = next) {
            next = s->next;
            qn_mem_free(s);
        }
    qn_mem_free(m->lost);
    qn_gpus_free(m->gpus);
    pthread_mutex_destroy(&m->making);
    qn_mem_free(m);
}

/* A label's value between its quotes. Only UTF-8 is allowed there. */
static void labels_value(struct qn_buf *b, struct qn_str value)
{
    bool is_utf8 = qn_utf8_valid(value.p, value.len);

    for (uint32_t i = 0; i < value.len; i++) {
        char c = value.p[i];

        if (c == '\\' || c == '"' || c == '\n')
            qn_buf_byte(b, '\\');
        if (c == '\n')
            c = 'n';
        else if (!is_utf8 && (unsigned char)c >= 0x80)
            c = '?';
        qn_buf_byte(b, c);
    }
}

static void labels_render(struct qn_buf *b, const char *names, const struct qn_str *values)
{
    while (*names != '\0') {
        size_t n = strcspn(names, " ");

        qn_buf_add(b, names, n);
        qn_buf_text(b, "=\"");
        labels_value(b, *values++);
        qn_buf_byte(b, '"');
        names += n;
        if (*names == ' ') {
            qn_buf_byte(b, ',');
            names++;
        }
    }
}

struct qn_series *qn_metrics_series(struct qn_metrics *m, enum qn_metric metric,
                                    const struct qn_str *labels)
{
    const struct qn_metric_row *row = &qn_metric_rows[metric];
    struct qn_buf b = {0};
    struct qn_series *s;

    QN_ASSERT((unsigned)metric < QN_METRIC_COUNT);
    QN_ASSERT(labels != NULL || row->labels[0] == '\0');
    labels_render(&b, row->labels, labels);
    if (b.failed) {
        qn_buf_fini(&b);
        return m->lost;
    }
    pthread_mutex_lock(&m->making);
    for (s = m->first[metric]; s != NULL; s = s->next)
        if (qn_str_eq(s->labels, (struct qn_str){b.data, (uint32_t)b.len}))
            break;
    if (s == NULL) {
        s = series_new(row->type, (struct qn_str){b.data, (uint32_t)b.len});
        if (s == NULL)
            s = m->lost;
        else if (m->last[metric] == NULL)
            m->first[metric] = s;
        else
            m->last[metric]->next = s;
        if (s != m->lost)
            m->last[metric] = s;
    }
    pthread_mutex_unlock(&m->making);
    qn_buf_fini(&b);
    return s;
}

/* ---- counting --------------------------------------------------------------------------------*/

static void add(_Atomic double *to, double by)
{
    double seen = atomic_load_explicit(to, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(to, &seen, seen + by, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

void qn_series_add(struct qn_series *s, double by)
{
    QN_DCHECK(s->type != QN_COUNTER || by >= 0);
    add(&s->value, by);
}

void qn_series_set(struct qn_series *s, double value)
{
    atomic_store_explicit(&s->value, value, memory_order_relaxed);
}

double qn_series_get(const struct qn_series *s)
{
    return atomic_load_explicit(&s->value, memory_order_relaxed);
}

/* The cell of a value: the upper bits of a positive double grow with it. */
static uint32_t cell_of(double value)
{
    const uint64_t first = (uint64_t)(1023 + QN_CELL_FIRST) << QN_CELL_BITS;
    uint64_t bits;

    if (value < ldexp(1, QN_CELL_FIRST))
        return 0;
    if (value >= ldexp(1, QN_CELL_END))
        return QN_CELLS - 1;
    memcpy(&bits, &value, sizeof(bits));
    return (uint32_t)((bits >> (52 - QN_CELL_BITS)) - first) + 1;
}

/* The smallest value of a cell; the cells' bounds join. */
static double cell_begin(uint32_t cell)
{
    const uint64_t first = (uint64_t)(1023 + QN_CELL_FIRST) << QN_CELL_BITS;
    uint64_t bits = (first + cell - 1) << (52 - QN_CELL_BITS);
    double value;

    if (cell == 0)
        return 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

void qn_series_observe(struct qn_series *s, double value, uint64_t count)
{
    struct qn_histogram *h = s->histogram;
    uint32_t bucket = 0;

    QN_ASSERT(h != NULL);
    QN_ASSERT(!isnan(value));
    if (value < 0)
        value = 0;
    while (bucket < s->bounds->count && value > s->bounds->le[bucket])
        bucket++;
    atomic_fetch_add_explicit(&h->bucket[bucket], count, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->cell[cell_of(value)], count, memory_order_relaxed);
    add(&h->sum, value * (double)count);
}

/* ---- quantiles -------------------------------------------------------------------------------*/

struct qn_series_since {
    uint64_t seen[QN_CELLS]; /* counts at the last look */
    uint64_t news[QN_CELLS]; /* what came since; scratch of one call */
};

struct qn_series_since *qn_series_since_new(void)
{
    return qn_mem_zalloc(1, sizeof(struct qn_series_since));
}

/* The value of a rank (1 to the sum of news), values taken as spread evenly over their cell. */
static double value_at(const struct qn_series_since *since, uint64_t rank)
{
    uint32_t cell = 0;

    while (rank > since->news[cell]) {
        rank -= since->news[cell++];
        QN_ASSERT(cell < QN_CELLS);
    }
    if (cell == QN_CELLS - 1)
        return cell_begin(cell);
    return cell_begin(cell) + (cell_begin(cell + 1) - cell_begin(cell)) * ((double)rank - 0.5) /
                                  (double)since->news[cell];
}

uint64_t qn_series_quantiles(const struct qn_series *s, struct qn_series_since *since,
                             const double *q, uint32_t count, double *out)
{
    uint64_t total = 0;

    QN_ASSERT(s->histogram != NULL);
    for (uint32_t i = 0; i < QN_CELLS; i++) {
        uint64_t now = atomic_load_explicit(&s->histogram->cell[i], memory_order_relaxed);

        since->news[i] = now - since->seen[i];
        since->seen[i] = now;
        total += since->news[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        double rank = ceil(q[i] * (double)total);

        QN_ASSERT(q[i] >= 0 && q[i] <= 1);
        if (total == 0)
            out[i] = NAN;
        else
            out[i] = value_at(since, rank < 1 ? 1 : (uint64_t)rank);
        if (total > 0 && s->type == QN_SIZES)
            out[i] = floor(out[i]);
    }
    return total;
}
