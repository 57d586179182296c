/* SPDX-License-Identifier: Apache-2.0
 * bind.c - reads a mapping of the spec by its key table: kinds, ranges, choices, unknown and
 * missing keys.
 *
 * The third stop of a spec, between filled-in nodes and the builders. Everything wrong in a mapping
 * is reported at once; a slot that was reported is broken and whoever needs it stays silent. An
 * unknown key that clearly means a known one (a near miss, another tool's word) makes that one
 * broken too, so it is not reported as missing as well. Thread: one. Memory: none but the
 * diagnostics'. */
#include "base/number.h"
#include "spec/spec_int.h"

#include <stdio.h>

enum { HINT_BYTES = 240, KNOWN_BYTES = 72 };

qn_status qn_no_memory(struct qn_err *err)
{
    return qn_err_set(err, QN_NOMEM, "out of memory while reading the spec");
}

struct qn_str qn_shown(const struct qn_yaml_node *n)
{
    return n->is_secret ? n->written : n->text;
}

const char *qn_show(const struct qn_yaml_node *n, char out[QN_SHOW_BYTES])
{
    struct qn_str s = qn_shown(n), part = qn_utf8_cut(s, 80);

    snprintf(out, QN_SHOW_BYTES, "'%.*s%s'%s", QN_STR_ARG(part), part.len < s.len ? "..." : "",
             n->is_secret ? " (not shown)" : "");
    return out;
}

const char *qn_describe(const struct qn_yaml_node *n, char out[QN_SHOW_BYTES])
{
    char text[QN_SHOW_BYTES];

    switch (n->kind) {
    case QN_YAML_NULL:
        return "nothing";
    case QN_YAML_LIST:
        return "a list";
    case QN_YAML_MAP:
        return "a mapping";
    case QN_YAML_BOOL:
    case QN_YAML_NUMBER:
    case QN_YAML_TEXT:
        break;
    }
    if (n->is_secret || n->kind == QN_YAML_TEXT)
        return qn_show(n, out);
    snprintf(text, sizeof(text), "%.*s", QN_STR_ARG(qn_utf8_cut(n->text, 80)));
    snprintf(out, QN_SHOW_BYTES, "%s%s", n->kind == QN_YAML_NUMBER ? "the number " : "", text);
    return out;
}

/* ---- unknown and missing keys ---- */

static const struct qn_key *find_key(const struct qn_key_table *t, struct qn_str name)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (qn_str_is(name, t->keys[i].name))
            return &t->keys[i];
    }
    return NULL;
}

static void list_known(const struct qn_key_table *t, char out[HINT_BYTES])
{
    size_t n = (size_t)snprintf(out, HINT_BYTES, "known:");

    for (uint32_t i = 0; i < t->count; i++) {
        const char *name = t->keys[i].name;

        if (t->keys[i].not_yet != NULL)
            continue;
        if (n + strlen(name) + 2 > KNOWN_BYTES) {
            snprintf(out + n, HINT_BYTES - n, ", ...");
            return;
        }
        n += (size_t)snprintf(out + n, HINT_BYTES - n, "%s %s", i == 0 ? "" : ",", name);
    }
}

/* The near key of the same table, or NULL. */
static const struct qn_key *near_key(const struct qn_key_table *t, struct qn_str word)
{
    struct qn_str names[KEYS_MAX];
    int near;

    for (uint32_t i = 0; i < t->count; i++)
        names[i] = qn_str_of(t->keys[i].name);
    near = qn_nearest(word, names, t->count);
    return near < 0 ? NULL : &t->keys[near];
}

static const char *find_synonym(const struct qn_key_table *t, struct qn_str word)
{
    for (const struct qn_key_synonym *s = t->synonyms; s->theirs != NULL; s++) {
        if (qn_edit_distance(word, qn_str_of(s->theirs), 1) == 0)
            return s->ours;
    }
    return NULL;
}

static const struct qn_key_table *table_with(struct qn_str key)
{
    for (const struct qn_key_table *const *t = qn_key_tables; *t != NULL; t++) {
        if (find_key(*t, key) != NULL)
            return *t;
    }
    return NULL;
}

static void unknown_key(struct qn_binder *b, const struct qn_yaml_node *key,
                        const struct qn_key_table *t, struct qn_slot *slots)
{
    const char *ours = find_synonym(t, key->text);
    const struct qn_key *meant =
        ours != NULL ? find_key(t, qn_str_of(ours)) : near_key(t, key->text);
    const struct qn_key_table *other = table_with(key->text);
    struct qn_str word = qn_utf8_cut(key->text, 80);
    char hint[HINT_BYTES];

    list_known(t, hint);
    if (meant != NULL) {
        slots[meant - t->keys].is_broken = true;
        QN_REPORT(b, UNKNOWN_KEY, key, hint, "unknown key '%.*s' in %s (did you mean '%s'?)",
                  QN_STR_ARG(word), t->what, meant->name);
    } else if (ours != NULL) {
        for (uint32_t i = 0; i < t->count; i++) { /* "write KEY: ..." means that key */
            size_t n = strlen(t->keys[i].name);

            if (strncmp(ours, "write ", 6) == 0 && strncmp(ours + 6, t->keys[i].name, n) == 0 &&
                ours[6 + n] == ':')
                slots[i].is_broken = true;
        }
        QN_REPORT(b, UNKNOWN_KEY, key, hint, "unknown key '%.*s' in %s: %s", QN_STR_ARG(word),
                  t->what, ours);
    } else if (other != NULL) {
        QN_REPORT(b, UNKNOWN_KEY, key, hint, "the key '%.*s' does not belong in %s but under '%s'",
                  QN_STR_ARG(word), t->what,
                  other == &qn_keys_top ? "the top of the spec" : other->path);
    } else {
        QN_REPORT(b, UNKNOWN_KEY, key, hint, "unknown key '%.*s' in %s", QN_STR_ARG(word), t->what);
    }
}

static void missing_keys(struct qn_binder *b, const struct qn_yaml_node *owner,
                         const struct qn_yaml_node *map, const struct qn_key_table *t,
                         const struct qn_slot *slots)
{
    for (uint32_t i = 0; i < t->count; i++) {
        const struct qn_key *k = &t->keys[i];
        struct qn_pos at = owner != NULL ? owner->at : map->at;
        char hint[HINT_BYTES];

        if (!k->is_required || slots[i].key != NULL || slots[i].is_broken)
            continue;
        if (owner == NULL && i > 0)
            at = (struct qn_pos){0}; /* the whole file */
        snprintf(hint, sizeof(hint), "add '%s: ...': %s", k->name, k->help);
        if (owner == NULL && i == 0)
            qn_diag_error(b->diags, QN_DIAG_MISSING, at, "add 'quern: 1' as the first line",
                          "the spec does not say its format version");
        else if (owner == NULL)
            qn_diag_error(b->diags, QN_DIAG_MISSING, at, NULL, "the spec has no '%s': %s", k->name,
                          k->help);
        else
            qn_diag_error(b->diags, QN_DIAG_MISSING, at, hint, "'%.*s' has no '%s'",
                          QN_STR_ARG(qn_utf8_cut(owner->text, 80)), k->name);
    }
}

/* ---- values ---- */

static void wrong(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot,
                  const char *expected, const char *hint)
{
    char found[QN_SHOW_BYTES];
    const struct qn_yaml_node *at = slot->value->kind == QN_YAML_NULL ? slot->key : slot->value;

    QN_REPORT(b, TYPE, at, hint, "'%s' must be %s, found %s", k->name, expected,
              qn_describe(slot->value, found));
}

static bool bind_bool(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot)
{
    if (slot->value->kind != QN_YAML_BOOL) {
        wrong(b, k, slot, "true or false",
              slot->value->kind == QN_YAML_TEXT ? "without quotes; yes, no, on, off are texts"
                                                : NULL);
        return false;
    }
    slot->i64 = (slot->value->text.p[0] | 32) == 't';
    return true;
}

static bool bind_int(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot)
{
    if (!qn_yaml_scaled(slot->value, 0, &slot->i64)) {
        wrong(b, k, slot, "a whole number", NULL);
        return false;
    }
    if (slot->i64 < k->min || slot->i64 > k->max) {
        char found[QN_SHOW_BYTES];

        QN_REPORT(b, RANGE, slot->value, NULL, "'%s' lies between %lld and %lld, found %s", k->name,
                  (long long)k->min, (long long)k->max, qn_describe(slot->value, found));
        return false;
    }
    return true;
}

static bool bind_number(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot)
{
    if (qn_yaml_double(slot->value, &slot->f64))
        return true;
    wrong(b, k, slot, "a number", "such as -999");
    return false;
}

static bool bind_duration(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot)
{
    char most[41] = {0}, found[QN_SHOW_BYTES];
    const struct qn_yaml_node *n = slot->value;

    if (n->kind == QN_YAML_NUMBER && !n->is_secret) {
        QN_REPORT(b, TYPE, n, "such as 50ms, 10s, 5m, 1h or 7d",
                  "'%s' needs a unit: write %.*ss for seconds", k->name,
                  QN_STR_ARG(qn_utf8_cut(n->text, 40)));
        return false;
    }
    if (n->kind != QN_YAML_TEXT || !qn_duration_parse(n->text, &slot->i64)) {
        QN_REPORT(b, TYPE, n->kind == QN_YAML_NULL ? slot->key : n,
                  "such as 50ms, 10s, 5m, 1h, 7d or 1h30m", "'%s' must be a duration, found %s",
                  k->name, qn_describe(n, found));
        return false;
    }
    if (slot->i64 < k->min || slot->i64 > k->max) {
        bool is_short = slot->i64 < k->min;

        qn_duration_print(most, is_short ? k->min : k->max);
        QN_REPORT(b, RANGE, n, NULL, "'%s' is at %s %s, found %s", k->name,
                  is_short ? "least" : "most", most, qn_show(n, found));
        return false;
    }
    return true;
}

/* 64KiB, 1GB, 4096B: digits, an optional blank, an optional prefix, B. */
static bool parse_bytes(struct qn_str s, int64_t *out)
{
    static const char prefixes[] = "KMGT";
    const char *prefix;
    int64_t v = 0, unit = 1;
    uint32_t i = 0;

    for (; i < s.len && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, s.p[i] - '0', &v))
            return false;
    if (i == 0)
        return false;
    i += i < s.len && s.p[i] == ' ';
    prefix = i < s.len && s.p[i] != '\0' ? strchr(prefixes, s.p[i]) : NULL;
    if (prefix != NULL) {
        bool is_binary = i + 1 < s.len && s.p[i + 1] == 'i';

        for (int k = 0; k <= prefix - prefixes; k++)
            unit *= is_binary ? 1024 : 1000;
        i += is_binary ? 2 : 1;
    }
    return i + 1 == s.len && s.p[i] == 'B' && !__builtin_mul_overflow(v, unit, out);
}

static bool bind_bytes(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot)
{
    const struct qn_yaml_node *n = slot->value;
    char found[QN_SHOW_BYTES];

    if (!qn_yaml_is_scalar(n) || n->kind == QN_YAML_NULL || !parse_bytes(n->text, &slot->i64)) {
        QN_REPORT(b, TYPE, n->kind == QN_YAML_NULL ? slot->key : n, "such as 64KiB, 256MiB, 1GB",
                  "'%s' must be a size with its unit, found %s", k->name, qn_describe(n, found));
        return false;
    }
    if (slot->i64 < k->min || slot->i64 > k->max) {
        QN_REPORT(b, RANGE, n, NULL, "'%s' lies between %lld and %lld bytes, found %s", k->name,
                  (long long)k->min, (long long)k->max, qn_show(n, found));
        return false;
    }
    return true;
}

/* Splits "a|!b|c": copies entry `index` without its '!'; false when there is none. */
static bool choice_at(const char *choices, unsigned index, struct qn_str *out, bool *is_there)
{
    while (index > 0 && *choices != '\0') {
        index -= *choices == '|';
        choices++;
    }
    if (*choices == '\0')
        return false;
    *is_there = *choices != '!';
    out->p = choices + (*is_there ? 0 : 1);
    out->len = (uint32_t)strcspn(out->p, "|");
    return true;
}

static void unknown_choice(struct qn_binder *b, const struct qn_key *k,
                           const struct qn_yaml_node *word, const struct qn_str *known,
                           uint32_t count)
{
    int near = word->is_secret ? -1 : qn_nearest(word->text, known, count);
    char found[QN_SHOW_BYTES], hint[HINT_BYTES];
    size_t n = (size_t)snprintf(hint, sizeof(hint), "known:");

    for (uint32_t i = 0; i < count; i++)
        n += (size_t)snprintf(hint + n, sizeof(hint) - n, "%s %.*s", i == 0 ? "" : ",",
                              QN_STR_ARG(known[i]));
    if (near >= 0)
        QN_REPORT(b, UNKNOWN_NAME, word, hint, "'%s' cannot be %s (did you mean '%.*s'?)", k->name,
                  qn_show(word, found), QN_STR_ARG(known[near]));
    else
        QN_REPORT(b, UNKNOWN_NAME, word, hint, "'%s' cannot be %s", k->name, qn_show(word, found));
}

static bool bind_choice(struct qn_binder *b, const struct qn_key *k, const struct qn_yaml_node *n,
                        int64_t *out)
{
    struct qn_str known[32], choice;
    uint32_t count = 0;
    bool is_there;

    for (unsigned i = 0; choice_at(k->choices, i, &choice, &is_there); i++) {
        if (is_there)
            known[count++] = choice;
        if (!qn_yaml_is_scalar(n) || !qn_str_eq(choice, n->text))
            continue;
        if (!is_there) {
            QN_REPORT(b, NOT_YET, n, k->choice_advice, "'%s: %.*s' is not available yet", k->name,
                      QN_STR_ARG(choice));
            return false;
        }
        *out = i;
        return true;
    }
    if (n->kind == QN_YAML_NULL || !qn_yaml_is_scalar(n)) {
        struct qn_slot slot = {.key = n, .value = n};

        wrong(b, k, &slot, "one word", k->choices);
        return false;
    }
    unknown_choice(b, k, n, known, count);
    return false;
}

static bool bind_choices(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot)
{
    bool is_good = true;
    int64_t index;

    slot->i64 = 0;
    if (slot->value->kind != QN_YAML_LIST) {
        if (!bind_choice(b, k, slot->value, &index))
            return false;
        slot->i64 = (int64_t)1 << index;
        return true;
    }
    for (uint32_t i = 0; i < slot->value->count; i++) {
        if (bind_choice(b, k, slot->value->items[i].value, &index))
            slot->i64 |= (int64_t)1 << index;
        else
            is_good = false;
    }
    return is_good;
}

static bool bind_list(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot)
{
    const struct qn_yaml_node *n = slot->value;
    char found[QN_SHOW_BYTES], hint[HINT_BYTES];

    if (n->kind != QN_YAML_LIST) {
        snprintf(hint, sizeof(hint), "in brackets: %s: [a, b]", k->name);
        wrong(b, k, slot, "a list", hint);
        return false;
    }
    for (uint32_t i = 0; i < n->count; i++) {
        const struct qn_yaml_node *v = n->items[i].value;

        if (v->is_broken)
            return false;
        if (qn_yaml_is_scalar(v) && v->kind != QN_YAML_NULL)
            continue;
        QN_REPORT(b, TYPE, v, NULL, "'%s' is a list of single values, found %s in it", k->name,
                  qn_describe(v, found));
        return false;
    }
    return true;
}

static bool bind_map(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot)
{
    const struct qn_yaml_node *n = slot->value;
    char hint[HINT_BYTES];

    if (n->kind == QN_YAML_MAP && (n->count > 0 || !k->is_required))
        return true;
    if (n->kind == QN_YAML_NULL && !k->is_required)
        return true;
    if (k->type == QN_KEY_TABLE && qn_yaml_is_scalar(n) && n->kind != QN_YAML_NULL &&
        n->text.len < 60 && !n->is_secret)
        snprintf(hint, sizeof(hint), "write '%s: {%s: %.*s}'", k->name, k->sub->keys[0].name,
                 QN_STR_ARG(n->text));
    else if (k->type == QN_KEY_TABLE)
        snprintf(hint, sizeof(hint), "write '%s: ...' below it, indented", k->sub->keys[0].name);
    else if (n->kind == QN_YAML_LIST)
        snprintf(hint, sizeof(hint),
                 "not a list: 'NAME: ...' lines below it, indented, without '-'");
    else
        snprintf(hint, sizeof(hint), "write 'NAME: ...' below it, indented");
    wrong(b, k, slot, k->type == QN_KEY_TABLE ? "a mapping of keys" : "a mapping of names", hint);
    return false;
}

static bool bind_value(struct qn_binder *b, const struct qn_key *k, struct qn_slot *slot)
{
    switch (k->type) {
    case QN_KEY_TEXT:
        if (qn_yaml_is_scalar(slot->value) && slot->value->kind != QN_YAML_NULL)
            return true;
        wrong(b, k, slot, k->value, NULL);
        return false;
    case QN_KEY_BOOL:
        return bind_bool(b, k, slot);
    case QN_KEY_INT:
        return bind_int(b, k, slot);
    case QN_KEY_NUMBER:
        return bind_number(b, k, slot);
    case QN_KEY_DURATION:
        return bind_duration(b, k, slot);
    case QN_KEY_BYTES:
        return bind_bytes(b, k, slot);
    case QN_KEY_CHOICE:
        return bind_choice(b, k, slot->value, &slot->i64);
    case QN_KEY_CHOICES:
        return bind_choices(b, k, slot);
    case QN_KEY_VALUE:
    case QN_KEY_SINKS:
    case QN_KEY_SOURCE:
        return true;
    case QN_KEY_VALUES:
    case QN_KEY_NAMES:
        return bind_list(b, k, slot);
    case QN_KEY_TABLE:
    case QN_KEY_MAP:
    case QN_KEY_TEXTS:
    case QN_KEY_RANGES:
        return bind_map(b, k, slot);
    }
    return false;
}

bool qn_bind(struct qn_binder *b, const struct qn_yaml_node *owner, const struct qn_yaml_node *map,
             const struct qn_key_table *table, struct qn_slot *slots)
{
    char found[QN_SHOW_BYTES];

    memset(slots, 0, table->count * sizeof(*slots));
    if (map->kind != QN_YAML_MAP) {
        if (owner == NULL)
            QN_REPORT(b, TYPE, map, "a spec begins with 'quern: 1'",
                      "a spec is a mapping of keys, found %s", qn_describe(map, found));
        else
            QN_REPORT(b, TYPE, map->kind == QN_YAML_NULL ? owner : map,
                      "write 'key: value' lines below it, indented",
                      "%s is described by keys, found %s", table->what, qn_describe(map, found));
        return false;
    }
    for (uint32_t i = 0; i < map->count; i++) {
        const struct qn_key *k = find_key(table, map->items[i].key->text);
        struct qn_slot *slot;

        if (k == NULL) {
            unknown_key(b, map->items[i].key, table, slots);
            continue;
        }
        slot = &slots[k - table->keys];
        slot->key = map->items[i].key;
        slot->value = map->items[i].value;
        if (k->not_yet != NULL)
            QN_REPORT(b, NOT_YET, slot->key, k->not_yet, "'%s' is not available yet", k->name);
        slot->is_set = k->not_yet == NULL && !slot->value->is_broken && bind_value(b, k, slot);
        slot->is_broken = !slot->is_set;
    }
    missing_keys(b, owner, map, table, slots);
    return true;
}

/* `advice` with a name that would do for its first %s, and the name that stands there for its
 * second. */
static void suggest_name(const char *advice, struct qn_str name, char out[HINT_BYTES])
{
    char good[64] = {0}, bad[64] = {0};
    size_t n = 0, at = 0;

    for (uint32_t i = 0; i < name.len && n < 50; i++) {
        char c = name.p[i], low = (char)(c | 32);

        bad[i] = c;
        if (i == 0 && c >= '0' && c <= '9')
            good[n++] = '_';
        good[n++] = (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') ? c : '_';
    }
    for (unsigned which = 0; *advice != '\0' && at + 70 < HINT_BYTES; advice++) {
        if (strncmp(advice, "%s", 2) != 0) {
            out[at++] = *advice;
            continue;
        }
        at += (size_t)snprintf(out + at, HINT_BYTES - at, "%s", which++ == 0 ? good : bad);
        advice++;
    }
    out[at] = '\0';
}

bool qn_check_name(struct qn_binder *b, const struct qn_yaml_node *name, const char *what,
                   bool dashes, const char *advice)
{
    static const char *const words[] = {"and", "or",   "not",   "in",  "is",
                                        "if",  "true", "false", "null"};
    struct qn_str s = name->text;
    char hint[HINT_BYTES], other[32];

    if (name->is_broken || s.len == 0)
        return false;
    for (size_t i = 0; !dashes && i < sizeof(words) / sizeof(words[0]); i++) {
        if (!qn_str_is(s, words[i]))
            continue;
        snprintf(other, sizeof(other), "such as: my_%s", words[i]);
        QN_REPORT(b, NAME, name, other,
                  "'%.*s' cannot name %s: it is a word of the expression language", QN_STR_ARG(s),
                  what);
        return false;
    }
    if (s.len > 200) {
        QN_REPORT(b, NAME, name, NULL, "a name of more than 200 bytes");
        return false;
    }
    for (uint32_t i = 0; i < s.len; i++) {
        char c = (char)(s.p[i] | 32);
        bool is_letter = (c >= 'a' && c <= 'z') || s.p[i] == '_';
        bool is_inner = (s.p[i] >= '0' && s.p[i] <= '9') || (dashes && s.p[i] == '-');

        if (is_letter || (is_inner && (i > 0 || dashes)))
            continue;
        suggest_name(advice != NULL ? advice : "such as: %s", s, hint);
        QN_REPORT(b, NAME, name, hint, "'%.*s' cannot name %s: letters, digits%s and _ only%s",
                  QN_STR_ARG(qn_utf8_cut(s, 80)), what, dashes ? ", -" : "",
                  dashes ? "" : ", and no digit first");
        return false;
    }
    return true;
}
