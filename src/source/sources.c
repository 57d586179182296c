/* SPDX-License-Identifier: Apache-2.0
 * sources.c - the one table of sources, and what they share.
 *
 * The spec, `quern check`, docs/spec.md and the service look here: a source that has no row does
 * not exist. Thread: const. */
#include "source/source.h"
#include "source/source_int.h"

const struct qn_source_ops *const qn_sources[] = {&qn_source_file, &qn_source_kafka,
                                                  &qn_source_generate, NULL};

qn_status qn_source_none_check(const void *options, struct qn_err *err)
{
    return QN_OK;
}

qn_status qn_source_none_durable(void *st, struct qn_err *err)
{
    return QN_OK;
}
