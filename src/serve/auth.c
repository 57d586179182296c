/* SPDX-License-Identifier: Apache-2.0
 * auth.c - bearer tokens: what is kept is their SHA-256, compared in constant time, all of them
 * every time.
 *
 * Thread: opened by one, asked by any. Memory: boot. */
#include "serve/serve_int.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

const char *qn_role_name(enum qn_role r)
{
    static const char *const names[] = {"ask", "read", "write", "admin"};

    return names[r];
}

static bool digest(struct qn_str token, unsigned char out[QN_TOKEN_DIGEST])
{
    return EVP_Digest(token.p, token.len, out, NULL, EVP_sha256(), NULL) == 1;
}

qn_status qn_auth_open(struct qn_serve *sv, struct qn_err *err)
{
    const struct qn_plan_serve *spec = sv->opt.spec;
    uint32_t count = 0;

    for (int role = 0; role < QN_SERVE_ROLES; role++)
        count += spec->token_count[role];
    sv->tokens = qn_mem_zalloc(count, sizeof(*sv->tokens));
    if (sv->tokens == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory while reading tokens");
    for (int role = 0; role < QN_SERVE_ROLES; role++) {
        for (uint32_t i = 0; i < spec->token_count[role]; i++) {
            struct qn_token *t = &sv->tokens[sv->token_count];

            if (!digest(spec->tokens[role][i], t->digest))
                return qn_err_set(err, QN_UNSUPPORTED, "SHA-256 is not available");
            t->role = (enum qn_role)(QN_ROLE_READ + role);
            sv->token_count++;
        }
    }
    return QN_OK;
}

bool qn_auth_allows(const struct qn_serve *sv, struct qn_str header, enum qn_role role, int *status)
{
    struct qn_str token = qn_bearer(header);
    unsigned char given[QN_TOKEN_DIGEST];
    unsigned found = 0; /* the highest role of the token; no early way out */

    *status = 401;
    if (role == QN_ROLE_OPEN || sv->token_count == 0)
        return true;
    if (token.p == NULL || !digest(token, given))
        return false;
    for (uint32_t i = 0; i < sv->token_count; i++) {
        unsigned is_same = CRYPTO_memcmp(given, sv->tokens[i].digest, QN_TOKEN_DIGEST) == 0;
        unsigned this_role = is_same * sv->tokens[i].role;

        found = this_role > found ? this_role : found;
    }
    *status = found == 0 ? 401 : 403;
    return found >= role;
}
