/* SPDX-License-Identifier: Apache-2.0
 * tool_exact_sum.c - lets test_exact_sum.py slide a window over doubles with exact_sum.c.
 *
 * Stdin: u32 count, u32 windows, count doubles, then windows pairs (u32 first, u32 end), ends and
 * firsts never going back, all in the machine's byte order. Stdout: per window two doubles, sum and
 * mean. One running sum: what enters is added, what leaves is subtracted, so that the test sees
 * evictions too. */
#include "feature/exact_sum.h"

#include <stdio.h>
#include <stdlib.h>

static void read_all(void *p, size_t bytes, size_t count)
{
    if (fread(p, bytes, count, stdin) != count)
        exit(1);
}

int main(void)
{
    static struct qn_exact_sum sum;
    static struct qn_exact_wide wide;
    uint32_t head[2], first = 0, end = 0;

    read_all(head, 4, 2);
    double *v = calloc(head[0] + 1u, sizeof *v);
    uint32_t(*windows)[2] = calloc(head[1] + 1u, sizeof *windows);

    if (v == NULL || windows == NULL)
        return 1;
    read_all(v, sizeof *v, head[0]);
    read_all(windows, sizeof *windows, head[1]);
    for (uint32_t i = 0; i < head[1]; i++) {
        if (windows[i][0] < first || windows[i][1] < end || windows[i][1] > head[0] ||
            windows[i][0] >= windows[i][1])
            return 1;
        for (; end < windows[i][1]; end++) {
            if (qn_exact_fits(v[end]))
                qn_exact_add(&sum, v[end]);
            else
                qn_exact_wide_add(&wide, v[end]);
        }
        for (; first < windows[i][0]; first++) {
            if (qn_exact_fits(v[first]))
                qn_exact_sub(&sum, v[first]);
            else
                qn_exact_wide_sub(&wide, v[first]);
        }
        double out[2] = {qn_exact_read(&sum, &wide, 1), qn_exact_read(&sum, &wide, end - first)};

        if (fwrite(out, sizeof *out, 2, stdout) != 2)
            return 1;
    }
    free(v);
    free(windows);
    return 0;
}
