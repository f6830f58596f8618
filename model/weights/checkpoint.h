// Checkpoint: a folder in the form that the reference's trainer saves (config.json and one
// model.safetensors, or shards with model.safetensors.index.json), checked completely before a
// single weight is used: the configuration, the framing of every file, and that the tensors are
// exactly those the configuration asks for, in name, shape and kind of number. Nothing missing,
// nothing left over. Only headers are read here; weights are paged in when somebody reads them.
//
// Optional files: vision_config.json (the CLIP configuration) and preprocessor_config.json. Without
// the first the tower's sizes come from the tensors' shapes, with heads of 64 channels; without the
// second preprocessing is CLIP-L/336's at the tower's image size. Present, they must agree with the
// tensors.
//
// Errors name the file (base name), the key or tensor, and the rule, and carry ErrorFacts with
// reason MODEL_FILE_MISSING, MODEL_FILE_INVALID or MODEL_UNSUPPORTED and the file as field.
#ifndef PARROT_MODEL_WEIGHTS_CHECKPOINT_H_
#define PARROT_MODEL_WEIGHTS_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/model_config.h"
#include "model/weights/tensor_specs.h"
#include "model/weights/weight_files.h"
#include "model/weights/weight_source.h"

namespace parrot {

// The configuration alone, for whoever makes its own weights (--load-format dummy). Headers of
// weight files are read only when there is no vision_config.json; without any weight files the
// tower then gets CLIP-L/336's sizes.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir);

// Immutable after construction; thread-safe. Maps the files and keeps them open.
class Checkpoint : public WeightSource {
 public:
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& dir);

  const ModelConfig& config() const override { return config_; }
  const std::vector<TensorSpec>& tensors() const override { return tensors_; }
  absl::StatusOr<TensorView> Get(std::string_view name) const override;
  Sha256Digest Fingerprint() const override;

  // What an operator should know but need not act on: defaults taken for missing keys, a stored
  // copy of a tied head, tensors of another dtype than torch_dtype.
  const std::vector<std::string>& notes() const { return notes_; }
  // Bytes of the weights by kind of number ("bfloat16" -> 16695652352), as stored.
  const std::map<std::string, int64_t>& bytes_by_dtype() const { return bytes_by_dtype_; }
  int num_files() const { return static_cast<int>(weights_.files.size()); }

 private:
  Checkpoint() = default;
  absl::Status CheckTensors();
  absl::Status CheckTensor(const TensorSpec& spec) const;
  void SummarizeDtypes(bool dtype_stated);

  ModelConfig config_;
  bool has_vision_config_ = false;
  WeightFiles weights_;
  std::vector<TensorSpec> tensors_;
  std::vector<std::string> notes_;
  std::map<std::string, int64_t> bytes_by_dtype_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_CHECKPOINT_H_
