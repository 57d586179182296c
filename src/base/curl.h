/* SPDX-License-Identifier: Apache-2.0
 * curl.h - libcurl's start, once in a process, whoever speaks HTTP first.
 *
 * libcurl's own start is no matter for two threads at once; this is. Thread: any. Memory:
 * libcurl's, for as long as the process runs. */
#ifndef QN_BASE_CURL_H
#define QN_BASE_CURL_H

/* To be called before the first handle is made. What fails here, fails there too. */
void qn_curl_init(void);

#endif
