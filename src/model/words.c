/* SPDX-License-Identifier: Apache-2.0
 * words.c - the words of a model's inputs, and the code of a text.
 *
 * Where it stands: score.c asks for the code of each text, in front of qn_model_score. A text that
 * the model does not know becomes what its library makes of it: LightGBM's data frames turn it into
 * a missing value; XGBoost refuses it, here it is a category that is in no set. Thread: reading by
 * any. Memory: the model's arena. */
#include "model/words.h"
#include "base/check.h"
#include "base/hash.h"

#include <math.h>

static bool is_room(struct qn_words *w, struct qn_arena *arena, size_t count)
{
    uint32_t size = 4;

    while (size < 2 * count)
        size *= 2;
    w->slots = QN_NEW_N(arena, uint32_t, size);
    w->words = QN_NEW_N(arena, struct qn_str, count);
    w->mask = size - 1;
    return w->slots != NULL && w->words != NULL;
}

/* The slot of a text: its own, or the free one where it belongs. */
static uint32_t slot_of(const struct qn_words *w, struct qn_str text)
{
    uint32_t at = (uint32_t)qn_hash(text.p, text.len, 0) & w->mask;

    while (w->slots[at] != 0 && !qn_str_eq(w->words[w->slots[at] - 1], text))
        at = (at + 1) & w->mask;
    return at;
}

qn_status qn_model_words_add(struct qn_model *m, uint32_t input, const struct qn_str *words,
                             size_t count, struct qn_err *err)
{
    struct qn_words *w;
    struct qn_str *copy;
    uint32_t *slots;

    QN_ASSERT(input < m->info.inputs);
    if (count == 0 || count > QN_MODEL_NODES_MAX)
        return QN_OK;
    if (m->words == NULL)
        m->words = QN_NEW_N(&m->arena, struct qn_words, m->info.inputs);
    if (m->words == NULL || !is_room(&m->words[input], &m->arena, count))
        goto no_memory;
    w = &m->words[input];
    copy = (struct qn_str *)(uintptr_t)w->words;
    slots = (uint32_t *)(uintptr_t)w->slots;
    for (size_t i = 0; i < count; i++) {
        uint32_t at;

        copy[i] = (struct qn_str){qn_model_text(m, words[i]), words[i].len};
        if (copy[i].p == NULL)
            goto no_memory;
        at = slot_of(w, copy[i]);
        if (slots[at] == 0)
            slots[at] = (uint32_t)i + 1;
    }
    w->count = (uint32_t)count;
    return QN_OK;
no_memory:
    return qn_err_set(err, QN_NOMEM, "out of memory");
}

uint32_t qn_model_words(const struct qn_model *m, uint32_t input, const struct qn_str **words)
{
    QN_ASSERT(input < m->info.inputs);
    if (m->words == NULL || m->words[input].count == 0)
        return 0;
    if (words != NULL)
        *words = m->words[input].words;
    return m->words[input].count;
}

double qn_model_code(const struct qn_model *m, uint32_t input, struct qn_str text)
{
    const struct qn_words *w = &m->words[input];
    const uint32_t code = w->slots[slot_of(w, text)];

    return code > 0 ? (double)(code - 1) : m->unknown_word;
}
