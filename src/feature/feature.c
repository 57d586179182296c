/* SPDX-License-Identifier: Apache-2.0
 * feature.c - compiles feature sentences: names, order of need, types, and windows gathered into
 * groups.
 *
 * Steps: names are checked; every sentence is cut into clauses; a look at the names in it says
 * which features it reads; a walk along those needs gives the order and finds cycles; in that order
 * every expression is typed, so that the types it meets are known. Windows with one source and key
 * share a group, equal arguments, conditions and windows are kept once. All mistakes are reported;
 * a feature with one makes no noise in those that read it. Thread: one. Memory: boot. */
#include "feature/feature.h"

#include "base/check.h"
#include "feature/feature_int.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES_MAX = 64 };

/* What compiling needs and the run does not. */
struct compiler {
    struct qn_features *f;
    struct qn_arena *arena;
    struct qn_diags *diags;
    struct qn_scope main_scope; /* fields and features of the main stream */
    struct qn_name *main_names;
    bool nomem;
};

static const struct qn_schema *main_schema(const struct qn_features *f)
{
    return &f->schemas[f->main];
}

static int find_feature(const struct qn_features *f, struct qn_str name)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (qn_str_eq(f->list[i].info.name, name))
            return (int)i;
    return -1;
}

/* ---- names ---- */

static bool is_good_name(struct qn_str s)
{
    if (s.len == 0 || s.len > NAME_BYTES_MAX ||
        !((s.p[0] >= 'a' && s.p[0] <= 'z') || s.p[0] == '_'))
        return false;
    for (uint32_t i = 1; i < s.len; i++) {
        const char c = s.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_'))
            return false;
    }
    return true;
}

static void check_name(struct compiler *cc, uint32_t i)
{
    const struct qn_features *f = cc->f;
    const struct qn_str name = f->list[i].info.name;
    const struct qn_pos at = f->list[i].text->name_at;
    const int shown = (int)(name.len > 80 ? 80 : name.len);
    const int first = find_feature(f, name);

    if (!is_good_name(name))
        qn_diag_error(cc->diags, QN_DIAG_NAME, at, "for example customer_count_7d",
                      "'%.*s' is no name for a feature: a small letter or _, then letters, digits "
                      "and _, at most %d bytes",
                      shown, name.p, (int)NAME_BYTES_MAX);
    else if (qn_expr_is_keyword(name))
        qn_diag_error(cc->diags, QN_DIAG_NAME, at, NULL,
                      "'%.*s' is a word of the language, no name for a feature", shown, name.p);
    else if (qn_schema_find(main_schema(f), name) >= 0)
        qn_diag_error(cc->diags, QN_DIAG_DUPLICATE, at, "give the feature another name",
                      "'%.*s' is a field of %.*s already", shown, name.p,
                      QN_STR_ARG(main_schema(f)->name));
    else if (first >= 0 && (uint32_t)first < i)
        qn_diag_error(cc->diags, QN_DIAG_DUPLICATE, at, NULL, "a second feature '%.*s'", shown,
                      name.p);
    else
        return;
    cc->f->list[i].is_bad = true;
}

/* ---- who reads whom ---- */

/* Adds the features named in a text. Calls and dotted names are no features. */
static bool add_needs(struct compiler *cc, struct feature *ft, struct qn_str text)
{
    struct qn_lexer lx;
    bool dotted = false;

    for (qn_lexer_open(&lx, text, (struct qn_pos){0}, NULL);
         lx.token.kind != QN_TOKEN_END && lx.token.kind != QN_TOKEN_BAD; qn_lexer_next(&lx)) {
        const bool behind_dot = dotted;
        const bool name = lx.token.kind == QN_TOKEN_NAME && !qn_lexer_sees_call(&lx);
        const int need = name && !behind_dot ? find_feature(cc->f, qn_lexer_text(&lx)) : -1;
        bool known = need < 0;

        dotted = lx.token.kind == QN_TOKEN_DOT;
        for (uint32_t i = 0; i < ft->need_count && !known; i++)
            known = ft->needs[i] == (uint32_t)need;
        if (known)
            continue;
        if ((ft->need_count & (ft->need_count - 1)) == 0) { /* full: 0, 1, 2, 4, ... */
            uint32_t *more =
                QN_NEW_N(cc->arena, uint32_t, ft->need_count == 0 ? 1 : ft->need_count * 2);

            if (more == NULL) {
                cc->nomem = true;
                return false;
            }
            if (ft->need_count > 0)
                memcpy(more, ft->needs, ft->need_count * sizeof *more);
            ft->needs = more;
        }
        ft->needs[ft->need_count++] = (uint32_t)need;
    }
    return true;
}

static bool find_needs(struct compiler *cc, struct feature *ft)
{
    const struct qn_sentence *se = &ft->sentence;

    /* Another stream's events know its fields only. */
    if (ft->is_bad ||
        (se->is_window && se->of.text.len > 0 && !qn_str_eq(se->of.text, main_schema(cc->f)->name)))
        return true;
    return add_needs(cc, ft, se->expr.text) &&
           (!se->is_window || add_needs(cc, ft, se->where.text));
}

/* path[0..depth): the features from the first one of the cycle to the last. */
static void report_cycle(struct compiler *cc, const uint32_t *path, uint32_t depth)
{
    char text[400];
    size_t n = 0;

    for (uint32_t i = 0; i <= depth && n < sizeof text; i++) {
        const struct qn_str name = cc->f->list[path[i % depth]].info.name;

        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", i == 0 ? "" : " -> ",
                              QN_STR_ARG(name));
    }
    qn_diag_error(
        cc->diags, QN_DIAG_CYCLE, cc->f->list[path[0]].text->name_at, NULL,
        depth == 1 ? "a feature that needs itself: %s" : "features that need each other: %s", text);
    for (uint32_t i = 0; i < depth; i++)
        cc->f->list[path[i]].is_bad = true;
}

/* Depth first with a stack of its own. */
static bool put_in_order(struct compiler *cc)
{
    struct qn_features *f = cc->f;
    uint32_t *path = QN_NEW_N(cc->arena, uint32_t, f->count + 1),
             *at = QN_NEW_N(cc->arena, uint32_t, f->count + 1);
    uint32_t depth, done = 0;

    if (path == NULL || at == NULL)
        return false;
    for (uint32_t root = 0; root < f->count; root++) {
        if (f->list[root].mark != 0)
            continue;
        path[0] = root;
        at[0] = 0;
        f->list[root].mark = 1;
        for (depth = 1; depth > 0;) {
            struct feature *ft = &f->list[path[depth - 1]];

            if (at[depth - 1] == ft->need_count) {
                ft->mark = 2;
                f->order[done++] = path[--depth];
                continue;
            }
            const uint32_t need = ft->needs[at[depth - 1]++];

            if (f->list[need].mark == 1) {
                uint32_t from = depth - 1;

                while (path[from] != need)
                    from--;
                report_cycle(cc, path + from, depth - from);
            } else if (f->list[need].mark == 0) {
                f->list[need].mark = 1;
                path[depth] = need;
                at[depth++] = 0;
            }
        }
    }
    QN_ASSERT(done == f->count);
    return true;
}

/* ---- scopes ---- */

static bool make_scope(struct compiler *cc, uint32_t stream, uint32_t extra, struct qn_name **names)
{
    const struct qn_schema *s = &cc->f->schemas[stream];

    *names = QN_NEW_N(cc->arena, struct qn_name, s->field_count + extra + 1);
    if (*names == NULL) {
        cc->nomem = true;
        return false;
    }
    for (uint32_t i = 0; i < s->field_count; i++)
        (*names)[i] = (struct qn_name){s->fields[i].name, s->fields[i].kind, i};
    return true;
}

/* ---- windows ---- */

static bool kind_fits_aggregate(enum qn_aggregate a, struct qn_kind k)
{
    if (k.type == QN_TIMESTAMP)
        return a == QN_AGGREGATE_MIN || a == QN_AGGREGATE_MAX;
    return k.type == QN_BOOL || k.type == QN_INT64 || k.type == QN_DOUBLE || k.type == QN_DECIMAL;
}

static struct qn_kind aggregate_kind(enum qn_aggregate a, struct qn_kind arg)
{
    if (a == QN_AGGREGATE_COUNT || (a == QN_AGGREGATE_SUM && arg.type == QN_BOOL))
        return (struct qn_kind){QN_INT64, 0};
    if (a == QN_AGGREGATE_MEAN)
        return (struct qn_kind){QN_DOUBLE, 0};
    return arg;
}

static const char *aggregate_text(enum qn_aggregate a)
{
    static const char *const text[] = {
#define QN_AGGREGATE_TEXT(name, word, arg) word,
        QN_AGGREGATE_LIST(QN_AGGREGATE_TEXT)
#undef QN_AGGREGATE_TEXT
    };

    return text[a];
}

static bool find_source(struct compiler *cc, const struct qn_sentence *se, uint32_t *source)
{
    const struct qn_features *f = cc->f;
    struct qn_str known[QN_STREAMS_MAX];

    *source = f->main;
    if (se->of.text.len == 0)
        return true;
    for (uint32_t i = 0; i < f->schema_count; i++) {
        known[i] = f->schemas[i].name;
        if (qn_str_eq(known[i], se->of.text)) {
            *source = i;
            return true;
        }
    }
    qn_diag_unknown(cc->diags, se->of.at, "stream", se->of.text, known, f->schema_count);
    return false;
}

/* The field a key is in one stream, or -1 after a diagnostic. */
static int key_field(struct compiler *cc, uint32_t stream, const struct qn_sentence_part *key)
{
    const struct qn_schema *s = &cc->f->schemas[stream];
    const int field = qn_schema_find(s, key->text);
    char what[160];

    if (field >= 0)
        return field;
    if (stream == cc->f->main && find_feature(cc->f, key->text) >= 0) {
        qn_diag_error(cc->diags, QN_DIAG_TYPE, key->at, NULL,
                      "a key is a field of the stream; '%.*s' is a feature", QN_STR_ARG(key->text));
        return -1;
    }
    struct qn_str *known = QN_NEW_N(cc->arena, struct qn_str, s->field_count + 1);

    if (known == NULL) {
        cc->nomem = true;
        return -1;
    }
    for (uint32_t i = 0; i < s->field_count; i++)
        known[i] = s->fields[i].name;
    snprintf(what, sizeof what, "field of %.*s", (int)(s->name.len > 100 ? 100 : s->name.len),
             s->name.p);
    qn_diag_unknown(cc->diags, key->at, what, key->text, known, s->field_count);
    return -1;
}

static bool read_keys(struct compiler *cc, const struct qn_sentence *se, uint32_t source,
                      struct group *g)
{
    const struct qn_features *f = cc->f;
    bool good = true;

    g->source = source;
    g->key_count = se->key_count;
    for (uint32_t i = 0; i < se->key_count; i++) {
        const struct qn_sentence_part *key = &se->keys[i];
        const int in_source = key_field(cc, source, key);
        const int in_main = source == f->main ? in_source : key_field(cc, f->main, key);
        char a[24], b[24];

        if (in_source < 0 || in_main < 0) {
            good = false;
            continue;
        }
        const struct qn_kind ks = f->schemas[source].fields[in_source].kind,
                             km = main_schema(f)->fields[in_main].kind;

        g->source_key[i] = (uint32_t)in_source;
        g->main_key[i] = (uint32_t)in_main;
        g->key_kind[i] = km;
        if (!qn_kind_eq(ks, km)) {
            qn_diag_error(cc->diags, QN_DIAG_TYPE, key->at, "a key has one type in both streams",
                          "'%.*s' is %s in %.*s, but %s in %.*s", QN_STR_ARG(key->text),
                          qn_kind_print(km, a), QN_STR_ARG(main_schema(f)->name),
                          qn_kind_print(ks, b), QN_STR_ARG(f->schemas[source].name));
            good = false;
        } else if (km.type == QN_DOUBLE || km.type == QN_LIST) {
            qn_diag_error(cc->diags, QN_DIAG_TYPE, key->at,
                          "keys are string, int64, decimal, bool or timestamp",
                          "'%.*s' is a %s, which is no key", QN_STR_ARG(key->text),
                          qn_kind_print(km, a));
            good = false;
        }
    }
    return good;
}

/* An expression over events of the source: for the main stream also features, as long as they need
 * no window. */
static struct qn_expr *event_expr(struct compiler *cc, struct feature *ft, uint32_t source,
                                  const struct qn_sentence_part *text)
{
    const struct qn_features *f = cc->f;
    struct qn_scope scope = cc->main_scope;
    struct qn_name *names;
    char what[160];
    struct qn_expr *e;
    bool nomem;

    if (source != f->main) {
        const struct qn_schema *s = &f->schemas[source];

        if (!make_scope(cc, source, 0, &names))
            return NULL;
        snprintf(what, sizeof what, "field of %.*s", (int)(s->name.len > 100 ? 100 : s->name.len),
                 s->name.p);
        scope = (struct qn_scope){names, s->field_count, what};
    }
    e = qn_expr_parse_or(text->text, text->at, (struct qn_str){0}, text->at, &scope, cc->arena,
                         cc->diags, &nomem);
    cc->nomem = cc->nomem || nomem;
    if (e == NULL || source != f->main)
        return e;
    for (uint32_t i = 0; i < ft->need_count; i++) {
        const struct feature *need = &f->list[ft->needs[i]];
        const uint32_t column = main_schema(f)->field_count + ft->needs[i];

        if (!need->needs_window || !qn_expr_reads(e, column))
            continue;
        qn_diag_error(cc->diags, QN_DIAG_WINDOW, qn_expr_column_pos(e, column),
                      "inside an aggregate: fields, and features without windows",
                      "'%.*s' %s: a window cannot be made of windows", QN_STR_ARG(need->info.name),
                      need->info.is_window ? "is a window" : "needs a window");
        return NULL;
    }
    return e;
}

static struct group *find_group(struct compiler *cc, const struct group *want)
{
    struct qn_features *f = cc->f;

    for (uint32_t i = 0; i < f->group_count; i++) {
        struct group *g = f->groups[i];

        /* A full one is left alone: the next begins another of the same key. */
        if (g->source == want->source && g->key_count == want->key_count &&
            g->window_count < QN_GROUP_WINDOWS_MAX && g->arg_count < QN_GROUP_ARGS_MAX &&
            g->where_count < QN_GROUP_WHERES_MAX &&
            memcmp(g->main_key, want->main_key, want->key_count * sizeof *g->main_key) == 0)
            return g;
    }
    struct group *made = QN_NEW(cc->arena, struct group);

    if (made != NULL)
        *made = *want;
    f->groups[f->group_count] = made;
    f->group_count += made != NULL;
    return made;
}

/* Index of an equal expression in list, else of the new one. */
static int32_t keep_expr(struct qn_expr **list, uint32_t *count, struct qn_expr *e)
{
    for (uint32_t i = 0; i < *count; i++)
        if (qn_expr_same(list[i], e))
            return (int32_t)i;
    list[*count] = e;
    return (int32_t)(*count)++;
}

static bool name_keys(struct compiler *cc, struct group *g, const struct qn_sentence *se)
{
    size_t bytes = 1;
    char *text, *to;

    for (uint32_t i = 0; i < se->key_count; i++)
        bytes += se->keys[i].text.len + 2;
    text = to = qn_arena_alloc(cc->arena, bytes);
    if (text == NULL)
        return false;
    for (uint32_t i = 0; i < se->key_count; i++) {
        if (i > 0) {
            memcpy(to, ", ", 2);
            to += 2;
        }
        memcpy(to, se->keys[i].text.p, se->keys[i].text.len);
        to += se->keys[i].text.len;
    }
    *to = 0;
    g->key_text = text;
    g->source_text = qn_arena_strdup(cc->arena, cc->f->schemas[g->source].name.p,
                                     cc->f->schemas[g->source].name.len);
    return g->source_text != NULL;
}

static int64_t slack_of(const struct qn_features *f, uint32_t source)
{
    const struct qn_schema *a = main_schema(f), *b = &f->schemas[source];
    const int64_t late = a->lateness_us > b->lateness_us ? a->lateness_us : b->lateness_us;
    const int64_t within = a->within_us > b->within_us ? a->within_us : b->within_us;
    int64_t sum;

    return __builtin_add_overflow(late, within, &sum) ? INT64_MAX / 4 : sum;
}

/* Puts a window whose parts are known into its group. */
static bool place_window(struct compiler *cc, struct feature *ft, const struct group *keys,
                         struct qn_expr *arg, struct qn_expr *where, struct qn_kind kind)
{
    const struct qn_sentence *se = &ft->sentence;
    struct group *g = find_group(cc, keys);
    struct qn_window w = {.aggregate = se->aggregate,
                          .arg = -1,
                          .where = -1,
                          .over_us = se->over_us,
                          .delayed_us = se->delayed_us,
                          .out = kind};

    if (g == NULL || (g->key_text == NULL && !name_keys(cc, g, se))) {
        cc->nomem = true;
        return false;
    }
    g->slack_us = slack_of(cc->f, g->source);
    w.excludes_current =
        se->excludes_current && se->delayed_us == 0; /* a delayed window never holds it */
    if (arg != NULL) {
        w.arg = keep_expr(g->args, &g->arg_count, arg);
        g->arg_kinds[w.arg] = qn_expr_kind(arg);
    }
    if (where != NULL)
        w.where = keep_expr(g->wheres, &g->where_count, where);
    uint32_t i = 0;

    for (; i < g->window_count; i++) {
        const struct qn_window *o = &g->windows[i];

        if (o->aggregate == w.aggregate && o->arg == w.arg && o->where == w.where &&
            o->over_us == w.over_us && o->delayed_us == w.delayed_us &&
            o->excludes_current == w.excludes_current)
            break;
    }
    if (i == g->window_count)
        g->windows[g->window_count++] = w;
    g->shown_by[i]++;
    ft->window = i;
    for (ft->group = 0; cc->f->groups[ft->group] != g; ft->group++)
        ;
    ft->info.group = (int32_t)ft->group;
    return true;
}

static bool compile_window(struct compiler *cc, struct feature *ft)
{
    const struct qn_sentence *se = &ft->sentence;
    struct group keys = {0};
    struct qn_expr *arg = NULL, *where = NULL;
    struct qn_kind arg_kind = {QN_INT64, 0}, kind;
    uint32_t source;
    bool nomem = false, good;
    char k[24];

    if (!find_source(cc, se, &source))
        return false;
    good = read_keys(cc, se, source, &keys);
    if (se->expr.text.len > 0) {
        arg = event_expr(cc, ft, source, &se->expr);
        if (arg == NULL)
            good = false;
        else if (!kind_fits_aggregate(se->aggregate, arg_kind = qn_expr_kind(arg))) {
            const bool time = arg_kind.type == QN_TIMESTAMP;

            qn_diag_error(cc->diags, QN_DIAG_TYPE, se->expr.at,
                          time ? "min and max take timestamps"
                               : "a number, true or false; to count events: count() where ...",
                          "%s needs a number, found %s", aggregate_text(se->aggregate),
                          qn_kind_print(arg_kind, k));
            good = false;
        }
    }
    if (se->where.text.len > 0) {
        where = event_expr(cc, ft, source, &se->where);
        if (where == NULL)
            good = false;
        else if (qn_expr_kind(where).type != QN_BOOL) {
            qn_diag_error(
                cc->diags, QN_DIAG_TYPE, se->where.at, "compare it, for example amount > 200",
                "'where' needs a condition, found %s", qn_kind_print(qn_expr_kind(where), k));
            good = false;
        }
    }
    if (!good || cc->nomem)
        return false;
    kind = aggregate_kind(se->aggregate, arg_kind);
    if (se->fallback.text.len > 0 &&
        !qn_expr_literal(se->fallback.text, se->fallback.at, kind, cc->arena, cc->diags,
                         &ft->fallback, &nomem)) {
        cc->nomem = cc->nomem || nomem;
        return false;
    }
    ft->info.kind = kind;
    return place_window(cc, ft, &keys, arg, where, kind);
}

static bool compile_expression(struct compiler *cc, struct feature *ft)
{
    const struct qn_sentence *se = &ft->sentence;
    bool nomem;

    ft->expr = qn_expr_parse_or(se->expr.text, se->expr.at, se->fallback.text, se->fallback.at,
                                &cc->main_scope, cc->arena, cc->diags, &nomem);
    cc->nomem = cc->nomem || nomem;
    if (ft->expr == NULL)
        return false;
    ft->info.kind = qn_expr_kind(ft->expr);
    for (uint32_t i = 0; i < ft->need_count; i++)
        ft->needs_window = ft->needs_window || cc->f->list[ft->needs[i]].needs_window;
    return true;
}

/* In the order of need; what is bad is known to the scope as broken. */
static void compile_all(struct compiler *cc)
{
    struct qn_features *f = cc->f;
    const uint32_t fields = main_schema(f)->field_count;

    for (uint32_t i = 0; i < f->count; i++)
        cc->main_names[fields + i] =
            (struct qn_name){f->list[i].info.name, {QN_TYPE_COUNT, 0}, fields + i};
    for (uint32_t i = 0; i < f->count && !cc->nomem; i++) {
        struct feature *ft = &f->list[f->order[i]];

        ft->info.is_window = ft->sentence.is_window;
        ft->info.has_default = ft->sentence.fallback.text.len > 0;
        ft->info.group = -1;
        ft->needs_window = ft->info.is_window;
        if (!ft->is_bad)
            ft->is_bad =
                !(ft->info.is_window ? compile_window(cc, ft) : compile_expression(cc, ft));
        if (!ft->is_bad)
            cc->main_names[fields + f->order[i]].kind = ft->info.kind;
    }
}

static bool alloc_features(struct compiler *cc, uint32_t count)
{
    struct qn_features *f = cc->f;

    f->list = QN_NEW_N(cc->arena, struct feature, count + 1);
    f->order = QN_NEW_N(cc->arena, uint32_t, count + 1);
    f->groups = QN_NEW_N(cc->arena, struct group *, count + 1);
    return f->list != NULL && f->order != NULL && f->groups != NULL &&
           make_scope(cc, f->main, count, &cc->main_names);
}

/* Copies a text into boot memory: pieces of it are kept. */
static bool keep_text(struct compiler *cc, const struct qn_feature_text *text, struct feature *ft)
{
    struct qn_feature_text *kept = QN_NEW(cc->arena, struct qn_feature_text);

    if (kept == NULL)
        return false;
    *kept = *text;
    kept->name.p =
        qn_arena_strdup(cc->arena, text->name.len > 0 ? text->name.p : "", text->name.len);
    kept->text.p =
        qn_arena_strdup(cc->arena, text->text.len > 0 ? text->text.p : "", text->text.len);
    ft->text = kept;
    ft->info.name = kept->name;
    return kept->name.p != NULL && kept->text.p != NULL;
}

static bool compile(struct compiler *cc, const struct qn_feature_text *texts, uint32_t count)
{
    struct qn_features *f = cc->f;

    if (!alloc_features(cc, count))
        return false;
    for (uint32_t i = 0; i < count; i++, f->count++)
        if (!keep_text(cc, &texts[i], &f->list[i]))
            return false;
    cc->main_scope =
        (struct qn_scope){cc->main_names, main_schema(f)->field_count + count, "field or feature"};
    for (uint32_t i = 0; i < count; i++) {
        struct feature *ft = &f->list[i];

        check_name(cc, i);
        if (!qn_sentence_parse(ft->text->text, ft->text->text_at, cc->diags, &ft->sentence))
            ft->is_bad = true;
    }
    for (uint32_t i = 0; i < count; i++)
        if (!find_needs(cc, &f->list[i]))
            return false;
    if (!put_in_order(cc))
        return false;
    compile_all(cc);
    return !cc->nomem;
}

qn_status qn_features_new(const struct qn_feature_text *texts, uint32_t count,
                          const struct qn_schema *schemas, uint32_t schema_count,
                          uint32_t main_stream, struct qn_arena *boot, struct qn_diags *diags,
                          struct qn_features **out, struct qn_err *err)
{
    struct compiler cc = {.arena = boot, .diags = diags};
    const unsigned errors = diags->errors;

    QN_ASSERT(main_stream < schema_count);
    QN_ASSERT(schema_count <= QN_STREAMS_MAX);
    *out = NULL;
    cc.f = QN_NEW(boot, struct qn_features);
    if (cc.f != NULL) {
        cc.f->schemas = schemas;
        cc.f->schema_count = schema_count;
        cc.f->main = main_stream;
    }
    if (cc.f == NULL || !compile(&cc, texts, count))
        return qn_err_set(err, QN_NOMEM, "out of memory for the features");
    for (uint32_t i = 0; i < count; i++)
        if (cc.f->list[i].is_bad)
            return QN_OK;
    if (diags->errors == errors)
        *out = cc.f;
    return QN_OK;
}

/* ---- what is known ---- */

uint32_t qn_features_count(const struct qn_features *f)
{
    return f->count;
}

const struct qn_feature_info *qn_features_info(const struct qn_features *f, uint32_t i)
{
    QN_ASSERT(i < f->count);
    return &f->list[i].info;
}

uint32_t qn_features_group_count(const struct qn_features *f)
{
    return f->group_count;
}

struct qn_group_spec qn_feature_group_spec(const struct group *g)
{
    return (struct qn_group_spec){.args = g->arg_kinds,
                                  .arg_count = g->arg_count,
                                  .where_count = g->where_count,
                                  .windows = g->windows,
                                  .window_count = g->window_count,
                                  .slack_us = g->slack_us,
                                  .is_counted = g->is_counted,
                                  .has_floor = g->has_floor};
}

struct qn_group_info qn_features_group(const struct qn_features *f, uint32_t i)
{
    enum { KEY_BYTES_ASSUMED = 12 };
    QN_ASSERT(i < f->group_count);
    const struct group *g = f->groups[i];
    struct qn_group_info info = {.key = g->key_text, .windows = g->window_count};
    struct qn_group *state = g->state, *made = NULL;

    info.source = g->source_text;
    if (state == NULL) { /* not started: an empty one knows the sizes */
        const struct qn_group_spec spec = qn_feature_group_spec(g);

        if (qn_group_new(&spec, 0, &made, NULL) != QN_OK)
            return info;
        state = made;
    }
    info.keeps_us = qn_group_keeps_us(state);
    info.key_bytes = qn_group_key_bytes(state, KEY_BYTES_ASSUMED);
    info.event_bytes = qn_group_event_bytes(state);
    info.keys = qn_group_keys(state);
    info.bytes = qn_group_bytes(state);
    qn_group_free(made);
    return info;
}
