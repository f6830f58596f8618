// TensorSource: where a backend takes a model's tensors from while it makes its handles.
//
// The runtime reads a checkpoint (or dummy values), the trainer gives its own parameters, tests
// give what they like. Confined to the thread that loads.
#ifndef PARROT_MODEL_BACKEND_TENSOR_SOURCE_H_
#define PARROT_MODEL_BACKEND_TENSOR_SOURCE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "c10/util/Exception.h"

namespace parrot {

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // The tensor `name`, of exactly `shape`; any floating dtype, on the CPU or the backend's device.
  // Handles may keep it as it is (the reference backend does when dtype and device fit: training
  // updates it in place) or convert and pack it. With Backend::keeps_sources() it must own its
  // memory; without, it is read-only and dropped once packed. Called once per tensor, so that a
  // source can stream.
  // Throws c10::Error when there is no such tensor: whoever opens a checkpoint validates it first.
  virtual at::Tensor Get(const std::string& name, const std::vector<int64_t>& shape) = 0;
};

// source.Get, contiguous; throws c10::Error when the tensor has another shape.
inline at::Tensor GetTensor(TensorSource& source,
                            const std::string& name,
                            const std::vector<int64_t>& shape) {
  const at::Tensor tensor = source.Get(name, shape);
  TORCH_CHECK(tensor.sizes() == at::IntArrayRef(shape),
              "tensor '",
              name,
              "' has shape ",
              tensor.sizes(),
              ", expected ",
              at::IntArrayRef(shape));
  return tensor.contiguous();
}

}  // namespace parrot

#endif  // PARROT_MODEL_BACKEND_TENSOR_SOURCE_H_
