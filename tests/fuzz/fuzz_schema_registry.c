/* SPDX-License-Identifier: Apache-2.0
 * fuzz_schema_registry.c - what a schema registry answers.
 *
 * Holds: an answer has a schema or is refused with words; its references are complete. */
#include "base/check.h"
#include "log/schema_registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct qn_str text = {(const char *)data, (uint32_t)size};
    struct qn_schema_text schema;
    struct qn_err err = {0};
    struct qn_arena a;

    qn_arena_init(&a, 0);
    if (qn_registry_answer_read(text, &a, &schema, &err) == QN_OK) {
        QN_ASSERT(schema.schema.p != NULL && schema.type <= QN_SCHEMA_OTHER);
        for (uint32_t i = 0; i < schema.reference_count; i++)
            QN_ASSERT(schema.references[i].subject.p != NULL && schema.references[i].version >= 0);
    } else {
        QN_ASSERT(err.text[0] != '\0');
    }
    (void)qn_registry_error_read(text, &a);
    qn_arena_fini(&a);
    return 0;
}
