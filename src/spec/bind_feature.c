/* SPDX-License-Identifier: Apache-2.0
 * bind_feature.c - features of a spec: their names, their sentences handed to the feature room,
 * their mistakes brought home.
 *
 * The feature room compiles sentences; here they are collected, checked for clashing names, and
 * what it reports is moved from the sentence to its place in the file. A sentence that needs
 * something broken says nothing, nor does one that needs such a sentence. Also keeps the list of
 * names that models and `when` may use. Thread: one. Memory: boot arena. */
#include "feature/window.h"
#include "spec/spec_int.h"

#include <stdio.h>

enum { FEATURES_MAX = 4096 };

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool qn_mentions(struct qn_str text, struct qn_str name)
{
    for (uint32_t i = 0; name.len > 0 && i + name.len <= text.len; i++) {
        if (memcmp(text.p + i, name.p, name.len) == 0 && (i == 0 || !is_word(text.p[i - 1])) &&
            (i + name.len == text.len || !is_word(text.p[i + name.len])))
            return true;
    }
    return false;
}

void qn_move_diags(struct qn_binder *b, const struct qn_diags *from,
                   const struct qn_spec_sentence *sentences, uint32_t count)
{
    uint32_t hidden = UINT32_MAX;

    for (unsigned i = 0; i < from->count; i++) {
        const struct qn_diag *d = &from->list[i];
        uint32_t index = d->at.line > 0 ? (d->at.line - 1) / 2 : count;
        const struct qn_spec_sentence *s = index < count ? &sentences[index] : NULL;
        struct qn_pos at = {0};
        const char *text = d->text, *hint = d->hint;
        bool is_hidden = s != NULL && s->value->is_secret && d->at.line % 2 == 0;

        if (s != NULL && (s->is_silent || (is_hidden && index == hidden)))
            continue;
        if (s != NULL)
            at = d->at.line % 2 == 1 ? s->name->at
                                     : qn_yaml_place(s->value, b->source, d->at.col - 1, d->at.len);
        if (is_hidden) {
            hidden = index; /* once is enough */
            text = "the sentence cannot be read; its words are not shown, because a secret was "
                   "filled in";
            hint = NULL;
        }
        if (d->is_warning)
            qn_diag_warn(b->diags, d->code, at, hint, "%s", text);
        else
            qn_diag_error(b->diags, d->code, at, hint, "%s", text);
    }
}

/* ---- collecting ---- */

struct features {
    struct qn_builder *b;
    struct qn_feature_text *texts;
    struct qn_spec_sentence *sentences;
    uint32_t count;
};

static void check_clash(struct features *fs, const struct qn_yaml_node *key)
{
    struct qn_builder *b = fs->b;
    const struct qn_schema *s = b->main_broken ? NULL : &b->plan->schemas[b->plan->main_stream];
    int field = s != NULL ? qn_schema_find(s, key->text) : -1;

    if (field >= 0)
        QN_REPORT(&b->bind, DUPLICATE, key, "give the feature another name",
                  "'%.*s' is already a field of %.*s", QN_STR_ARG(key->text), QN_STR_ARG(s->name));
    else if (qn_str_is(key->text, "score") && b->models_declared > 0)
        QN_REPORT(&b->bind, DUPLICATE, key, "give the feature another name",
                  "'score' is the model's answer and cannot name a feature");
}

/* True if there is a sentence to compile. */
static bool read_sentence(struct features *fs, const struct qn_yaml_node *key,
                          const struct qn_yaml_node *value)
{
    struct qn_binder *b = &fs->b->bind;
    char found[QN_SHOW_BYTES];

    if (value->is_broken)
        return false;
    if (value->kind == QN_YAML_NULL) {
        QN_REPORT(b, MISSING, key, "such as: mean(amount) by customer_id over 30d",
                  "the feature '%.*s' says nothing", QN_STR_ARG(key->text));
        return false;
    }
    if (!qn_yaml_is_scalar(value)) {
        QN_REPORT(b, TYPE, value, "such as: mean(amount) by customer_id over 30d",
                  "a feature is one sentence, found %s", qn_describe(value, found));
        return false;
    }
    return true;
}

static qn_status collect(struct features *fs)
{
    struct qn_builder *b = fs->b;
    const struct qn_slot *slot = &b->top[KEY_FEATURES];
    uint32_t count = slot->is_set && slot->value->kind == QN_YAML_MAP ? slot->value->count : 0;
    struct qn_str *shown;

    if (count > FEATURES_MAX) {
        QN_REPORT(&b->bind, RANGE, slot->key, NULL, "a spec has at most %d features, found %u",
                  FEATURES_MAX, count);
        count = FEATURES_MAX;
    }
    fs->texts = QN_NEW_N(b->bind.arena, struct qn_feature_text, count);
    fs->sentences = QN_NEW_N(b->bind.arena, struct qn_spec_sentence, count);
    b->feature_values = QN_NEW_N(b->bind.arena, const struct qn_yaml_node *, count);
    shown = QN_NEW_N(b->bind.arena, struct qn_str, count);
    if (fs->texts == NULL || fs->sentences == NULL || b->feature_values == NULL || shown == NULL)
        return qn_no_memory(b->err);
    b->plan->feature_texts = shown;
    for (uint32_t i = 0; i < count; i++) {
        const struct qn_yaml_node *key = slot->value->items[i].key,
                                  *value = slot->value->items[i].value;
        unsigned errors = b->bind.diags->errors;

        fs->sentences[i] = (struct qn_spec_sentence){key, value, false};
        b->feature_values[i] = value;
        shown[i] = qn_shown(value);
        if (qn_check_name(&b->bind, key, "a feature", false, "such as: %s"))
            check_clash(fs, key);
        fs->texts[i].name = key->text;
        fs->texts[i].name_at = (struct qn_pos){2 * i + 1, 1, key->text.len};
        if (read_sentence(fs, key, value) && b->bind.diags->errors == errors && !key->is_broken)
            fs->texts[i].text = value->text;
        else
            fs->sentences[i].is_silent = true;
        fs->texts[i].text_at = (struct qn_pos){2 * i + 2, 1, fs->texts[i].text.len};
        if (fs->texts[i].text.len == 0) { /* its name stays known */
            fs->texts[i].text = (struct qn_str){"0.5", 3};
            fs->sentences[i].is_silent = true;
        }
    }
    fs->count = count;
    return QN_OK;
}

/* Sentences that need something broken are broken too; until nothing changes. */
static void spread_silence(struct features *fs)
{
    struct qn_builder *b = fs->b;
    bool again = true;

    for (uint32_t s = 0; s < b->plan->schema_count; s++) {
        const struct qn_schema *schema = &b->plan->schemas[s];
        const struct qn_stream_notes *notes = &b->streams[s];

        for (uint32_t i = 0; i < fs->count; i++) {
            struct qn_spec_sentence *one = &fs->sentences[i];

            one->is_silent |= notes->is_broken && (s == b->plan->main_stream ||
                                                   qn_mentions(one->value->text, schema->name));
            for (uint32_t f = 0; f < schema->field_count && !one->is_silent; f++)
                one->is_silent =
                    notes->field_broken[f] && qn_mentions(one->value->text, schema->fields[f].name);
        }
    }
    while (again) {
        again = false;
        for (uint32_t i = 0; i < fs->count; i++) {
            for (uint32_t k = 0; k < fs->count && !fs->sentences[i].is_silent; k++) {
                if (fs->sentences[k].is_silent && k != i &&
                    qn_mentions(fs->sentences[i].value->text, fs->texts[k].name))
                    fs->sentences[i].is_silent = again = true;
            }
        }
    }
}

static bool has_broken_stream(const struct qn_builder *b)
{
    for (uint32_t s = 0; s < b->plan->schema_count; s++) {
        if (b->streams[s].is_broken)
            return true;
        for (uint32_t f = 0; f < b->plan->schemas[s].field_count; f++) {
            if (b->streams[s].field_broken[f])
                return true;
        }
    }
    return false;
}

/* ---- the names that models and `when` may use ---- */

static qn_status list_names(struct features *fs)
{
    struct qn_builder *b = fs->b;
    struct qn_plan *p = b->plan;
    const struct qn_schema *s = b->main_broken ? NULL : &p->schemas[p->main_stream];
    uint32_t fields = s != NULL ? s->field_count : 0, count = fields + fs->count;

    b->names = QN_NEW_N(b->bind.arena, struct qn_name, count + 1);
    b->names_broken = QN_NEW_N(b->bind.arena, bool, count + 1);
    if (b->names == NULL || b->names_broken == NULL)
        return qn_no_memory(b->err);
    for (uint32_t i = 0; i < fields; i++) {
        b->names[i] = (struct qn_name){s->fields[i].name, s->fields[i].kind, i};
        b->names_broken[i] =
            b->streams[p->main_stream].field_broken[i] || b->streams[p->main_stream].is_broken;
    }
    for (uint32_t i = 0; i < fs->count; i++) {
        struct qn_kind kind = {QN_DOUBLE, 0};

        if (!b->features_broken)
            kind = qn_features_info(p->features, i)->kind;
        b->names[fields + i] = (struct qn_name){fs->texts[i].name, kind, fields + i};
        b->names_broken[fields + i] = b->features_broken;
    }
    b->name_count = count;
    p->field_count = fields;
    p->feature_count = fs->count;
    p->score_column = count;
    return QN_OK;
}

/* Windows without an end hold memory for every key for ever. */
static void warn_unbounded(struct features *fs)
{
    for (uint32_t i = 0; i < fs->count; i++) {
        const struct qn_feature_info *info = qn_features_info(fs->b->plan->features, i);
        struct qn_group_info group;

        if (!info->is_window || info->group < 0 || fs->sentences[i].value->is_secret)
            continue;
        group = qn_features_group(fs->b->plan->features, (uint32_t)info->group);
        if (group.keeps_us == QN_OVER_ALL && qn_mentions(fs->texts[i].text, qn_str_of("all")))
            qn_diag_warn(fs->b->bind.diags, QN_DIAG_WINDOW, fs->sentences[i].value->at,
                         "bounded: over 30d, over 90d",
                         "'over all' keeps state for every %s ever seen: memory grows with the "
                         "number of keys",
                         group.key);
    }
}

qn_status qn_build_features(struct qn_builder *b)
{
    struct features fs = {.b = b};
    struct qn_diags found = {.arena = b->bind.arena};
    struct qn_plan *p = b->plan;
    qn_status rc;

    QN_TRY(collect(&fs));
    if (b->main_broken) {
        b->features_broken = true;
        return list_names(&fs);
    }
    spread_silence(&fs);
    for (uint32_t i = 0; i < fs.count; i++)
        b->features_broken |= fs.sentences[i].is_silent;
    if (b->streams[p->main_stream].is_broken || p->schemas[p->main_stream].time < 0) {
        b->features_broken = true;
        return list_names(&fs);
    }
    rc = qn_features_new(fs.texts, fs.count, p->schemas, p->schema_count, p->main_stream,
                         b->bind.arena, &found, &p->features, b->err);
    qn_move_diags(&b->bind, &found, fs.sentences, fs.count);
    if (rc != QN_OK && rc != QN_INVALID)
        return rc;
    if (p->features == NULL || found.errors > 0 || has_broken_stream(b))
        b->features_broken = true;
    QN_TRY(list_names(&fs));
    if (!b->features_broken)
        warn_unbounded(&fs);
    return QN_OK;
}
