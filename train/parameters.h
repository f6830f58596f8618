// Parameters: the model's tensors as training has them, by checkpoint name.
//
// Two values of each trained tensor: `compute`, in the compute dtype, which the model reads and
// gradients are taken of, and `master` in fp32, which the optimiser moves. With fp32 they are one
// tensor. Frozen tensors have the compute value alone. The MoE's tensors are there also when the
// checkpoint's use_moe is false: the first stage carries them along unused.
//
// Values change between steps, by the thread that trains; everything else is constant after Train.
#ifndef PARROT_TRAIN_PARAMETERS_H_
#define PARROT_TRAIN_PARAMETERS_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "model/backend/tensor_source.h"
#include "model/weights/tensor_specs.h"
#include "model/weights/weight_source.h"

namespace parrot {

struct TrainedTensor {
  std::string name;
  at::Tensor compute;  // a leaf that requires gradients
  at::Tensor master;   // fp32
};

// compute <- master, where they are two.
void PublishMasters(const std::vector<TrainedTensor>& tensors);

// False for what a checkpoint holds and the model never runs: the tower's layers past the one that
// the projector reads, and its last norm.
bool IsUsed(const TensorSpec& spec, const ModelConfig& config);

class Parameters : public TensorSource {
 public:
  // Copies every tensor of `source`; it may go afterwards.
  static absl::StatusOr<std::unique_ptr<Parameters>> Load(const WeightSource& source,
                                                          at::Device device,
                                                          at::ScalarType compute_dtype);

  // Names the tensors to train. Call once, before a model takes them.
  void Train(const std::function<bool(const TensorSpec&)>& is_trained);

  at::Tensor Get(const std::string& name, const std::vector<int64_t>& shape) override;

  // In the order of specs().
  const std::vector<TrainedTensor>& trained() const { return trained_; }
  // Every tensor of a checkpoint: ExpectedTensors with the MoE.
  const std::vector<TensorSpec>& specs() const { return specs_; }
  // The most exact value there is.
  at::Tensor Value(const std::string& name) const;

 private:
  Parameters() = default;

  std::vector<TensorSpec> specs_;
  std::map<std::string, at::Tensor> tensors_;  // compute values
  std::vector<TrainedTensor> trained_;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_PARAMETERS_H_
