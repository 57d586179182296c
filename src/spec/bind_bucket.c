/* SPDX-License-Identifier: Apache-2.0
 * bind_bucket.c - the bucket that snapshots go to, and who asks for it.
 *
 * Part of binding (bind.c). What the spec leaves open comes from the variables that the tools of
 * AWS know; a secret never stands in the spec itself, is never quoted and never printed. A key that
 * is missing is no mistake of the spec: only `quern run` needs it, and says so. Thread: one.
 * Memory: boot arena. */
#include "base/s3.h"
#include "spec/spec_int.h"

#define TIMEOUT_DEFAULT_US INT64_C(15000000)

/* The value of a variable, borrowed; NULL where it is not set, or empty. */
static const char *variable(const struct qn_builder *b, const char *name)
{
    const size_t n = strlen(name);

    for (const char *const *e = b->opt->environment; e != NULL && *e != NULL; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=' && (*e)[n + 1] != '\0')
            return *e + n + 1;
    return NULL;
}

static const char *first_variable(const struct qn_builder *b, const char *const *names)
{
    const char *found = NULL;

    while (*names != NULL && (found = variable(b, *names)) == NULL)
        names++;
    return found;
}

static bool is_plain(struct qn_str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return false;
    return s.len > 0;
}

/* A key of the spec, else the first of the variables; *out NULL where there is neither. */
static qn_status read_text(struct qn_builder *b, const struct qn_slot *slot,
                           const char *const *variables, const char **out)
{
    const char *text = first_variable(b, variables);
    struct qn_str s = text != NULL ? qn_str_of(text) : (struct qn_str){NULL, 0};

    if (slot->is_set) {
        s = slot->value->text;
        if (!is_plain(s)) {
            QN_REPORT(&b->bind, TYPE, slot->value, NULL,
                      "'%.*s' must be a text without blanks or control bytes",
                      QN_STR_ARG(slot->key->text));
            return QN_OK;
        }
    }
    if (s.p == NULL)
        return QN_OK;
    *out = qn_arena_strdup(b->bind.arena, s.p, s.len);
    return *out != NULL ? QN_OK : qn_no_memory(b->err);
}

static void check_outside(struct qn_builder *b, const struct qn_slot *slot)
{
    if (slot->is_set && slot->value->part_count == 0)
        QN_REPORT(&b->bind, TYPE, slot->value, "such as \"${S3_SECRET}\" or \"${file:s3.secret}\"",
                  "a secret does not stand in the spec: let it come from outside");
}

/* s3://BUCKET/PREFIX */
static qn_status read_place(struct qn_builder *b, const struct qn_yaml_node *n)
{
    static const char scheme[] = "s3://";
    const uint32_t skip = sizeof scheme - 1;
    struct qn_plan_bucket *p = &b->plan->storage.bucket;
    struct qn_str bucket = n->text, prefix = {"", 0};
    char found[QN_SHOW_BYTES];
    struct qn_buf full = {0};
    const char *slash, *wrong;

    if (bucket.len <= skip || memcmp(bucket.p, scheme, skip) != 0) {
        QN_REPORT(&b->bind, TYPE, n, "write 'to: s3://BUCKET/PREFIX'",
                  "'to' must be s3:// and a bucket, found %s", qn_describe(n, found));
        return QN_OK;
    }
    bucket.p += skip;
    bucket.len -= skip;
    slash = memchr(bucket.p, '/', bucket.len);
    if (slash != NULL) {
        prefix = (struct qn_str){slash + 1, (uint32_t)(bucket.p + bucket.len - slash) - 1};
        bucket.len = (uint32_t)(slash - bucket.p);
    }
    while (prefix.len > 0 && prefix.p[prefix.len - 1] == '/')
        prefix.len--;
    wrong = qn_s3_bucket_check(bucket);
    if (wrong == NULL && prefix.len > 512)
        wrong = "has a prefix of more than 512 bytes";
    if (wrong == NULL && prefix.len > 0 && !is_plain(prefix))
        wrong = "has a prefix with blanks or control bytes";
    if (wrong != NULL) {
        QN_REPORT(&b->bind, TYPE, n, "write 'to: s3://BUCKET/PREFIX'", "%s %s", qn_show(n, found),
                  wrong);
        return QN_OK;
    }
    qn_buf_add(&full, prefix.p, prefix.len);
    qn_buf_text(&full, prefix.len > 0 ? "/" : "");
    p->prefix = full.failed
                    ? NULL
                    : qn_arena_strdup(b->bind.arena, full.len > 0 ? full.data : "", full.len);
    p->name = qn_arena_strdup(b->bind.arena, bucket.p, bucket.len);
    qn_buf_fini(&full);
    return p->name != NULL && p->prefix != NULL ? QN_OK : qn_no_memory(b->err);
}

qn_status qn_build_bucket(struct qn_builder *b, const struct qn_slot *s)
{
    static const char *const endpoints[] = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", NULL};
    static const char *const regions[] = {"AWS_REGION", "AWS_DEFAULT_REGION", NULL};
    static const char *const ids[] = {"AWS_ACCESS_KEY_ID", NULL};
    static const char *const secrets[] = {"AWS_SECRET_ACCESS_KEY", NULL};
    static const char *const tokens[] = {"AWS_SESSION_TOKEN", NULL};
    static const char *const bundles[] = {"AWS_CA_BUNDLE", NULL};
    struct qn_plan_bucket *p = &b->plan->storage.bucket;
    const char *wrong;

    if (s[SNAPSHOTS_TO].key == NULL) {
        for (int k = SNAPSHOTS_TO + 1; k <= SNAPSHOTS_LAST; k++)
            if (s[k].key != NULL)
                QN_REPORT(&b->bind, MISSING, s[k].key, "write 'to: s3://BUCKET/PREFIX'",
                          "'%.*s' is about a bucket, and 'to' names none",
                          QN_STR_ARG(s[k].key->text));
        return QN_OK;
    }
    if (s[SNAPSHOTS_TO].is_set)
        QN_TRY(read_place(b, s[SNAPSHOTS_TO].value));
    check_outside(b, &s[SNAPSHOTS_SECRET_KEY]);
    check_outside(b, &s[SNAPSHOTS_SESSION_TOKEN]);
    QN_TRY(read_text(b, &s[SNAPSHOTS_ENDPOINT], endpoints, &p->endpoint));
    QN_TRY(read_text(b, &s[SNAPSHOTS_REGION], regions, &p->region));
    QN_TRY(read_text(b, &s[SNAPSHOTS_ACCESS_KEY], ids, &p->key_id));
    QN_TRY(read_text(b, &s[SNAPSHOTS_SECRET_KEY], secrets, &p->secret));
    /* a token belongs to the key it came with */
    if (s[SNAPSHOTS_SESSION_TOKEN].is_set || s[SNAPSHOTS_SECRET_KEY].key == NULL)
        QN_TRY(read_text(b, &s[SNAPSHOTS_SESSION_TOKEN], tokens, &p->token));
    if (s[SNAPSHOTS_CA_FILE].is_set)
        QN_TRY(qn_read_path(b, &s[SNAPSHOTS_CA_FILE], &p->ca_file));
    else
        QN_TRY(read_text(b, &s[SNAPSHOTS_CA_FILE], bundles, &p->ca_file));
    p->region = p->region != NULL ? p->region : "us-east-1";
    p->is_path_style =
        s[SNAPSHOTS_PATH_STYLE].is_set ? s[SNAPSHOTS_PATH_STYLE].i64 != 0 : p->endpoint != NULL;
    p->timeout_us = s[SNAPSHOTS_TIMEOUT].is_set ? s[SNAPSHOTS_TIMEOUT].i64 : TIMEOUT_DEFAULT_US;
    wrong = p->endpoint != NULL ? qn_s3_endpoint_check(p->endpoint) : NULL;
    if (wrong != NULL) {
        const struct qn_slot *at =
            &s[s[SNAPSHOTS_ENDPOINT].is_set ? SNAPSHOTS_ENDPOINT : SNAPSHOTS_TO];

        QN_REPORT(&b->bind, TYPE, at->value, "such as https://minio.example:9000",
                  "the endpoint of the bucket %s", wrong);
    }
    return QN_OK;
}
