/* SPDX-License-Identifier: Apache-2.0
 * cut.c - cuts of models whose library rounds the inputs to float32 but adds in double.
 *
 * The forest compares doubles (info.is_float is false there), so the rounding is put into the cut:
 * rounding to nearest is monotone, hence `(float)x >= c` is the same as `x >= d` for the smallest
 * double d that rounds to c or more. No kernel has to know. Thread: any; no state. */
#include "model/model_int.h"

#include <math.h>

/* The smallest double that goes right where `(float)x >= cut` does. */
static double float_cut(double cut)
{
    /* -inf and +inf as the powers of two where float32 would go on, for the middle between two */
    static const double beyond = 0x1p128;
    float above = (float)cut, below;
    double low, high, middle;

    if (isnan(cut) || cut == -INFINITY)
        return cut;
    if ((double)above < cut)
        above = nextafterf(above, INFINITY);
    below = nextafterf(above, -INFINITY);
    low = isinf(below) ? -beyond : (double)below;
    high = isinf(above) ? beyond : (double)above;
    middle = low + (high - low) / 2;
    /* ties go to the even neighbour, which is either of them */
    return (float)middle >= above ? middle : nextafter(middle, INFINITY);
}

double qn_model_float_threshold(double threshold)
{
    float at = (float)threshold;

    if (isnan(threshold) || threshold == INFINITY)
        return (double)NAN;
    if ((double)at > threshold)
        at = nextafterf(at, -INFINITY);
    return float_cut((double)nextafterf(at, INFINITY));
}

bool qn_model_is_float_cut(double cut)
{
    return isnan(cut) || float_cut((double)(float)cut) == cut;
}
