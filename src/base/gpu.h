/* SPDX-License-Identifier: Apache-2.0
 * gpu.h - how busy the machine's NVIDIA devices are, as their driver's library says (NVML).
 *
 * The library is opened at the first look and never linked: most machines have none, and a look
 * then costs a test of a flag. Devices count as NVML counts them, which CUDA_VISIBLE_DEVICES does
 * not change. Thread: any, one after the other; a look may take milliseconds, the first one longer,
 * so it is for whoever answers a person, never for the engine. Memory: the heap. */
#ifndef QN_BASE_GPU_H
#define QN_BASE_GPU_H

#include <stdint.h>

enum { QN_GPUS_MAX = 16 };

struct qn_gpus; /* private */

/* What a device does not tell is NaN (of utilisation: one that is cut into MIG instances). */
struct qn_gpu {
    double busy_ratio;              /* of the last moments, 0 to 1, in which something ran on it */
    double used_bytes, total_bytes; /* memory                                       */
};

/* library: its file, kept; NULL: libnvidia-ml.so.1. NULL where there is no memory. */
struct qn_gpus *qn_gpus_new(const char *library);
void qn_gpus_free(struct qn_gpus *g); /* NULL is fine */
/* Fills out[QN_GPUS_MAX]; how many there are, 0 without library, driver or device. */
uint32_t qn_gpus_look(struct qn_gpus *g, struct qn_gpu *out);

#endif
