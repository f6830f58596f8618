// Precompiled: the parts of ATen that the reference backend uses. Sources still include what they
// use, so that the precompiled header is an optimisation and nothing else.
#ifndef PARROT_MODEL_BACKEND_REFERENCE_TORCH_PCH_H_
#define PARROT_MODEL_BACKEND_REFERENCE_TORCH_PCH_H_

#include "ATen/TensorOperators.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/argmax.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/from_blob.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/where.h"

#endif  // PARROT_MODEL_BACKEND_REFERENCE_TORCH_PCH_H_
