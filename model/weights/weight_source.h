// WeightSource: where the values of a model's tensors come from. Two kinds: Checkpoint (files of
// safetensors, mapped) and DummyWeights (random values of given sizes, made when asked for).
//
// A source hands out *views*: bytes that somebody else owns. A view carries its owner, so it may
// outlive the source and may be aliased for as long as `owner` is held; whoever converts or copies
// the bytes drops the view afterwards. So neither a mapped file nor a dummy tensor of a gigabyte
// needs a second copy.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> source, Checkpoint::Open(dir));
//   for (const TensorSpec& spec : source->tensors()) {
//     ASSIGN_OR_RETURN(TensorView view, source->Get(spec.name));
//     Upload(view.bytes, view.dtype, view.shape);
//   }
#ifndef PARROT_MODEL_WEIGHTS_WEIGHT_SOURCE_H_
#define PARROT_MODEL_WEIGHTS_WEIGHT_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/hash.h"
#include "model/api/model_config.h"
#include "model/weights/tensor_specs.h"

namespace parrot {

struct TensorView {
  std::string name;
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> shape;
  // Row-major, contiguous, little-endian, aligned to the element; product(shape) elements.
  // Read-only memory: writing faults.
  std::span<const std::byte> bytes;
  // Keeps `bytes` valid. Owned by this view and its copies, and, for a mapped file, by the source
  // and the file's other views.
  std::shared_ptr<const void> owner;
};

// Thread-safe.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual const ModelConfig& config() const = 0;
  // Every tensor of the model, each once, in an order that reads files front to back. A tied head
  // is not listed.
  virtual const std::vector<TensorSpec>& tensors() const = 0;
  // The bytes of one tensor of `tensors()`. With a tied head "lm_head.weight" gives the embedding's
  // bytes. NOT_FOUND for another name; DATA_LOSS when the file was changed under us.
  virtual absl::StatusOr<TensorView> Get(std::string_view name) const = 0;
  // Equal for sources of the same values. Does not read them all: files are known by their headers,
  // sizes, times of modification and a few bytes of each tensor.
  virtual Sha256Digest Fingerprint() const = 0;
};

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_WEIGHT_SOURCE_H_
