#include "bench/model_sizes/model_sizes.h"

#include <cstdint>

namespace parrot {
namespace {

struct ModelSize {
  const char* name;
  int32_t hidden, intermediate, layers, heads, kv_heads, vocab_rows;
  bool tied;
};

constexpr ModelSize kSizes[] = {
    {"tiny", 128, 352, 2, 4, 4, 1280, false},
    {"0.5b", 1024, 2816, 24, 16, 16, 151936, true},  // Qwen1.5, as the next two
    {"1.8b", 2048, 5504, 24, 16, 16, 151936, false},
    {"7b", 4096, 11008, 32, 32, 32, 151936, false},
    {"qwen2-0.5b", 896, 4864, 24, 14, 2, 151936, true},
    {"qwen2-7b", 3584, 18944, 28, 28, 4, 152064, false},
};

ModelConfig MakeConfig(const ModelSize& size) {
  ModelConfig config;
  config.language = {.hidden_size = size.hidden,
                     .intermediate_size = size.intermediate,
                     .num_layers = size.layers,
                     .num_heads = size.heads,
                     .num_kv_heads = size.kv_heads,
                     .vocab_rows = size.vocab_rows,
                     .tie_word_embeddings = size.tied};
  config.moe.intermediate_size = size.hidden;
  if (size.name == std::string_view("tiny")) {
    config.vision = {.image_size = 56,
                     .hidden_size = 64,
                     .num_layers = 3,
                     .num_heads = 2,
                     .intermediate_size = 128};
  }
  return config;
}

}  // namespace

std::vector<std::string> ModelSizeNames() {
  std::vector<std::string> names;
  for (const ModelSize& size : kSizes) names.emplace_back(size.name);
  return names;
}

std::optional<ModelConfig> ConfigOfModelSize(std::string_view name) {
  for (const ModelSize& size : kSizes) {
    if (size.name == name) return MakeConfig(size);
  }
  return std::nullopt;
}

}  // namespace parrot
