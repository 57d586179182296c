/* SPDX-License-Identifier: Apache-2.0
 * curl.c - libcurl's start. See curl.h.
 *
 * On the way of nobody's events: whoever makes an HTTP client comes here first. Invariant: libcurl
 * is started once. Thread: any. Memory: libcurl's. */
#include "base/curl.h"

#include <curl/curl.h>
#include <pthread.h>

static void init(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

void qn_curl_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, init);
}
