/* SPDX-License-Identifier: Apache-2.0
 * onnx.h - inside of the model room: the readers that an ONNX file goes through, in order:
 * load_onnx.c (tree ensembles), load_onnx_linear.c, load_onnxruntime.c.
 *
 * Each either takes a file whole or leaves the model as it was; the first that can has it, so that
 * a file always runs on the same code. Thread: the loader's. Memory: the model's. */
#ifndef QN_MODEL_ONNX_H
#define QN_MODEL_ONNX_H

#include "model/model_int.h"

/* A linear model with what skl2onnx puts around it. QN_UNSUPPORTED, with m untouched: it is
 * something else. */
qn_status qn_model_load_onnx_linear(struct qn_model *m, struct qn_str bytes, struct qn_err *err);

#endif
