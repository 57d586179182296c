/* SPDX-License-Identifier: Apache-2.0
 * fuzz_lightgbm.c - the loader of LightGBM text and what it builds. */
#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_model(data, size, size > 5 && data[0] == 't');
}
