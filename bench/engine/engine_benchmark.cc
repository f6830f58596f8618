#include "bench/engine/engine_benchmark.h"

#include <sys/resource.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "bench/engine/core_holder.h"
#include "bench/engine/step_submitter.h"
#include "bench/model_sizes/model_sizes.h"
#include "model/api/model_config.h"
#include "model/api/model_executor.h"
#include "model/kernels/worker_pool.h"
#include "model/weights/dummy_weights.h"

namespace parrot {
namespace {

constexpr int32_t kImagesTogether = 4;

double PeakMemoryGib() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);  // KiB
}

// The rows of one model.
class Rows {
 public:
  Rows(const EngineBenchmark& benchmark, Table& table) : benchmark_(benchmark), table_(table) {}

  void Add(const std::string& figure, const Repeated& repeated, size_t value) {
    std::vector<Cell> row = {benchmark_.model, figure};
    AddSpread(repeated.values[value], 1, row);
    row.push_back(DisturbedCell(repeated.disturbed));
    table_.rows.push_back(std::move(row));
  }
  void AddOnce(const std::string& figure, double value) {
    Add(figure, {.values = {{value, value, value}}}, 0);
  }

  // Repeats `step`, which returns the stage times of some steps; `values` makes of them and of the
  // seconds that passed what is wanted. One call before warms up.
  using Step = std::function<absl::StatusOr<StageTimes>()>;
  using Values = std::function<std::vector<double>(const StageTimes&, double seconds)>;
  absl::StatusOr<Repeated> Measure(const std::string& figure,
                                   const Step& step,
                                   const Values& values) {
    std::cerr << benchmark_.model << " " << figure << "\n";
    absl::Status status = step().status();
    RETURN_IF_ERROR(status);
    const size_t num_values = values({}, 1.0).size();
    Repeated repeated = Repeat(benchmark_.repeats, [&] {
      const double start = NowSeconds();
      const absl::StatusOr<StageTimes> times = step();
      const double seconds = NowSeconds() - start;
      if (times.ok()) return values(*times, seconds);
      status = times.status();
      return std::vector<double>(num_values, 0.0);
    });
    RETURN_IF_ERROR(status);
    return repeated;
  }

 private:
  const EngineBenchmark& benchmark_;
  Table& table_;
};

double Milliseconds(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

std::vector<double> MillisecondsPassed(const StageTimes&, double seconds) {
  return {1e3 * seconds};
}

absl::Status MeasureImages(StepSubmitter& steps, Rows& rows) {
  for (const int32_t images : {1, kImagesTogether}) {
    const std::string figure =
        images == 1 ? "vision_ms" : "vision_" + std::to_string(images) + "_ms";
    ASSIGN_OR_RETURN(const Repeated tower,
                     rows.Measure(
                         figure,
                         [&] { return steps.EncodeImages(images); },
                         [&](const StageTimes& times, double) {
                           return std::vector<double>{Milliseconds(times[Stage::kClip]),
                                                      Milliseconds(times[Stage::kProjector])};
                         }));
    rows.Add(figure, tower, 0);
    if (images == 1) rows.Add("projector_ms", tower, 1);
  }
  ASSIGN_OR_RETURN(const Repeated known,
                   rows.Measure(
                       "known_image_ms",
                       [&] { return steps.MakeVisualTokens(/*is_new=*/false); },
                       [](const StageTimes& times, double seconds) {
                         return std::vector<double>{
                             Milliseconds(times[Stage::kRouter] + times[Stage::kExperts]),
                             1e3 * seconds};
                       }));
  rows.Add("moe_ms", known, 0);
  rows.Add("known_image_ms", known, 1);
  return absl::OkStatus();
}

// Throughput of some work, alone and, with holds_core, beside a process that holds a core.
absl::Status MeasureThroughput(const EngineBenchmark& benchmark,
                               const std::string& figure,
                               const std::function<absl::StatusOr<StageTimes>()>& step,
                               const std::function<double(double seconds)>& throughput,
                               Rows& rows) {
  ASSIGN_OR_RETURN(const Repeated alone,
                   rows.Measure(figure, step, [&](const StageTimes&, double seconds) {
                     return std::vector<double>{throughput(seconds)};
                   }));
  rows.Add(figure, alone, 0);
  if (!benchmark.holds_core) return absl::OkStatus();
  const CoreHolder holder;
  if (!holder.runs()) return absl::ResourceExhaustedError("no process to hold a core");
  double held_before = 0.0;
  const auto held_step = [&]() {
    held_before = holder.CpuSeconds();
    return step();
  };
  const double cores = kernels::DefaultNumThreads();
  ASSIGN_OR_RETURN(
      const Repeated held,
      rows.Measure(figure + "_held", held_step, [&](const StageTimes&, double seconds) {
        const double left = 1.0 - (holder.CpuSeconds() - held_before) / (cores * seconds);
        const double tokens = throughput(seconds);
        return std::vector<double>{tokens, 100.0 * tokens / (left * alone.values[0].median)};
      }));
  rows.Add(figure + "_held", held, 0);
  rows.Add(figure + "_held_share", held, 1);
  return absl::OkStatus();
}

absl::Status MeasurePrompts(const EngineBenchmark& benchmark, StepSubmitter& steps, Rows& rows) {
  for (const int32_t tokens : benchmark.prompt_tokens) {
    RETURN_IF_ERROR(MeasureThroughput(
        benchmark,
        "prefill_" + std::to_string(tokens),
        [&] { return steps.Prefill(tokens); },
        [&](double seconds) { return tokens / seconds; },
        rows));
  }
  ASSIGN_OR_RETURN(const Repeated answer,
                   rows.Measure(
                       "ttft_ms", [&] { return steps.AnswerImageQuestion(); }, MillisecondsPassed));
  rows.Add("ttft_ms", answer, 0);
  return absl::OkStatus();
}

absl::Status MeasureDecode(const EngineBenchmark& benchmark, StepSubmitter& steps, Rows& rows) {
  RETURN_IF_ERROR(steps.FillCache());
  for (const int32_t batch : benchmark.batches) {
    RETURN_IF_ERROR(steps.StartSequences(batch, benchmark.context_tokens));
    int num_steps = 0;
    const auto decode = [&]() -> absl::StatusOr<StageTimes> {
      StageTimes all;
      const double start = NowSeconds();
      num_steps = 0;
      do {
        ASSIGN_OR_RETURN(const StageTimes times, steps.Decode());
        all.Add(times);
        ++num_steps;
      } while (NowSeconds() - start < benchmark.sample_seconds);
      return all;
    };
    RETURN_IF_ERROR(MeasureThroughput(
        benchmark,
        "decode_" + std::to_string(batch),
        decode,
        [&](double seconds) { return batch * num_steps / seconds; },
        rows));
  }
  return absl::OkStatus();
}

// Room for the largest batch or prompt.
ModelRunnerOptions RunnerOptions(const EngineBenchmark& benchmark, const ModelConfig& config) {
  ModelRunnerOptions options = benchmark.runner;
  const int32_t batch = *std::max_element(benchmark.batches.begin(), benchmark.batches.end());
  const int32_t prompt =
      *std::max_element(benchmark.prompt_tokens.begin(), benchmark.prompt_tokens.end());
  const auto blocks = [&options](int32_t tokens) { return tokens / options.block_size + 2; };
  const int64_t num_blocks =
      std::max(batch * blocks(benchmark.context_tokens),
               blocks(std::max(prompt, config.vision.num_tokens() + prompt)));
  options.max_num_seqs = batch;
  options.max_num_batched_tokens = 2 * prompt + config.vision.num_tokens();
  options.max_images_per_step = kImagesTogether;
  options.vision_cache_experts = false;
  // Less precise caches get more blocks than they need, but for the largest ones there is no room.
  const bool is_half =
      options.cpu.kv_cache_dtype == "bfloat16" || options.cpu.kv_cache_dtype == "int8";
  options.kv_cache_memory_bytes =
      num_blocks * options.block_size *
      config.kv_bytes_per_token(is_half ? DataType::kBFloat16 : DataType::kFloat32);
  return options;
}

// What a known image costs when its experts' outputs are kept: nothing of it is the language
// model's, so one layer of that will do.
absl::Status MeasureCachedQuestion(const EngineBenchmark& benchmark,
                                   ModelConfig config,
                                   Rows& rows) {
  config.language.num_layers = 1;
  ModelRunnerOptions options = RunnerOptions(benchmark, config);
  options.vision_cache_experts = true;
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelExecutor> executor,
                   CreateModelRunner(DummyWeights(config, /*seed=*/1), options));
  StepSubmitter steps(*executor, config.vision.image_size);
  RETURN_IF_ERROR(steps.EncodeImages(1).status());
  ASSIGN_OR_RETURN(const Repeated cached,
                   rows.Measure(
                       "cached_question_ms",
                       [&] { return steps.MakeVisualTokens(/*is_new=*/false); },
                       MillisecondsPassed));
  rows.Add("cached_question_ms", cached, 0);
  return absl::OkStatus();
}

}  // namespace

Table EmptyEngineTable() {
  return {.title = "Whole models",
          .columns = {"model", "figure", "min", "median", "max", "disturbed"}};
}

absl::Status RunEngineBenchmark(const EngineBenchmark& benchmark, Table& table) {
  ModelConfig config = *ConfigOfModelSize(benchmark.model);
  Rows rows(benchmark, table);
  std::cerr << benchmark.model << " loads\n";
  const double start = NowSeconds();
  ASSIGN_OR_RETURN(
      std::unique_ptr<ModelExecutor> executor,
      CreateModelRunner(DummyWeights(config, /*seed=*/1), RunnerOptions(benchmark, config)));
  rows.AddOnce("load_s", NowSeconds() - start);
  rows.AddOnce("loaded_gib", PeakMemoryGib());
  {
    StepSubmitter steps(*executor, config.vision.image_size);
    RETURN_IF_ERROR(MeasureImages(steps, rows));
    RETURN_IF_ERROR(MeasurePrompts(benchmark, steps, rows));
    RETURN_IF_ERROR(MeasureDecode(benchmark, steps, rows));
  }
  rows.AddOnce("peak_gib", PeakMemoryGib());
  executor.reset();  // its memory is the next one's
  return MeasureCachedQuestion(benchmark, config, rows);
}

}  // namespace parrot
