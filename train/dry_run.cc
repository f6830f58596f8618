#include "train/dry_run.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_format.h"
#include "model/weights/tensor_specs.h"
#include "train/stage_runner.h"

namespace parrot {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

// Machines to compare with: memory, and what matrix products reach there in training as a share of
// the data sheet (40 %).
struct Machine {
  const char* name;
  double memory_gib;
  double fp32_flops;  // per second
  double bf16_flops;
};
constexpr std::array<Machine, 5> kMachines = {{
    {"CPU, 2 cores, 16 GiB", 16, 1.0e11, 1.0e11},
    {"CPU, 64 cores, 512 GiB", 512, 3.0e12, 3.0e12},
    {"RTX 4090, 24 GB", 24, 3.3e13, 6.6e13},
    {"A100, 80 GB", 80, 6.0e13, 1.2e14},
    {"H100, 80 GB", 80, 1.6e14, 4.0e14},
}};

bool ComputesInBFloat16(const StageOptions& options) { return options.dtype == "bfloat16"; }

// Floats that one row of a layer keeps for the backward pass, attention's weights apart: what the
// reference backend's operations save (norm, three projections, rotary, attended, two halves and
// their product).
double RowActivations(double hidden, double intermediate, double kv_share) {
  return hidden * (8 + 4 * kv_share) + 4 * intermediate;
}

struct Work {
  double rows = 0;  // of the language model, one micro-batch
  double images = 0;
  double learned = 0;  // rows that go through the head
};

Work MicroBatchWork(const ModelConfig& config, const StageOptions& options) {
  const auto batch = static_cast<double>(options.trainer.micro_batch);
  const double length = options.max_length > 0 ? options.max_length : config.model_max_length;
  Work work;
  switch (options.stage) {
    case TrainingStage::kTower:
    case TrainingStage::kDense:
    case TrainingStage::kRouter:
      work.images = batch;
      break;
    case TrainingStage::kText:
      work = {.rows = batch * length, .learned = batch * length / 2};
      break;
    case TrainingStage::kAlign:
    case TrainingStage::kFinetune:
      work = {.rows = batch * length,
              .images = batch,
              .learned = batch * std::max(0.0, length - config.vision.num_tokens()) / 2};
      break;
  }
  return work;
}

double LanguageActivations(const ModelConfig& config, const StageOptions& options, double rows) {
  const LanguageConfig& c = config.language;
  const double length = options.max_length > 0 ? options.max_length : config.model_max_length;
  const double row = RowActivations(
      c.hidden_size, c.intermediate_size, static_cast<double>(c.num_kv_heads) / c.num_heads);
  // Attention keeps its scores' softmax and the mask: [heads, rows, rows] of each sample.
  const double attention = 2.0 * c.num_heads * length;
  const double layer = rows * (row + attention);
  if (!options.checkpoint_activations) return layer * c.num_layers;
  return layer + rows * c.hidden_size * c.num_layers;
}

double VisionFlops(const ModelConfig& config, double images) {
  const VisionConfig& v = config.vision;
  const double tokens = v.num_tokens(), hidden = v.hidden_size;
  const double layer = tokens * (8 * hidden * hidden + 4 * hidden * v.intermediate_size) +
                       4 * tokens * tokens * hidden;
  return images * layer * v.num_used_layers();
}

}  // namespace

RunForecast ForecastRun(const ModelConfig& base, const StageOptions& options) {
  ModelConfig config = base;
  config.moe.enabled = true;
  RunForecast forecast;
  const double compute_bytes = ComputesInBFloat16(options) ? 2 : 4;
  double language = 0, projector = 0, moe = 0, all = 0;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const auto count = static_cast<double>(spec.num_elements());
    all += count;
    if (spec.part == ModelPart::kProjector) projector += count;
    if (spec.part == ModelPart::kMoe) moe += count;
    const bool is_embedding = spec.name.find("embed_tokens") != std::string::npos;
    const bool is_head = spec.name.find("lm_head") != std::string::npos;
    if (spec.part == ModelPart::kLanguage && !is_embedding && !is_head) language += count;
    if (IsTrainedIn(options.stage, spec) && IsUsed(spec, config)) {
      forecast.trained_parameters += count;
    }
  }
  const double trained = forecast.trained_parameters;
  const double side_by_side = static_cast<double>(
      std::min<int64_t>(options.trainer.num_threads, options.trainer.accumulation));
  forecast.weights = all * compute_bytes;
  forecast.masters = ComputesInBFloat16(options) ? trained * 4 : 0;
  forecast.gradients = trained * (4 + compute_bytes * side_by_side);
  forecast.moments = trained * 8;

  const Work work = MicroBatchWork(config, options);
  const bool runs_language = work.rows > 0;
  const double image_rows = work.images * config.vision.num_tokens();
  const double hidden = config.language.hidden_size;
  double floats = 0;
  if (runs_language) {
    floats += LanguageActivations(config, options, work.rows);
    floats += 4.0 * work.learned * config.language.vocab_rows / (compute_bytes / 4);
  }
  if (options.stage != TrainingStage::kText) {
    const double experts = config.moe.num_experts;
    floats += image_rows * (4 * hidden + experts * (4 * config.moe.intermediate_size + 2 * hidden));
  }
  if (options.stage == TrainingStage::kTower) {
    floats += image_rows * config.vision.num_used_layers() *
              (RowActivations(config.vision.hidden_size, config.vision.intermediate_size, 1) +
               2.0 * config.vision.num_heads * config.vision.num_tokens());
  }
  forecast.activations = floats * compute_bytes * side_by_side;

  // Two operations a weight forward; twice that backward, half of it where the weights are frozen.
  const auto passes = [&](bool is_trained) { return is_trained ? 3.0 : 2.0; };
  const bool lm_trained =
      options.stage == TrainingStage::kFinetune || options.stage == TrainingStage::kText;
  const double recompute = options.checkpoint_activations ? 1.0 : 0.0;
  double flops = 0;
  if (runs_language) {
    const double length = options.max_length > 0 ? options.max_length : config.model_max_length;
    const double attention = 4.0 * length * hidden * config.language.num_layers;
    flops += work.rows * (2 * language + attention) * (passes(lm_trained) + recompute);
    flops += 2 * work.learned * hidden * config.language.vocab_rows * passes(lm_trained);
  }
  if (options.stage != TrainingStage::kText) {
    flops += 2 * image_rows * projector * 3;
    if (options.stage != TrainingStage::kAlign) flops += 2 * image_rows * moe * 3;
    flops += VisionFlops(config, work.images) * (options.stage == TrainingStage::kTower ? 3 : 1);
  }
  forecast.flops_per_step = flops * static_cast<double>(options.trainer.accumulation);
  return forecast;
}

namespace {

std::string Duration(double seconds) {
  if (seconds < 120) return absl::StrFormat("%.2g s", seconds);
  if (seconds < 7200) return absl::StrFormat("%.0f min", seconds / 60);
  if (seconds < 172800) return absl::StrFormat("%.1f h", seconds / 3600);
  return absl::StrFormat("%.1f days", seconds / 86400);
}

std::string StageReport(const ModelConfig& config,
                        const StageOptions& options,
                        int64_t num_samples) {
  const RunForecast f = ForecastRun(config, options);
  std::string text = absl::StrFormat(
      "stage %s, %s, micro-batch %d x accumulation %d%s\n"
      "  trained parameters  %.4g\n"
      "  weights             %8.2f GiB\n"
      "  float32 masters     %8.2f GiB\n"
      "  gradients           %8.2f GiB\n"
      "  AdamW's moments     %8.2f GiB\n"
      "  activations         %8.2f GiB\n"
      "  together            %8.2f GiB\n"
      "  compute             %.3g TFLOP a step\n",
      TrainingStageName(options.stage),
      options.dtype,
      options.trainer.micro_batch,
      options.trainer.accumulation,
      options.checkpoint_activations ? ", activations computed again" : "",
      f.trained_parameters,
      f.weights / kGiB,
      f.masters / kGiB,
      f.gradients / kGiB,
      f.moments / kGiB,
      f.activations / kGiB,
      f.total() / kGiB,
      f.flops_per_step / 1e12);
  const auto per_step =
      static_cast<double>(options.trainer.micro_batch * options.trainer.accumulation);
  const double steps =
      options.trainer.max_steps > 0
          ? static_cast<double>(options.trainer.max_steps)
          : std::ceil(static_cast<double>(num_samples) * options.trainer.epochs / per_step);
  for (const Machine& machine : kMachines) {
    const double room = machine.memory_gib * kGiB * 0.92;
    const double rate = ComputesInBFloat16(options) ? machine.bf16_flops : machine.fp32_flops;
    const double seconds = f.flops_per_step / rate;
    text += absl::StrFormat("  %-24s", machine.name);
    if (f.total() <= room) {
      text += "fits";
    } else {
      text += absl::StrFormat("does not fit, %.1f GiB short", (f.total() - room) / kGiB);
    }
    text += absl::StrFormat("; about %s a step", Duration(seconds));
    if (steps > 0) text += absl::StrFormat(", %s for %.0f steps", Duration(seconds * steps), steps);
    text += '\n';
  }
  return text;
}

}  // namespace

std::string DryRunReport(const ModelConfig& config,
                         const StageOptions& options,
                         int64_t num_samples) {
  std::string text = StageReport(config, options, num_samples);
  if (options.stage == TrainingStage::kAlign || options.stage == TrainingStage::kFinetune) {
    StageOptions other = options;
    other.stage =
        options.stage == TrainingStage::kAlign ? TrainingStage::kFinetune : TrainingStage::kAlign;
    text += "\nfor comparison, the other stage with the same options:\n";
    text += StageReport(config, other, num_samples);
  }
  text +=
      "\nA sample is counted as long as it may be, with a picture, half of its text learned. Times "
      "are estimates\nfrom 40 % of a data sheet's rate, not measurements.\n";
  return text;
}

}  // namespace parrot
