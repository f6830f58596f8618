#include "tests/model/tiny_model/tiny_model.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <utility>

namespace parrot {

ModelConfig TinyConfig(bool tied) {
  ModelConfig config;
  config.vision = {.image_size = 56,
                   .patch_size = 14,
                   .hidden_size = 48,
                   .num_layers = 5,
                   .num_heads = 3,
                   .intermediate_size = 80};
  config.moe = {.num_experts = 4, .intermediate_size = 72, .residual_weight = 0.25f};
  config.language = {.hidden_size = 96,
                     .intermediate_size = 160,
                     .num_layers = 3,
                     .num_heads = 6,
                     .num_kv_heads = 2,
                     .vocab_rows = 320,
                     .max_position_embeddings = 1024,
                     .rope_theta = 10000.0f,
                     .tie_word_embeddings = tied};
  config.stored_dtype = DataType::kFloat32;
  config.eos_token_id = kTinyVocabSize - 1;
  return config;
}

std::vector<TokenId> TinyPrompt(uint64_t seed, int32_t num, bool with_image) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> ids;
  for (int32_t i = 0; i < num; ++i) {
    if (with_image && i == std::min(3, num - 1)) ids.push_back(kVisualToken);
    ids.push_back(static_cast<TokenId>(random() % (kTinyVocabSize - 1)));
  }
  return ids;
}

ImageInput TinyImage(const ModelConfig& config, uint64_t seed) {
  std::mt19937_64 random(seed);
  const int32_t size = config.vision.image_size;
  auto pixels = std::make_shared<ImagePixels>(static_cast<size_t>(size) * size * 3);
  for (uint8_t& byte : *pixels) byte = static_cast<uint8_t>(random());
  const std::string_view bytes(reinterpret_cast<const char*>(pixels->data()), pixels->size());
  return {.hash = Sha256Of(bytes), .size = size, .pixels = std::move(pixels)};
}

absl::StatusOr<TensorView> EditedWeights::Get(std::string_view name) const {
  absl::StatusOr<TensorView> view = base_.Get(name);
  const auto edits = edits_.find(name);
  if (!view.ok() || edits == edits_.end()) return view;
  auto floats = std::make_shared<std::vector<float>>(view->bytes.size() / sizeof(float));
  std::memcpy(floats->data(), view->bytes.data(), view->bytes.size());
  const int64_t columns = static_cast<int64_t>(floats->size()) / view->shape.front();
  for (const Edit& edit : edits->second) {
    std::fill_n(floats->begin() + edit.row * columns, columns, edit.value);
  }
  view->bytes = std::as_bytes(std::span(*floats));
  view->owner = floats;
  return view;
}

Sha256Digest EditedWeights::Fingerprint() const {
  Sha256 hash;
  hash.Update(base_.Fingerprint().view());
  for (const auto& [name, edits] : edits_) {
    hash.UpdateSized(name);
    for (const Edit& edit : edits) {
      hash.UpdateInt(static_cast<uint64_t>(edit.row));
      hash.Update(&edit.value, sizeof(edit.value));
    }
  }
  return hash.Finish();
}

absl::StatusOr<TensorView> CountingWeights::Get(std::string_view name) const {
  absl::StatusOr<TensorView> view = DummyWeights::Get(name);
  num_reads_ += 1;
  if (view.ok() && view->shape.size() > 1) num_matrix_reads_ += 1;
  return view;
}

}  // namespace parrot
