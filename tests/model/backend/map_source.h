// Test support: a TensorSource over a map of tensors, random where none was given.
#ifndef PARROT_TESTS_MODEL_BACKEND_MAP_SOURCE_H_
#define PARROT_TESTS_MODEL_BACKEND_MAP_SOURCE_H_

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "model/backend/tensor_source.h"

namespace parrot {

// Uniform in [-scale, scale].
inline at::Tensor RandomTensor(uint64_t seed,
                               const std::vector<int64_t>& shape,
                               at::ScalarType dtype = at::kFloat,
                               double scale = 0.5) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(-scale, scale);
  at::Tensor tensor = at::empty(shape, at::kDouble);
  double* values = tensor.mutable_data_ptr<double>();
  for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = uniform(random);
  return tensor.to(dtype);
}

class MapSource : public TensorSource {
 public:
  explicit MapSource(at::ScalarType dtype = at::kFloat, bool requires_grad = false)
      : dtype_(dtype), requires_grad_(requires_grad) {}

  at::Tensor Get(const std::string& name, const std::vector<int64_t>& shape) override {
    at::Tensor& tensor = tensors_[name];
    if (!tensor.defined()) {
      tensor = RandomTensor(std::hash<std::string>()(name), shape, dtype_);
      tensor.set_requires_grad(requires_grad_);
    }
    return tensor;
  }
  at::Tensor& operator[](const std::string& name) { return tensors_[name]; }
  const std::map<std::string, at::Tensor>& tensors() const { return tensors_; }

 private:
  const at::ScalarType dtype_;
  const bool requires_grad_;
  std::map<std::string, at::Tensor> tensors_;
};

}  // namespace parrot

#endif  // PARROT_TESTS_MODEL_BACKEND_MAP_SOURCE_H_
