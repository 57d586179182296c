/* SPDX-License-Identifier: Apache-2.0
 * process.h - what the kernel says about this process: time used, memory, descriptors.
 *
 * Read from /proc at each call, through the table of files it is handed. What cannot be read is
 * NaN: a machine without /proc, a kernel that hides it. Thread: any; no state. */
#ifndef QN_BASE_PROCESS_H
#define QN_BASE_PROCESS_H

#include "base/file.h"

struct qn_process {
    double cpu_seconds;    /* user and system                       */
    double resident_bytes; /* memory                                */
    double open_fds;       /* descriptors                           */
    double max_fds;        /* soft limit of them; INFINITY: none    */
    double start_seconds;  /* when it began, since 1970             */
};

void qn_process_look(const struct qn_files *files, struct qn_process *out);

#endif
