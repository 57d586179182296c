/* SPDX-License-Identifier: Apache-2.0
 * kernel_onnxruntime.c - kernel `onnxruntime`: a block of rows through a session of ONNX Runtime.
 *
 * A block is cut into batches of the sizes whose tensors were made at load; the last one is padded
 * with copies of its last row. Sizes and places that would show in an answer are not used
 * (load_onnxruntime.c). Scoring
 * cannot fail, so a row that the library refuses, or that has no value for a whole-number input,
 * has the score NaN: a batch that fails is repeated row by row. Thread: any; each call claims a run
 * of its own. Memory: the run's buffers. */
#include "base/check.h"
#include "model/onnxruntime.h"

#include <math.h>
#include <sched.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static bool onnxruntime_is_suitable(const struct qn_model *m, const char **reason)
{
    if (m->ort != NULL)
        *reason = m->info.kernel_reason;
    return m->ort != NULL;
}

static size_t onnxruntime_scratch_bytes(const struct qn_model *m)
{
    (void)m;
    return 0;
}

/* ---- which run ---- */

/* Callers keep to a run of their own as long as there are enough; one beyond them waits. */
static struct qn_ort_run *claim(const struct qn_ort *ort, const void *scratch)
{
    uint32_t at = (uint32_t)((uintptr_t)scratch >> 12) % ort->run_count;

    for (;;) {
        for (uint32_t i = 0; i < ort->run_count; i++) {
            struct qn_ort_run *run = &ort->runs[at];

            if (!__atomic_exchange_n(&run->is_claimed, true, __ATOMIC_ACQUIRE))
                return run;
            at = at + 1 < ort->run_count ? at + 1 : 0;
        }
        sched_yield();
    }
}

static void give_back(struct qn_ort_run *run)
{
    __atomic_store_n(&run->is_claimed, false, __ATOMIC_RELEASE);
}

/* ---- inputs ---- */

/* A value as a whole number of the tensor's type; false where it is none. */
static bool whole(double x, enum qn_ort_type type, int64_t *out)
{
    const double limit = type == QN_ORT_BOOL ? 1 : type == QN_ORT_INT32 ? 2147483647.0 : 0x1p53;

    if (!(fabs(x) <= limit) || x != rint(x) || (type == QN_ORT_BOOL && x < 0)) {
        *out = 0;
        return false;
    }
    *out = (int64_t)x;
    return true;
}

/* One column of a tensor, rows [first, rows) at x; marks rows that have no value in `lacking`. */
static void put_column(const struct qn_model *m, const struct qn_ort_input *in, const double *x,
                       uint32_t first, uint32_t rows, uint32_t column, void *buffer,
                       uint8_t *lacking)
{
    const size_t width = in->width;

    for (uint32_t r = first; r < rows; r++) {
        const size_t to = r * width + column;
        const double v = m->has_missing && x[r] == m->missing ? (double)NAN : x[r];
        int64_t n;

        switch (in->type) {
        case QN_ORT_FLOAT:
            ((float *)buffer)[to] = (float)v;
            break;
        case QN_ORT_DOUBLE:
            ((double *)buffer)[to] = v;
            break;
        case QN_ORT_INT64:
            lacking[r] |= !whole(v, in->type, &n);
            ((int64_t *)buffer)[to] = n;
            break;
        case QN_ORT_INT32:
            lacking[r] |= !whole(v, in->type, &n);
            ((int32_t *)buffer)[to] = (int32_t)n;
            break;
        default:
            lacking[r] |= !whole(v, in->type, &n);
            ((uint8_t *)buffer)[to] = (uint8_t)n;
            break;
        }
    }
}

/* Columns of doubles become rows of floats, 8 by 8: in registers a value costs a third of a store.
 */
#if defined(__x86_64__)
enum { SIDE = 8 };
#define TARGET  __attribute__((target("avx2")))
#define INLINED static inline __attribute__((always_inline)) TARGET

INLINED __m256 eight_floats(const double *x)
{
    return _mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(x + 4)),
                           _mm256_cvtpd_ps(_mm256_loadu_pd(x)));
}

/* Row i of the square becomes column i. */
INLINED void turn_square(__m256 *v)
{
    __m256 pairs[SIDE], fours[SIDE];

    for (unsigned i = 0; i < SIDE; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    for (unsigned i = 0; i < SIDE; i += 4) {
        fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (unsigned i = 0; i < SIDE / 2; i++) {
        v[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
    }
}

/* Rows [0, rows) of columns, a multiple of SIDE. */
TARGET static void turn_columns(const double *const *columns, uint32_t first, uint32_t rows,
                                uint32_t width, float *to)
{
    for (uint32_t k = 0; k < width; k += SIDE) {
        const uint32_t n = width - k < SIDE ? width - k : SIDE;
        const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n),
                                                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));

        for (uint32_t r = 0; r < rows; r += SIDE) {
            __m256 v[SIDE];

            for (uint32_t i = 0; i < SIDE; i++)
                v[i] = eight_floats(columns[k + (i < n ? i : 0)] + first + r);
            turn_square(v);
            for (uint32_t i = 0; i < SIDE; i++) {
                float *at = to + (size_t)(r + i) * width + k;

                if (n == SIDE)
                    _mm256_storeu_ps(at, v[i]);
                else
                    _mm256_maskstore_ps(at, mask, v[i]);
            }
        }
    }
}

/* How many of the rows, from the first on, were put into a tensor of floats. */
static uint32_t put_floats(const struct qn_model *m, const struct qn_ort_input *in,
                           const double *const *columns, uint32_t first, uint32_t rows, float *to)
{
    const uint32_t whole_rows = rows / SIDE * SIDE;

    if (in->type != QN_ORT_FLOAT || m->has_missing || !m->ort->has_avx2)
        return 0;
    turn_columns(columns + in->first, first, whole_rows, in->width, to);
    return whole_rows;
}
#else
static uint32_t put_floats(const struct qn_model *m, const struct qn_ort_input *in,
                           const double *const *columns, uint32_t first, uint32_t rows, float *to)
{
    (void)m, (void)in, (void)columns, (void)first, (void)rows, (void)to;
    return 0;
}
#endif

bool qn_model_reads_text(const struct qn_model *m, uint32_t input)
{
    for (uint32_t t = 0; m->ort != NULL && t < m->ort->input_count; t++) {
        const struct qn_ort_input *in = &m->ort->inputs[t];

        if (input >= in->first && input < in->first + in->width)
            return in->type == QN_ORT_TEXT;
    }
    return false;
}

/* The text that a column's value stands for (qn_model_text_place); what is no place is empty. */
static struct qn_str text_at(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, sizeof(bits));
    if (bits == 0 || bits >> 52 != 0)
        return (struct qn_str){"", 0};
    return *(const struct qn_str *)(uintptr_t)bits;
}

/* One tensor of texts. A text with NUL in it has no place in the library's interface: no score. */
static void put_texts(const struct qn_ort *ort, const struct qn_ort_input *in, uint32_t t,
                      const struct qn_ort_class *c, struct qn_buf *texts,
                      const double *const *columns, uint32_t first, uint32_t rows, uint8_t *lacking)
{
    const size_t count = (size_t)rows * in->width;
    const char **to = c->buffers[t];
    struct qn_ort_status *status;
    size_t at = 0;

    qn_buf_clear(texts);
    for (size_t i = 0; i < count; i++) {
        const struct qn_str text =
            text_at(columns[in->first + i % in->width][first + i / in->width]);

        lacking[i / in->width] |= text.len > 0 && memchr(text.p, 0, text.len) != NULL;
        qn_buf_add(texts, text.p, text.len);
        qn_buf_byte(texts, 0);
    }
    if (texts->failed) { /* no memory: no row has a score */
        memset(lacking, 1, rows);
        return;
    }
    for (size_t i = 0; i < (size_t)c->rows * in->width; i++) {
        to[i] = i < count ? texts->data + at : to[i - in->width];
        if (i < count)
            at += text_at(columns[in->first + i % in->width][first + i / in->width]).len + 1;
    }
    status = ort->api.fill_texts(c->values[t], to, (size_t)c->rows * in->width);
    if (status != NULL) {
        ort->api.release_status(status);
        memset(lacking, 1, rows);
    }
}

static void fill(const struct qn_model *m, struct qn_ort_run *run, const struct qn_ort_class *c,
                 const double *const *columns, uint32_t first, uint32_t rows, uint8_t *lacking)
{
    const struct qn_ort *ort = m->ort;

    memset(lacking, 0, rows);
    for (uint32_t t = 0; t < ort->input_count; t++) {
        const struct qn_ort_input *in = &ort->inputs[t];
        const size_t row_bytes = in->width * qn_ort_width(in->type);
        char *buffer = c->buffers[t];
        uint32_t done;

        if (in->type == QN_ORT_TEXT) {
            put_texts(ort, in, t, c, &run->texts, columns, first, rows, lacking);
            continue;
        }
        done = put_floats(m, in, columns, first, rows, c->buffers[t]);
        for (uint32_t k = 0; k < in->width && done < rows; k++)
            put_column(m, in, columns[in->first + k] + first, done, rows, k, buffer, lacking);
        for (uint32_t r = rows; r < c->rows; r++)
            memcpy(buffer + r * row_bytes, buffer + (rows - 1) * row_bytes, row_bytes);
    }
}

/* ---- outputs ---- */

static double element(const void *buffer, enum qn_ort_type type, size_t at)
{
    switch (type) {
    case QN_ORT_DOUBLE:
        return ((const double *)buffer)[at];
    case QN_ORT_INT64:
        return (double)((const int64_t *)buffer)[at];
    case QN_ORT_INT32:
        return ((const int32_t *)buffer)[at];
    default:
        return ((const uint8_t *)buffer)[at];
    }
}

/* Row `from` of the tensor becomes row `to` of the block; buffer NULL: NaN. */
static void take_row(const struct qn_model *m, const void *buffer, uint32_t from, uint32_t to,
                     void *sums)
{
    const struct qn_ort *ort = m->ort;

    for (uint32_t k = 0; k < m->info.outputs; k++) {
        const size_t in = (size_t)from * ort->output_width + ort->output_first + k;
        const size_t out = (size_t)k * QN_MODEL_BLOCK + to;

        if (m->info.is_float)
            ((float *)sums)[out] = buffer != NULL ? ((const float *)buffer)[in] : NAN;
        else
            ((double *)sums)[out] =
                buffer != NULL ? element(buffer, ort->output_type, in) : (double)NAN;
    }
}

/* Rows [0, rows) of the tensor become rows from `to` on of the block, of floats. */
static void take_floats(const struct qn_model *m, const float *buffer, uint32_t rows, uint32_t to,
                        float *sums)
{
    const size_t width = m->ort->output_width;

    for (uint32_t k = 0; k < m->info.outputs; k++) {
        const float *in = buffer + m->ort->output_first + k;
        float *out = sums + (size_t)k * QN_MODEL_BLOCK + to;

        if (width == 1)
            memcpy(out, in, rows * sizeof(*out));
        for (uint32_t r = 0; r < rows && width > 1; r++)
            out[r] = in[r * width];
    }
}

static bool run_class(const struct qn_ort *ort, struct qn_ort_class *c)
{
    struct qn_ort_status *status = ort->api.run(
        ort->session, NULL, ort->input_names, (const struct qn_ort_object *const *)c->values,
        ort->input_count, &ort->output_name, 1, &c->out_value);

    if (status == NULL)
        return true;
    ort->api.release_status(status);
    return false;
}

/* Rows [0, rows) of a batch, which stand from `at` on in the block. */
static void batch(const struct qn_model *m, struct qn_ort_run *run, struct qn_ort_class *c,
                  const double *const *columns, uint32_t first, uint32_t rows, uint32_t at,
                  void *sums)
{
    uint8_t lacking[QN_MODEL_BLOCK];

    fill(m, run, c, columns, first + at, rows, lacking);
    if (run_class(m->ort, c)) {
        if (m->info.is_float && memchr(lacking, 1, rows) == NULL) {
            take_floats(m, c->out_buffer, rows, at, sums);
            return;
        }
        for (uint32_t r = 0; r < rows; r++)
            take_row(m, lacking[r] ? NULL : c->out_buffer, r, at + r, sums);
        return;
    }
    for (uint32_t r = 0; r < rows; r++) {
        fill(m, run, c, columns, first + at + r, 1, lacking);
        take_row(m, lacking[0] || !run_class(m->ort, c) ? NULL : c->out_buffer, 0, at + r, sums);
    }
}

void qn_model_ort_class(const struct qn_model *m, const double *const *columns, uint32_t first,
                        uint32_t rows, uint32_t class_at, void *sums)
{
    struct qn_ort_run *run = claim(m->ort, sums);
    struct qn_ort_class *c = &run->classes[class_at];

    for (uint32_t at = 0; at < rows; at += c->rows)
        batch(m, run, c, columns, first, rows - at < c->rows ? rows - at : c->rows, at, sums);
    give_back(run);
}

/* The largest class that is full; else the smallest that holds the rest. */
static uint32_t class_for(const struct qn_ort *ort, uint32_t rest)
{
    uint32_t i = ort->class_count - 1;

    while (i > 0 && ort->class_rows[i] > rest)
        i--;
    /* a padded call costs less than a few of one row */
    return rest > 1 && ort->class_rows[i] == 1 && ort->class_count > 1 ? 1 : i;
}

static void onnxruntime_score(const struct qn_model *m, const double *const *columns,
                              uint32_t first, uint32_t rows, void *scratch, void *sums)
{
    const struct qn_ort *ort = m->ort;
    struct qn_ort_run *run = claim(ort, scratch);

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    for (uint32_t at = 0; at < rows;) {
        const uint32_t rest = ort->is_one_by_one ? 1 : rows - at;
        struct qn_ort_class *c = &run->classes[class_for(ort, rest)];
        const uint32_t n = rest < c->rows ? rest : c->rows;

        batch(m, run, c, columns, first, n, at, sums);
        at += n;
    }
    give_back(run);
}

const struct qn_model_kernel qn_model_kernel_onnxruntime = {.name = "onnxruntime",
                                                            .is_suitable = onnxruntime_is_suitable,
                                                            .scratch_bytes =
                                                                onnxruntime_scratch_bytes,
                                                            .score = onnxruntime_score};
