/* SPDX-License-Identifier: Apache-2.0
 * sink_int.h - the inside of the sink room: the kinds of sinks for their table, and the parts that
 * sinks are made of.
 *
 * Thread: const tables; the rest belongs to one sink. */
#ifndef QN_SINK_SINK_INT_H
#define QN_SINK_SINK_INT_H

#include "sink/sink.h"

extern const struct qn_sink_ops qn_sink_file;    /* sink_file.c    */
extern const struct qn_sink_ops qn_sink_webhook; /* sink_webhook.c */
extern const struct qn_sink_ops qn_sink_kafka;   /* sink_kafka.c   */

#endif
