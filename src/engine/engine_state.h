/* SPDX-License-Identifier: Apache-2.0
 * engine_state.h - an engine's state as sections of a snapshot (state/snapshot.h).
 *
 *     n = qn_engine_section_count(en);      struct qn_section s[n + own];
 *     qn_engine_sections(en, s, err);       and the caller's own behind them
 *     qn_snapshots_new(...);                starts the writer
 *     qn_snapshots_restore(...);            before the first step
 *     per batch:  qn_step(...)
 *                 due and phase NONE:       qn_snapshots_begin(sn, position, payload)
 *                 qn_snapshots_step(sn, work)
 *                 SWEPT and position durable: qn_snapshots_finish(sn)
 *                 ENDED:                    qn_snapshots_result(sn, &info, err)
 *     qn_snapshots_free before the engine, or the plan, is freed
 *
 * A snapshot begun behind a step is of the state after all batches up to it, the one whose commit
 * is still owed included: that is what finish waits for. Steps may go on while it is taken, and
 * workers save what they are about to change. Restored, the engine answers what comes next with the
 * same bytes as if it had never stopped, on any number of threads. */
#ifndef QN_ENGINE_ENGINE_STATE_H
#define QN_ENGINE_ENGINE_STATE_H

#include "engine/engine.h"
#include "state/snapshot.h"

/* One for the engine itself (watermark, verdict counts), one per stream with `dedup`, one per group
 * of windows, one for a model that learns. */
uint32_t qn_engine_section_count(const struct qn_engine *en);
/* Fills out[qn_engine_section_count]; valid as long as the engine. Another model, output, name or
 * default leaves their layouts as they are; what decides what the state holds does not: contracts,
 * lateness, dedup, windows, and the expressions they read; the options and inputs of a model that
 * learns. */
qn_status qn_engine_sections(struct qn_engine *en, struct qn_section *out, struct qn_err *err);

#endif
