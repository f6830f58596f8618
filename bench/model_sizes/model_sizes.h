// The models that benchmarks take the dimensions of: Parrot on language models of the Qwen family,
// with CLIP-L/336 and experts as wide as the hidden state; and `tiny`, on which a program shows in
// seconds that it runs.
#ifndef PARROT_BENCH_MODEL_SIZES_MODEL_SIZES_H_
#define PARROT_BENCH_MODEL_SIZES_MODEL_SIZES_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/api/model_config.h"

namespace parrot {

std::vector<std::string> ModelSizeNames();
// Nullopt for a name that is not among them.
std::optional<ModelConfig> ConfigOfModelSize(std::string_view name);

}  // namespace parrot

#endif  // PARROT_BENCH_MODEL_SIZES_MODEL_SIZES_H_
