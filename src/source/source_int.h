/* SPDX-License-Identifier: Apache-2.0
 * source_int.h - the kinds of sources, for their table.
 *
 * Thread: const. */
#ifndef QN_SOURCE_SOURCE_INT_H
#define QN_SOURCE_SOURCE_INT_H

#include "source/source.h"

extern const struct qn_source_ops qn_source_file;     /* source_file.c  */
extern const struct qn_source_ops qn_source_kafka;    /* source_kafka.c */
extern const struct qn_source_ops qn_source_generate; /* source_cards.c */

#endif
