#include "train/train_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <thread>

namespace parrot {
namespace {

constexpr int kExitUsage = 2;

struct StageHelp {
  TrainingStage stage;
  const char* text;
  double learning_rate;
};
constexpr StageHelp kStages[] = {
    {TrainingStage::kTower, "Vision tower from nothing, on pictures with known contents", 1e-3},
    {TrainingStage::kText, "Language model alone, on conversations without pictures", 2e-3},
    {TrainingStage::kDense,
     "Projector and MoE onto the language model's words, patch by patch",
     1e-3},
    {TrainingStage::kRouter, "Gate alone, by the samples' languages", 0.1},
    {TrainingStage::kAlign, "Stage 1: projector; the MoE is bypassed", 1e-3},
    {TrainingStage::kFinetune, "Stage 2: projector, MoE and language model", 2e-5}};

bool NeedsPictures(TrainingStage stage) { return stage != TrainingStage::kText; }
bool NeedsScenes(TrainingStage stage) {
  return stage == TrainingStage::kTower || stage == TrainingStage::kDense;
}

void AddDataOptions(CLI::App* app, StageOptions& o) {
  app->add_option("--model", o.model_dir, "Checkpoint folder to start from")->required();
  app->add_option(
      "--output", o.trainer.output_dir, "Folder of the run: model/, log.jsonl, loss.svg");
  if (o.stage != TrainingStage::kTower) {
    app->add_option("--data", o.data_paths, "JSON lists of conversations; several are mixed");
  }
  if (NeedsPictures(o.stage)) {
    app->add_option("--image-dir",
                    o.image_dir,
                    "Folder that image paths are relative to (default: the data file's)");
  }
  if (NeedsScenes(o.stage)) {
    app->add_option("--scenes", o.scenes_path, "scenes.jsonl: what is in each picture")->required();
  }
  if (o.stage == TrainingStage::kDense) {
    app->add_option("--lexicon", o.lexicon_path, "JSON: words for shapes, colours, ...")
        ->required();
  }
}

void AddStepOptions(CLI::App* app, TrainerOptions& o) {
  app->add_option("--micro-batch", o.micro_batch, "Samples in one forward pass")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app->add_option("--accumulation", o.accumulation, "Micro-batches of a step and process")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app->add_option("--epochs", o.epochs, "How often each sample is seen")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--max-steps", o.max_steps, "Steps instead of epochs; 0: epochs decide")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app->add_option("--learning-rate", o.schedule.learning_rate, "Highest rate")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--warmup", o.schedule.warmup_ratio, "Share of the steps with a rising rate")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app->add_option("--hold", o.schedule.hold_ratio, "Share of the steps before the rate falls")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app->add_option("--schedule", o.schedule.kind, "cosine or constant")
      ->transform(CLI::CheckedTransformer(std::map<std::string, ScheduleKind>{
          {"cosine", ScheduleKind::kCosine}, {"constant", ScheduleKind::kConstant}}));
  app->add_option("--beta2", o.adamw.beta2, "AdamW's second")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app->add_option("--weight-decay", o.adamw.weight_decay, "AdamW's")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app->add_option("--max-grad-norm", o.adamw.max_grad_norm, "Gradients are scaled to it; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

void AddRunOptions(CLI::App* app, StageOptions& o) {
  TrainerOptions& t = o.trainer;
  app->add_flag("--resume", t.resume, "Go on from the output folder's latest checkpoint, if any");
  app->add_option("--save-every", t.save_every, "Steps between checkpoints; 0: when interrupted")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app->add_option("--seed", t.seed, "Of the order of samples")->capture_default_str();
  app->add_flag("--in-order{false}", t.shuffled, "Samples in the order of the mixed data sets");
  app->add_option("--threads", t.num_threads, "Micro-batches at once, one core each")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app->add_option("--loaders", t.num_loaders, "Threads that read and decode ahead")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app->add_option("--device", o.device, "cpu, cuda or cuda:N")->capture_default_str();
  app->add_option("--dtype", o.dtype, "float32, or bfloat16 with float32 masters")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  if (o.stage == TrainingStage::kFinetune) {
    app->add_flag("--no-moe{false}", o.use_moe, "Bypass the experts; config.json says so");
  }
  app->add_flag("--checkpoint-activations",
                o.checkpoint_activations,
                "Compute the language model's layers again in the backward pass: less memory");
  app->add_option("--max-length", o.max_length, "Rows of a sample; 0: what the model says")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app->add_option("--feature-cache-gb", o.feature_cache_gb, "Memory for the tower's features")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app->add_flag("--dry-run", o.dry_run, "Print memory and compute of the run, and train nothing");
}

void AddFreshOptions(CLI::App* app, FreshModelOptions& o) {
  app->add_option("--config",
                  o.config_dir,
                  "Folder with config.json, vision_config.json, preprocessor_config.json")
      ->required();
  app->add_option("--tokenizer", o.tokenizer_dir, "Folder with tokenizer.json")->required();
  app->add_option("--output", o.output_dir, "Folder for the checkpoint")->required();
  app->add_option("--seed", o.seed, "Of the weights")->capture_default_str();
  app->add_option("--keep-tower", o.tower_dir, "Checkpoint whose vision tower is taken over");
}

}  // namespace

const char* TrainingStageName(TrainingStage stage) {
  switch (stage) {
    case TrainingStage::kTower:
      return "tower";
    case TrainingStage::kText:
      return "text";
    case TrainingStage::kDense:
      return "dense";
    case TrainingStage::kRouter:
      return "router";
    case TrainingStage::kAlign:
      return "align";
    case TrainingStage::kFinetune:
      return "finetune";
  }
  return "unknown";
}

ParsedTrainCommand ParseTrainCommand(int argc, const char* const* argv) {
  CLI::App app{
      "Trains Parrot: the two stages of its recipe, and what comes before them for a model "
      "made from nothing"};
  app.require_subcommand(1);
  FreshModelOptions fresh;
  CLI::App* fresh_app = app.add_subcommand("init", "A checkpoint with random weights");
  AddFreshOptions(fresh_app, fresh);

  std::vector<std::pair<CLI::App*, std::unique_ptr<StageOptions>>> stages;
  for (const StageHelp& help : kStages) {
    auto options = std::make_unique<StageOptions>();
    options->stage = help.stage;
    options->trainer.schedule.learning_rate = help.learning_rate;
    options->trainer.num_threads =
        static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    CLI::App* stage = app.add_subcommand(TrainingStageName(help.stage), help.text);
    AddDataOptions(stage, *options);
    AddStepOptions(stage, options->trainer);
    AddRunOptions(stage, *options);
    stages.emplace_back(stage, std::move(options));
  }

  ParsedTrainCommand result;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    result.exit_code = app.exit(error) == 0 ? 0 : kExitUsage;
    return result;
  }
  result.has_command = true;
  if (fresh_app->parsed()) result.command = fresh;
  for (const auto& [stage, options] : stages) {
    if (stage->parsed()) result.command = *options;
  }
  return result;
}

}  // namespace parrot
