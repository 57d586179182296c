/* SPDX-License-Identifier: Apache-2.0
 * options.c - reading command lines by table, and the help and reference that come from the same
 * rows.
 *
 * Conventions of GNU programs: options anywhere, --name=value or --name value, -n5 or -n 5, flags
 * bundled, "--" ends options, the last of repeated ones wins; --no-NAME turns a flag off. Every
 * mistake is one line that says what to write instead. Thread: any; tables are const. Memory:
 * values that are text point into argv, lists into the arena. */
#include "base/options.h"

#include "base/check.h"
#include "base/number.h"
#include "base/timestamp.h"

#include <stdio.h>

enum { NAMES_MAX = 64, HELP_WIDTH = 80, HELP_COLUMN_MAX = 32 };

/* What one call of qn_options_parse works on. */
struct reading {
    const struct qn_command_usage *usage;
    void *into;
    struct qn_arena *arena;
    struct qn_err *err;
    int argc;
    uint64_t lists_begun; /* bit per option: the user's first item replaces the default */
};

static const char *placeholder(const struct qn_option *o)
{
    if (o->type == QN_OPT_FLAG)
        return NULL;
    if (o->value != NULL)
        return o->value;
    switch (o->type) {
    case QN_OPT_INT:
        return "N";
    case QN_OPT_ENUM:
        return o->choices;
    case QN_OPT_DURATION:
        return "TIME";
    default:
        return "TEXT";
    }
}

static qn_status bad_value(struct reading *r, const struct qn_option *o, const char *text,
                           const char *expected)
{
    return qn_err_set(r->err, QN_INVALID, "option '--%s': '%.80s' is not %s", o->name, text,
                      expected);
}

/* 64KiB, 1GB: only for options whose unit is bytes. The suffix is cut from text. */
static int64_t take_byte_unit(struct qn_str *text)
{
    static const struct {
        const char *suffix;
        int64_t factor;
    } suffixes[] = {{"KiB", INT64_C(1) << 10},
                    {"MiB", INT64_C(1) << 20},
                    {"GiB", INT64_C(1) << 30},
                    {"TiB", INT64_C(1) << 40},
                    {"kB", 1000},
                    {"KB", 1000},
                    {"MB", 1000000},
                    {"GB", 1000000000},
                    {"TB", 1000000000000},
                    {"B", 1}};

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        uint32_t n = (uint32_t)strlen(suffixes[i].suffix);

        if (text->len > n && memcmp(text->p + text->len - n, suffixes[i].suffix, n) == 0) {
            text->len -= n;
            return suffixes[i].factor;
        }
    }
    return 1;
}

static void print_limit(const struct qn_option *o, int64_t v, char out[40])
{
    unsigned n = o->type == QN_OPT_DURATION ? qn_duration_print(out, v) : qn_print_int64(out, v);

    out[n] = '\0';
}

static qn_status check_limits(struct reading *r, const struct qn_option *o, const char *text,
                              int64_t v)
{
    char limit[40];

    if ((o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max))
        return QN_OK;
    print_limit(o, v < o->min ? o->min : o->max, limit);
    return qn_err_set(r->err, QN_INVALID, "option '--%s': %.80s is %s %s", o->name, text,
                      v < o->min ? "below the smallest value," : "above the largest value,", limit);
}

static qn_status take_int(struct reading *r, const struct qn_option *o, const char *text,
                          int64_t *out)
{
    struct qn_str number = qn_str_of(text);
    int64_t factor = 1;
    bool bytes = o->unit != NULL && strcmp(o->unit, "bytes") == 0;

    if (bytes)
        factor = take_byte_unit(&number);
    if (!qn_text_scaled(number, 0, out) || __builtin_mul_overflow(*out, factor, out))
        return bad_value(r, o, text,
                         bytes ? "a number of bytes, such as 4096 or 64KiB" : "a whole number");
    return check_limits(r, o, text, *out);
}

/* Finds text among "a|b|c"; -1 where it is not there. */
static int find_choice(const char *choices, const char *text)
{
    size_t n = strlen(text);

    for (int i = 0;; i++) {
        size_t len = strcspn(choices, "|");

        if (len == n && memcmp(choices, text, n) == 0)
            return i;
        if (choices[len] == '\0')
            return -1;
        choices += len + 1;
    }
}

static qn_status take_choice(struct reading *r, const struct qn_option *o, const char *text,
                             int *out)
{
    struct qn_str names[NAMES_MAX];
    const char *p = o->choices;
    size_t count = 0;
    int nearest;

    *out = find_choice(o->choices, text);
    if (*out >= 0)
        return QN_OK;
    while (count < NAMES_MAX) {
        size_t len = strcspn(p, "|");

        names[count++] = (struct qn_str){p, (uint32_t)len};
        if (p[len] == '\0')
            break;
        p += len + 1;
    }
    nearest = qn_nearest(qn_str_of(text), names, count);
    if (nearest >= 0)
        return qn_err_set(r->err, QN_INVALID,
                          "option '--%s': '%.80s' is not one of %s (did you mean '%.*s'?)", o->name,
                          text, o->choices, QN_STR_ARG(names[nearest]));
    return qn_err_set(r->err, QN_INVALID, "option '--%s': '%.80s' is not one of %s", o->name, text,
                      o->choices);
}

/* All lists are made as long as the command line: none can be longer. */
static qn_status append(struct reading *r, struct qn_option_list *list, const char *text)
{
    if (list->items == NULL) {
        list->items = QN_NEW_N(r->arena, const char *, (size_t)r->argc + 1);
        if (list->items == NULL)
            return qn_err_set(r->err, QN_NOMEM, "out of memory for the command line");
    }
    list->items[list->count++] = text;
    return QN_OK;
}

static qn_status take_flag(struct reading *r, const struct qn_option *o, const char *text,
                           bool *out)
{
    if (strcmp(text, "true") == 0)
        *out = true;
    else if (strcmp(text, "false") == 0)
        *out = false;
    else
        return bad_value(r, o, text, "true or false");
    return QN_OK;
}

/* Reads text as the option wants it, into the field. */
static qn_status take_value(struct reading *r, const struct qn_option *o, const char *text)
{
    void *field = (char *)r->into + o->offset;
    struct qn_option_list *list;
    uint64_t bit;
    char *copy;

    switch (o->type) {
    case QN_OPT_FLAG:
        return take_flag(r, o, text, field);
    case QN_OPT_INT:
        return take_int(r, o, text, field);
    case QN_OPT_TEXT:
        copy = qn_arena_strdup(r->arena, text, strlen(text));
        if (copy == NULL)
            return qn_err_set(r->err, QN_NOMEM, "out of memory for the command line");
        *(const char **)field = copy;
        return QN_OK;
    case QN_OPT_ENUM:
        return take_choice(r, o, text, field);
    case QN_OPT_DURATION:
        if (!qn_duration_parse(qn_str_of(text), field))
            return bad_value(r, o, text, "a duration, such as 50ms, 10s, 5m, 1h or 7d");
        return check_limits(r, o, text, *(int64_t *)field);
    case QN_OPT_LIST:
        list = field;
        bit = UINT64_C(1) << (o - r->usage->options);
        if ((r->lists_begun & bit) == 0)
            list->count = 0;
        r->lists_begun |= bit;
        return append(r, list, text);
    }
    QN_ASSERT(!"an option type that exists");
    return QN_INVALID;
}

static qn_status set_defaults(struct reading *r)
{
    for (const struct qn_option *o = r->usage->options; o->name != NULL; o++) {
        void *field = (char *)r->into + o->offset;

        QN_ASSERT(o - r->usage->options < 64);
        switch (o->type) {
        case QN_OPT_FLAG:
            *(bool *)field = false;
            break;
        case QN_OPT_INT:
        case QN_OPT_DURATION:
            *(int64_t *)field = 0;
            break;
        case QN_OPT_TEXT:
            *(const char **)field = NULL;
            break;
        case QN_OPT_ENUM:
            *(int *)field = 0;
            break;
        case QN_OPT_LIST:
            *(struct qn_option_list *)field = (struct qn_option_list){0};
            break;
        }
        if (o->fallback != NULL)
            QN_TRY(take_value(r, o, o->fallback));
    }
    r->lists_begun = 0;
    return QN_OK;
}

qn_status qn_options_defaults(const struct qn_option *options, void *into, struct qn_arena *arena,
                              struct qn_err *err)
{
    struct qn_command_usage u = {.name = "", .options = options};
    struct reading r = {.usage = &u, .into = into, .arena = arena, .err = err};

    return set_defaults(&r);
}

static qn_status unknown_option(struct reading *r, struct qn_str name)
{
    struct qn_str names[NAMES_MAX + 1];
    size_t count = 0;
    int nearest;

    for (const struct qn_option *o = r->usage->options; o->name != NULL && count < NAMES_MAX; o++)
        names[count++] = qn_str_of(o->name);
    names[count++] = qn_str_of("help");
    nearest = qn_nearest(name, names, count);
    if (name.len > 80)
        name.len = 80;
    if (nearest >= 0)
        return qn_err_set(r->err, QN_INVALID, "unknown option '--%.*s' (did you mean '--%.*s'?)",
                          QN_STR_ARG(name), QN_STR_ARG(names[nearest]));
    return qn_err_set(r->err, QN_INVALID, "unknown option '--%.*s' (see 'quern%s%s --help')",
                      QN_STR_ARG(name), r->usage->name[0] != '\0' ? " " : "", r->usage->name);
}

static const struct qn_option *find_long(const struct qn_option *options, struct qn_str name)
{
    for (const struct qn_option *o = options; o->name != NULL; o++)
        if (qn_str_is(name, o->name))
            return o;
    return NULL;
}

static qn_status no_value(struct reading *r, const struct qn_option *o)
{
    return qn_err_set(r->err, QN_INVALID, "option '--%s' needs a value: --%s %s", o->name, o->name,
                      placeholder(o));
}

/* argv[*i] begins with "--" and has a name. */
static qn_status take_long(struct reading *r, char **argv, int *i)
{
    const char *arg = argv[*i] + 2;
    struct qn_str name = {arg, (uint32_t)strcspn(arg, "=")};
    const char *value = arg[name.len] == '=' ? arg + name.len + 1 : NULL;
    const struct qn_option *o = find_long(r->usage->options, name);

    if (o == NULL && value == NULL && name.len > 3 && memcmp(name.p, "no-", 3) == 0) {
        o = find_long(r->usage->options, (struct qn_str){name.p + 3, name.len - 3});
        if (o != NULL && o->type == QN_OPT_FLAG)
            return take_value(r, o, "false");
        o = NULL;
    }
    if (o == NULL)
        return unknown_option(r, name);
    if (o->type == QN_OPT_FLAG)
        return take_value(r, o, value != NULL ? value : "true");
    if (value == NULL) {
        if (*i + 1 >= r->argc)
            return no_value(r, o);
        value = argv[++*i];
    }
    return take_value(r, o, value);
}

/* argv[*i] is one dash and letters: flags, or one option with a value behind it. */
static qn_status take_short(struct reading *r, char **argv, int *i, bool *wants_help)
{
    for (const char *p = argv[*i] + 1; *p != '\0'; p++) {
        const struct qn_option *o = r->usage->options;

        while (o->name != NULL && o->short_name != *p)
            o++;
        if (o->name == NULL && *p == 'h') {
            *wants_help = true;
            return QN_OK;
        }
        if (o->name == NULL)
            return qn_err_set(r->err, QN_INVALID, "unknown option '-%c' (see 'quern%s%s --help')",
                              *p, r->usage->name[0] != '\0' ? " " : "", r->usage->name);
        if (o->type == QN_OPT_FLAG) {
            QN_TRY(take_value(r, o, "true"));
            continue;
        }
        if (p[1] != '\0')
            return take_value(r, o, p[1] == '=' ? p + 2 : p + 1);
        if (*i + 1 >= r->argc)
            return no_value(r, o);
        return take_value(r, o, argv[++*i]);
    }
    return QN_OK;
}

/* Compares the arguments with "SPEC [NAME]", "FILE..." and the like. */
static qn_status check_positional(struct reading *r, const struct qn_option_list *rest)
{
    const char *p = r->usage->positional != NULL ? r->usage->positional : "";
    uint32_t seen = 0;

    for (;;) {
        size_t len;

        p += strspn(p, " ");
        if (*p == '\0')
            break;
        len = strcspn(p, " ");
        if (seen >= rest->count && *p != '[')
            return qn_err_set(r->err, QN_INVALID, "%.*s is missing (usage: quern%s%s %s)", (int)len,
                              p, r->usage->name[0] != '\0' ? " " : "", r->usage->name,
                              r->usage->positional);
        if (memmem(p, len, "...", 3) != NULL)
            return QN_OK;
        seen++;
        p += len;
    }
    if (rest->count > seen)
        return qn_err_set(r->err, QN_INVALID, "unexpected argument '%.80s' (usage: quern%s%s%s%s)",
                          rest->items[seen], r->usage->name[0] != '\0' ? " " : "", r->usage->name,
                          seen > 0 ? " " : "", seen > 0 ? r->usage->positional : "");
    return QN_OK;
}

qn_status qn_options_parse(const struct qn_command_usage *u, int argc, char **argv, void *into,
                           struct qn_arena *arena, struct qn_option_list *rest, bool *wants_help,
                           struct qn_err *err)
{
    struct reading r = {.usage = u, .into = into, .arena = arena, .err = err, .argc = argc};
    bool options_over = false;

    *wants_help = false;
    *rest = (struct qn_option_list){0};
    QN_TRY(set_defaults(&r));
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];

        if (options_over || arg[0] != '-' || arg[1] == '\0') {
            QN_TRY(append(&r, rest, arg));
        } else if (strcmp(arg, "--") == 0) {
            options_over = true;
        } else if (strcmp(arg, "--help") == 0) {
            *wants_help = true;
        } else if (arg[1] == '-') {
            QN_TRY(take_long(&r, argv, &i));
        } else {
            QN_TRY(take_short(&r, argv, &i, wants_help));
        }
        if (*wants_help)
            return QN_OK;
    }
    return check_positional(&r, rest);
}

static void put_spaces(struct qn_buf *out, size_t n)
{
    while (n-- > 0)
        qn_buf_byte(out, ' ');
}

/* Appends words, broken at spaces before `width`, with `indent` spaces before every line but the
 * first. */
static void put_wrapped(struct qn_buf *out, const char *text, size_t indent, size_t width)
{
    size_t column = indent;

    while (*text != '\0') {
        size_t len = strcspn(text, " ");

        if (column > indent && column + 1 + len > width) {
            qn_buf_byte(out, '\n');
            put_spaces(out, indent);
            column = indent;
        } else if (column > indent) {
            qn_buf_byte(out, ' ');
            column++;
        }
        qn_buf_add(out, text, len);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
}

/* "--threads N" */
static void put_form(struct qn_buf *out, const struct qn_option *o)
{
    const char *value = placeholder(o);

    qn_buf_printf(out, "--%s", o->name);
    if (value != NULL)
        qn_buf_printf(out, " %s", value);
}

static bool has_limits(const struct qn_option *o)
{
    return (o->type == QN_OPT_INT || o->type == QN_OPT_DURATION) && (o->min != 0 || o->max != 0);
}

/* Help of one option with what the table knows beside it: unit, default, limits, choices. */
static void describe(struct qn_buf *out, const struct qn_option *o)
{
    const char *before = " (";
    char low[40], high[40];

    qn_buf_text(out, o->help != NULL ? o->help : "");
    if (o->type == QN_OPT_ENUM && o->value != NULL) {
        qn_buf_printf(out, "%s%s", before, o->choices);
        before = ", ";
    }
    if (o->unit != NULL) {
        qn_buf_printf(out, "%sin %s", before, o->unit);
        before = ", ";
    }
    if (o->fallback != NULL) {
        qn_buf_printf(out, "%sdefault %s", before, o->fallback);
        before = ", ";
    }
    if (has_limits(o)) {
        print_limit(o, o->min, low);
        print_limit(o, o->max, high);
        if (o->max == INT64_MAX)
            qn_buf_printf(out, "%s%s or more", before, low);
        else
            qn_buf_printf(out, "%s%s to %s", before, low, high);
        before = ", ";
    }
    if (o->type == QN_OPT_LIST) {
        qn_buf_printf(out, "%smay be repeated", before);
        before = ", ";
    }
    if (before[0] == ',')
        qn_buf_byte(out, ')');
}

static size_t form_length(const struct qn_option *o)
{
    const char *value = placeholder(o);

    return 2 + strlen(o->name) + (value != NULL ? 1 + strlen(value) : 0);
}

/* Column at which descriptions begin: behind the longest form that leaves them room. */
static size_t help_column(const struct qn_option *options)
{
    size_t column = 6 + strlen("--help") + 2;

    for (const struct qn_option *o = options; o->name != NULL; o++) {
        size_t n = 6 + form_length(o) + 2;

        if (n > column && n <= HELP_COLUMN_MAX)
            column = n;
    }
    return column;
}

static void put_option(struct qn_buf *out, const struct qn_option *o, size_t column)
{
    struct qn_buf words = {0};
    size_t used = 6 + form_length(o);

    if (o->short_name != 0)
        qn_buf_printf(out, "  -%c, ", o->short_name);
    else
        qn_buf_text(out, "      ");
    put_form(out, o);
    if (used + 2 > column) {
        qn_buf_byte(out, '\n');
        used = 0;
    }
    put_spaces(out, column - used);
    describe(&words, o);
    qn_buf_byte(&words, '\0');
    out->failed |= words.failed;
    if (!words.failed)
        put_wrapped(out, words.data, column, HELP_WIDTH);
    qn_buf_byte(out, '\n');
    qn_buf_fini(&words);
}

static void put_usage_line(struct qn_buf *out, const struct qn_command_usage *u)
{
    qn_buf_text(out, "quern");
    if (u->name[0] != '\0')
        qn_buf_printf(out, " %s", u->name);
    if (u->options[0].name != NULL)
        qn_buf_text(out, " [OPTIONS]");
    if (u->positional != NULL && u->positional[0] != '\0')
        qn_buf_printf(out, " %s", u->positional);
    qn_buf_byte(out, '\n');
}

static const struct {
    const char *code, *meaning;
} exit_codes[] = {
    {"0", "done"},
    {"1", "failed"},
    {"2", "wrong usage, or an error in the spec"},
    {"3", "a check found a difference"},
    {"130", "interrupted"},
};

void qn_options_help(const struct qn_command_usage *u, struct qn_buf *out)
{
    static const struct qn_option help = {
        .name = "help", .type = QN_OPT_FLAG, .short_name = 'h', .help = "show this text"};
    size_t column = help_column(u->options);
    bool h_is_taken = false;

    qn_buf_printf(out, "quern%s%s - ", u->name[0] != '\0' ? " " : "", u->name);
    put_wrapped(out, u->summary, 0, HELP_WIDTH - 16);
    qn_buf_text(out, "\n\nusage: ");
    put_usage_line(out, u);
    qn_buf_text(out, "\noptions:\n");
    for (const struct qn_option *o = u->options; o->name != NULL; o++) {
        put_option(out, o, column);
        h_is_taken |= o->short_name == 'h';
    }
    put_option(out,
               h_is_taken ? &(struct qn_option){.name = "help", .help = "show this text"} : &help,
               column);
    if (u->examples[0] != NULL)
        qn_buf_text(out, "\nexamples:\n");
    for (unsigned i = 0; i < 4 && u->examples[i] != NULL; i++)
        qn_buf_printf(out, "  %s\n", u->examples[i]);
    qn_buf_text(out, "\nexit codes:\n");
    for (size_t i = 0; i < sizeof exit_codes / sizeof exit_codes[0]; i++)
        qn_buf_printf(out, "  %-4s %s\n", exit_codes[i].code, exit_codes[i].meaning);
}

/* A '|' would end the cell of a Markdown table. */
static void put_cell(struct qn_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            qn_buf_byte(out, '\\');
        qn_buf_byte(out, *text);
    }
}

void qn_options_reference(const struct qn_command_usage *u, struct qn_buf *out)
{
    qn_buf_printf(out, "## quern%s%s\n\n%s\n\n```\n", u->name[0] != '\0' ? " " : "", u->name,
                  u->summary);
    put_usage_line(out, u);
    qn_buf_text(out, "```\n\n");
    if (u->options[0].name != NULL)
        qn_buf_text(out, "| option | meaning | since |\n|---|---|---|\n");
    for (const struct qn_option *o = u->options; o->name != NULL; o++) {
        struct qn_buf words = {0};

        if (o->short_name != 0)
            qn_buf_printf(&words, "`-%c`, ", o->short_name);
        qn_buf_byte(&words, '`');
        put_form(&words, o);
        qn_buf_add(&words, "`", 2);
        out->failed |= words.failed;
        if (!words.failed) {
            qn_buf_text(out, "| ");
            put_cell(out, words.data);
            qn_buf_text(out, " | ");
            qn_buf_clear(&words);
            describe(&words, o);
            qn_buf_byte(&words, '\0');
            out->failed |= words.failed;
            if (!words.failed)
                put_cell(out, words.data);
            qn_buf_printf(out, " | %s |\n", o->since != NULL ? o->since : "");
        }
        qn_buf_fini(&words);
    }
    if (u->options[0].name != NULL)
        qn_buf_byte(out, '\n');
    if (u->examples[0] != NULL)
        qn_buf_text(out, "Examples:\n\n```\n");
    for (unsigned i = 0; i < 4 && u->examples[i] != NULL; i++)
        qn_buf_printf(out, "%s\n", u->examples[i]);
    if (u->examples[0] != NULL)
        qn_buf_text(out, "```\n\n");
}
