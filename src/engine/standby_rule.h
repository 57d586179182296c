/* SPDX-License-Identifier: Apache-2.0
 * standby_rule.h - of which partitions a member of a group keeps warm copies.
 *
 * Those that it would be given were any one other member to fail or leave. The assignor `range`
 * puts members in an order that stays, and gives each the next so many partitions, the first ones
 * one more; so what a member has says where it stands, and with one member less it has the same
 * place or the one before. Whoever goes, each partition that moves finds a copy where it goes to;
 * all copies together are about as many as there are partitions, at most twice. Every process comes
 * to its own part by itself, from the number of members. Thread: any; no state. */
#ifndef QN_ENGINE_STANDBY_RULE_H
#define QN_ENGINE_STANDBY_RULE_H

#include <stdbool.h>
#include <stdint.h>

/* Marks in out[partitions] the copies that the member keeps which has the partitions of is_ours,
 * one of `members`. False, and none: they are not what `range` gives anybody. */
bool qn_standby_choose(const bool *is_ours, uint32_t partitions, uint32_t members, bool *out);

#endif
