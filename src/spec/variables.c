/* SPDX-License-Identifier: Apache-2.0
 * variables.c - fills in ${...}. The second stop of a spec, between the tree and the binder.
 *
 * Every node is visited once, though aliases share nodes, on a stack of fixed depth. What is filled
 * in is not looked through again. All that is filled in together is limited, so that a small spec
 * cannot ask for endless memory. Thread: one. Memory: texts and parts in the arena; the buffers
 * here are freed before returning. */
#include "spec/variables.h"

#include <stdio.h>

struct fill {
    const struct qn_variables *v;
    struct qn_arena *arena;
    struct qn_diags *diags;
    struct qn_buf text, content; /* the scalar being built; the file just read */
    struct qn_yaml_node *node;
    struct qn_yaml_part *parts;
    uint32_t part_count, part_cap;
    size_t total_bytes;
    bool no_memory;
};

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

bool qn_variable_is_secret(struct qn_str name)
{
    static const char *const words[] = {"TOKEN", "SECRET", "PASSWORD", "KEY", "URL", "CREDENTIAL"};

    for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
        uint32_t n = (uint32_t)strlen(words[w]);

        for (uint32_t i = 0; i + n <= name.len; i++) {
            uint32_t k = 0;

            while (k < n && upper(name.p[i + k]) == words[w][k])
                k++;
            if (k == n)
                return true;
        }
    }
    return false;
}

static bool is_name(struct qn_str s)
{
    for (uint32_t i = 0; i < s.len; i++) {
        char c = upper(s.p[i]);

        if (!((c >= 'A' && c <= 'Z') || c == '_' || (i > 0 && c >= '0' && c <= '9')))
            return false;
    }
    return s.len > 0;
}

/* Where the ${...} at [begin, end) of the written text stands. */
static struct qn_pos written_place(const struct fill *f, uint32_t begin, uint32_t end)
{
    struct qn_yaml_node bare = *f->node;

    bare.parts = NULL;
    bare.part_count = 0;
    return qn_yaml_place(&bare, f->v->source, begin, end - begin);
}

static bool lookup(const struct qn_variables *v, struct qn_str name, struct qn_str *value)
{
    for (const char *const *e = v->environment; e != NULL && *e != NULL; e++) {
        if (strncmp(*e, name.p, name.len) == 0 && (*e)[name.len] == '=') {
            *value = qn_str_of(*e + name.len + 1);
            return true;
        }
    }
    return false;
}

/* The variable's name as the environment has it, for "did you mean". */
static bool nearest(const struct qn_variables *v, struct qn_str name, struct qn_str *out)
{
    unsigned best = 3;

    for (const char *const *e = v->environment; e != NULL && *e != NULL; e++) {
        const char *stop = strchr(*e, '=');
        struct qn_str candidate = {*e, stop != NULL ? (uint32_t)(stop - *e) : 0};
        unsigned d = qn_edit_distance(name, candidate, 2);

        if (stop != NULL && d < best && (name.len >= 5 || d < 2)) {
            best = d;
            *out = candidate;
        }
    }
    return best < 3;
}

static void add_value(struct fill *f, struct qn_str value, uint32_t begin, uint32_t end)
{
    struct qn_yaml_part *p;

    if (f->part_count == f->part_cap) {
        uint32_t cap = f->part_cap == 0 ? 4 : f->part_cap * 2;
        struct qn_yaml_part *grown = QN_NEW_N(f->arena, struct qn_yaml_part, cap);

        if (grown == NULL) {
            f->no_memory = true;
            return;
        }
        if (f->part_count > 0)
            memcpy(grown, f->parts, f->part_count * sizeof(*grown));
        f->parts = grown;
        f->part_cap = cap;
    }
    p = &f->parts[f->part_count++];
    *p = (struct qn_yaml_part){(uint32_t)f->text.len, value.len, begin, end - begin};
    qn_buf_add(&f->text, value.p, value.len);
}

/* Notes a variable; one that was seen keeps its place. */
static void note(struct fill *f, struct qn_str name, bool is_file, bool has_default,
                 bool is_stand_in)
{
    struct qn_variable_list *l = f->v->seen;

    for (uint32_t i = 0; l != NULL && i < l->count; i++)
        if (l->items[i].is_file == is_file && qn_str_eq(l->items[i].name, name)) {
            l->items[i].has_default &= has_default; /* one place without is enough to need it */
            l->items[i].is_stand_in |= is_stand_in;
            return;
        }
    if (l == NULL)
        return;
    if (l->count == l->cap) {
        const uint32_t cap = l->cap == 0 ? 8 : l->cap * 2;
        struct qn_variable *grown = QN_NEW_N(f->arena, struct qn_variable, cap);

        if (grown == NULL) {
            f->no_memory = true;
            return;
        }
        if (l->count > 0)
            memcpy(grown, l->items, l->count * sizeof(*grown));
        l->items = grown;
        l->cap = cap;
    }
    l->items[l->count++] = (struct qn_variable){name, is_file, has_default, is_stand_in};
}

static void stand_in(struct fill *f, uint32_t begin, uint32_t end)
{
    f->node->is_secret = true;
    add_value(f, qn_str_of(f->v->stand_in), begin, end);
}

static void fill_file(struct fill *f, struct qn_str path, uint32_t begin, uint32_t end)
{
    struct qn_pos at = written_place(f, begin, end);
    struct qn_err err = {0};
    char full[4096];
    qn_status rc;
    bool is_absolute = path.len > 0 && path.p[0] == '/';
    struct qn_str folder = is_absolute ? (struct qn_str){"", 0} : f->v->folder;

    if (path.len == 0 || (size_t)folder.len + path.len >= sizeof(full)) {
        qn_diag_error(f->diags, QN_DIAG_VARIABLE, at, "write ${file:PATH}", "a file with %s name",
                      path.len == 0 ? "no" : "too long a");
        return;
    }
    snprintf(full, sizeof(full), "%.*s%.*s", QN_STR_ARG(folder), QN_STR_ARG(path));
    rc = qn_file_read_all(f->v->files, full, QN_VARIABLE_FILE_BYTES_MAX, &f->content, &err);
    if (rc == QN_NOMEM) {
        f->no_memory = true;
    } else if (rc == QN_LIMIT) {
        qn_diag_error(f->diags, QN_DIAG_VARIABLE, at, NULL,
                      "the file '%s' is larger than 64 KiB: not a value", full);
    } else if (rc != QN_OK) {
        qn_diag_error(f->diags, QN_DIAG_VARIABLE, at,
                      is_absolute ? NULL : "paths are relative to the spec's folder",
                      "the file '%s' cannot be read: %s", full, qn_status_text(rc));
    } else if (!qn_utf8_valid(f->content.data, f->content.len) ||
               (f->content.len > 0 && memchr(f->content.data, 0, f->content.len) != NULL)) {
        qn_diag_error(f->diags, QN_DIAG_VARIABLE, at, NULL, "the file '%s' is not UTF-8 text",
                      full);
    } else {
        uint32_t n = (uint32_t)f->content.len;

        if (n > 0 && f->content.data[n - 1] == '\n')
            n--;
        if (n > 0 && n < f->content.len && f->content.data[n - 1] == '\r')
            n--;
        f->node->is_secret = true;
        add_value(f, (struct qn_str){f->content.data, n}, begin, end);
    }
}

/* inside: what stands between the braces of the ${...} at [begin, end). */
static void fill_one(struct fill *f, struct qn_str inside, uint32_t begin, uint32_t end)
{
    const char *colon = inside.len > 0 ? memchr(inside.p, ':', inside.len) : NULL;
    struct qn_str name = {inside.p, colon != NULL ? (uint32_t)(colon - inside.p) : inside.len};
    struct qn_str value, near;
    bool is_here;

    if (colon != NULL && qn_str_is(name, "file")) {
        const struct qn_str path = {colon + 1, inside.len - 5};

        note(f, path, true, false, f->v->stand_in != NULL);
        if (f->v->stand_in != NULL && path.len > 0)
            stand_in(f, begin, end);
        else
            fill_file(f, path, begin, end);
        return;
    }
    if (!is_name(name)) {
        qn_diag_error(
            f->diags, QN_DIAG_VARIABLE, written_place(f, begin, end), "literally: ${{...}}",
            "expected ${NAME}, ${NAME:default} or ${file:PATH}; a name has letters, digits and _");
        return;
    }
    if (colon != NULL && name.len + 1 < inside.len && colon[1] == '-') {
        qn_diag_error(
            f->diags, QN_DIAG_VARIABLE, written_place(f, begin, end),
            "the default follows the ':' at once",
            "write ${%.*s:%.*s}: ':-' is the shell's way, here the '-' would belong to the value",
            QN_STR_ARG(name),
            (int)(inside.len - name.len - 2 < 40 ? inside.len - name.len - 2 : 40), colon + 2);
        return;
    }
    is_here = lookup(f->v, name, &value);
    note(f, name, false, colon != NULL, !is_here && colon == NULL);
    if (is_here) {
        if (!qn_utf8_valid(value.p, value.len)) {
            qn_diag_error(f->diags, QN_DIAG_VARIABLE, written_place(f, begin, end), NULL,
                          "the variable %.*s is not UTF-8 text", QN_STR_ARG(name));
            return;
        }
        f->node->is_secret |= qn_variable_is_secret(name);
        add_value(f, value, begin, end);
    } else if (colon != NULL) {
        add_value(f, (struct qn_str){colon + 1, inside.len - name.len - 1}, begin, end);
    } else if (f->v->stand_in != NULL) {
        stand_in(f, begin, end);
    } else if (nearest(f->v, name, &near)) {
        qn_diag_error(f->diags, QN_DIAG_VARIABLE, written_place(f, begin, end),
                      "set it, or give a default: ${NAME:default}",
                      "the variable %.*s is not set (did you mean %.*s?)", QN_STR_ARG(name),
                      QN_STR_ARG(near));
    } else {
        qn_diag_error(f->diags, QN_DIAG_VARIABLE, written_place(f, begin, end),
                      "set it, or give a default: ${NAME:default}", "the variable %.*s is not set",
                      QN_STR_ARG(name));
    }
}

static bool starts(struct qn_str s, uint32_t at, const char *word)
{
    size_t n = strlen(word);

    return at + n <= s.len && memcmp(s.p + at, word, n) == 0;
}

/* One ${...} or ${{...}} at i; returns the offset behind it. */
static uint32_t fill_next(struct fill *f, uint32_t i)
{
    struct qn_str s = f->node->written;
    bool is_literal = starts(s, i, "${{");
    uint32_t end = i + (is_literal ? 3 : 2);

    while (end < s.len && !starts(s, end, is_literal ? "}}" : "}"))
        end++;
    if (end >= s.len) {
        qn_diag_error(f->diags, QN_DIAG_VARIABLE, written_place(f, i, s.len), NULL,
                      "'%s' is never closed by '%s'", is_literal ? "${{" : "${",
                      is_literal ? "}}" : "}");
        return s.len;
    }
    if (is_literal) {
        struct qn_buf plain = {0};

        qn_buf_printf(&plain, "${%.*s}", (int)(end - i - 3), s.p + i + 3);
        if (plain.failed)
            f->no_memory = true;
        else
            add_value(f, (struct qn_str){plain.data, (uint32_t)plain.len}, i, end + 2);
        qn_buf_fini(&plain);
        return end + 2;
    }
    fill_one(f, (struct qn_str){s.p + i + 2, end - i - 2}, i, end + 1);
    return end + 1;
}

static void fill_scalar(struct fill *f, struct qn_yaml_node *n)
{
    struct qn_str s = n->written;
    unsigned errors = f->diags->errors;
    uint32_t i = 0;
    char *copy;

    n->is_filled = true;
    while (i < s.len && !starts(s, i, "${"))
        i++;
    if (i == s.len)
        return;
    qn_buf_clear(&f->text);
    f->node = n;
    f->parts = NULL;
    f->part_count = f->part_cap = 0;
    i = 0;
    while (i < s.len && !f->no_memory) {
        if (starts(s, i, "${"))
            i = fill_next(f, i);
        else
            qn_buf_byte(&f->text, s.p[i++]);
        if (f->total_bytes + f->text.len > QN_VARIABLE_TOTAL_BYTES_MAX) {
            qn_diag_error(f->diags, QN_DIAG_VARIABLE, n->at, NULL,
                          "more than 4 MiB of values filled in");
            qn_buf_clear(&f->text);
            f->part_count = 0;
            break;
        }
    }
    f->total_bytes += f->text.len;
    copy = f->no_memory
               ? NULL
               : qn_arena_strdup(f->arena, f->text.data != NULL ? f->text.data : "", f->text.len);
    if (copy == NULL || f->text.failed) {
        f->no_memory = true;
        return;
    }
    n->is_broken |= f->diags->errors > errors;
    n->text = (struct qn_str){copy, (uint32_t)f->text.len};
    n->parts = f->parts;
    n->part_count = f->part_count;
    if (n->style == QN_YAML_PLAIN)
        n->kind = qn_yaml_resolve(n->text);
}

static void refuse_in_key(struct fill *f, struct qn_yaml_node *key)
{
    for (uint32_t i = 0; i < key->text.len; i++) {
        if (starts(key->text, i, "${")) {
            qn_diag_error(f->diags, QN_DIAG_VARIABLE, key->at, "write the key out",
                          "a ${...} is filled into values, not into keys");
            key->is_broken = true;
            return;
        }
    }
}

static void fill_all(struct fill *f, struct qn_yaml_node *root)
{
    struct {
        struct qn_yaml_node *node;
        uint32_t next;
    } stack[QN_YAML_DEPTH_MAX + 2];
    uint32_t depth = 0;

    if (qn_yaml_is_scalar(root)) {
        fill_scalar(f, root);
        return;
    }
    stack[depth].node = root;
    stack[depth++].next = 0;
    while (depth > 0 && !f->no_memory) {
        struct qn_yaml_node *n = stack[depth - 1].node;
        struct qn_yaml_item *item;

        if (stack[depth - 1].next == n->count) {
            n->is_filled = true;
            depth--;
            continue;
        }
        item = &n->items[stack[depth - 1].next++];
        if (item->key != NULL)
            refuse_in_key(f, item->key);
        if (item->value->is_filled)
            continue;
        if (qn_yaml_is_scalar(item->value)) {
            fill_scalar(f, item->value);
        } else {
            stack[depth].node = item->value;
            stack[depth++].next = 0;
        }
    }
}

qn_status qn_variables_fill(const struct qn_variables *v, struct qn_yaml_node *root,
                            struct qn_arena *arena, struct qn_diags *diags, struct qn_err *err)
{
    struct fill f = {.v = v, .arena = arena, .diags = diags};

    fill_all(&f, root);
    qn_buf_fini(&f.text);
    qn_buf_fini(&f.content);
    if (f.no_memory)
        return qn_err_set(err, QN_NOMEM,
                          "out of memory while filling in the variables of the spec");
    return QN_OK;
}
