/* SPDX-License-Identifier: Apache-2.0
 * fuzz_yaml.c - any bytes as a spec: YAML, variables, binder, features, plan.
 *
 * Holds: either a plan or at least one mistake; every mistake lies inside the text; a secret never
 * shows in what is printed; the same bytes give the same version again. There are no files to read.
 */
#include "base/check.h"
#include "spec/plan.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int no_open(void *st, const char *path, enum qn_open how)
{
    (void)st;
    (void)path;
    (void)how;
    return -2; /* there is no such file */
}

static const struct qn_files no_files = {.open = no_open};
static const char *const environment[] = {"LIMIT=200", "LATENESS=30s", "SECRET=qzjxvwkq",
                                          "YAML=a: [b", NULL};

static bool contains(const struct qn_buf *b, const char *word)
{
    return b->len > 0 && memmem(b->data, b->len, word, strlen(word)) != NULL;
}

static uint64_t load(struct qn_str text)
{
    struct qn_plan_options opt = {.files = &no_files, .environment = environment};
    struct qn_arena arena = {0};
    struct qn_diags diags = {.arena = &arena};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};
    struct qn_buf out = {0};
    uint64_t version = 0;
    qn_status rc = qn_plan_load_text(text, "fuzz/spec.yaml", &opt, &arena, &diags, &plan, &err);
    uint32_t lines = 1;

    for (uint32_t i = 0; i < text.len; i++)
        lines += text.p[i] == '\n';
    QN_ASSERT(rc == QN_OK || rc == QN_INVALID);
    QN_ASSERT((rc == QN_OK) == (plan != NULL));
    QN_ASSERT((rc == QN_OK) == (diags.errors == 0));
    for (unsigned i = 0; i < diags.count; i++)
        QN_ASSERT(diags.list[i].at.line <= lines);
    qn_diag_print(&diags, false, &out);
    qn_diag_json(&diags, &out);
    if (plan != NULL) {
        version = plan->version;
        qn_plan_print(plan, &out);
        qn_plan_json(plan, &out);
    }
    if (memmem(text.p, text.len, "qzjx", 4) == NULL && memmem(text.p, text.len, "name:", 5) == NULL)
        QN_ASSERT(!contains(&out, "qzjxvwkq"));
    qn_buf_fini(&out);
    qn_plan_free(plan);
    qn_arena_fini(&arena);
    return version;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_str text = {(const char *)data, (uint32_t)size};

    if (size > 1 << 16)
        return 0;
    QN_ASSERT(load(text) == load(text));
    return 0;
}
