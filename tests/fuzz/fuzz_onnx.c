/* SPDX-License-Identifier: Apache-2.0
 * fuzz_onnx.c - the loader of ONNX tree ensembles and what it builds. */
#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_model_onnxruntime(""); /* our own reader is meant */
    return fuzz_model(data, size, size > 1 && data[0] == 0x08);
}
