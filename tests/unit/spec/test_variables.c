/* SPDX-License-Identifier: Apache-2.0
 * test_variables.c - ${...} in scalars: what is filled in, what is refused, where, and that nothing
 * can be injected. */
#include "spec/variables.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct qn_arena arena;
static struct qn_diags diags;

/* One file, "conf/<name>", in memory. */
struct memory_file {
    const char *path;
    const char *content;
    size_t bytes, at;
};

static int file_open(void *st, const char *path, enum qn_open how)
{
    struct memory_file *f = st;

    f->at = 0;
    return how == QN_OPEN_READ && f->path != NULL && strcmp(path, f->path) == 0 ? 3 : -2;
}

static int64_t file_read(void *st, int fd, void *p, size_t bytes)
{
    struct memory_file *f = st;
    size_t n = f->bytes - f->at < bytes ? f->bytes - f->at : bytes;

    assert_int_equal(fd, 3);
    memcpy(p, f->content + f->at, n);
    f->at += n;
    return (int64_t)n;
}

static int file_close(void *st, int fd)
{
    (void)st;
    (void)fd;
    return 0;
}

static int64_t file_size(void *st, int fd)
{
    (void)fd;
    return (int64_t)((struct memory_file *)st)->bytes;
}

static const char *const environment[] = {"PORT=8080",
                                          "NAME=card",
                                          "EMPTY=",
                                          "FLAG=true",
                                          "NONE=null",
                                          "API_KEY=hunter2",
                                          "EVIL=x: 1\ny: [2, 3]",
                                          "NESTED=${NAME}",
                                          "BAD=\xff",
                                          NULL};

static const struct qn_yaml_node *fill_with(const char *text, struct memory_file *file)
{
    struct qn_files files = {
        .open = file_open, .read = file_read, .close = file_close, .size = file_size, .st = file};
    struct qn_variables v = {.files = &files,
                             .environment = environment,
                             .folder = qn_str_of("conf/"),
                             .source = qn_str_of(text)};
    struct qn_yaml_node *root;
    struct qn_err err = {0};

    qn_arena_reset(&arena);
    diags = (struct qn_diags){.arena = &arena, .source = v.source};
    assert_int_equal(qn_yaml_parse(v.source, &arena, &diags, &root, &err), QN_OK);
    assert_int_equal(diags.errors, 0);
    assert_int_equal(qn_variables_fill(&v, root, &arena, &diags, &err), QN_OK);
    return root;
}

/* As for a spec that will run elsewhere: nothing that is missing is a mistake. */
static void test_stand_ins(void **state)
{
    const char *text =
        "a: ${GONE}/${PORT}\nb: [\"${GONE:x}\", \"${file:no.secret}\", \"${LOST:y}\"]\n"
        "c: \"${file:no.secret}\"\n";
    struct qn_files files = {.open = file_open, .st = NULL}; /* none is opened */
    struct qn_variable_list seen = {0};
    struct qn_variables v = {.files = &files,
                             .environment = environment,
                             .source = qn_str_of(text),
                             .stand_in = "somebody",
                             .seen = &seen};
    struct qn_yaml_node *root;
    struct qn_err err = {0};

    (void)state;
    qn_arena_reset(&arena);
    diags = (struct qn_diags){.arena = &arena, .source = v.source};
    assert_int_equal(qn_yaml_parse(v.source, &arena, &diags, &root, &err), QN_OK);
    assert_int_equal(qn_variables_fill(&v, root, &arena, &diags, &err), QN_OK);
    assert_int_equal(diags.errors, 0);
    assert_true(qn_str_is(root->items[0].value->text, "somebody/8080"));
    assert_true(root->items[0].value->is_secret);
    assert_true(qn_str_is(root->items[1].value->items[0].value->text, "x"));
    assert_true(qn_str_is(root->items[2].value->text, "somebody"));
    assert_int_equal(seen.count, 4);
    assert_true(qn_str_is(seen.items[0].name, "GONE"));
    assert_true(seen.items[0].is_stand_in && !seen.items[0].has_default); /* needed once */
    assert_true(qn_str_is(seen.items[1].name, "PORT") && !seen.items[1].is_stand_in);
    assert_true(seen.items[2].is_file && qn_str_is(seen.items[2].name, "no.secret"));
    assert_true(qn_str_is(seen.items[3].name, "LOST") && seen.items[3].has_default);
    assert_false(seen.items[3].is_stand_in);
}

static const struct qn_yaml_node *fill(const char *text)
{
    struct memory_file none = {0};

    return fill_with(text, &none);
}

static void good(const char *value, const char *expected, enum qn_yaml_kind kind)
{
    char text[256];
    const struct qn_yaml_node *n;

    snprintf(text, sizeof(text), "k: %s\n", value);
    n = fill(text)->items[0].value;
    if (diags.errors > 0 || !qn_str_is(n->text, expected) || n->kind != kind)
        fail_msg("%s gave '%.*s' (%d) %s", value, QN_STR_ARG(n->text), (int)n->kind,
                 diags.errors > 0 ? diags.list[0].text : "");
}

static void bad(const char *value, uint32_t col, const char *words)
{
    char text[256];
    const struct qn_yaml_node *n;

    snprintf(text, sizeof(text), "k: %s\n", value);
    n = fill(text)->items[0].value;
    if (diags.errors != 1 || diags.list[0].code != QN_DIAG_VARIABLE ||
        diags.list[0].at.col != col || strstr(diags.list[0].text, words) == NULL)
        fail_msg("%s: %u errors, first at %u: %s", value, diags.errors, diags.list[0].at.col,
                 diags.errors > 0 ? diags.list[0].text : "");
    assert_true(n->is_broken);
}

static void test_fill(void **state)
{
    (void)state;
    good("${PORT}", "8080", QN_YAML_NUMBER);
    good("'${PORT}'", "8080", QN_YAML_TEXT);
    good("\"${PORT}\"", "8080", QN_YAML_TEXT);
    good("${FLAG}", "true", QN_YAML_BOOL);
    good("${NONE}", "null", QN_YAML_NULL);
    good("${EMPTY}", "", QN_YAML_NULL);
    good("x${EMPTY}y", "xy", QN_YAML_TEXT);
    good("${EMPTY:d}", "", QN_YAML_NULL); /* set, to nothing */
    good("${ABSENT:10s}", "10s", QN_YAML_TEXT);
    good("${ABSENT:}", "", QN_YAML_NULL);
    good("${ABSENT:a:b c}", "a:b c", QN_YAML_TEXT);
    good("a-${NAME}-${PORT}-z", "a-card-8080-z", QN_YAML_TEXT);
    good("${{NAME}}", "${NAME}", QN_YAML_TEXT);
    good("${{a b}} ${NAME}", "${a b} card", QN_YAML_TEXT);
    good("${NESTED}", "${NAME}", QN_YAML_TEXT); /* filled in once only */
    good("$NAME $ {NAME} 5$", "$NAME $ {NAME} 5$", QN_YAML_TEXT);
    good("${EVIL}", "x: 1\ny: [2, 3]", QN_YAML_TEXT);
}

static void test_refused(void **state)
{
    (void)state;
    bad("${ABSENT}", 4, "not set");
    bad("a ${ABSENT} b", 6, "ABSENT");
    bad("${PORTS}", 4, "did you mean PORT?");
    bad("'it''s ${ABSENT}'", 11, "not set");
    bad("${}", 4, "expected");
    bad("${1A}", 4, "expected");
    bad("${A B}", 4, "expected");
    bad("${PORT:-5}", 4, "${PORT:5}");
    bad("${PORT", 4, "never closed");
    bad("${{PORT}", 4, "never closed");
    bad("${file:}", 4, "no name");
    bad("${file:gone}", 4, "'conf/gone' cannot be read: not found");
    bad("${BAD}", 4, "UTF-8");
    fill("${NAME}: 1\n");
    assert_int_equal(diags.errors, 1);
    assert_non_null(strstr(diags.list[0].text, "not into keys"));
}

static void test_files(void **state)
{
    struct memory_file secret = {.path = "conf/secret", .content = "hunter2\n", .bytes = 8},
                       large = {.path = "/abs"};
    const struct qn_yaml_node *n = fill_with("k: ${file:secret}\n", &secret)->items[0].value;
    char *many;

    (void)state;
    assert_true(qn_str_is(n->text, "hunter2"));
    assert_true(qn_str_is(n->written, "${file:secret}"));
    assert_true(n->is_secret);
    secret.content = "a\r\n\r\n";
    secret.bytes = 5;
    n = fill_with("k: \"${file:secret}\"\n", &secret)->items[0].value;
    assert_true(qn_str_is(n->text, "a\r\n"));
    secret.bytes = 0;
    assert_int_equal(fill_with("k: ${file:secret}\n", &secret)->items[0].value->kind, QN_YAML_NULL);

    many = qn_mem_zalloc(QN_VARIABLE_FILE_BYTES_MAX + 1, 1);
    memset(many, 'x', QN_VARIABLE_FILE_BYTES_MAX + 1);
    large.content = many;
    large.bytes = QN_VARIABLE_FILE_BYTES_MAX;
    n = fill_with("k: ${file:/abs}\n", &large)->items[0].value;
    assert_int_equal(diags.errors, 0);
    assert_int_equal(n->text.len, QN_VARIABLE_FILE_BYTES_MAX);
    large.bytes++;
    fill_with("k: ${file:/abs}\n", &large);
    assert_int_equal(diags.errors, 1);
    assert_non_null(strstr(diags.list[0].text, "64 KiB"));
    large.bytes--;
    many[5] = 0;
    fill_with("k: ${file:/abs}\n", &large);
    assert_non_null(strstr(diags.list[0].text, "not UTF-8 text"));
    qn_mem_free(many);
}

static void test_secrets(void **state)
{
    static const char *const secret[] = {"API_KEY",   "api_token", "DB_PASSWORD",
                                         "SLACK_URL", "MySecret",  "AWS_CREDENTIALS"};
    static const char *const open[] = {"PORT", "NAME", "TOKE", "REGION", "PASS"};

    (void)state;
    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
        assert_true(qn_variable_is_secret(qn_str_of(secret[i])));
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
        assert_false(qn_variable_is_secret(qn_str_of(open[i])));
    assert_true(fill("k: a ${API_KEY}\n")->items[0].value->is_secret);
    assert_false(fill("k: ${PORT}\n")->items[0].value->is_secret);
}

/* Places in a filled-in text: before, inside, behind. */
static void test_places(void **state)
{
    const char *text = "k: aa ${PORT} bb ${NAME}cc\n";
    const struct qn_yaml_node *n = fill(text)->items[0].value;
    struct qn_str s = qn_str_of(text);
    struct qn_pos at;

    (void)state;
    assert_true(qn_str_is(n->text, "aa 8080 bb cardcc"));
    assert_int_equal(qn_yaml_place(n, s, 0, 2).col, 4);
    at = qn_yaml_place(n, s, 3, 4);
    assert_int_equal(at.col, 7);
    assert_int_equal(at.len, 7);
    at = qn_yaml_place(n, s, 5, 1);
    assert_int_equal(at.col, 7);
    assert_int_equal(at.len, 7);
    at = qn_yaml_place(n, s, 8, 2);
    assert_int_equal(at.col, 15);
    assert_int_equal(at.len, 2);
    assert_int_equal(qn_yaml_place(n, s, 15, 2).col, 25);
}

/* A node that several aliases share is filled once. */
static void test_aliases(void **state)
{
    const struct qn_yaml_node *root = fill("a: &x ['${{NAME}}', \"${NAME}\"]\nb: *x\nc: {d: *x}\n");

    (void)state;
    assert_int_equal(diags.errors, 0);
    assert_true(qn_str_is(root->items[1].value->items[0].value->text, "${NAME}"));
    assert_true(qn_str_is(root->items[1].value->items[1].value->text, "card"));
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
        cmocka_unit_test(test_fill),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_files),     cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_places),    cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_stand_ins),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
