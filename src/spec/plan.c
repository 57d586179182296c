/* SPDX-License-Identifier: Apache-2.0
 * plan.c - loads a spec: the way of a YAML file to a plan, step by step. Read this file first.
 *
 * text -> nodes (yaml_node.c) -> filled in (variables.c) -> bound by tables (bind.c) -> streams,
 * features, models, outputs (bind_<part>.c) -> versions. A step goes on after mistakes wherever
 * later ones can still say something of their own; only an unreadable file or a spec of another
 * version stops at once. Invariant: a plan exists only if there was no error. Thread: one. Memory:
 * boot arena; models and feature state own themselves until qn_plan_free. */
#include "spec/plan.h"

#include "base/check.h"
#include "base/hash.h"
#include "event/envelope.h"
#include "model/half_space.h"
#include "spec/spec_int.h"
#include "spec/variables.h"

/* ---- versions ---- */

static void add_str(struct qn_buf *out, struct qn_str s)
{
    qn_buf_add(out, &s.len, sizeof(s.len));
    qn_buf_add(out, s.p, s.len);
}

static void add_int(struct qn_buf *out, int64_t v)
{
    qn_buf_add(out, &v, sizeof(v));
}

static void add_value(struct qn_buf *out, const struct qn_field *f, const struct qn_value *v,
                      bool is_limit)
{
    if (f->kind.type == QN_STRING) {
        add_str(out, v->str);
    } else if (f->kind.type == QN_LIST && !is_limit) {
        add_int(out, v->list.n);
        qn_buf_add(out, v->list.v, v->list.n * sizeof(double));
    } else {
        add_int(out, v->i64); /* a double's bits where it is one */
    }
}

/* Names, types and limits in the order of the fields: two streams with the same bytes here promise
 * the same. */
static void add_contract(struct qn_buf *out, const struct qn_schema *s)
{
    add_int(out, s->field_count);
    for (uint32_t i = 0; i < s->field_count; i++) {
        const struct qn_field *f = &s->fields[i];

        add_str(out, f->name);
        add_str(out, f->from);
        add_int(out, f->kind.type);
        add_int(out, f->kind.scale);
        add_int(out, f->unit);
        add_int(out, f->is_optional | f->has_default << 1 | f->has_min << 2 | f->has_max << 3);
        if (f->has_default)
            add_value(out, f, &f->fallback, false);
        if (f->has_min)
            add_value(out, f, &f->min, true);
        if (f->has_max)
            add_value(out, f, &f->max, true);
        add_int(out, f->in_count);
        for (uint32_t k = 0; k < f->in_count; k++)
            add_value(out, f, &f->in[k], false);
        add_int(out, f->length_max);
        add_int(out, f->length_exact);
    }
}

static void add_streams(struct qn_buf *out, struct qn_plan *p)
{
    struct qn_buf contract = {0};

    for (uint32_t i = 0; i < p->schema_count; i++) {
        struct qn_schema *s = &p->schemas[i];

        qn_buf_clear(&contract);
        add_contract(&contract, s);
        s->version = qn_hash(contract.data, contract.len, 0);
        out->failed |= contract.failed;
        add_str(out, s->name);
        add_int(out, (int64_t)s->version);
        add_int(out, s->id);
        add_int(out, s->time);
        add_int(out, s->key);
        add_int(out, s->lateness_us);
        add_int(out, s->within_us);
        add_int(out, s->late);
        if (s->dedup_us > 0) {
            add_str(out, qn_str_of("dedup"));
            add_int(out, s->dedup_us);
        }
    }
    qn_buf_fini(&contract);
}

/* What the spec says, with defaults, variables and order of columns resolved; not how it is written
 * down. The content of model files is not part of it: predictions carry the model's own version. */
/* Options of ONNX models, where they are written: which answer, and who computes it. */
static void add_onnx_options(struct qn_buf *all, const struct qn_yaml_node *model)
{
    static const char *const names[] = {"output", "column", "provider", "device"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct qn_yaml_item *item = qn_yaml_get(model, names[i]);

        if (item == NULL)
            continue;
        add_str(all, qn_str_of(names[i]));
        add_str(all, item->value->text);
    }
}

static qn_status set_versions(struct qn_builder *b)
{
    struct qn_plan *p = b->plan;
    struct qn_buf all = {0};
    const struct qn_yaml_node *outputs = b->top[KEY_OUTPUTS].value; /* a map, or nothing */
    qn_status rc = QN_OK;

    add_str(&all, p->name);
    add_streams(&all, p);
    add_int(&all, p->main_stream);
    for (uint32_t i = 0; i < p->feature_count; i++) {
        add_str(&all, b->names[p->field_count + i].name);
        add_str(&all, b->feature_values[i]->text);
    }
    for (uint32_t i = 0; i < p->model_count; i++) {
        const struct qn_yaml_item *m = &b->top[KEY_MODELS].value->items[i];
        const struct qn_yaml_item *trees = qn_yaml_get(m->value, "trees"),
                                  *missing = qn_yaml_get(m->value, "missing");

        add_str(&all, p->models[i].name);
        add_str(&all, p->models[i].file);
        add_int(&all, trees != NULL && qn_str_is(trees->value->text, "best"));
        add_str(&all, missing != NULL ? missing->value->text : (struct qn_str){"", 0});
        add_onnx_options(&all, m->value);
        if (p->models[i].model != NULL && qn_model_half_space(p->models[i].model) != NULL)
            add_int(&all, (int64_t)qn_model_info(p->models[i].model)->hash);
        for (uint32_t k = 0; k < p->models[i].input_count; k++)
            add_int(&all, p->models[i].inputs[k].column);
    }
    add_int(&all, p->score_model);
    for (uint32_t i = 0; i < p->output_count; i++) {
        const struct qn_yaml_item *o = NULL;

        for (uint32_t k = 0; outputs != NULL && k < outputs->count; k++) {
            if (qn_str_eq(outputs->items[k].key->text, p->outputs[i].name))
                o = &outputs->items[k];
        }
        o = o != NULL ? qn_yaml_get(o->value, "when") : NULL;
        add_str(&all, p->outputs[i].name);
        add_int(&all, p->outputs[i].include);
        add_str(&all, o != NULL ? o->value->text : (struct qn_str){"", 0});
        if (p->outputs[i].from != UINT64_C(1) << p->main_stream)
            add_int(&all, (int64_t)p->outputs[i].from);
    }
    for (uint32_t s = 0; s < p->schema_count; s++)
        if (qn_transcode_is_needed(&p->wire[s]) ||
            p->schemas[s].envelope != QN_ENVELOPE_NONE) { /* what an event is made of */
            add_int(&all, s);
            add_str(&all, qn_str_of(qn_wire_format_name(p->wire[s].format)));
            add_str(&all, qn_str_of(qn_envelope_name(p->schemas[s].envelope)));
            if (p->schemas[s].deletes == QN_DELETES_EVENT)
                add_str(&all, qn_str_of("deletes"));
        }
    if (p->limits.memory_bytes > 0) {
        add_str(&all, qn_str_of("memory"));
        add_int(&all, (int64_t)p->limits.memory_bytes);
    }
    if (all.failed)
        rc = qn_no_memory(b->err);
    else
        p->version = qn_hash(all.data, all.len, 0);
    qn_buf_fini(&all);
    return rc;
}

/* ---- loading ---- */

/* False when the spec is of another version: then nothing else in it can be judged. */
static bool check_version(struct qn_builder *b, const struct qn_yaml_node *root)
{
    const struct qn_yaml_item *item = qn_yaml_get(root, "quern");
    char found[QN_SHOW_BYTES];
    int64_t version;

    if (item == NULL)
        return true; /* missing: said by the binder */
    if (item->value->is_broken)
        return false;
    if (!qn_yaml_scaled(item->value, 0, &version) || version < 1) {
        QN_REPORT(&b->bind, VERSION, item->value->kind == QN_YAML_NULL ? item->key : item->value,
                  "write 'quern: 1'", "the format version must be 1, found %s",
                  qn_describe(item->value, found));
        return false;
    }
    if (version > 1) {
        QN_REPORT(&b->bind, VERSION, item->value, "this one reads 'quern: 1'",
                  "the spec is written for a newer Quern (format %lld)", (long long)version);
        return false;
    }
    return true;
}

static void read_name(struct qn_builder *b)
{
    const struct qn_yaml_node *n = b->top[KEY_NAME].value;
    char found[QN_SHOW_BYTES];

    if (!b->top[KEY_NAME].is_set)
        return;
    b->plan->name = n->text;
    for (uint32_t i = 0; i < n->text.len; i++) {
        char c = n->text.p[i];

        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')
            continue;
        QN_REPORT(&b->bind, NAME, n, "such as card-fraud",
                  "the pipeline's name has small letters, digits and '-' only, found %s",
                  qn_show(n, found));
        return;
    }
    if (n->text.len == 0 || n->text.len > 100)
        QN_REPORT(&b->bind, NAME, n, "such as card-fraud",
                  "the pipeline's name has 1 to 100 letters");
}

static qn_status build(struct qn_builder *b, const struct qn_yaml_node *root)
{
    const struct qn_yaml_node *models;

    if (root->kind == QN_YAML_MAP && !check_version(b, root))
        return QN_OK;
    if (!qn_bind(&b->bind, NULL, root, &qn_keys_top, b->top))
        return QN_OK;
    models = b->top[KEY_MODELS].value;
    b->models_declared = models != NULL && models->kind == QN_YAML_MAP ? models->count : 0;
    read_name(b);
    QN_TRY(qn_build_streams(b));
    QN_TRY(qn_build_features(b));
    QN_TRY(qn_build_models(b));
    QN_TRY(qn_build_outputs(b));
    QN_TRY(qn_build_log(b));
    QN_TRY(qn_build_serve(b));
    QN_TRY(qn_build_limits(b));
    QN_TRY(qn_build_kafka(b));
    QN_TRY(qn_build_registry(b));
    return QN_OK;
}

static qn_status load(struct qn_builder *b)
{
    struct qn_variables v = {.files = b->opt->files,
                             .environment = b->opt->environment,
                             .folder = b->folder,
                             .source = b->bind.source,
                             .stand_in = b->opt->stand_in,
                             .seen = b->opt->variables};
    struct qn_diags *diags = b->bind.diags;
    struct qn_yaml_node *root;

    QN_TRY(qn_yaml_parse(b->bind.source, b->bind.arena, diags, &root, b->err));
    if (root == NULL && diags->errors == 0)
        qn_diag_error(diags, QN_DIAG_MISSING, (struct qn_pos){0}, NULL,
                      "the spec is empty: it begins with 'quern: 1'");
    if (root != NULL) {
        QN_TRY(qn_variables_fill(&v, root, b->bind.arena, diags, b->err));
        QN_TRY(build(b, root));
    }
    if (b->bind.no_memory)
        return qn_no_memory(b->err);
    if (diags->errors > 0)
        return qn_err_set(b->err, QN_INVALID, "%u error%s in the spec", diags->errors,
                          diags->errors == 1 ? "" : "s");
    QN_ASSERT(b->plan->features != NULL);
    return set_versions(b);
}

qn_status qn_plan_load_text(struct qn_str text, const char *path, const struct qn_plan_options *opt,
                            struct qn_arena *boot, struct qn_diags *diags, struct qn_plan **out,
                            struct qn_err *err)
{
    struct qn_builder *b = QN_NEW(boot, struct qn_builder);
    const char *slash = strrchr(path, '/');
    bool has_mark = text.len >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0;
    char *source, *name = qn_arena_strdup(boot, path, strlen(path));
    qn_status rc;

    *out = NULL;
    if (has_mark) {
        text.p += 3;
        text.len -= 3;
    }
    source = qn_arena_strdup(boot, text.p != NULL ? text.p : "", text.len);
    if (b == NULL || name == NULL || source == NULL ||
        (b->plan = QN_NEW(boot, struct qn_plan)) == NULL)
        return qn_no_memory(err);
    b->opt = opt;
    b->err = err;
    b->folder = (struct qn_str){name, slash != NULL ? (uint32_t)(slash - path + 1) : 0};
    b->bind = (struct qn_binder){.arena = boot, .diags = diags, .source = {source, text.len}};
    b->plan->file = name;
    b->plan->boot = boot;
    b->plan->score_model = -1;
    if (diags->arena == NULL)
        diags->arena = boot;
    diags->file = name;
    diags->source = b->bind.source;
    rc = load(b);
    if (rc != QN_OK) {
        qn_plan_free(b->plan);
        return rc;
    }
    *out = b->plan;
    return QN_OK;
}

qn_status qn_plan_load(const char *path, const struct qn_plan_options *opt, struct qn_arena *boot,
                       struct qn_diags *diags, struct qn_plan **out, struct qn_err *err)
{
    struct qn_buf text = {0};
    qn_status rc = qn_file_read_all(opt->files, path, QN_YAML_BYTES_MAX, &text, err);

    *out = NULL;
    if (rc == QN_OK)
        rc = qn_plan_load_text((struct qn_str){text.data, (uint32_t)text.len}, path, opt, boot,
                               diags, out, err);
    qn_buf_fini(&text);
    return rc;
}

void qn_plan_free(struct qn_plan *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->model_count; i++)
        qn_model_free(p->models[i].model);
    p->model_count = 0;
    qn_features_free(p->features);
    p->features = NULL;
}

qn_status qn_plan_find_stream(const struct qn_plan *p, const char *name, uint32_t *stream,
                              struct qn_err *err)
{
    struct qn_str names[QN_STREAMS_MAX];
    int near;

    *stream = p->main_stream;
    if (name == NULL)
        return QN_OK;
    for (uint32_t s = 0; s < p->schema_count; s++) {
        names[s] = p->schemas[s].name;
        if (qn_str_is(names[s], name)) {
            *stream = s;
            return QN_OK;
        }
    }
    near = qn_nearest(qn_str_of(name), names, p->schema_count);
    if (near >= 0)
        return qn_err_set(err, QN_INVALID, "unknown stream '%s' (did you mean '%.*s'?)", name,
                          QN_STR_ARG(names[near]));
    return qn_err_set(err, QN_INVALID, "unknown stream '%s'; the spec has '%.*s'%s", name,
                      QN_STR_ARG(names[0]), p->schema_count > 1 ? " and others" : "");
}
