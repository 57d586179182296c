/* SPDX-License-Identifier: Apache-2.0
 * load_onnxruntime.c - makes the tensors of every batch class for a session of ONNX Runtime, and
 * proves that the size of a batch does not show in an answer.
 *
 * The library's answers may depend on the number of rows of a call and on a row's place in it: it
 * computes full vectors and what is left over in different ways. So: one thread inside a session,
 * and at load some hundred rows run through every class, at two places; classes that do not agree
 * with the largest bit for bit are given up; where the place counts, every row gets a call of its
 * own. Refused: tensors that are no numbers, shapes other than [rows] and [rows, columns], whatever
 * the library refuses, with its words. The library itself: onnxruntime_open.c. Thread: the
 * loader's. Memory: the model's arena; objects of the library until qn_model_ort_fini. */
#include "base/check.h"
#include "model/onnxruntime.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KIND_TENSOR = 1, RUNS_MAX = 32, TEXT_BYTES = 300 };

struct loading {
    struct qn_model *m;
    struct qn_ort *ort;
    const struct qn_model_options *opt;
    struct qn_err *err;
    struct qn_ort_object *allocator; /* the library's, never released */
    uint32_t fixed_rows;             /* 0 = any                       */
    bool is_blind;                   /* the model refuses texts that it does not know */
};

/* Turns a status into our error, with the library's words on one line, and releases it. */
static qn_status check(struct loading *l, struct qn_ort_status *status, const char *what)
{
    return qn_model_ort_check(l->ort, status, what, l->err);
}

/* ---- inputs and outputs ---- */

/* Name of input (side 0) or output (1) number i, in the model's arena. */
static qn_status name_of(struct loading *l, unsigned side, size_t i, const char **out)
{
    const struct qn_ort_api *a = &l->ort->api;
    char *text = NULL;

    QN_TRY(check(l, a->name[side](l->ort->session, i, l->allocator, &text), "has no name"));
    *out = qn_model_text(l->m, qn_str_of(text));
    QN_TRY(check(l, a->free_text(l->allocator, text), "cannot free a name"));
    return *out != NULL ? QN_OK : qn_err_set(l->err, QN_NOMEM, "out of memory");
}

/* Type and shape of a tensor; kind is not KIND_TENSOR for sequences and maps. */
struct shape {
    int kind, type;
    size_t rank;
    int64_t dims[2];
};

static qn_status shape_of(struct loading *l, unsigned side, size_t i, struct shape *out)
{
    const struct qn_ort_api *a = &l->ort->api;
    struct qn_ort_object *type = NULL;
    const struct qn_ort_object *tensor = NULL;
    qn_status rc = check(l, a->type[side](l->ort->session, i, &type), "has no type");

    *out = (struct shape){.dims = {-1, -1}};
    if (rc == QN_OK)
        rc = check(l, a->kind_of_type(type, &out->kind), "has no type");
    if (rc == QN_OK && out->kind == KIND_TENSOR) {
        rc = check(l, a->tensor_of_type(type, &tensor), "has no type");
        if (rc == QN_OK)
            rc = check(l, a->element_type(tensor, &out->type), "has no type");
        if (rc == QN_OK)
            rc = check(l, a->dim_count(tensor, &out->rank), "has no shape");
        if (rc == QN_OK && out->rank >= 1 && out->rank <= 2)
            rc = check(l, a->dims(tensor, out->dims, out->rank), "has no shape");
    }
    if (type != NULL)
        a->release_type(type);
    return rc;
}

static bool is_number(int type)
{
    return type == QN_ORT_FLOAT || type == QN_ORT_DOUBLE || type == QN_ORT_INT64 ||
           type == QN_ORT_INT32 || type == QN_ORT_BOOL;
}

static qn_status refuse_input(struct loading *l, const char *name, const char *why)
{
    return qn_err_set(l->err, QN_UNSUPPORTED,
                      "ONNX: input '%.60s' %s; inputs are tensors of float, double, int64, int32, "
                      "bool or string of shape [rows] or [rows, columns]",
                      name, why);
}

static qn_status read_input(struct loading *l, size_t i, uint64_t *columns)
{
    struct qn_ort_input *in = &l->ort->inputs[i];
    struct shape s;

    QN_TRY(name_of(l, 0, i, &in->name));
    QN_TRY(shape_of(l, 0, i, &s));
    l->ort->input_names[i] = in->name;
    if (s.kind != KIND_TENSOR)
        return refuse_input(l, in->name, "is a list or map");
    if (!is_number(s.type) && s.type != QN_ORT_TEXT)
        return refuse_input(l, in->name, "has a type that is not supported");
    if (s.rank < 1 || s.rank > 2)
        return refuse_input(l, in->name, "has another number of dimensions");
    if (s.rank == 2 && s.dims[1] <= 0)
        return refuse_input(l, in->name, "does not say how many columns it has");
    if (s.dims[0] > QN_ORT_ROWS_MAX || s.dims[0] == 0 ||
        (s.dims[0] > 0 && l->fixed_rows > 0 && s.dims[0] != l->fixed_rows))
        return refuse_input(l, in->name, "has a fixed number of rows that cannot be served");
    if (s.dims[0] > 0)
        l->fixed_rows = (uint32_t)s.dims[0];
    in->type = (enum qn_ort_type)s.type;
    in->rank = (uint32_t)s.rank;
    in->first = (uint32_t)*columns;
    *columns += s.rank == 2 ? (uint64_t)s.dims[1] : 1;
    if (*columns > QN_MODEL_INPUTS_MAX)
        return qn_err_set(l->err, QN_LIMIT, "the model has more than %d inputs",
                          QN_MODEL_INPUTS_MAX);
    in->width = (uint32_t)*columns - in->first;
    return QN_OK;
}

static qn_status read_inputs(struct loading *l, uint64_t *columns)
{
    struct qn_ort *ort = l->ort;
    size_t count = 0;

    QN_TRY(check(l, ort->api.count[0](ort->session, &count), "has no inputs"));
    if (count == 0 || count > QN_ORT_TENSORS_MAX)
        return qn_err_set(l->err, QN_UNSUPPORTED,
                          "ONNX: the graph has %zu inputs, 1 to %d are "
                          "possible",
                          count, QN_ORT_TENSORS_MAX);
    ort->input_count = (uint32_t)count;
    ort->inputs = QN_NEW_N(&l->m->arena, struct qn_ort_input, count);
    ort->input_names = QN_NEW_N(&l->m->arena, const char *, count);
    if (ort->inputs == NULL || ort->input_names == NULL)
        return qn_err_set(l->err, QN_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        QN_TRY(read_input(l, i, columns));
    return QN_OK;
}

static int by_text(const void *a, const void *b)
{
    const struct qn_str *x = a, *y = b;
    const int order = memcmp(x->p, y->p, x->len < y->len ? x->len : y->len);

    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* A tensor `a` of several columns beside a tensor `a_0` makes two columns `a_0`. */
static qn_status check_names(struct loading *l, const struct qn_str *names)
{
    const uint32_t count = l->m->info.inputs;
    struct qn_str *sorted = qn_mem_alloc(count * sizeof(*sorted));
    qn_status rc = QN_OK;

    if (sorted == NULL)
        return qn_err_set(l->err, QN_NOMEM, "out of memory");
    memcpy(sorted, names, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), by_text);
    for (uint32_t i = 0; i + 1 < count && rc == QN_OK; i++)
        if (qn_str_eq(sorted[i], sorted[i + 1]))
            rc = qn_err_set(
                l->err, QN_UNSUPPORTED,
                "ONNX: two inputs are called '%.60s': the columns of a tensor are NAME_0, "
                "NAME_1 and so on, and another tensor has such a name; rename one of "
                "them in the graph",
                sorted[i].p);
    qn_mem_free(sorted);
    return rc;
}

/* Names where there are several tensors: theirs; of one with several columns NAME_0, NAME_1, ... */
static qn_status put_names(struct loading *l)
{
    const struct qn_ort *ort = l->ort;
    struct qn_str *names;
    char text[TEXT_BYTES];
    qn_status rc;

    if (ort->input_count == 1 && l->m->info.inputs != 1)
        return QN_OK;
    names = qn_mem_zalloc(l->m->info.inputs, sizeof(*names));
    if (names == NULL)
        return qn_err_set(l->err, QN_NOMEM, "out of memory");
    rc = QN_OK;
    for (uint32_t i = 0; i < ort->input_count; i++) {
        const struct qn_ort_input *in = &ort->inputs[i];

        for (uint32_t k = 0; k < in->width && rc == QN_OK; k++) {
            const char *copy = in->name;

            if (in->width > 1) {
                snprintf(text, sizeof(text), "%.200s_%u", in->name, k);
                copy = qn_model_text(l->m, qn_str_of(text));
            }
            if (copy == NULL)
                rc = qn_err_set(l->err, QN_NOMEM, "out of memory");
            else
                names[in->first + k] = qn_str_of(copy);
        }
    }
    if (rc == QN_OK)
        rc = check_names(l, names);
    if (rc == QN_OK)
        rc = qn_model_names(l->m, names, l->err);
    qn_mem_free(names);
    return rc;
}

/* Columns of a tensor as the file declares them; 0 = it does not, or too many. */
static uint32_t width_of(const struct shape *s)
{
    return s->rank == 2 && s->dims[1] > 0 && s->dims[1] <= QN_MODEL_OUTPUTS_MAX
               ? (uint32_t)s->dims[1]
               : 0;
}

/* The output that the options name; else the first of fractions, else the first of numbers: beside
 * the label of a classifier stand its probabilities. */
static qn_status choose_output(struct loading *l)
{
    struct qn_ort *ort = l->ort;
    const char *const wanted = l->opt->output;
    size_t count = 0, best_rank = 0;

    QN_TRY(check(l, ort->api.count[1](ort->session, &count), "has no outputs"));
    for (size_t i = 0; i < count; i++) {
        const char *name;
        struct shape s;
        size_t rank;

        QN_TRY(name_of(l, 1, i, &name));
        QN_TRY(shape_of(l, 1, i, &s));
        if (wanted != NULL && strcmp(wanted, name) != 0)
            continue;
        if (s.kind != KIND_TENSOR || !is_number(s.type)) {
            if (wanted != NULL)
                return qn_err_set(l->err, QN_UNSUPPORTED,
                                  "ONNX: output '%.60s' is no tensor of numbers", name);
            continue;
        }
        rank = s.type == QN_ORT_FLOAT || s.type == QN_ORT_DOUBLE ? 2 : 1;
        if (rank > best_rank) {
            best_rank = rank;
            ort->output_name = name;
            ort->output_type = (enum qn_ort_type)s.type;
            ort->output_rank = (uint32_t)s.rank;
            ort->output_width = s.rank == 1 ? 1 : width_of(&s);
        }
    }
    if (best_rank > 0)
        return QN_OK;
    if (wanted != NULL)
        return qn_err_set(l->err, QN_INVALID, "ONNX: the model has no output '%.60s'", wanted);
    return qn_err_set(l->err, QN_UNSUPPORTED, "ONNX: the model has no output of numbers");
}

/* ---- tensors ---- */

static qn_status make_tensor(struct loading *l, void *buffer, size_t bytes, uint32_t rank,
                             uint32_t rows, uint32_t width, enum qn_ort_type type,
                             struct qn_ort_object **out)
{
    const int64_t dims[2] = {rows, width};

    return check(
        l, l->ort->api.create_tensor(l->ort->memory, buffer, bytes, dims, rank, (int)type, out),
        "cannot make a tensor");
}

static qn_status make_buffer(struct loading *l, uint32_t rows, uint32_t width,
                             enum qn_ort_type type, void **out)
{
    const size_t bytes = (size_t)rows * width * qn_ort_width(type);

    *out = qn_arena_aligned(&l->m->arena, 64, bytes);
    if (*out == NULL)
        return qn_err_set(l->err, QN_NOMEM, "out of memory");
    memset(*out, 0, bytes);
    return QN_OK;
}

static qn_status make_class_inputs(struct loading *l, struct qn_ort_class *c, uint32_t rows)
{
    const struct qn_ort *ort = l->ort;

    c->rows = rows;
    c->buffers = QN_NEW_N(&l->m->arena, void *, ort->input_count);
    c->values = QN_NEW_N(&l->m->arena, struct qn_ort_object *, ort->input_count);
    if (c->buffers == NULL || c->values == NULL)
        return qn_err_set(l->err, QN_NOMEM, "out of memory");
    for (uint32_t i = 0; i < ort->input_count; i++) {
        const struct qn_ort_input *in = &ort->inputs[i];

        QN_TRY(make_buffer(l, rows, in->width, in->type, &c->buffers[i]));
        if (in->type == QN_ORT_TEXT) {
            const int64_t dims[2] = {rows, in->width};

            QN_TRY(check(
                l,
                ort->api.create_owned(l->allocator, dims, in->rank, (int)in->type, &c->values[i]),
                "cannot make a tensor"));
            continue;
        }
        QN_TRY(make_tensor(l, c->buffers[i], (size_t)rows * in->width * qn_ort_width(in->type),
                           in->rank, rows, in->width, in->type, &c->values[i]));
    }
    return QN_OK;
}

static qn_status make_class_output(struct loading *l, struct qn_ort_class *c)
{
    const struct qn_ort *ort = l->ort;

    QN_TRY(make_buffer(l, c->rows, ort->output_width, ort->output_type, &c->out_buffer));
    return make_tensor(
        l, c->out_buffer, (size_t)c->rows * ort->output_width * qn_ort_width(ort->output_type),
        ort->output_rank, c->rows, ort->output_width, ort->output_type, &c->out_value);
}

static bool reads_texts(const struct qn_ort *ort)
{
    for (uint32_t i = 0; i < ort->input_count; i++) {
        if (ort->inputs[i].type == QN_ORT_TEXT)
            return true;
    }
    return false;
}

/* One call on zeros, for the size of the output, which the file need not tell. A model may refuse
 * texts that it does not know (scikit-learn's OneHotEncoder as it comes); then what the file
 * declares counts, and nothing can be tried at load. */
static qn_status learn_output(struct loading *l, struct qn_ort_class *c)
{
    struct qn_ort *ort = l->ort;
    const struct qn_ort_api *a = &ort->api;
    struct qn_ort_object *value = NULL, *tensor = NULL;
    int64_t dims[2] = {0, 1};
    size_t rank = 0;
    qn_status rc = check(l,
                         a->run(ort->session, NULL, ort->input_names,
                                (const struct qn_ort_object *const *)c->values, ort->input_count,
                                &ort->output_name, 1, &value),
                         "fails on rows of zeros");

    if (rc != QN_OK && reads_texts(ort) && ort->output_width > 0) {
        *l->err = (struct qn_err){0};
        l->is_blind = true;
        return QN_OK;
    }
    if (rc == QN_OK)
        rc = check(l, a->tensor_of_value(value, &tensor), "has no shape");
    if (rc == QN_OK)
        rc = check(l, a->dim_count(tensor, &rank), "has no shape");
    if (rc == QN_OK && rank >= 1 && rank <= 2)
        rc = check(l, a->dims(tensor, dims, rank), "has no shape");
    if (rc == QN_OK && (rank < 1 || rank > 2 || dims[0] != c->rows || dims[1] < 1 ||
                        dims[1] > QN_MODEL_OUTPUTS_MAX))
        rc = qn_err_set(l->err, QN_UNSUPPORTED,
                        "ONNX: output '%.60s' is not of shape [rows] or [rows, 1 to %d]",
                        ort->output_name, QN_MODEL_OUTPUTS_MAX);
    ort->output_rank = (uint32_t)rank;
    ort->output_width = (uint32_t)dims[1];
    if (tensor != NULL)
        a->release_tensor(tensor);
    if (value != NULL)
        a->release_value(value);
    return rc;
}

/* Every run gets its tensors, and every class one call, so that the library has planned for it. */
static qn_status make_runs(struct loading *l)
{
    static const uint32_t sizes[QN_ORT_CLASSES] = {1, 8, 32, 64};
    struct qn_ort *ort = l->ort;
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    ort->class_count = l->fixed_rows > 0 ? 1 : QN_ORT_CLASSES;
    for (uint32_t i = 0; i < ort->class_count; i++)
        ort->class_rows[i] = l->fixed_rows > 0 ? l->fixed_rows : sizes[i];
    ort->run_count = cpus < 1 ? 2 : cpus < RUNS_MAX ? (uint32_t)cpus + 1 : RUNS_MAX;
    ort->runs = qn_arena_aligned(&l->m->arena, 64, ort->run_count * sizeof(*ort->runs));
    if (ort->runs == NULL) {
        ort->run_count = 0;
        return qn_err_set(l->err, QN_NOMEM, "out of memory");
    }
    memset(ort->runs, 0, ort->run_count * sizeof(*ort->runs));
    for (uint32_t r = 0; r < ort->run_count; r++) {
        for (uint32_t i = 0; i < ort->class_count; i++) {
            struct qn_ort_class *c = &ort->runs[r].classes[i];

            QN_TRY(make_class_inputs(l, c, ort->class_rows[i]));
            if (r == 0 && i == 0)
                QN_TRY(learn_output(l, c));
            QN_TRY(make_class_output(l, c));
            if (r == 0 && !l->is_blind)
                QN_TRY(check(l,
                             ort->api.run(ort->session, NULL, ort->input_names,
                                          (const struct qn_ort_object *const *)c->values,
                                          ort->input_count, &ort->output_name, 1, &c->out_value),
                             "fails on rows of zeros"));
        }
    }
    return QN_OK;
}

/* Which columns of the output are the model's. Of two, the second: the probability of the second
 * class, as with every other format. */
static qn_status choose_columns(struct loading *l, uint64_t inputs)
{
    struct qn_ort *ort = l->ort;
    struct qn_model *m = l->m;
    uint64_t outputs = ort->output_width;

    if (l->opt->has_column) {
        if (l->opt->column >= ort->output_width)
            return qn_err_set(
                l->err, QN_INVALID,
                "ONNX: output '%.60s' has %u columns; there is no column %u, the first "
                "is 0",
                ort->output_name, ort->output_width, l->opt->column);
        ort->output_first = l->opt->column;
        outputs = 1;
    } else if (ort->output_width == 2) {
        ort->output_first = 1;
        outputs = 1;
    }
    m->info.is_float = ort->output_type == QN_ORT_FLOAT;
    return qn_model_shape(m, inputs, outputs, l->err);
}

/* ---- the probe ---- */

/* Numbers that mean something to most models: fractions of three sizes; for whole numbers 0 and 1.
 */
static void fill_probe(const struct qn_ort *ort, uint64_t *step, double *values)
{
    for (uint32_t t = 0; t < ort->input_count; t++) {
        const struct qn_ort_input *in = &ort->inputs[t];
        const bool is_fraction = in->type == QN_ORT_FLOAT || in->type == QN_ORT_DOUBLE;

        for (size_t i = (size_t)in->first * QN_MODEL_BLOCK;
             i < (size_t)(in->first + in->width) * QN_MODEL_BLOCK; i++) {
            static const double sizes[] = {0.05, 0.6, 1, 5};
            static const struct qn_str words[] = {{"", 0}, {"a", 1}, {"b", 1}, {"Quern", 5}};

            *step = *step * 6364136223846793005u + 1442695040888963407u;
            values[i] = is_fraction ? ((double)(*step >> 40) * 0x1p-23 - 1) * sizes[i % 4]
                                    : (double)(*step >> 63);
            if (in->type == QN_ORT_TEXT)
                values[i] = qn_model_text_place(&words[*step >> 62]);
        }
    }
}

/* Row r of each column becomes row r + TURN: every row stands elsewhere in its batch. */
static void turn(double *to, const double *from, size_t columns, bool is_back)
{
    enum { TURN = 3 };

    for (size_t i = 0; i < columns; i++) {
        for (uint32_t r = 0; r < QN_MODEL_BLOCK; r++) {
            const uint32_t there = (r + TURN) % QN_MODEL_BLOCK;

            to[i * QN_MODEL_BLOCK + (is_back ? r : there)] =
                from[i * QN_MODEL_BLOCK + (is_back ? there : r)];
        }
    }
}

/* Room of the probe, QN_MODEL_BLOCK doubles per column each. */
struct probing {
    double *values, *turned;         /* [inputs]  */
    double *want, *got, *turned_got; /* [outputs] */
    const double **columns, **turned_columns;
};

/* A block's answers as doubles, whatever the model's type. */
static void answer(const struct qn_model *m, const double *const *columns, uint32_t class_at,
                   double *out)
{
    const size_t count = (size_t)m->info.outputs * QN_MODEL_BLOCK;

    qn_model_ort_class(m, columns, 0, QN_MODEL_BLOCK, class_at, out);
    for (size_t i = count; i-- > 0 && m->info.is_float;)
        out[i] = (double)((const float *)(const void *)out)[i];
}

/* Marks the classes whose answers differ from the largest one's, or with the place in the batch. */
static void compare_classes(const struct qn_model *m, const struct probing *p, bool *differs)
{
    const size_t bytes = (size_t)m->info.outputs * QN_MODEL_BLOCK * sizeof(double);
    const uint32_t last = m->ort->class_count - 1;

    answer(m, p->columns, last, p->want);
    for (uint32_t i = 0; i <= last; i++) {
        answer(m, p->columns, i, p->got);
        differs[i] |= memcmp(p->want, p->got, bytes) != 0;
        answer(m, p->turned_columns, i, p->turned_got);
        turn(p->got, p->turned_got, m->info.outputs, true);
        differs[i] |= memcmp(p->want, p->got, bytes) != 0;
    }
}

/* Rows of a block that have an answer. */
static unsigned count_answered(const double *answers)
{
    unsigned count = 0;

    for (uint32_t r = 0; r < QN_MODEL_BLOCK; r++)
        count += !isnan(answers[r]);
    return count;
}

/* Keeps classes [first, last]. */
static void keep_classes(struct qn_ort *ort, uint32_t first, uint32_t last)
{
    for (uint32_t r = 0; r < ort->run_count && first > 0; r++) {
        struct qn_ort_class all[QN_ORT_CLASSES];

        memcpy(all, ort->runs[r].classes, sizeof(all));
        for (uint32_t i = 0; i < QN_ORT_CLASSES; i++)
            ort->runs[r].classes[i] = all[(i + first) % QN_ORT_CLASSES];
    }
    ort->class_count = last + 1 - first;
    for (uint32_t i = 0; i < ort->class_count; i++)
        ort->class_rows[i] = ort->class_rows[i + first];
}

static void choose_classes(struct qn_ort *ort, const bool *differs)
{
    const uint32_t last = ort->class_count - 1;
    uint32_t first = last;

    while (first > 0 && !differs[first - 1])
        first--;
    /* where even the place counts, every row goes alone, to the same place */
    ort->is_one_by_one = differs[last];
    if (differs[last])
        keep_classes(ort, 0, 0);
    else
        keep_classes(ort, first, last);
}

/* Large models are slow, and their answers differ more often. */
static unsigned probe_blocks(size_t file_bytes)
{
    return file_bytes < 1 << 20 ? 16 : file_bytes < 16 << 20 ? 4 : 1;
}

static qn_status probe(struct loading *l, size_t file_bytes)
{
    const struct qn_model *m = l->m;
    const size_t inputs = m->info.inputs, outputs = m->info.outputs;
    const size_t doubles = QN_MODEL_BLOCK * (2 * inputs + 3 * outputs);
    double *room = qn_mem_zalloc(doubles, sizeof(double));
    const double **columns = qn_mem_zalloc(2 * inputs, sizeof(*columns));
    bool differs[QN_ORT_CLASSES] = {false};
    unsigned answered = 0, rows = 0;
    uint64_t step = 1; /* Knuth's MMIX from a fixed start: a load is repeatable */
    struct probing p;
    qn_status rc = QN_OK;

    if (room == NULL || columns == NULL) {
        rc = qn_err_set(l->err, QN_NOMEM, "out of memory");
        goto out;
    }
    p = (struct probing){.values = room,
                         .turned = room + QN_MODEL_BLOCK * inputs,
                         .want = room + QN_MODEL_BLOCK * 2 * inputs,
                         .columns = columns,
                         .turned_columns = columns + inputs};
    p.got = p.want + QN_MODEL_BLOCK * outputs;
    p.turned_got = p.got + QN_MODEL_BLOCK * outputs;
    for (size_t i = 0; i < inputs; i++) {
        p.columns[i] = p.values + i * QN_MODEL_BLOCK;
        p.turned_columns[i] = p.turned + i * QN_MODEL_BLOCK;
    }
    for (unsigned block = 0; block < probe_blocks(file_bytes) && !l->is_blind; block++) {
        fill_probe(l->ort, &step, p.values);
        turn(p.turned, p.values, inputs, false);
        compare_classes(m, &p, differs);
        answered += count_answered(p.want);
        rows += QN_MODEL_BLOCK;
        if (answered * 16 < rows && reads_texts(l->ort)) { /* it refuses texts of ours: no proof */
            l->is_blind = true;
            break;
        }
    }
    if (l->is_blind)
        differs[l->ort->class_count - 1] = true;
    choose_classes(l->ort, differs);
out:
    qn_mem_free(room);
    qn_mem_free(columns);
    return rc;
}

/* ---- load ---- */

static qn_status say_why(struct loading *l, const char *reason)
{
    const struct qn_ort *ort = l->ort;
    char text[2 * TEXT_BYTES], size[80] = "", column[24] = "", place[TEXT_BYTES] = "";

    if (ort->class_rows[0] > 1)
        snprintf(size, sizeof(size), ", its answers would depend on the batch: padded to %u rows",
                 ort->class_rows[0]);
    if (l->fixed_rows > 0)
        snprintf(size, sizeof(size), ", in batches of %u rows", l->fixed_rows);
    if (l->is_blind)
        snprintf(size, sizeof(size), ", it refuses texts that it does not know: one row a call");
    else if (ort->is_one_by_one)
        snprintf(size, sizeof(size),
                 ", its answers would depend on the place in the batch: one row "
                 "a call");
    if (l->m->info.outputs != ort->output_width)
        snprintf(column, sizeof(column), " column %u", ort->output_first);
    if (ort->is_on_device)
        snprintf(place, sizeof(place), ", on CUDA device %u", l->opt->device);
    else if (ort->no_device != NULL)
        snprintf(place, sizeof(place), ", on the CPU, since %.260s", ort->no_device);
    snprintf(text, sizeof(text), "version %s%s, output '%.60s'%s%s; %s", ort->version, place,
             ort->output_name, column, size, reason);
    l->m->info.kernel_reason = qn_model_text(l->m, qn_str_of(text));
    return l->m->info.kernel_reason != NULL ? QN_OK : qn_err_set(l->err, QN_NOMEM, "out of memory");
}

/* Appends to the file what makes a tensor of its graph an output: a second message `graph` (field
 * 7), which protobuf merges with the first, of one output (field 12) with a name (field 1). */
static bool add_output(struct qn_str bytes, const char *name, struct qn_buf *out)
{
    const size_t len = strlen(name);

    QN_ASSERT(len < 100);
    qn_buf_add(out, bytes.p, bytes.len);
    qn_buf_byte(out, 7 << 3 | 2);
    qn_buf_byte(out, (char)(len + 4));
    qn_buf_byte(out, 12 << 3 | 2);
    qn_buf_byte(out, (char)(len + 2));
    qn_buf_byte(out, 1 << 3 | 2);
    qn_buf_byte(out, (char)len);
    qn_buf_add(out, name, len);
    return !out->failed;
}

static qn_status load(struct loading *l, struct qn_str bytes, const char *reason,
                      const char *zipped)
{
    struct qn_buf extended = {0};
    uint64_t columns = 0;
    qn_status rc;

    QN_TRY(qn_model_ort_open(l->m, reason, l->err));
    if (zipped != NULL) {
        if (!add_output(bytes, zipped, &extended)) {
            qn_buf_fini(&extended);
            return qn_err_set(l->err, QN_NOMEM, "out of memory");
        }
        bytes = (struct qn_str){extended.data, (uint32_t)extended.len};
    }
    rc = qn_model_ort_session(l->m, bytes, l->opt, l->err);
    qn_buf_fini(&extended);
    if (rc != QN_OK)
        return rc;
    QN_TRY(check(l, l->ort->api.allocator(&l->allocator), "cannot start"));
    QN_TRY(read_inputs(l, &columns));
    QN_TRY(choose_output(l));
    QN_TRY(make_runs(l));
    QN_TRY(choose_columns(l, columns));
    QN_TRY(put_names(l));
    QN_TRY(probe(l, bytes.len));
    return say_why(l, reason);
}

qn_status qn_model_load_onnxruntime(struct qn_model *m, struct qn_str bytes,
                                    const struct qn_model_options *opt, const char *reason,
                                    const char *zipped, struct qn_err *err)
{
    struct loading l = {.m = m, .opt = opt, .err = err};

    m->ort = QN_NEW(&m->arena, struct qn_ort);
    if (m->ort == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    l.ort = m->ort;
    l.ort->has_avx2 = qn_model_cpu_has(QN_CPU_AVX2);
    return load(&l, bytes, reason, zipped);
}

void qn_model_ort_fini(struct qn_ort *ort)
{
    if (ort == NULL)
        return;
    for (uint32_t r = 0; r < ort->run_count; r++) {
        qn_buf_fini(&ort->runs[r].texts);
        for (uint32_t i = 0; i < QN_ORT_CLASSES; i++) {
            struct qn_ort_class *c = &ort->runs[r].classes[i];

            for (uint32_t t = 0; t < ort->input_count && c->values != NULL; t++) {
                if (c->values[t] != NULL)
                    ort->api.release_value(c->values[t]);
            }
            if (c->out_value != NULL)
                ort->api.release_value(c->out_value);
        }
    }
    if (ort->session != NULL)
        ort->api.release_session(ort->session);
    if (ort->memory != NULL)
        ort->api.release_memory(ort->memory);
    if (ort->env != NULL)
        ort->api.release_env(ort->env);
}
