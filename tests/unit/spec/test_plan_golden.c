/* SPDX-License-Identifier: Apache-2.0
 * test_plan_golden.c - the wording of mistakes: tests/golden/spec-errors/<name>/spec.yaml must say
 * expected.txt, to the byte.
 *
 * A case may have model files beside its spec and an `env` file with NAME=value lines.
 * QUERN_UPDATE_GOLDEN=1 rewrites the expectations: read them as a user before you keep them. A spec
 * with warnings only must load. */
#include "spec/plan.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CASES_MAX = 256, VARIABLES_MAX = 16 };

/* The folder of the case stands for the current one, as when somebody runs `quern check spec.yaml`
 * there. */
static char folder[1024];

static int open_there(void *st, const char *path, enum qn_open how)
{
    char full[2048];

    snprintf(full, sizeof(full), "%s/%s", folder, path);
    return qn_files_system.open(st, full, how);
}

static void read_environment(const struct qn_files *files, const char *list[VARIABLES_MAX + 1],
                             struct qn_buf *text)
{
    struct qn_err err = {0};
    unsigned n = 0;

    list[0] = NULL;
    if (qn_file_read_all(files, "env", 65536, text, &err) != QN_OK)
        return;
    qn_buf_byte(text, '\0');
    for (char *line = text->data; *line != '\0' && n < VARIABLES_MAX;) {
        char *end = strchr(line, '\n');

        assert_non_null(end);
        *end = '\0';
        list[n++] = line;
        line = end + 1;
    }
    list[n] = NULL;
}

static void run_case(const char *root, const char *name, unsigned *failed)
{
    struct qn_files files = qn_files_system;
    const char *environment[VARIABLES_MAX + 1];
    struct qn_plan_options opt = {.files = &files, .environment = environment};
    struct qn_arena arena = {0};
    struct qn_diags diags = {.arena = &arena};
    struct qn_buf out = {0}, expected = {0}, env = {0};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};
    qn_status rc;

    snprintf(folder, sizeof(folder), "%s/%s", root, name);
    files.open = open_there;
    read_environment(&files, environment, &env);
    rc = qn_plan_load("spec.yaml", &opt, &arena, &diags, &plan, &err);
    qn_diag_print(&diags, true, &out);
    assert_int_equal(rc, diags.errors > 0 ? QN_INVALID : QN_OK);
    assert_true((plan != NULL) == (rc == QN_OK));
    assert_true(diags.errors + diags.warnings > 0);
    if (getenv("QUERN_UPDATE_GOLDEN") != NULL) {
        int fd = files.open(files.st, "expected.txt", QN_OPEN_REPLACE);

        assert_true(fd >= 0);
        assert_int_equal(qn_file_write_all(&files, fd, "expected.txt", out.data, out.len, &err),
                         QN_OK);
        files.close(files.st, fd);
    } else if (qn_file_read_all(&files, "expected.txt", 1 << 20, &expected, &err) != QN_OK ||
               expected.len != out.len || memcmp(expected.data, out.data, out.len) != 0) {
        printf("--- %s: expected\n%.*s--- found\n%.*s", name, (int)expected.len,
               expected.data != NULL ? expected.data : "", (int)out.len, out.data);
        ++*failed;
    }
    qn_plan_free(plan);
    qn_buf_fini(&env);
    qn_buf_fini(&out);
    qn_buf_fini(&expected);
    qn_arena_fini(&arena);
}

static int is_case(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static void test_all(void **state)
{
    const char *root = getenv("QUERN_ROOT");
    struct dirent **list = NULL;
    unsigned failed = 0;
    char path[900];
    int n;

    (void)state;
    snprintf(path, sizeof(path), "%s/tests/golden/spec-errors", root != NULL ? root : ".");
    n = scandir(path, &list, is_case, alphasort);
    if (n <= 0) {
        printf("skipped: no cases in %s (set QUERN_ROOT)\n", path);
        skip();
    }
    for (int i = 0; i < n; i++) {
        run_case(path, list[i]->d_name, &failed);
        free(list[i]);
    }
    free(list);
    printf("%d cases\n", n);
    assert_true(n >= 24);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
