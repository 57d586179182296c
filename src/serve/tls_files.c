/* SPDX-License-Identifier: Apache-2.0
 * tls_files.c - certificate and key of HTTPS, read and checked before anything listens.
 *
 * libmicrohttpd only says that it cannot start; a running pipeline that is told to read its spec
 * again must know beforehand. Thread: any; no state. */
#include "serve/serve_int.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

enum { FILE_BYTES = 1 << 20 };

/* Nobody is there to type one. */
static int no_password(char *out, int bytes, int is_writing, void *arg)
{
    (void)out, (void)bytes, (void)is_writing, (void)arg;
    return 0;
}

static BIO *open_text(const struct qn_buf *b)
{
    return BIO_new_mem_buf(b->data, (int)b->len);
}

static qn_status check_pair(const struct qn_plan_serve *spec, const struct qn_buf *cert,
                            const struct qn_buf *key, struct qn_err *err)
{
    BIO *cert_text = open_text(cert), *key_text = open_text(key);
    X509 *x = NULL;
    EVP_PKEY *k = NULL;
    qn_status rc = QN_OK;

    if (cert_text == NULL || key_text == NULL)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for certificate and key");
    else if ((x = PEM_read_bio_X509(cert_text, NULL, no_password, NULL)) == NULL)
        rc = qn_err_set(err, QN_INVALID, "'%s' does not begin with a certificate in PEM",
                        spec->cert);
    else if ((k = PEM_read_bio_PrivateKey(key_text, NULL, no_password, NULL)) == NULL)
        rc = qn_err_set(err, QN_INVALID, "'%s' is no private key in PEM without a password",
                        spec->key);
    else if (X509_check_private_key(x, k) != 1)
        rc = qn_err_set(err, QN_INVALID,
                        "the key '%s' is not that of the first certificate in "
                        "'%s'",
                        spec->key, spec->cert);
    EVP_PKEY_free(k);
    X509_free(x);
    BIO_free(cert_text);
    BIO_free(key_text);
    ERR_clear_error();
    return rc;
}

void qn_tls_forget(struct qn_buf *cert, struct qn_buf *key)
{
    qn_buf_fini(cert);
    if (key->data != NULL)
        explicit_bzero(key->data, key->cap);
    qn_buf_fini(key);
}

qn_status qn_tls_read(const struct qn_plan_serve *spec, const struct qn_files *files,
                      struct qn_buf *cert, struct qn_buf *key, struct qn_err *err)
{
    if (spec->cert == NULL)
        return QN_OK;
    QN_TRY(qn_file_read_all(files, spec->cert, FILE_BYTES, cert, err));
    QN_TRY(qn_file_read_all(files, spec->key, FILE_BYTES, key, err));
    QN_TRY(check_pair(spec, cert, key, err));
    qn_buf_byte(cert, '\0');
    qn_buf_byte(key, '\0');
    if (cert->failed || key->failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for certificate and key");
    return QN_OK;
}
