/* SPDX-License-Identifier: Apache-2.0
 * test_yaml_node.c - YAML into nodes: 1.2 scalars, places in bytes, everything that must be
 * refused, limits, places inside scalars. The wording is held by tests/golden/spec-errors. */
#include "base/clock.h"
#include "spec/yaml_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct qn_arena arena;
static struct qn_diags diags;
static struct qn_buf big;

static struct qn_yaml_node *parse_str(struct qn_str source)
{
    struct qn_yaml_node *root;
    struct qn_err err = {0};

    qn_arena_reset(&arena);
    diags = (struct qn_diags){.arena = &arena, .source = source};
    assert_int_equal(qn_yaml_parse(source, &arena, &diags, &root, &err), QN_OK);
    return root;
}

static struct qn_yaml_node *parse(const char *text)
{
    return parse_str(qn_str_of(text));
}

static struct qn_yaml_node *good(const char *text)
{
    struct qn_yaml_node *root = parse(text);

    if (diags.errors > 0)
        fail_msg("%s", diags.list[0].text);
    assert_non_null(root);
    return root;
}

/* The one error, at line:col, whose text has `words` in it. */
static void bad(const char *text, enum qn_diag_code code, uint32_t line, uint32_t col,
                const char *words)
{
    parse(text);
    if (diags.errors != 1 || diags.list[0].code != code || diags.list[0].at.line != line ||
        diags.list[0].at.col != col || strstr(diags.list[0].text, words) == NULL)
        fail_msg("%s\nfound %u errors, first %d at %u:%u: %s", text, diags.errors,
                 (int)diags.list[0].code, diags.list[0].at.line, diags.list[0].at.col,
                 diags.errors > 0 ? diags.list[0].text : "");
}

static void test_scalars(void **state)
{
    static const struct {
        const char *text;
        enum qn_yaml_kind kind;
    } rows[] = {
        {"true", QN_YAML_BOOL},       {"False", QN_YAML_BOOL},  {"TRUE", QN_YAML_BOOL},
        {"yes", QN_YAML_TEXT},        {"no", QN_YAML_TEXT},     {"on", QN_YAML_TEXT},
        {"Off", QN_YAML_TEXT},        {"y", QN_YAML_TEXT},      {"null", QN_YAML_NULL},
        {"~", QN_YAML_NULL},          {"", QN_YAML_NULL},       {"nil", QN_YAML_TEXT},
        {"0", QN_YAML_NUMBER},        {"-12", QN_YAML_NUMBER},  {"+1", QN_YAML_NUMBER},
        {"012", QN_YAML_TEXT},        {"0o17", QN_YAML_NUMBER}, {"0x1F", QN_YAML_NUMBER},
        {"0b11", QN_YAML_TEXT},       {"0o8", QN_YAML_TEXT},    {"1:30", QN_YAML_TEXT},
        {"1_000", QN_YAML_TEXT},      {"1.5", QN_YAML_NUMBER},  {".5", QN_YAML_NUMBER},
        {"1.", QN_YAML_NUMBER},       {"1e3", QN_YAML_NUMBER},  {"1e", QN_YAML_TEXT},
        {".", QN_YAML_TEXT},          {"-", QN_YAML_TEXT},      {".inf", QN_YAML_NUMBER},
        {"-.Inf", QN_YAML_NUMBER},    {".nan", QN_YAML_NUMBER}, {"-.nan", QN_YAML_TEXT},
        {"inf", QN_YAML_TEXT},        {"nan", QN_YAML_TEXT},    {"0x", QN_YAML_TEXT},
        {"2026-01-31", QN_YAML_TEXT}, {"1 2", QN_YAML_TEXT},    {"1.2.3", QN_YAML_TEXT},
        {"-0", QN_YAML_NUMBER},       {"00", QN_YAML_TEXT},     {"01.5", QN_YAML_TEXT},
        {"0.5", QN_YAML_NUMBER},      {"=", QN_YAML_TEXT},
    };
    const struct qn_yaml_node *root;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (qn_yaml_resolve(qn_str_of(rows[i].text)) != rows[i].kind)
            fail_msg("'%s' is %d", rows[i].text, (int)qn_yaml_resolve(qn_str_of(rows[i].text)));
    }
    root = good("a: 'true'\nb: \"12\"\nc: |\n  12\nd: no\ne: 12\nf:\n");
    assert_int_equal(root->count, 6);
    for (int i = 0; i < 4; i++)
        assert_int_equal(root->items[i].value->kind, QN_YAML_TEXT);
    assert_int_equal(root->items[4].value->kind, QN_YAML_NUMBER);
    assert_int_equal(root->items[5].value->kind, QN_YAML_NULL);
    assert_true(qn_str_is(root->items[2].value->text, "12\n"));
}

static void test_numbers(void **state)
{
    const struct qn_yaml_node *root = good("[0x1F, 0o17, -2.50, 1e3, .inf, -.inf, .nan, 1e999, "
                                           "9223372036854775807, 0x8000000000000000]");
    double d;
    int64_t v;

    (void)state;
    assert_true(qn_yaml_double(root->items[0].value, &d) && d == 31);
    assert_true(qn_yaml_scaled(root->items[1].value, 2, &v) && v == 1500);
    assert_true(qn_yaml_scaled(root->items[2].value, 1, &v) && v == -25);
    assert_false(qn_yaml_scaled(root->items[2].value, 0, &v));
    assert_true(qn_yaml_scaled(root->items[3].value, 0, &v) && v == 1000);
    assert_true(qn_yaml_double(root->items[4].value, &d) && d > 1e308);
    assert_true(qn_yaml_double(root->items[5].value, &d) && d < -1e308);
    assert_true(qn_yaml_double(root->items[6].value, &d) && d != d);
    assert_false(qn_yaml_double(root->items[7].value, &d));
    assert_true(qn_yaml_scaled(root->items[8].value, 0, &v) && v == INT64_MAX);
    assert_false(qn_yaml_scaled(root->items[9].value, 0, &v));
    assert_false(qn_yaml_scaled(root->items[4].value, 0, &v));
}

static void test_places(void **state)
{
    /* bytes, not characters: 'ü' takes two */
    const struct qn_yaml_node *root =
        good("# ü\nname: 'ü'\nlist: {üü: 1, b: [x, \"y\"]}\r\nlast: &a 5\nuse: *a\n");
    const struct qn_yaml_node *map = root->items[1].value;

    (void)state;
    assert_int_equal(root->items[0].value->at.line, 2);
    assert_int_equal(root->items[0].value->at.col, 7);
    assert_int_equal(root->items[0].value->at.len, 4);
    assert_int_equal(map->items[0].value->at.col, 14);
    assert_int_equal(map->items[1].key->at.col, 17);
    assert_int_equal(map->items[1].value->items[1].value->at.col, 24);
    assert_int_equal(map->items[1].value->items[1].value->at.len, 3);
    assert_int_equal(root->items[2].value->at.line, 4);
    assert_int_equal(root->items[2].value->at.col, 10); /* behind the anchor */
    assert_ptr_equal(root->items[3].value, root->items[2].value);
    assert_int_equal(root->size, 15);
}

static void test_refused(void **state)
{
    (void)state;
    bad("a: 1\nb: 2\na: 3\n", QN_DIAG_DUPLICATE, 3, 1, "first in line 1");
    bad("a: 1\n'a': 3\n", QN_DIAG_DUPLICATE, 2, 1, "twice");
    bad("a:\n\tb: 1\n", QN_DIAG_YAML, 2, 1, "tab");
    bad("a:\t1\n", QN_DIAG_YAML, 1, 3, "tab");
    bad("a: x\ty\n", QN_DIAG_YAML, 1, 5, "tab");
    bad("a: 1 # x\n\t\n", QN_DIAG_YAML, 2, 1, "tab");
    bad("a: *b\n", QN_DIAG_UNKNOWN_NAME, 1, 4, "unknown anchor");
    bad("a: &x 1\n", QN_DIAG_YAML, 1, 4, "never used");
    bad("a: &x 1\nb: &x 2\nc: *x\n", QN_DIAG_DUPLICATE, 2, 4, "twice");
    bad("a: &x [*x]\n", QN_DIAG_YAML, 1, 8, "never ends");
    bad("a: &x {p: 1}\nb:\n  <<: *x\n", QN_DIAG_YAML, 3, 3, "merge");
    bad("a: !!str 5\n", QN_DIAG_YAML, 1, 4, "!!str");
    bad("a: !mine 5\n", QN_DIAG_YAML, 1, 4, "tag");
    bad("a: 1\n---\nb: 1\n", QN_DIAG_YAML, 2, 1, "second document");
    bad("a: 1\n...\nb: 1\n", QN_DIAG_YAML, 3, 1, "");
    bad("[a]: 1\n", QN_DIAG_YAML, 1, 1, "");
    bad("{[a]: 1}\n", QN_DIAG_YAML, 1, 2, "");
    bad("? a\n: 1\n? {x: 1}\n: 2\n", QN_DIAG_YAML, 3, 3, "plain text");
    bad("a: 'x\n", QN_DIAG_YAML, 1, 4, "never ends");
    bad("a: {b: 1\n", QN_DIAG_YAML, 1, 4, "not closed");
    bad("a: x: y\n", QN_DIAG_YAML, 1, 5, "no quotes");
    bad("a: \xff\n", QN_DIAG_YAML, 1, 4, "UTF-8");
    bad("a: \x01\n", QN_DIAG_YAML, 1, 4, "control");
    bad("a: 1\n'': 2\n", QN_DIAG_YAML, 2, 1, "empty");
    bad("%TAG ! tag:x,2000:\n--- \na: 1\n", QN_DIAG_YAML, 1, 1, "directives");
    good("a: \"x\ty\" # c\td\nb: |\n  x\ty\n");
    assert_null(parse("# only a comment\n"));
    assert_int_equal(diags.errors, 0);
    assert_null(parse(""));
}

static void test_limits(void **state)
{
    char bomb[1024];
    size_t n;

    (void)state;
    n = (size_t)snprintf(bomb, sizeof(bomb), "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 8; i++)
        n += (size_t)snprintf(bomb + n, sizeof(bomb) - n,
                              "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i,
                              i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    assert_null(parse(bomb));
    assert_int_equal(diags.errors, 1);
    assert_non_null(strstr(diags.list[0].text, "100,000"));

    qn_buf_clear(&big);
    for (int i = 0; i < 64; i++)
        qn_buf_byte(&big, '[');
    for (int i = 0; i < 64; i++)
        qn_buf_byte(&big, ']');
    assert_non_null(parse_str((struct qn_str){big.data, (uint32_t)big.len}));
    assert_int_equal(diags.errors, 0);
    qn_buf_clear(&big);
    for (int i = 0; i < 100000; i++)
        qn_buf_byte(&big, '[');
    assert_null(parse_str((struct qn_str){big.data, (uint32_t)big.len}));
    assert_int_equal(diags.errors, 1);
    assert_int_equal(diags.list[0].at.col, 65);

    qn_buf_clear(&big);
    for (int i = 0; i < 100001; i++)
        qn_buf_text(&big, "- x\n");
    assert_null(parse_str((struct qn_str){big.data, (uint32_t)big.len}));
    assert_int_equal(diags.errors, 1);
    while (big.len <= QN_YAML_BYTES_MAX)
        qn_buf_text(&big, "# filling\n");
    assert_null(parse_str((struct qn_str){big.data, (uint32_t)big.len}));
    assert_non_null(strstr(diags.list[0].text, "4 MiB"));
    qn_buf_fini(&big);
}

/* Every letter of the value must be found where it stands in the source. */
static void places_of(const char *source)
{
    const struct qn_yaml_node *n = good(source)->items[0].value;
    struct qn_str s = qn_str_of(source);

    assert_int_equal(n->kind, QN_YAML_TEXT);
    for (uint32_t i = 0; i < n->text.len; i++) {
        struct qn_pos at = qn_yaml_place(n, s, i, 1);
        const char *line = source;

        if (n->text.p[i] < 'a' || n->text.p[i] > 'z')
            continue;
        for (uint32_t l = 1; l < at.line; l++)
            line = strchr(line, '\n') + 1;
        if (line[at.col - 1] != n->text.p[i])
            fail_msg("%s: byte %u of '%.*s' found at %u:%u '%c'", source, i, QN_STR_ARG(n->text),
                     at.line, at.col, line[at.col - 1]);
    }
}

static void test_places_inside(void **state)
{
    (void)state;
    places_of("k: abc def\n");
    places_of("k: 'ab''cd ''e'\n");
    places_of("k: \"ab\\\"c\\u00fcd\\x41e\\n f\\\\g\\U0001F600h\\_i\\Lj\"\n");
    places_of("k: abc\n  def\n   ghi\n\n  jkl   \n  mno\n");
    places_of("k: \"abc  \n   def\\\n    ghi\n\n\n  jkl\"\n");
    places_of("k: 'abc\n\n  d''ef  g'\n");
    places_of("k: |\n   abc\n    def\n\n   ghi\n");
    places_of("k: >\n  abc\n  def\n\n  ghi\n  jkl\n");
    places_of("k: >-\n    abc def\n    ghi\nz: 1\n");
    places_of("k: &a |2\n   abc\n  def\nl: *a\n");
    places_of("k: \xC3\xBC"
              "abc \xC3\xBC def\n");
}

/* Any text gives nodes or a mistake inside the text; the same text gives the same. */
static void test_random(void **state)
{
    static const char letters[] = "ab:,-[]{}'\"#&*!|>%@`?\\\n  \t$01.~";
    struct qn_rng rng;
    char text[48];

    (void)state;
    printf("seed 7\n");
    qn_rng_seed(&rng, 7);
    for (int round = 0; round < 40000; round++) {
        uint32_t n = qn_rng_below(&rng, sizeof(text) - 1);

        for (uint32_t i = 0; i < n; i++)
            text[i] = letters[qn_rng_below(&rng, sizeof(letters) - 1)];
        text[n] = '\0';
        if (parse(text) == NULL && diags.errors == 0) /* nothing but comments and white space */
            assert_true(text[strspn(text, " \n")] == '\0' ||
                        strchr("#-.%", text[strspn(text, " \n")]) != NULL);
        for (unsigned i = 0; i < diags.count; i++) {
            assert_in_range(diags.list[i].at.line, 1, n + 1);
            assert_in_range(diags.list[i].at.col, 1, n + 1);
        }
    }
}

static int teardown(void **state)
{
    (void)state;
    qn_arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_places),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),  cmocka_unit_test(test_places_inside),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
