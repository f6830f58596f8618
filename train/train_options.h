// The command line of parrot-train. See docs/training.md for how it is used.
#ifndef PARROT_TRAIN_TRAIN_OPTIONS_H_
#define PARROT_TRAIN_TRAIN_OPTIONS_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "train/fresh_model.h"
#include "train/trainer.h"

namespace parrot {

enum class TrainingStage { kTower, kText, kDense, kRouter, kAlign, kFinetune };
// "tower", "text", ...
const char* TrainingStageName(TrainingStage stage);

struct StageOptions {
  TrainingStage stage = TrainingStage::kFinetune;
  std::string model_dir;
  std::vector<std::string> data_paths;  // JSON
  std::string image_dir;
  std::string scenes_path;
  std::string lexicon_path;
  std::string device = "cpu";
  std::string dtype = "float32";  // of computation
  bool use_moe = true;            // finetune: false trains a model without experts
  bool checkpoint_activations = false;
  int32_t max_length = 0;  // 0: the model's tokenizer_model_max_length
  double feature_cache_gb = 2.0;
  bool dry_run = false;
  TrainerOptions trainer;
};

using TrainCommand = std::variant<FreshModelOptions, StageOptions>;

struct ParsedTrainCommand {
  int exit_code = 0;  // of the program when there is nothing to run: 0 after --help, 2 for misuse
  bool has_command = false;
  TrainCommand command;
};

// Prints help to standard output, and what is wrong with the command line to standard error.
ParsedTrainCommand ParseTrainCommand(int argc, const char* const* argv);

}  // namespace parrot

#endif  // PARROT_TRAIN_TRAIN_OPTIONS_H_
