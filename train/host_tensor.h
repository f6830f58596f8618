// Host numbers as tensors. Stateless.
#ifndef PARROT_TRAIN_HOST_TENSOR_H_
#define PARROT_TRAIN_HOST_TENSOR_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"

namespace parrot {

// [n] int64: indices, classes.
inline at::Tensor UploadInt64(const std::vector<int64_t>& values, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<int64_t>());
  return host.to(device);
}

}  // namespace parrot

#endif  // PARROT_TRAIN_HOST_TENSOR_H_
