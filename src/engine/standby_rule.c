/* SPDX-License-Identifier: Apache-2.0
 * standby_rule.c - the arithmetic of the assignor `range`, with one member less. See
 * standby_rule.h.
 *
 * Thread: any; no state. */
#include "engine/standby_rule.h"

#include <string.h>

static uint32_t first_of(uint32_t partitions, uint32_t members, uint32_t index)
{
    const uint32_t more = partitions % members;

    return index * (partitions / members) + (index < more ? index : more);
}

/* Marks what the index-th of so many members is given. */
static void give(bool *marks, uint32_t partitions, uint32_t members, uint32_t index)
{
    if (members == 0 || index >= members)
        return;
    for (uint32_t p = first_of(partitions, members, index);
         p < first_of(partitions, members, index + 1); p++)
        marks[p] = true;
}

/* Our place among the members, by what is ours; `members` where it is none of that rule. */
static uint32_t place_of(const bool *is_ours, uint32_t partitions, uint32_t members)
{
    uint32_t count = 0, first = partitions;

    for (uint32_t p = partitions; p-- > 0;)
        if (is_ours[p]) {
            first = p;
            count++;
        }
    if (count == 0) /* more members than partitions: as if we were the first of those without */
        return partitions < members ? partitions : members;
    for (uint32_t i = 0; i < members; i++)
        if (first_of(partitions, members, i) == first &&
            first_of(partitions, members, i + 1) == first + count)
            return i;
    return members;
}

bool qn_standby_choose(const bool *is_ours, uint32_t partitions, uint32_t members, bool *out)
{
    const uint32_t place = place_of(is_ours, partitions, members);

    memset(out, 0, partitions * sizeof *out);
    if (place >= members)
        return false;
    if (place > 0) /* one before us goes */
        give(out, partitions, members - 1, place - 1);
    if (place + 1 < members) /* one behind us */
        give(out, partitions, members - 1, place);
    for (uint32_t p = 0; p < partitions; p++)
        out[p] = out[p] && !is_ours[p];
    return true;
}
