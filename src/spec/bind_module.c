/* SPDX-License-Identifier: Apache-2.0
 * bind_module.c - keys of the spec that belong to a module: a sink, a source.
 *
 * Part of binding (bind.c). The keys of a module are no table of this room: they are made from the
 * option table of the module (base/options.h), so that a new one is known here without a line.
 * Written as {KIND: VALUE} with the first of its options, or as {KIND: {key: value, ...}}. What
 * people may see of the options is put together here, where it is known which values are secrets.
 * Thread: one. Memory: boot arena. */
#include "base/check.h"
#include "spec/spec_int.h"

#include <stdio.h>

enum { HINT_BYTES = 160 };

/* ---- keys from options -----------------------------------------------------------------------*/

static enum qn_key_type key_type(const struct qn_option *o)
{
    switch (o->type) {
    case QN_OPT_FLAG:
        return QN_KEY_BOOL;
    case QN_OPT_INT:
        return o->unit != NULL && strcmp(o->unit, "bytes") == 0 ? QN_KEY_BYTES : QN_KEY_INT;
    case QN_OPT_ENUM:
        return QN_KEY_CHOICE;
    case QN_OPT_DURATION:
        return QN_KEY_DURATION;
    case QN_OPT_LIST:
        return QN_KEY_NAMES;
    case QN_OPT_TEXT:
        break;
    }
    return QN_KEY_TEXT;
}

static void add_keys(const struct qn_option *options, struct qn_module_keys *out)
{
    for (const struct qn_option *o = options; o->name != NULL; o++) {
        QN_ASSERT(out->table.count < KEYS_MAX);
        out->options[out->table.count] = o;
        out->keys[out->table.count++] = (struct qn_key){.name = o->name,
                                                        .type = key_type(o),
                                                        .is_required = o->is_required,
                                                        .fallback = o->fallback,
                                                        .min = o->min,
                                                        .max = o->max,
                                                        .choices = o->choices,
                                                        .value = o->value,
                                                        .since = o->since,
                                                        .help = o->help};
    }
}

void qn_module_keys(const struct qn_module_sort *sort, const char *name, const char *summary,
                    const struct qn_option *options, struct qn_module_keys *out)
{
    memset(out, 0, sizeof(*out));
    snprintf(out->id, sizeof(out->id), "%s_%s", sort->name, name);
    snprintf(out->what, sizeof(out->what), "a %s %s", name, sort->name);
    snprintf(out->path, sizeof(out->path), "%s: %s:", sort->stands, name);
    add_keys(options, out);
    out->own_count = out->table.count;
    if (sort->shared != NULL)
        add_keys(sort->shared, out);
    out->table.id = out->id;
    out->table.path = out->path;
    out->table.what = out->what;
    out->table.help = summary;
    out->table.keys = out->keys;
    out->table.synonyms = sort->synonyms;
}

/* ---- what people may see ---------------------------------------------------------------------*/

/* Of a URL that the spec holds in the open: where it leads, not what it says there. */
static void show_secret(struct qn_buf *out, struct qn_str s)
{
    const char *slashes = s.len > 3 ? memmem(s.p, s.len, "://", 3) : NULL, *at, *path;
    uint32_t left;

    if (slashes == NULL) {
        qn_buf_text(out, "(not shown)");
        return;
    }
    left = (uint32_t)(s.p + s.len - slashes) - 3;
    path = memchr(slashes + 3, '/', left);
    if (path != NULL)
        left = (uint32_t)(path - slashes) - 3;
    at = memrchr(slashes + 3, '@', left);
    qn_buf_add(out, s.p, (size_t)(slashes - s.p) + 3);
    if (at != NULL) {
        left -= (uint32_t)(at - slashes) - 2;
        qn_buf_add(out, at + 1, left);
    } else {
        qn_buf_add(out, slashes + 3, left);
    }
    qn_buf_text(out, path != NULL ? "/..." : "");
}

static void show_value(struct qn_buf *out, const struct qn_option *o, const struct qn_yaml_node *n)
{
    struct qn_str s = qn_shown(n);

    if (n->kind == QN_YAML_LIST) {
        for (uint32_t i = 0; i < n->count; i++) {
            qn_buf_text(out, i > 0 ? ", " : "");
            show_value(out, o, n->items[i].value);
        }
    } else if (o->is_secret && !n->is_secret) {
        show_secret(out, s);
    } else {
        qn_buf_add(out, s.p, s.len);
    }
}

/* ---- options from keys -----------------------------------------------------------------------*/

/* A text that C may have. */
static const char *take_text(struct qn_builder *b, const struct qn_option *o,
                             const struct qn_yaml_node *n)
{
    struct qn_buf path = {0};
    const char *copy;

    if (memchr(n->text.p, '\0', n->text.len) != NULL) {
        QN_REPORT(&b->bind, TYPE, n, NULL, "'%s' cannot hold a zero byte", o->name);
        return "";
    }
    if (o->is_path && n->text.len > 0 && n->text.p[0] != '/')
        qn_buf_add(&path, b->folder.p, b->folder.len);
    qn_buf_add(&path, n->text.p, n->text.len);
    copy = path.failed ? NULL
                       : qn_arena_strdup(b->bind.arena, path.len > 0 ? path.data : "", path.len);
    qn_buf_fini(&path);
    b->bind.no_memory |= copy == NULL;
    return copy != NULL ? copy : "";
}

static void take_list(struct qn_builder *b, const struct qn_option *o, const struct qn_yaml_node *n,
                      struct qn_option_list *out)
{
    out->count = 0;
    out->items = QN_NEW_N(b->bind.arena, const char *, n->count + 1);
    b->bind.no_memory |= out->items == NULL;
    for (uint32_t i = 0; i < n->count && out->items != NULL; i++)
        out->items[out->count++] = take_text(b, o, n->items[i].value);
}

static void take_option(struct qn_builder *b, const struct qn_option *o, const struct qn_slot *slot,
                        void *into)
{
    void *field = (char *)into + o->offset;

    switch (o->type) {
    case QN_OPT_FLAG:
        *(bool *)field = slot->i64 != 0;
        break;
    case QN_OPT_INT:
    case QN_OPT_DURATION:
        *(int64_t *)field = slot->i64;
        break;
    case QN_OPT_ENUM:
        *(int *)field = (int)slot->i64;
        break;
    case QN_OPT_TEXT:
        *(const char **)field = take_text(b, o, slot->value);
        break;
    case QN_OPT_LIST:
        take_list(b, o, slot->value, field);
        break;
    }
}

/* The slots of a module written as {KIND: VALUE}: its first option, which is a text. */
static bool bind_short(struct qn_builder *b, const struct qn_yaml_node *kind,
                       const struct qn_yaml_node *value, const struct qn_module_keys *keys,
                       struct qn_slot *slots)
{
    char hint[HINT_BYTES], found[QN_SHOW_BYTES];

    memset(slots, 0, sizeof(*slots) * keys->table.count);
    if (value->kind == QN_YAML_NULL && !keys->keys[0].is_required && keys->own_count > 1)
        return true; /* all of them have defaults */
    snprintf(hint, sizeof(hint), "write {%.*s: {%s: ...}}", QN_STR_ARG(kind->text),
             keys->keys[0].name);
    if (value->kind == QN_YAML_NULL || value->kind == QN_YAML_LIST) {
        QN_REPORT(&b->bind, MISSING, kind, hint, "'%.*s' needs its '%s'", QN_STR_ARG(kind->text),
                  keys->keys[0].name);
        return false;
    }
    if (keys->keys[0].type != QN_KEY_TEXT) {
        QN_REPORT(&b->bind, TYPE, value, hint, "%s is described by keys, found %s",
                  keys->table.what, qn_describe(value, found));
        return false;
    }
    slots[0] = (struct qn_slot){
        .key = kind, .value = value, .is_set = !value->is_broken, .is_broken = value->is_broken};
    return !value->is_broken;
}

bool qn_module_bind(struct qn_builder *b, const struct qn_yaml_node *kind,
                    const struct qn_yaml_node *value, const struct qn_module_keys *keys,
                    struct qn_slot *slots)
{
    static const struct qn_yaml_node nothing = {.kind = QN_YAML_NULL};

    if (value != NULL && value->kind == QN_YAML_MAP)
        return qn_bind(&b->bind, kind, value, &keys->table, slots);
    return bind_short(b, kind, value != NULL ? value : &nothing, keys, slots);
}

void *qn_module_options(struct qn_builder *b, const struct qn_option *options, size_t bytes)
{
    void *into = qn_arena_zalloc(b->bind.arena, 1, bytes);

    if (into == NULL || qn_options_defaults(options, into, b->bind.arena, b->err) != QN_OK)
        b->bind.no_memory = true;
    return into;
}

bool qn_module_fill(struct qn_builder *b, const struct qn_module_keys *keys,
                    const struct qn_slot *slots, void *own, void *shared, struct qn_str *out)
{
    struct qn_buf shown = {0};
    bool is_good = true;
    char *copy;

    for (uint32_t i = 0; i < keys->table.count; i++) {
        is_good &= !slots[i].is_broken;
        if (!slots[i].is_set)
            continue;
        take_option(b, keys->options[i], &slots[i], i < keys->own_count ? own : shared);
        if (i > 0 || keys->keys[0].type != QN_KEY_TEXT)
            qn_buf_printf(&shown, "%s%s ", shown.len > 0 ? " · " : "", keys->keys[i].name);
        show_value(&shown, keys->options[i], slots[i].value);
    }
    copy = shown.failed
               ? NULL
               : qn_arena_strdup(b->bind.arena, shown.len > 0 ? shown.data : "", shown.len);
    b->bind.no_memory |= copy == NULL;
    if (copy != NULL)
        *out = (struct qn_str){copy, (uint32_t)shown.len};
    qn_buf_fini(&shown);
    return is_good && !b->bind.no_memory;
}
