/* SPDX-License-Identifier: Apache-2.0
 * s3_answer.c - lists and errors of a bucket, read from what a server answers. See s3_answer.h.
 *
 * Bytes from outside: what is not understood is an error, never a guess. Thread: any; no state.
 * Memory: the caller's buffers. */
#include "base/s3_answer.h"

#include "base/xml.h"

/* ---- lists -----------------------------------------------------------------------------------*/

struct list {
    struct qn_buf text; /* of the element that is open                        */
    struct qn_buf *next;
    struct qn_str prefix;
    void (*each)(void *arg, const char *name);
    void *arg;
    bool is_list, is_truncated, has_next;
};

/* The element that closes, by its name and the one around it. */
static void take(struct list *l, const struct qn_xml *x, struct qn_str name)
{
    const struct qn_str text = {l->text.data, (uint32_t)l->text.len};

    if (x->depth == 1 && qn_str_is(name, "IsTruncated")) {
        l->is_truncated = qn_str_is(text, "true");
    } else if (x->depth == 1 && qn_str_is(name, "NextContinuationToken")) {
        qn_buf_clear(l->next);
        qn_buf_add(l->next, text.p, text.len);
        l->has_next = text.len > 0;
    } else if (x->depth == 2 && qn_str_is(name, "Key") && qn_str_is(x->open[1], "Contents")) {
        if (text.len < l->prefix.len || memcmp(text.p, l->prefix.p, l->prefix.len) != 0 ||
            memchr(text.p, '\0', text.len) != NULL)
            return; /* not what was asked for */
        qn_buf_byte(&l->text, '\0');
        if (!l->text.failed)
            l->each(l->arg, l->text.data + l->prefix.len);
    }
}

static enum qn_xml_event walk(struct list *l, struct qn_xml *x)
{
    struct qn_str text;
    enum qn_xml_event e;

    while ((e = qn_xml_next(x, &text)) != QN_XML_END && e != QN_XML_BROKEN && !l->text.failed) {
        if (e == QN_XML_OPEN && x->depth == 1)
            l->is_list = qn_str_is(text, "ListBucketResult");
        if (e == QN_XML_TEXT && !qn_xml_decode(x, text, &l->text))
            return QN_XML_BROKEN;
        if (e == QN_XML_CLOSE)
            take(l, x, text);
        if (e != QN_XML_TEXT)
            qn_buf_clear(&l->text);
    }
    return e;
}

qn_status qn_s3_list_read(struct qn_str xml, struct qn_str prefix,
                          void (*each)(void *arg, const char *name), void *arg, struct qn_buf *next,
                          struct qn_err *err)
{
    struct list l = {.next = next, .prefix = prefix, .each = each, .arg = arg};
    struct qn_xml x = {.text = xml};
    enum qn_xml_event last;
    bool no_memory;

    qn_buf_clear(next);
    last = walk(&l, &x);
    no_memory = l.text.failed || next->failed;
    qn_buf_fini(&l.text);
    if (no_memory)
        return qn_err_set(err, QN_NOMEM, "out of memory for a list of objects");
    if (last != QN_XML_END || !l.is_list)
        return qn_err_set(err, QN_INVALID,
                          "the answer is no list of objects: does the endpoint speak S3?");
    if (l.is_truncated && !l.has_next)
        return qn_err_set(err, QN_INVALID, "a list of objects ends in the middle");
    if (!l.is_truncated)
        qn_buf_clear(next);
    return QN_OK;
}

/* ---- errors ----------------------------------------------------------------------------------*/

static void copy(const struct qn_buf *text, char *out, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < text->len && n + 1 < room; i++)
        out[n++] = text->data[i] >= ' ' && text->data[i] <= '~' ? text->data[i] : '?';
    out[n] = '\0';
}

void qn_s3_problem_read(struct qn_str xml, struct qn_s3_problem *out)
{
    struct qn_xml x = {.text = xml};
    struct qn_buf content = {0};
    struct qn_str text;
    enum qn_xml_event e;

    *out = (struct qn_s3_problem){{0}, {0}};
    while ((e = qn_xml_next(&x, &text)) != QN_XML_END && e != QN_XML_BROKEN) {
        if (e == QN_XML_OPEN && x.depth == 1 && !qn_str_is(text, "Error"))
            break;
        if (e == QN_XML_TEXT && !qn_xml_decode(&x, text, &content))
            break;
        if (e == QN_XML_CLOSE && x.depth == 1 && qn_str_is(text, "Code"))
            copy(&content, out->code, sizeof out->code);
        if (e == QN_XML_CLOSE && x.depth == 1 && qn_str_is(text, "Message"))
            copy(&content, out->message, sizeof out->message);
        if (e != QN_XML_TEXT)
            qn_buf_clear(&content);
    }
    qn_buf_fini(&content);
}

bool qn_s3_is_passing(long status, const struct qn_s3_problem *p)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
           status == 504 || (status == 409 && strcmp(p->code, "ConditionalRequestConflict") == 0) ||
           (status == 400 && strcmp(p->code, "RequestTimeout") == 0);
}

/* What people can do about it; by the code where the server gives one. */
static const struct {
    long status;
    const char *code; /* NULL = any */
    qn_status rc;
    const char *remedy;
} meanings[] = {
    {0, "NoSuchBucket", QN_NOT_FOUND, "; make the bucket, or correct its name"},
    {0, "NoSuchKey", QN_NOT_FOUND, ""},
    {0, "RequestTimeTooSkewed", QN_DENIED, "; set the clock of this machine"},
    {0, "InvalidAccessKeyId", QN_DENIED, "; is the key of this server?"},
    {0, "SignatureDoesNotMatch", QN_DENIED, "; is the secret the one of this key?"},
    {0, "ExpiredToken", QN_DENIED, "; the token is over: get a new one and read the spec again"},
    {0, "AuthorizationHeaderMalformed", QN_INVALID, "; is the region right?"},
    {0, "PermanentRedirect", QN_INVALID, "; is the region right?"},
    {0, "NotImplemented", QN_UNSUPPORTED,
     "; the server lacks what snapshots need: If-None-Match, list type 2"},
    {301, NULL, QN_INVALID, "; is the region right?"},
    {307, NULL, QN_IO, ""},
    {401, NULL, QN_DENIED, "; look at key and secret"},
    {403, NULL, QN_DENIED,
     "; the key needs s3:ListBucket, and s3:GetObject, s3:PutObject, s3:DeleteObject below the "
     "prefix"},
    {404, NULL, QN_NOT_FOUND, "; look at bucket, endpoint and path_style"},
    {412, NULL, QN_INVALID, "; another process writes to the same place"},
    {507, NULL, QN_FULL, ""},
};

qn_status qn_s3_status(long status, const struct qn_s3_problem *p, struct qn_err *err)
{
    const char *remedy = "";
    qn_status rc = qn_s3_is_passing(status, p) ? QN_IO : QN_INVALID;

    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        if (meanings[i].code != NULL ? strcmp(meanings[i].code, p->code) != 0
                                     : meanings[i].status != status)
            continue;
        rc = meanings[i].rc;
        remedy = meanings[i].remedy;
        break;
    }
    return qn_err_set(err, rc, "answered %ld%s%s%s%s%s", status, p->code[0] != '\0' ? " " : "",
                      p->code, p->message[0] != '\0' ? ": " : "", p->message, remedy);
}
