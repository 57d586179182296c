/* SPDX-License-Identifier: Apache-2.0
 * yaml_node.c - libyaml's events into nodes, with everything refused that a spec must not contain.
 *
 * libyaml counts characters and follows YAML 1.1; diagnostics count bytes and the spec follows 1.2,
 * so marks are mapped to byte offsets through a table of every 256th character, and scalars are
 * resolved by qn_yaml_resolve. The open collections stand on a stack of fixed depth. A syntax error
 * ends the reading (libyaml cannot go on); everything else is collected. Thread: one. Memory: the
 * caller's arena, but for libyaml's own buffers, which are freed here. */
#include "spec/yaml_node.h"

#include "base/hash.h"

#include <yaml.h>

enum { CHARS_STEP = 256 };

struct cell {
    struct qn_yaml_item item;
    struct cell *next;
};

/* A collection that is still open. */
struct frame {
    struct qn_yaml_node *node;
    struct cell *first, *last;
    struct qn_yaml_node *key; /* waits for its value */
};

struct anchor {
    struct qn_str name;
    struct qn_yaml_node *node;
    struct qn_pos at;
    bool is_used;
    bool is_open; /* its collection is not closed yet */
};

struct reader {
    yaml_parser_t parser;
    struct qn_str source;
    struct qn_arena *arena;
    struct qn_diags *diags;
    uint32_t *chars; /* byte offset of every CHARS_STEP-th character */
    uint32_t char_marks;
    uint32_t *lines; /* byte offset of each line */
    uint32_t line_count;
    struct frame frames[QN_YAML_DEPTH_MAX];
    uint32_t depth;
    struct anchor anchors[QN_YAML_ANCHORS_MAX];
    uint32_t anchor_count;
    uint32_t nodes; /* so far, aliases unfolded */
    uint32_t seen;  /* bytes looked through for tabs */
    uint32_t documents;
    struct qn_yaml_node *root;
    bool is_over; /* nothing more can be read */
    bool no_memory;
};

static bool map_source(struct reader *r)
{
    uint32_t lines = 1, chars = 0, mark = 0, line = 1;

    for (uint32_t i = 0; i < r->source.len; i++)
        lines += r->source.p[i] == '\n';
    r->lines = QN_NEW_N(r->arena, uint32_t, lines);
    r->chars = QN_NEW_N(r->arena, uint32_t, r->source.len / CHARS_STEP + 1);
    if (r->lines == NULL || r->chars == NULL)
        return false;
    for (uint32_t i = 0; i < r->source.len; i++) {
        if (((unsigned char)r->source.p[i] & 0xC0) != 0x80 && chars++ % CHARS_STEP == 0)
            r->chars[mark++] = i;
        if (r->source.p[i] == '\n')
            r->lines[line++] = i + 1;
    }
    r->char_marks = mark;
    r->line_count = lines;
    return true;
}

/* Byte offset of libyaml's character `index`. */
static uint32_t byte_at(const struct reader *r, size_t index)
{
    size_t mark = index / CHARS_STEP, left = index % CHARS_STEP;
    uint32_t i;

    if (mark >= r->char_marks)
        return r->source.len;
    i = r->chars[mark];
    while (left > 0 && i < r->source.len) {
        i++;
        while (i < r->source.len && ((unsigned char)r->source.p[i] & 0xC0) == 0x80)
            i++;
        left--;
    }
    return i;
}

/* qn_yaml_pos through the line table. */
static struct qn_pos place(const struct reader *r, uint32_t begin, uint32_t end)
{
    uint32_t low = 0, high = r->line_count;
    struct qn_pos at;

    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;

        if (r->lines[mid] <= begin)
            low = mid;
        else
            high = mid;
    }
    if (low + 1 < r->line_count && end >= r->lines[low + 1])
        end = r->lines[low + 1] - 1;
    while (end > begin && (r->source.p[end - 1] == '\r' || r->source.p[end - 1] == ' '))
        end--;
    at.line = low + 1;
    at.col = begin - r->lines[low] + 1;
    at.len = end > begin ? end - begin : 1;
    return at;
}

struct qn_pos qn_yaml_pos(struct qn_str source, uint32_t begin, uint32_t end)
{
    struct qn_pos at = {1, 1, 1};
    uint32_t stop = begin;

    for (uint32_t i = 0; i < begin && i < source.len; i++) {
        at.col++;
        if (source.p[i] == '\n') {
            at.line++;
            at.col = 1;
        }
    }
    while (stop < end && stop < source.len && source.p[stop] != '\n' && source.p[stop] != '\r')
        stop++;
    at.len = stop > begin ? stop - begin : 1;
    return at;
}

/* ---- syntax errors ---- */

struct advice {
    const char *problem; /* libyaml's words */
    const char *text, *hint;
};

static const struct advice advices[] = {
    {"mapping values are not allowed in this context", "a ': ' inside a value that has no quotes",
     "put quotes around the whole value; or is the line indented too far?"},
    {"block sequence entries are not allowed in this context",
     "a list entry '- ' that stands where none can",
     "put the list on lines of its own, below its key"},
    {"mapping keys are not allowed in this context", "a key that stands where none can",
     "is the line indented like its neighbours?"},
    {"could not find expected ':'", "a line without a ': '",
     "a key is followed by ': ' and its value"},
    {"did not find expected key", "a line that does not fit in with the keys above it",
     "keys that belong together are indented equally"},
    {"did not find expected '-' indicator", "a line that does not fit in with the list above it",
     "list entries start with '- ', all equally indented"},
    {"did not find expected ',' or '}'", "'{' is not closed properly",
     "inside it, keys are separated by ', ' and texts with , [ ] { } need quotes"},
    {"did not find expected ',' or ']'", "'[' is not closed properly",
     "inside it, values are separated by ', ' and texts with , [ ] { } need quotes"},
    {"found unexpected end of stream", "a quoted text that never ends",
     "the closing quote is missing"},
    {"found unexpected document indicator", "a quoted text that never ends",
     "the closing quote is missing"},
    {"found unknown escape character", "an escape that YAML does not know",
     "within \"...\" write \\\\ for a backslash, or use '...'"},
    {"did not find expected hexdecimal number", "an escape with too few hexadecimal digits", NULL},
    {"did not find expected comment or line break",
     "a value that begins with '>' or '|' begins a text of many lines", "put the value in quotes"},
    {"did not find expected alphabetic or numeric character",
     "a value that begins with '&' or '*' is an anchor or alias", "put the value in quotes"},
    {"did not find expected node content", "a value was expected here", NULL},
    {"did not find expected <document start>", "text after the end of the spec",
     "one file holds one spec"},
    {"control characters are not allowed", "a control character", "a spec is plain UTF-8 text"},
    {"found character that cannot start any token", "a value cannot begin with this character",
     "put the value in quotes"},
};

/* The last character before `at` on the same line that is no space, or 0. */
static char char_before(const struct reader *r, uint32_t at)
{
    while (at > 0 && r->source.p[at - 1] == ' ')
        at--;
    return at > 0 ? r->source.p[at - 1] : 0;
}

/* Mistakes that libyaml can only describe by what comes after them. True if one was reported. */
static bool report_known(struct reader *r, const char *problem, uint32_t begin)
{
    char before = char_before(r, begin);

    if (begin < r->source.len && r->source.p[begin] == '\t') {
        qn_diag_error(r->diags, QN_DIAG_YAML, place(r, begin, begin + 1), "use spaces",
                      "a tab, where YAML takes only spaces");
        return true;
    }
    if (begin < r->source.len && r->source.p[begin] == '{' && before == '$') {
        qn_diag_error(r->diags, QN_DIAG_YAML, place(r, begin - 1, begin + 1), "write \"${NAME}\"",
                      "inside {...} and [...] a ${...} needs quotes around it");
        return true;
    }
    if (strcmp(problem, "did not find expected key") == 0 && (before == '\'' || before == '"')) {
        qn_diag_error(
            r->diags, QN_DIAG_YAML, place(r, begin, begin + 1),
            before == '"' ? "put '...' around the whole value"
                          : "put \"...\" around the whole value",
            "text behind the closing quote: a value that begins with a quote ends with it");
        return true;
    }
    return false;
}

static void report_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem != NULL ? p->problem : "not readable";
    const struct advice *found = NULL;
    uint32_t begin;

    if (p->error == YAML_MEMORY_ERROR) {
        r->no_memory = true;
        return;
    }
    begin = p->error == YAML_READER_ERROR ? (uint32_t)p->problem_offset
                                          : byte_at(r, p->problem_mark.index);
    if (begin > r->source.len)
        begin = r->source.len;
    if (report_known(r, problem, begin))
        return;
    for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
        if (strcmp(problem, advices[i].problem) == 0)
            found = &advices[i];
    }
    /* For a bracket or quote that is never closed, the place where it opens says more than the end
     * of the file. */
    if (found != NULL && p->context != NULL && p->context_mark.index < p->problem_mark.index &&
        (strstr(problem, "unexpected") != NULL ||
         (strstr(problem, "' or '") != NULL && p->context_mark.line < p->problem_mark.line)))
        begin = byte_at(r, p->context_mark.index);
    if (found != NULL)
        qn_diag_error(r->diags, QN_DIAG_YAML, place(r, begin, begin + 1), found->hint, "%s",
                      found->text);
    else
        qn_diag_error(r->diags, QN_DIAG_YAML, place(r, begin, begin + 1), NULL,
                      "not valid YAML: %s", problem);
}

/* Tabs between values, and in plain ones, may look like any number of spaces. */
static void refuse_tabs(struct reader *r, uint32_t begin, uint32_t end, bool is_plain)
{
    const char *s = r->source.p;

    while (r->seen < end) {
        uint32_t i = r->seen++;

        if (i >= begin && !is_plain) {
            r->seen = end;
        } else if (s[i] == '#' && i < begin) {
            while (r->seen < end && s[r->seen] != '\n')
                r->seen++;
        } else if (s[i] == '\t') {
            qn_diag_error(r->diags, QN_DIAG_YAML, place(r, i, i + 1), "use spaces",
                          "a tab, where YAML takes only spaces");
            while (r->seen < end && s[r->seen] != '\n')
                r->seen++;
        }
    }
}

/* ---- building the tree ---- */

static void fatal(struct reader *r, struct qn_pos at, const char *hint, const char *text)
{
    qn_diag_error(r->diags, QN_DIAG_YAML, at, hint, "%s", text);
    r->is_over = true;
    r->root = NULL;
}

/* Anchor and tag come before the value; the value's place is behind them. */
static uint32_t skip_properties(const struct reader *r, uint32_t begin, uint32_t end)
{
    const char *s = r->source.p;

    while (begin < end) {
        if (s[begin] == '&' || s[begin] == '!') {
            while (begin < end && s[begin] != ' ' && s[begin] != '\t' && s[begin] != '\n' &&
                   s[begin] != '\r')
                begin++;
        } else if (s[begin] == '#') {
            while (begin < end && s[begin] != '\n')
                begin++;
        } else if (s[begin] == ' ' || s[begin] == '\t' || s[begin] == '\n' || s[begin] == '\r') {
            begin++;
        } else {
            break;
        }
    }
    return begin;
}

static struct qn_yaml_node *new_node(struct reader *r, const yaml_event_t *e,
                                     enum qn_yaml_kind kind, bool has_properties)
{
    struct qn_yaml_node *n = QN_NEW(r->arena, struct qn_yaml_node);
    uint32_t begin = byte_at(r, e->start_mark.index), end = byte_at(r, e->end_mark.index);

    if (n == NULL) {
        r->no_memory = true;
        return NULL;
    }
    if (has_properties && kind <= QN_YAML_TEXT && skip_properties(r, begin, end) < end)
        begin = skip_properties(r, begin, end);
    n->kind = kind;
    n->begin = begin;
    n->end = end;
    n->at = kind <= QN_YAML_TEXT ? place(r, begin, end) : place(r, begin, begin + 1);
    n->size = 1;
    return n;
}

/* A finished or just opened node becomes key, value, entry or root. */
static void attach(struct reader *r, struct qn_yaml_node *n)
{
    struct frame *f;
    struct cell *c;

    if (r->depth == 0) {
        r->root = n;
        return;
    }
    f = &r->frames[r->depth - 1];
    if (f->node->kind == QN_YAML_MAP && f->key == NULL) {
        f->key = n;
        return;
    }
    c = QN_NEW(r->arena, struct cell);
    if (c == NULL) {
        r->no_memory = true;
        return;
    }
    c->item.key = f->key;
    c->item.value = n;
    f->key = NULL;
    if (f->last != NULL)
        f->last->next = c;
    else
        f->first = c;
    f->last = c;
    f->node->count++;
}

static void count_nodes(struct reader *r, uint32_t more, struct qn_pos at)
{
    r->nodes += more;
    if (r->nodes > QN_YAML_NODES_MAX)
        fatal(r, at, NULL, "the spec has more than 100,000 values, aliases unfolded");
}

static bool wants_key(const struct reader *r)
{
    return r->depth > 0 && r->frames[r->depth - 1].node->kind == QN_YAML_MAP &&
           r->frames[r->depth - 1].key == NULL;
}

static void add_anchor(struct reader *r, const yaml_char_t *name, struct qn_yaml_node *n,
                       uint32_t begin, bool is_open)
{
    struct qn_str s = qn_str_of((const char *)name);
    struct qn_pos at = place(r, begin, begin + 1 + s.len);
    struct anchor *a = &r->anchors[r->anchor_count];
    char *copy = qn_arena_strdup(r->arena, s.p, s.len);

    if (copy == NULL) {
        r->no_memory = true;
        return;
    }
    s.p = copy;
    for (uint32_t i = 0; i < r->anchor_count; i++) {
        if (qn_str_eq(r->anchors[i].name, s)) {
            qn_diag_error(r->diags, QN_DIAG_DUPLICATE, at, "give it another name",
                          "the anchor '&%s' stands here twice", copy);
            return;
        }
    }
    if (r->anchor_count == QN_YAML_ANCHORS_MAX) {
        fatal(r, at, NULL, "more than 100 anchors");
        return;
    }
    *a = (struct anchor){.name = s, .node = n, .at = at, .is_open = is_open};
    r->anchor_count++;
}

static void refuse_tag(struct reader *r, const yaml_char_t *tag, struct qn_yaml_node *n,
                       uint32_t begin)
{
    struct qn_pos at = place(r, begin, n->end > begin ? n->end : begin + 1);

    if (tag == NULL)
        return;
    n->is_broken = true;
    if (strncmp((const char *)tag, "tag:yaml.org,2002:", 18) == 0)
        qn_diag_error(r->diags, QN_DIAG_YAML, at, "leave it out; quotes make a text",
                      "the tag '!!%.60s' is not used in a spec", (const char *)tag + 18);
    else
        qn_diag_error(r->diags, QN_DIAG_YAML, at, "write 'not', or put the value in quotes",
                      "a value that begins with '!' is a YAML tag");
}

static void on_alias(struct reader *r, const yaml_event_t *e)
{
    struct qn_str name = qn_str_of((const char *)e->data.alias.anchor), known[QN_YAML_ANCHORS_MAX];
    struct qn_pos at = place(r, byte_at(r, e->start_mark.index), byte_at(r, e->end_mark.index));
    struct anchor *a = NULL;

    for (uint32_t i = 0; i < r->anchor_count; i++) {
        known[i] = r->anchors[i].name;
        if (qn_str_eq(known[i], name))
            a = &r->anchors[i];
    }
    if (a == NULL) {
        int near = qn_nearest(name, known, r->anchor_count);

        if (near >= 0)
            qn_diag_error(r->diags, QN_DIAG_UNKNOWN_NAME, at, NULL,
                          "unknown anchor '*%.60s' (did you mean '*%.*s'?)", name.p,
                          QN_STR_ARG(known[near]));
        else
            qn_diag_error(
                r->diags, QN_DIAG_UNKNOWN_NAME, at, "a text that begins with '*' needs quotes",
                "unknown anchor '*%.60s': nothing above is marked '&%.60s'", name.p, name.p);
        r->is_over = true;
        r->root = NULL;
        return;
    }
    a->is_used = true;
    if (a->is_open) {
        fatal(r, at, NULL, "an alias within its own anchor never ends");
        return;
    }
    if (wants_key(r)) {
        fatal(r, at, NULL, "an alias cannot be a key");
        return;
    }
    if (r->depth + a->node->height + 1 > QN_YAML_DEPTH_MAX) {
        fatal(r, at, NULL, "nested more than 64 levels deep");
        return;
    }
    count_nodes(r, a->node->size, at);
    if (!r->is_over)
        attach(r, a->node);
}

static void on_scalar(struct reader *r, const yaml_event_t *e)
{
    static const enum qn_yaml_style styles[] = {
        [YAML_ANY_SCALAR_STYLE] = QN_YAML_PLAIN,
        [YAML_PLAIN_SCALAR_STYLE] = QN_YAML_PLAIN,
        [YAML_SINGLE_QUOTED_SCALAR_STYLE] = QN_YAML_SINGLE,
        [YAML_DOUBLE_QUOTED_SCALAR_STYLE] = QN_YAML_DOUBLE,
        [YAML_LITERAL_SCALAR_STYLE] = QN_YAML_LITERAL,
        [YAML_FOLDED_SCALAR_STYLE] = QN_YAML_FOLDED,
    };
    bool has_properties = e->data.scalar.anchor != NULL || e->data.scalar.tag != NULL;
    struct qn_yaml_node *n = new_node(r, e, QN_YAML_TEXT, has_properties);
    bool is_key = wants_key(r);

    if (n == NULL)
        return;
    n->style = styles[e->data.scalar.style];
    n->text.p =
        qn_arena_strdup(r->arena, (const char *)e->data.scalar.value, e->data.scalar.length);
    n->text.len = (uint32_t)e->data.scalar.length;
    n->written = n->text;
    if (n->text.p == NULL) {
        r->no_memory = true;
        return;
    }
    if (n->style == QN_YAML_PLAIN)
        n->kind = qn_yaml_resolve(n->text);
    refuse_tag(r, e->data.scalar.tag, n, byte_at(r, e->start_mark.index));
    refuse_tabs(r, byte_at(r, e->start_mark.index), n->end, n->style == QN_YAML_PLAIN);
    if (is_key && qn_str_is(n->text, "<<") && n->style == QN_YAML_PLAIN) {
        qn_diag_error(r->diags, QN_DIAG_YAML, n->at, "write the keys out",
                      "merge keys ('<<') are not part of YAML 1.2");
        r->frames[r->depth - 1].node->is_broken = true;
    } else if (is_key && n->text.len == 0) {
        qn_diag_error(r->diags, QN_DIAG_YAML, n->at, NULL, "a key is empty");
    }
    count_nodes(r, 1, n->at);
    if (e->data.scalar.anchor != NULL)
        add_anchor(r, e->data.scalar.anchor, n, byte_at(r, e->start_mark.index), false);
    if (!r->is_over && !r->no_memory)
        attach(r, n);
}

static void on_open(struct reader *r, const yaml_event_t *e, enum qn_yaml_kind kind)
{
    const yaml_char_t *anchor =
        kind == QN_YAML_MAP ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    const yaml_char_t *tag =
        kind == QN_YAML_MAP ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    struct qn_yaml_node *n = new_node(r, e, kind, anchor != NULL || tag != NULL);

    if (n == NULL)
        return;
    refuse_tabs(r, n->begin, n->begin, false);
    refuse_tag(r, tag, n, n->begin);
    if (wants_key(r)) {
        fatal(r, n->at, "put quotes around a key that begins with '[' or '{'",
              "a key must be a plain text");
        return;
    }
    if (r->depth == QN_YAML_DEPTH_MAX) {
        fatal(r, n->at, NULL, "nested more than 64 levels deep");
        return;
    }
    count_nodes(r, 1, n->at);
    if (anchor != NULL)
        add_anchor(r, anchor, n, n->begin, true);
    if (!r->is_over && !r->no_memory)
        attach(r, n);
    r->frames[r->depth++] = (struct frame){.node = n};
}

/* Keys that stand twice: the first counts, the others are reported and left out. */
static bool drop_duplicates(struct reader *r, struct qn_yaml_node *n)
{
    uint32_t slots = 16, kept = 0;
    uint32_t *table;

    while (slots < n->count * 2)
        slots *= 2;
    table = QN_NEW_N(r->arena, uint32_t, slots); /* item + 1; 0 = free */
    if (table == NULL)
        return false;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct qn_yaml_node *k = n->items[i].key;
        uint32_t at = (uint32_t)qn_hash(k->text.p, k->text.len, 0) & (slots - 1);

        while (table[at] != 0 && !qn_str_eq(n->items[table[at] - 1].key->text, k->text))
            at = (at + 1) & (slots - 1);
        if (table[at] != 0) {
            qn_diag_error(r->diags, QN_DIAG_DUPLICATE, k->at, "leave one of them out",
                          "the key '%.*s' stands here twice, first in line %u",
                          (int)(k->text.len < 80 ? k->text.len : 80), k->text.p,
                          n->items[table[at] - 1].key->at.line);
            continue;
        }
        n->items[kept] = n->items[i];
        table[at] = ++kept;
    }
    n->count = kept;
    return true;
}

static void on_close(struct reader *r)
{
    struct frame *f = &r->frames[--r->depth];
    struct qn_yaml_node *n = f->node;
    uint32_t i = 0;

    n->items = QN_NEW_N(r->arena, struct qn_yaml_item, n->count);
    if (n->items == NULL) {
        r->no_memory = true;
        return;
    }
    for (struct cell *c = f->first; c != NULL; c = c->next) {
        n->items[i++] = c->item;
        n->size += c->item.value->size + (c->item.key != NULL ? 1 : 0);
        if (c->item.value->height + 1 > n->height)
            n->height = c->item.value->height + 1;
    }
    if (n->kind == QN_YAML_MAP && n->count > 1 && !drop_duplicates(r, n))
        r->no_memory = true;
    for (uint32_t a = 0; a < r->anchor_count; a++) {
        if (r->anchors[a].node == n)
            r->anchors[a].is_open = false;
    }
}

static void on_document(struct reader *r, const yaml_event_t *e)
{
    uint32_t begin = byte_at(r, e->start_mark.index);

    if (e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end)
        qn_diag_error(r->diags, QN_DIAG_YAML, place(r, begin, begin + 1), "leave it out",
                      "tag directives are not used in a spec");
    if (++r->documents > 1)
        fatal(r, place(r, begin, begin + 3), "one file holds one spec",
              "a second document begins here");
}

static void on_event(struct reader *r, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        on_document(r, e);
        break;
    case YAML_ALIAS_EVENT:
        refuse_tabs(r, byte_at(r, e->start_mark.index), byte_at(r, e->end_mark.index), false);
        on_alias(r, e);
        break;
    case YAML_SCALAR_EVENT:
        on_scalar(r, e);
        break;
    case YAML_SEQUENCE_START_EVENT:
        on_open(r, e, QN_YAML_LIST);
        break;
    case YAML_MAPPING_START_EVENT:
        on_open(r, e, QN_YAML_MAP);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        on_close(r);
        break;
    case YAML_STREAM_END_EVENT:
        refuse_tabs(r, r->source.len, r->source.len, false);
        r->is_over = true;
        break;
    default:
        break;
    }
}

static void read_events(struct reader *r)
{
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->source.p, r->source.len);
    while (!r->is_over && !r->no_memory) {
        yaml_event_t e;

        if (!yaml_parser_parse(&r->parser, &e)) {
            report_syntax(r);
            r->root = NULL;
            return;
        }
        on_event(r, &e);
        yaml_event_delete(&e);
    }
}

static bool check_bytes(struct reader *r)
{
    uint32_t good = 0;

    if (r->source.len > QN_YAML_BYTES_MAX) {
        qn_diag_error(r->diags, QN_DIAG_YAML, (struct qn_pos){0}, NULL,
                      "larger than 4 MiB: not a spec");
        return false;
    }
    if (qn_utf8_valid(r->source.p, r->source.len))
        return true;
    while (good < r->source.len) { /* the first character that is none */
        uint32_t n = 1;

        while (n < 4 && good + n < r->source.len &&
               ((unsigned char)r->source.p[good + n] & 0xC0) == 0x80)
            n++;
        if (!qn_utf8_valid(r->source.p + good, n))
            break;
        good += n;
    }
    qn_diag_error(r->diags, QN_DIAG_YAML, qn_yaml_pos(r->source, good, good + 1),
                  "save the file as UTF-8", "bytes that are not UTF-8");
    return false;
}

qn_status qn_yaml_parse(struct qn_str source, struct qn_arena *arena, struct qn_diags *diags,
                        struct qn_yaml_node **root, struct qn_err *err)
{
    struct reader *r = QN_NEW(arena, struct reader);

    *root = NULL;
    if (r == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory while reading the spec");
    r->source = source;
    r->arena = arena;
    r->diags = diags;
    if (!check_bytes(r))
        return QN_OK;
    if (!map_source(r) || !yaml_parser_initialize(&r->parser))
        return qn_err_set(err, QN_NOMEM, "out of memory while reading the spec");
    read_events(r);
    yaml_parser_delete(&r->parser);
    if (r->no_memory)
        return qn_err_set(err, QN_NOMEM, "out of memory while reading the spec");
    if (r->root != NULL) {
        for (uint32_t i = 0; i < r->anchor_count; i++) {
            if (!r->anchors[i].is_used)
                qn_diag_error(diags, QN_DIAG_YAML, r->anchors[i].at,
                              "a text that begins with '&' needs quotes",
                              "the anchor '&%.*s' is never used", QN_STR_ARG(r->anchors[i].name));
        }
    }
    *root = r->root;
    return QN_OK;
}
