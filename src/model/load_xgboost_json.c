/* SPDX-License-Identifier: Apache-2.0
 * load_xgboost_json.c - XGBoost models in JSON (1.0 and later), read through the pull interface of
 * load_xgboost.h.
 *
 * XGBoost writes Infinity, -Infinity and NaN as bare words, which JSON does not have. Where they
 * occur, a copy of the text is read in which they stand as 1e999999 and "" in the same number of
 * bytes, so that offsets stay true. Thread: the loader's. Memory: decoded text in an arena that
 * lives until the model is built. */
#include "model/load_xgboost.h"

struct json_doc {
    struct qn_doc doc; /* first */
    struct qn_json_reader reader;
};

static enum qn_json_kind json_next(struct qn_doc *d)
{
    struct json_doc *j = (struct json_doc *)d;
    enum qn_json_kind kind = qn_json_next(&j->reader);

    d->key = j->reader.key;
    d->text = j->reader.text;
    if (kind == QN_JSON_ERROR)
        d->error = j->reader.error != NULL ? j->reader.error : "not valid JSON";
    return kind;
}

static float json_float(const struct qn_doc *d)
{
    return qn_number_float(&((const struct json_doc *)d)->reader.number);
}

static bool json_int(const struct qn_doc *d, int64_t *out)
{
    return qn_number_scaled(&((const struct json_doc *)d)->reader.number, 0, out);
}

static size_t json_offset(const struct qn_doc *d)
{
    return qn_json_offset(&((const struct json_doc *)d)->reader);
}

/* Whether `word` stands anywhere, in a text or not. Numbers have no capitals, so this is quick. */
static bool has_word(struct qn_str bytes, const char *word)
{
    const size_t len = strlen(word);
    const char *p = bytes.p, *end = bytes.p + bytes.len;

    while ((p = memchr(p, word[0], (size_t)(end - p))) != NULL) {
        if ((size_t)(end - p) >= len && memcmp(p, word, len) == 0)
            return true;
        p++;
    }
    return false;
}

/* Calls for each bare word of [0, len): counts them when `to` is NULL, else replaces them there. */
static size_t replace_words(const char *text, size_t len, char *to)
{
    bool in_text = false;
    size_t found = 0;

    for (size_t i = 0; i < len; i++) {
        if (in_text) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                in_text = false;
        } else if (text[i] == '"') {
            in_text = true;
        } else if (text[i] == 'I' && len - i >= 8 && memcmp(text + i, "Infinity", 8) == 0) {
            found++;
            if (to != NULL)
                memcpy(to + i, "1e999999", 8);
        } else if (text[i] == 'N' && len - i >= 3 && memcmp(text + i, "NaN", 3) == 0) {
            found++;
            if (to != NULL)
                memcpy(to + i, "\"\" ", 3);
        }
    }
    return found;
}

qn_status qn_model_load_xgboost_json(struct qn_model *m, struct qn_str bytes,
                                     const struct qn_model_options *opt, struct qn_err *err)
{
    struct json_doc j = {.doc = {.next = json_next,
                                 .number_float = json_float,
                                 .number_int = json_int,
                                 .offset = json_offset}};
    struct qn_arena arena = {0};
    char *copy = NULL;
    qn_status rc;

    if ((has_word(bytes, "Infinity") || has_word(bytes, "NaN")) &&
        replace_words(bytes.p, bytes.len, NULL) > 0) {
        copy = qn_mem_alloc(bytes.len);
        if (copy == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory");
        memcpy(copy, bytes.p, bytes.len);
        replace_words(bytes.p, bytes.len, copy);
        bytes.p = copy;
    }
    qn_json_open(&j.reader, bytes, &arena);
    rc = qn_model_xgboost_document(m, &j.doc, opt, err);
    qn_arena_fini(&arena);
    qn_mem_free(copy);
    return rc;
}
