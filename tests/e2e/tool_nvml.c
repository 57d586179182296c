/* SPDX-License-Identifier: Apache-2.0
 * tool_nvml.c - a driver's library of two devices, for test_gpu.py on machines without one: of the
 * second it does not know how busy it is, as of one that is cut into instances. */
enum { GOOD = 0, UNSUPPORTED = 3 };

struct utilisation {
    unsigned gpu, memory;
};

struct memory {
    unsigned long long total, unused, used;
};

static char devices[2];

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetUtilizationRates(void *device, struct utilisation *out);
int nvmlDeviceGetMemoryInfo(void *device, struct memory *out);

int nvmlInit_v2(void)
{
    return GOOD;
}

int nvmlShutdown(void)
{
    return GOOD;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = 2;
    return GOOD;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    *device = &devices[index];
    return GOOD;
}

int nvmlDeviceGetUtilizationRates(void *device, struct utilisation *out)
{
    if (device != &devices[0])
        return UNSUPPORTED;
    *out = (struct utilisation){37, 5};
    return GOOD;
}

int nvmlDeviceGetMemoryInfo(void *device, struct memory *out)
{
    const unsigned long long total = device == &devices[0] ? 8000000000 : 4000000000;

    *out = (struct memory){total, total - 1000000000, 1000000000};
    return GOOD;
}
