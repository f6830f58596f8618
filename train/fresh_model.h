// A model from nothing: a folder with configuration and tokenizer becomes a checkpoint with random
// weights, each part as its makers start it: language model normal(0, initializer_range), CLIP's
// own scales, projector and MoE uniform as torch's Linear, norms one, biases zero. A function of
// the seed.
#ifndef PARROT_TRAIN_FRESH_MODEL_H_
#define PARROT_TRAIN_FRESH_MODEL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace parrot {

struct FreshModelOptions {
  // Holds config.json, vision_config.json and preprocessor_config.json.
  std::string config_dir;
  // Holds tokenizer.json and its companions. vocab_size is raised to cover it, and the ids of the
  // special tokens are taken from it.
  std::string tokenizer_dir;
  std::string output_dir;
  std::string tower_dir;  // a checkpoint whose vision tower is taken over; empty: none
  uint64_t seed = 42;
};

absl::Status MakeFreshModel(const FreshModelOptions& options);

}  // namespace parrot

#endif  // PARROT_TRAIN_FRESH_MODEL_H_
