// First figures of a device: how long an image, a prompt and a token take through the real runner
// with random weights, beside the least time that the device's measured limits allow; and what a
// second question about an image costs when the vision cache holds it.
//
//   device_figures DEVICE DTYPE MODEL      device_figures cuda bfloat16 7b
//
// MODEL: of bench/model_sizes. Exit status 3: the device is not there.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "bench/device_limits.h"
#include "bench/model_sizes/model_sizes.h"
#include "model/api/model_config.h"
#include "model/api/model_executor.h"
#include "model/runtime/model_runner_factory.h"
#include "model/runtime/openmp_policy.h"
#include "model/weights/dummy_weights.h"

namespace parrot {
namespace {

constexpr int kDeviceMissing = 3;
constexpr int kRepeats = 5;
constexpr int32_t kTextTokens = 64;
constexpr int32_t kDecodeSteps = 8;
constexpr int32_t kMaxBatch = 32;

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Floating-point operations and bytes of each part.
struct Work {
  explicit Work(const ModelConfig& config, int64_t element_bytes) {
    const VisionConfig& v = config.vision;
    const LanguageConfig& l = config.language;
    const double tokens = v.num_tokens();
    const double vision_layer =
        4.0 * v.hidden_size * v.hidden_size + 2.0 * v.hidden_size * v.intermediate_size;
    vision_flop =
        v.num_used_layers() * (2.0 * tokens * vision_layer + 4.0 * tokens * tokens * v.hidden_size);
    experts_flop =
        6.0 * tokens * l.hidden_size * config.moe.intermediate_size * config.moe.num_experts;
    prompt_tokens = v.num_tokens() + kTextTokens;
    const double layer =
        (2.0 + 2.0 * l.num_kv_heads / l.num_heads) * l.hidden_size * l.hidden_size +
        3.0 * l.hidden_size * l.intermediate_size;
    const double head = double{1.0} * l.hidden_size * l.vocab_rows;
    prefill_flop = 2.0 * prompt_tokens * layer * l.num_layers + 2.0 * head +
                   2.0 * prompt_tokens * prompt_tokens * l.hidden_size * l.num_layers;
    weight_bytes = element_bytes * (layer * l.num_layers + head);
    kv_bytes_per_token = static_cast<double>(config.kv_bytes_per_token(config.stored_dtype));
  }
  double vision_flop, experts_flop, prefill_flop, weight_bytes, kv_bytes_per_token;
  int32_t prompt_tokens;
};

class Figures {
 public:
  Figures(ModelExecutor& executor, const ModelConfig& config)
      : executor_(executor), config_(config) {
    const int32_t size = config.vision.image_size;
    auto pixels = std::make_shared<ImagePixels>(size_t{3} * size * size);
    for (size_t i = 0; i < pixels->size(); ++i) (*pixels)[i] = static_cast<uint8_t>(i * 131);
    image_ = {.hash = Sha256Of("image"), .size = size, .pixels = std::move(pixels)};
    for (TokenId id = 0; id < kTextTokens; ++id) text_.push_back(id + 1);
  }

  // Medians, in seconds.
  struct ImageTimes {
    double clip = 0.0, projector = 0.0, router = 0.0, experts = 0.0;
  };
  ImageTimes TimeImage() {
    std::vector<double> clip, projector, router, experts;
    for (int i = -1; i < kRepeats; ++i) {
      auto input = std::make_unique<StepInput>();
      input->encode_jobs.push_back(
          {.image = image_, .num_layers = executor_.capacity().num_vision_layers});
      input->route_jobs.push_back({.slot = 0, .image = image_.hash, .text_ids = text_});
      const StageTimes times = RunStep(std::move(input));
      if (i < 0) continue;
      clip.push_back(absl::ToDoubleSeconds(times[Stage::kClip]));
      projector.push_back(absl::ToDoubleSeconds(times[Stage::kProjector]));
      router.push_back(absl::ToDoubleSeconds(times[Stage::kRouter]));
      experts.push_back(absl::ToDoubleSeconds(times[Stage::kExperts]));
    }
    return {Median(clip), Median(projector), Median(router), Median(experts)};
  }

  // Seconds from a question to the visual tokens of its image: new, or known to the vision cache.
  double TimeVisualTokens(bool known) {
    std::vector<double> seconds;
    for (int i = -1; i < kRepeats; ++i) {
      auto input = std::make_unique<StepInput>();
      if (!known || i < 0) {
        input->evicted_images.push_back(image_.hash);
        input->encode_jobs.push_back(
            {.image = image_, .num_layers = executor_.capacity().num_vision_layers});
      }
      input->route_jobs.push_back({.slot = 0, .image = image_.hash, .text_ids = text_});
      const absl::Time start = absl::Now();
      RunStep(std::move(input));
      if (i >= 0) seconds.push_back(absl::ToDoubleSeconds(absl::Now() - start));
    }
    return Median(seconds);
  }

  // Every sequence up to kMaxBatch gets the image and the text; seconds of one prompt.
  double FillAndTimePrefill() {
    std::vector<double> seconds;
    const int32_t image_tokens = executor_.capacity().image_tokens;
    const int32_t length = image_tokens + kTextTokens;
    const int32_t blocks_each = (length + 4 * kDecodeSteps) / executor_.capacity().block_size + 1;
    for (SlotId slot = 0; slot < kMaxBatch; ++slot) {
      auto input = std::make_unique<StepInput>();
      SlotStart start = {.slot = slot, .num_prompt_tokens = length};
      for (int32_t i = 0; i < blocks_each; ++i) start.block_ids.push_back(slot * blocks_each + i);
      input->new_slots.push_back(std::move(start));
      input->route_jobs.push_back({.slot = slot, .image = image_.hash, .text_ids = text_});
      input->token_ids.assign(image_tokens, kVisualToken);
      input->token_ids.insert(input->token_ids.end(), text_.begin(), text_.end());
      input->spans.push_back({.slot = slot, .num_tokens = length});
      input->visual_spans.push_back({.slot = slot, .num_tokens = image_tokens});
      input->logits_rows.push_back({.span_idx = 0, .row = length - 1});
      seconds.push_back(absl::ToDoubleSeconds(RunStep(std::move(input))[Stage::kPrefill]));
    }
    position_ = length;
    return Median(seconds);
  }

  // Wall-clock seconds of a step in which the first `batch` sequences decode one token each.
  double TimeDecode(int32_t batch) {
    std::vector<double> seconds;
    for (int32_t step = 0; step < kDecodeSteps; ++step) {
      auto input = std::make_unique<StepInput>();
      for (SlotId slot = 0; slot < batch; ++slot) {
        input->logits_rows.push_back({.span_idx = slot, .row = 0});
        input->spans.push_back({.slot = slot,
                                .start_position = position_ + step,
                                .num_tokens = 1,
                                .source = TokenSource::kSampledOnDevice});
      }
      const absl::Time start = absl::Now();
      RunStep(std::move(input));
      seconds.push_back(absl::ToDoubleSeconds(absl::Now() - start));
    }
    return Median(seconds);
  }

 private:
  StageTimes RunStep(std::unique_ptr<StepInput> input) {
    absl::Notification done;
    StageTimes times;
    StepResult buffers;
    buffers.input = std::move(input);
    buffers.output = std::make_unique<StepOutput>();
    executor_.Submit(std::move(buffers), [&](StepResult result) {
      if (!result.output->status.ok() || !result.output->failed_slots.empty()) {
        std::fprintf(stderr, "warning: a step failed\n");
      }
      times = result.output->times;
      done.Notify();
    });
    done.WaitForNotification();
    return times;
  }

  ModelExecutor& executor_;
  const ModelConfig& config_;
  ImageInput image_;
  std::vector<TokenId> text_;
  int32_t position_ = 0;
};

void PrintTime(const char* what, double seconds, double floor_seconds) {
  std::printf("%-24s %10.2f ms   floor %8.2f ms   %5.1f %% of the limit\n",
              what,
              1e3 * seconds,
              1e3 * floor_seconds,
              100.0 * floor_seconds / seconds);
}

void PrintReuse(const char* what, double seconds, double cold_seconds) {
  std::printf(
      "%-24s %10.2f ms   %.4f of a new image\n", what, 1e3 * seconds, seconds / cold_seconds);
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return GetErrorFacts(status).reason == "DEVICE_UNAVAILABLE" ? kDeviceMissing : 1;
}

int Run(const std::string& device,
        ComputeDtype dtype,
        const std::string& model,
        ModelConfig config) {
  config.stored_dtype = dtype == ComputeDtype::kBFloat16 ? DataType::kBFloat16 : DataType::kFloat32;
  const Work work(config, DataTypeBytes(config.stored_dtype));
  const absl::StatusOr<DeviceLimits> limits =
      MeasureDeviceLimits(device, dtype, /*large=*/device != "cpu");
  if (!limits.ok()) return Fail(limits.status());
  std::printf("%s, %s, model %s: copy %.0f GB/s, matmul %.2f TFLOP/s\n",
              device.c_str(),
              DataTypeName(config.stored_dtype),
              model.c_str(),
              limits->copy_gb_per_s,
              limits->matmul_tflop_per_s);

  ModelRunnerOptions options;
  options.device = device;
  options.dtype = dtype;
  options.max_num_seqs = kMaxBatch;
  options.kv_cache_memory_bytes = static_cast<int64_t>(
      work.kv_bytes_per_token * kMaxBatch * (work.prompt_tokens + 4 * kDecodeSteps + 64));
  const DummyWeights weights(config, /*seed=*/1);
  const absl::Time start = absl::Now();
  absl::StatusOr<std::unique_ptr<ModelExecutor>> runner = CreateModelRunner(weights, options);
  if (!runner.ok()) return Fail(runner.status());
  std::printf(
      "%-24s %10.2f s\n", "random weights loaded", absl::ToDoubleSeconds(absl::Now() - start));

  Figures figures(**runner, config);
  const double flop_per_s = 1e12 * limits->matmul_tflop_per_s;
  const double bytes_per_s = 1e9 * limits->copy_gb_per_s;
  const Figures::ImageTimes image = figures.TimeImage();
  PrintTime("vision tower, 1 image", image.clip, work.vision_flop / flop_per_s);
  std::printf("%-24s %10.2f ms\n", "projector", 1e3 * image.projector);
  std::printf("%-24s %10.2f ms\n", "router", 1e3 * image.router);
  PrintTime("experts", image.experts, work.experts_flop / flop_per_s);
  const double prefill = figures.FillAndTimePrefill();
  PrintTime("prefill, 1 prompt", prefill, work.prefill_flop / flop_per_s);
  std::printf("%-24s %10.0f t/s\n", "", work.prompt_tokens / prefill);
  for (const int32_t batch : {1, 8, kMaxBatch}) {
    const double seconds = figures.TimeDecode(batch);
    const double bytes = work.weight_bytes + batch * work.prompt_tokens * work.kv_bytes_per_token;
    const std::string what = "decode, batch " + std::to_string(batch);
    PrintTime(what.c_str(), seconds, bytes / bytes_per_s);
    std::printf("%-24s %10.1f t/s\n", "", batch / seconds);
  }

  const double cold = figures.TimeVisualTokens(/*known=*/false);
  PrintReuse("visual tokens, new image", cold, cold);
  PrintReuse("  features cached", figures.TimeVisualTokens(/*known=*/true), cold);
  runner->reset();  // its memory is the next one's
  options.vision_cache_experts = true;
  runner = CreateModelRunner(weights, options);
  if (!runner.ok()) return Fail(runner.status());
  PrintReuse("  experts cached", Figures(**runner, config).TimeVisualTokens(/*known=*/true), cold);
  return 0;
}

}  // namespace
}  // namespace parrot

int main(int argc, char** argv) {
  parrot::UseSleepingOpenMpThreads(argv);
  const std::optional<parrot::ModelConfig> config =
      parrot::ConfigOfModelSize(argc == 4 ? argv[3] : "");
  const std::string dtype = argc == 4 ? argv[2] : "";
  if (!config.has_value() || (dtype != "float32" && dtype != "bfloat16")) {
    std::fprintf(stderr, "usage: device_figures cpu|cuda|cuda:N float32|bfloat16 MODEL\nMODEL:");
    for (const std::string& name : parrot::ModelSizeNames()) {
      std::fprintf(stderr, " %s", name.c_str());
    }
    std::fprintf(stderr, "\n");
    return 2;
  }
  return parrot::Run(
      argv[1],
      dtype == "float32" ? parrot::ComputeDtype::kFloat32 : parrot::ComputeDtype::kBFloat16,
      argv[3],
      *config);
}
