// Test support: small models whose every size differs from the released ones, with random weights,
// and random images for them. Torch-free.
#ifndef PARROT_TESTS_MODEL_TINY_MODEL_TINY_MODEL_H_
#define PARROT_TESTS_MODEL_TINY_MODEL_TINY_MODEL_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/api/image_input.h"
#include "model/api/model_config.h"
#include "model/weights/dummy_weights.h"
#include "model/weights/weight_source.h"

namespace parrot {

// 4 experts, 17 image tokens (4 x 4 patches), 3 tower heads of 16, 6 query heads over 2 key heads,
// 320 vocabulary rows of which 301 are real. float32.
ModelConfig TinyConfig(bool tied);
inline constexpr int32_t kTinyVocabSize = 301;

// `num` ids below kTinyVocabSize, and one image placeholder after the third if `with_image`.
std::vector<TokenId> TinyPrompt(uint64_t seed, int32_t num, bool with_image);
ImageInput TinyImage(const ModelConfig& config, uint64_t seed);

// Random weights, some of whose rows are overwritten: for faults. float32 only.
class EditedWeights : public WeightSource {
 public:
  explicit EditedWeights(const ModelConfig& config) : base_(config, /*seed=*/7) {}

  // Row `row` of the matrix `name` becomes `value` everywhere.
  void FillRow(const std::string& name, int64_t row, float value) {
    edits_[name].push_back({row, value});
  }

  const ModelConfig& config() const override { return base_.config(); }
  const std::vector<TensorSpec>& tensors() const override { return base_.tensors(); }
  absl::StatusOr<TensorView> Get(std::string_view name) const override;
  Sha256Digest Fingerprint() const override;

 private:
  struct Edit {
    int64_t row;
    float value;
  };
  DummyWeights base_;
  std::map<std::string, std::vector<Edit>, std::less<>> edits_;
};

// Random weights that count how often they are read.
class CountingWeights : public DummyWeights {
 public:
  using DummyWeights::DummyWeights;
  absl::StatusOr<TensorView> Get(std::string_view name) const override;
  int num_reads() const { return num_reads_; }
  int num_matrix_reads() const { return num_matrix_reads_; }  // of tensors of two and more sides

 private:
  mutable std::atomic<int> num_reads_ = 0;
  mutable std::atomic<int> num_matrix_reads_ = 0;
};

}  // namespace parrot

#endif  // PARROT_TESTS_MODEL_TINY_MODEL_TINY_MODEL_H_
