/* SPDX-License-Identifier: Apache-2.0
 * words.h - inside of the model room: inputs that are categories as text.
 *
 * A model that was trained on a data frame with categories of text holds the texts in the order of
 * their codes: code i of an input is its i-th word. Scoring turns a text into its code by one look
 * into a hash table per row; the rest of the room knows codes only. Thread: filled by the loader,
 * then immutable. Memory: the model's arena. */
#ifndef QN_MODEL_WORDS_H
#define QN_MODEL_WORDS_H

#include "model/model_int.h"

struct qn_words {
    const struct qn_str *words; /* [count] by code; NULL: the input is a number */
    const uint32_t *slots;      /* [mask + 1] code + 1, 0 = free; by hash, then the next free one */
    uint32_t count, mask;
};

/* Gives input `input` its words, which are copied. Of equal words the first counts. */
qn_status qn_model_words_add(struct qn_model *m, uint32_t input, const struct qn_str *words,
                             size_t count, struct qn_err *err);

#endif
