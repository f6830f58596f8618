#include "train/stage_runner.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "model/runtime/device.h"
#include "model/text/tokenizer.h"
#include "model/weights/checkpoint.h"
#include "model/weights/tensor_names.h"
#include "train/data/picture_reader.h"
#include "train/data/sample_encoder.h"
#include "train/data/scene_labels.h"
#include "train/data/training_sample.h"
#include "train/dense_objective.h"
#include "train/dry_run.h"
#include "train/feature_cache.h"
#include "train/language_objective.h"
#include "train/report.h"
#include "train/router_objective.h"
#include "train/tower_objective.h"

namespace parrot {
namespace {

bool UsesMoe(const StageOptions& options) {
  return options.stage != TrainingStage::kAlign && options.use_moe;
}

// The keys that say how a checkpoint was trained. What comes before the two stages leaves the
// model's own keys alone.
nlohmann::json ConfigChanges(const StageOptions& options, const ModelConfig& config) {
  const TrainingStage stage = options.stage;
  nlohmann::json changes = {{"num_experts", config.moe.num_experts},
                            {"moe_hidden_size", config.language.hidden_size},
                            {"moe_intermediate_size", config.moe.intermediate_size},
                            {"moe_weight", config.moe.residual_weight},
                            {"use_moe_residual", config.moe.use_residual}};
  // The shortest decimal of a float, not its double.
  changes["moe_weight"] = std::stod(absl::StrCat(config.moe.residual_weight));
  if (stage == TrainingStage::kAlign || stage == TrainingStage::kFinetune) {
    changes["use_moe"] = UsesMoe(options);
    changes["tune_mm_mlp_adapter"] = stage == TrainingStage::kAlign;
    changes["freeze_mm_mlp_adapter"] = false;
  }
  return changes;
}

// Everything that a stage borrows, in the order of construction.
struct StageParts {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<TrainingSample> samples;
  SceneLabels scenes;
  std::unique_ptr<SampleEncoder> encoder;
  std::unique_ptr<PictureReader> reader;
  std::unique_ptr<Parameters> parameters;
  std::unique_ptr<TrainingModel> model;
  std::unique_ptr<FeatureCache> pictures;
  std::unique_ptr<Objective> objective;
  std::vector<TrainedTensor> tensors;
};

std::vector<DataSetFiles> DataSets(const StageOptions& options) {
  std::vector<DataSetFiles> sets;
  for (const std::string& path : options.data_paths) {
    sets.push_back({.json_path = path, .image_dir = options.image_dir});
  }
  return sets;
}

// One digest of the contents of all data files: a resumed run must go on with the same ones.
// Pictures are not read for it.
absl::StatusOr<std::string> DigestOfData(const StageOptions& options) {
  std::vector<std::string> paths = options.data_paths;
  for (const std::string& path : {options.scenes_path, options.lexicon_path}) {
    if (!path.empty()) paths.push_back(path);
  }
  Sha256 digest;
  std::vector<char> buffer(1 << 20);
  for (const std::string& path : paths) {
    std::ifstream file(path, std::ios::binary);
    Sha256 content;
    do {
      file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
      content.Update(buffer.data(), static_cast<size_t>(file.gcount()));
    } while (file);
    if (!file.eof()) {
      return absl::InternalError(
          absl::StrCat("cannot read ", std::filesystem::path(path).filename().string()));
    }
    digest.Update(content.Finish().view());
  }
  return digest.Finish().ToHex();
}

absl::Status LoadData(const StageOptions& options, StageParts* parts) {
  ASSIGN_OR_RETURN(parts->checkpoint, Checkpoint::Open(options.model_dir));
  ASSIGN_OR_RETURN(parts->tokenizer, Tokenizer::Load(options.model_dir));
  if (!options.scenes_path.empty()) {
    ASSIGN_OR_RETURN(parts->scenes, LoadSceneLabels(options.scenes_path));
  }
  if (options.stage != TrainingStage::kTower) {
    ASSIGN_OR_RETURN(parts->samples, LoadTrainingData(DataSets(options)));
  }
  const ModelConfig& config = parts->checkpoint->config();
  parts->encoder = std::make_unique<SampleEncoder>(
      *parts->tokenizer, options.max_length > 0 ? options.max_length : config.model_max_length);
  parts->reader =
      std::make_unique<PictureReader>(config, [](const std::string&, const absl::Status& why) {
        std::cerr << absl::StrCat(
            "\na picture cannot be read and is replaced: ", why.message(), "\n");
      });
  return absl::OkStatus();
}

absl::Status PrintForecast(const StageOptions& options) {
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(options.model_dir));
  int64_t num_samples = 0;
  if (!options.data_paths.empty()) {
    ASSIGN_OR_RETURN(const std::vector<TrainingSample> samples,
                     LoadTrainingData(DataSets(options)));
    num_samples = static_cast<int64_t>(samples.size());
  }
  std::cout << DryRunReport(config, options, num_samples);
  return absl::OkStatus();
}

absl::Status MakeModel(const StageOptions& options, StageParts* parts) {
  ASSIGN_OR_RETURN(const at::Device device, OpenDevice(options.device));
  const at::ScalarType dtype = options.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  ASSIGN_OR_RETURN(parts->parameters, Parameters::Load(*parts->checkpoint, device, dtype));
  // Layers past the one that the projector reads never run: they have no gradient.
  const ModelConfig& config = parts->checkpoint->config();
  parts->parameters->Train([&](const TensorSpec& spec) {
    return IsTrainedIn(options.stage, spec) && IsUsed(spec, config) &&
           (options.use_moe || spec.part != ModelPart::kMoe);
  });
  const TrainingModel::Options model_options = {
      .use_moe = UsesMoe(options),
      .checkpoint_activations = options.checkpoint_activations,
      .max_length = parts->encoder->max_length()};
  RETURN_IF_ERROR(CatchTorchErrors("making the model", [&] {
    parts->model = std::make_unique<TrainingModel>(
        config,
        ReferenceBackend::Options{.device = device, .compute_dtype = dtype},
        model_options,
        *parts->parameters);
    return absl::OkStatus();
  }));
  parts->pictures = std::make_unique<FeatureCache>(
      *parts->reader, *parts->model, static_cast<int64_t>(options.feature_cache_gb * 1e9));
  parts->tensors = parts->parameters->trained();
  return absl::OkStatus();
}

absl::Status MakeObjective(const StageOptions& options, StageParts* parts) {
  switch (options.stage) {
    case TrainingStage::kTower: {
      auto tower = std::make_unique<TowerObjective>(
          parts->scenes,
          options.image_dir.empty()
              ? std::filesystem::path(options.scenes_path).parent_path().string()
              : options.image_dir,
          *parts->reader,
          *parts->model,
          options.trainer.seed);
      for (TrainedTensor& head : tower->head_tensors()) parts->tensors.push_back(std::move(head));
      parts->objective = std::move(tower);
      return absl::OkStatus();
    }
    case TrainingStage::kDense: {
      ASSIGN_OR_RETURN(const WordIds lexicon, LoadLexicon(options.lexicon_path, *parts->tokenizer));
      ASSIGN_OR_RETURN(parts->objective,
                       DenseObjective::Make(parts->samples,
                                            *parts->encoder,
                                            parts->scenes,
                                            lexicon,
                                            *parts->pictures,
                                            *parts->model));
      return absl::OkStatus();
    }
    case TrainingStage::kRouter: {
      ASSIGN_OR_RETURN(
          parts->objective,
          RouterObjective::Make(parts->samples, *parts->encoder, *parts->pictures, *parts->model));
      return absl::OkStatus();
    }
    case TrainingStage::kText:
    case TrainingStage::kAlign:
    case TrainingStage::kFinetune:
      parts->objective = std::make_unique<LanguageObjective>(
          parts->samples,
          *parts->encoder,
          options.stage == TrainingStage::kText ? nullptr : parts->pictures.get(),
          *parts->model);
      return absl::OkStatus();
  }
  return absl::InternalError("no such stage");
}

}  // namespace

bool IsTrainedIn(TrainingStage stage, const TensorSpec& spec) {
  const ModelPart part = spec.part;
  switch (stage) {
    case TrainingStage::kTower:
      return part == ModelPart::kVision;
    case TrainingStage::kText:
      return part == ModelPart::kLanguage;
    case TrainingStage::kDense:
      return part == ModelPart::kProjector || part == ModelPart::kMoe;
    case TrainingStage::kRouter:
      return spec.name == tensor_names::kMoeGate;
    case TrainingStage::kAlign:
      return part == ModelPart::kProjector;
    case TrainingStage::kFinetune:
      return part != ModelPart::kVision;
  }
  return false;
}

absl::StatusOr<RunEnd> RunStage(const StageOptions& options, const std::atomic<bool>& stop) {
  if (options.dry_run) {
    RETURN_IF_ERROR(PrintForecast(options));
    return RunEnd::kFinished;
  }
  const TrainerOptions& trainer_options = options.trainer;
  if (trainer_options.output_dir.empty()) return absl::InvalidArgumentError("--output is required");
  const std::string model_dir = trainer_options.output_dir + "/model";
  if (trainer_options.resume && std::filesystem::exists(model_dir)) {
    std::cerr << "the run is finished already\n";
    return RunEnd::kFinished;
  }
  at::set_num_threads(1);  // micro-batches run side by side instead
  ASSIGN_OR_RETURN(const ProcessGroupOptions group, ReadProcessGroupOptions());
  ASSIGN_OR_RETURN(const std::unique_ptr<ProcessGroup> processes, JoinProcessGroup(group));
  StageParts parts;
  RETURN_IF_ERROR(LoadData(options, &parts));
  RETURN_IF_ERROR(MakeModel(options, &parts));
  RETURN_IF_ERROR(MakeObjective(options, &parts));
  const ModelConfig& config = parts.checkpoint->config();
  const ModelFiles files = {.base_dir = options.model_dir,
                            .config_changes = ConfigChanges(options, config),
                            .dtype = config.stored_dtype};
  Trainer trainer(
      trainer_options, files, *parts.objective, *parts.parameters, parts.tensors, *processes);
  ASSIGN_OR_RETURN(const std::string data, DigestOfData(options));
  RETURN_IF_ERROR(trainer.Start(
      {{"stage", TrainingStageName(options.stage)}, {"dtype", options.dtype}, {"data", data}}));
  const bool reports = processes->rank() == 0;
  std::unique_ptr<RunReport> report;
  if (reports) {
    report =
        std::make_unique<RunReport>(trainer_options.output_dir,
                                    absl::StrCat("Loss, stage ", TrainingStageName(options.stage)),
                                    parts.objective->metric_names(),
                                    trainer.first_step());
  }
  ASSIGN_OR_RETURN(const RunEnd end, trainer.Run(stop, [&](const StepReport& step) {
    if (report != nullptr) report->Add(step);
  }));
  if (!reports) return end;
  RETURN_IF_ERROR(report->Finish());
  if (parts.reader->num_unreadable() > 0) {
    std::cerr << parts.reader->num_unreadable() << " times an unreadable picture was replaced\n";
  }
  if (end == RunEnd::kFinished) {
    RETURN_IF_ERROR(SaveModel(model_dir, files, *parts.parameters));
    RETURN_IF_ERROR(RemoveCheckpoints(trainer_options.output_dir));
  }
  return end;
}

}  // namespace parrot
