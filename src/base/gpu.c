/* SPDX-License-Identifier: Apache-2.0
 * gpu.c - asks NVML about devices. See gpu.h.
 *
 * Of its interface (nvml.h) six functions and two structs are used; they have kept their names and
 * layouts since driver 340. A status of 0 is good. What cannot be opened or started is not asked
 * again. Thread: under a lock. Memory: the heap; the library is closed with the rest. */
#include "base/gpu.h"

#include "base/memory.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

struct utilisation {
    unsigned gpu, memory; /* per cent of the time */
};

struct memory {
    unsigned long long total, unused, used; /* bytes */
};

struct qn_gpus {
    pthread_mutex_t lock;
    const char *name;
    bool was_tried;
    void *library; /* NULL: there is none, or it does not start */
    int (*start)(void);
    int (*stop)(void);
    int (*count)(unsigned *);
    int (*device)(unsigned, void **);
    int (*utilisation)(void *, struct utilisation *);
    int (*memory)(void *, struct memory *);
};

struct qn_gpus *qn_gpus_new(const char *library)
{
    struct qn_gpus *g = qn_mem_zalloc(1, sizeof(*g));

    if (g == NULL)
        return NULL;
    g->name = library != NULL ? library : "libnvidia-ml.so.1";
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

void qn_gpus_free(struct qn_gpus *g)
{
    if (g == NULL)
        return;
    if (g->library != NULL) {
        (void)g->stop();
        dlclose(g->library);
    }
    pthread_mutex_destroy(&g->lock);
    qn_mem_free(g);
}

static bool find(struct qn_gpus *g, const char *name, void *function)
{
    void *symbol = dlsym(g->library, name);

    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static void open_library(struct qn_gpus *g)
{
    g->was_tried = true;
    g->library = dlopen(g->name, RTLD_NOW | RTLD_LOCAL);
    if (g->library == NULL)
        return;
    if (find(g, "nvmlInit_v2", &g->start) && find(g, "nvmlShutdown", &g->stop) &&
        find(g, "nvmlDeviceGetCount_v2", &g->count) &&
        find(g, "nvmlDeviceGetHandleByIndex_v2", &g->device) &&
        find(g, "nvmlDeviceGetUtilizationRates", &g->utilisation) &&
        find(g, "nvmlDeviceGetMemoryInfo", &g->memory) && g->start() == 0)
        return;
    dlclose(g->library);
    g->library = NULL;
}

static void look(const struct qn_gpus *g, unsigned index, struct qn_gpu *out)
{
    struct utilisation u = {0};
    struct memory m = {0};
    void *device = NULL;

    *out = (struct qn_gpu){(double)NAN, (double)NAN, (double)NAN};
    if (g->device(index, &device) != 0)
        return;
    if (g->utilisation(device, &u) == 0)
        out->busy_ratio = u.gpu / 100.0;
    if (g->memory(device, &m) == 0) {
        out->used_bytes = (double)m.used;
        out->total_bytes = (double)m.total;
    }
}

uint32_t qn_gpus_look(struct qn_gpus *g, struct qn_gpu *out)
{
    unsigned count = 0;

    pthread_mutex_lock(&g->lock);
    if (!g->was_tried)
        open_library(g);
    if (g->library == NULL || g->count(&count) != 0)
        count = 0;
    if (count > QN_GPUS_MAX)
        count = QN_GPUS_MAX;
    for (unsigned i = 0; i < count; i++)
        look(g, i, &out[i]);
    pthread_mutex_unlock(&g->lock);
    return count;
}
