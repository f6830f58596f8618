// parrot-bench: how fast the kernels are, and whole models on them. Offline; weights are random.
//
//   parrot-bench kernels [--model 0.5b ...] [--weights bf16 int8 ...] [--cpu-isa avx2 ...]
//   parrot-bench engine [--model 0.5b ...] [--dtype float32|bfloat16] [--backend ...]
//
// Both: --num-threads, --repeats, --markdown, --json FILE. docs/performance.md says what the
// figures mean. Exit status: 0; 1: something failed; CLI11's for wrong usage.
#include <algorithm>
#include <cstdint>
#include <exception>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "bench/engine/engine_benchmark.h"
#include "bench/kernels/kernels_benchmark.h"
#include "bench/kernels/matrix_benchmark.h"
#include "bench/measure/report.h"
#include "bench/model_sizes/model_sizes.h"
#include "model/kernels/isa.h"
#include "model/kernels/worker_pool.h"
#include "model/runtime/model_runner_factory.h"
#include "model/runtime/openmp_policy.h"

namespace parrot {
namespace {

struct Settings {
  int num_threads = kernels::DefaultNumThreads();
  int repeats = 5;
  double sample_seconds = 0.0;  // 0: each benchmark's own
  std::vector<std::string> models = {"0.5b"};
  ReportOptions output;

  std::vector<std::string> isas;  // of the kernels
  int64_t cycle_mib = 256;
  KernelsBenchmark kernels = {.encodings = WeightEncodingNames(),
                              .rows = {1, 4, 16, 128, 512, 641}};
  EngineBenchmark engine;
};

void AddCommonOptions(CLI::App* command, Settings& s) {
  command->add_option("--model", s.models, "Whose dimensions")
      ->check(CLI::IsMember(ModelSizeNames()))
      ->capture_default_str();
  command->add_option("--num-threads", s.num_threads, "Threads of the kernels")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--repeats", s.repeats, "Of each figure; disturbed ones come on top")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--sample-seconds", s.sample_seconds, "Length of a repeat; 0: as it needs")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  command->add_flag("--markdown", s.output.markdown, "Print Markdown");
  command->add_option("--json", s.output.json, "Write the report to this file as well");
}

void AddKernelsOptions(CLI::App* command, Settings& s) {
  std::vector<std::string> isas;
  for (const kernels::Isa isa : kernels::NativeIsas()) isas.emplace_back(IsaName(isa));
  s.isas = isas;
  command->add_option("--cpu-isa", s.isas, "Instruction sets of this machine")
      ->check(CLI::IsMember(isas))
      ->capture_default_str();
  command->add_option("--weights", s.kernels.encodings, "How weights are stored")
      ->check(CLI::IsMember(WeightEncodingNames()))
      ->capture_default_str();
  command->add_option("--rows", s.kernels.rows, "Rows of the language model's products")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--only", s.kernels.only, "Matrices and attentions by name, as printed");
  command->add_flag("--summary", s.kernels.summary, "Products by share of the limit");
  command->add_option("--cycle-mib", s.cycle_mib, "Read before any weight is read again")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
}

// The one place where flags become ModelRunnerOptions.
void AddRunnerOptions(CLI::App* command, ModelRunnerOptions& options) {
  command->add_option("--dtype", options.dtype, "float32 or bfloat16; default: the runner's choice")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, ComputeDtype>{{"auto", ComputeDtype::kAuto},
                                              {"float32", ComputeDtype::kFloat32},
                                              {"bfloat16", ComputeDtype::kBFloat16}}));
  command->add_option("--device", options.device, "cpu, cuda or cuda:N")->capture_default_str();
  CpuOptions& cpu = options.cpu;
  const auto add = [&](const char* flag, std::string& value, const char* help) {
    command->add_option(flag, value, help)->capture_default_str();
  };
  add("--backend", cpu.backend, "On a CPU: cpu for our own kernels, reference, auto");
  add("--cpu-isa", cpu.isa, "avx2, avx512, avx512_bf16 or amx; empty: the fastest");
  add("--quantization", cpu.quantization, "Of the language model, as the server's");
  add("--expert-quantization", cpu.expert_quantization, "Empty: as --quantization");
  add("--head-quantization", cpu.head_quantization, "Empty: as --quantization");
  add("--vision-quantization", cpu.vision_quantization, "Of the tower and the projector");
  add("--kv-cache-dtype", cpu.kv_cache_dtype, "auto, float32, bfloat16, int8");
  add("--packed-weights-dir", cpu.packed_weights_dir, "Folder of packed weights; empty: none");
}

void AddEngineOptions(CLI::App* command, EngineBenchmark& engine) {
  AddRunnerOptions(command, engine.runner);
  command->add_option("--prompts", engine.prompt_tokens, "Tokens of the prompts")
      ->check(CLI::Range(1, 16384))
      ->capture_default_str();
  command->add_option("--batches", engine.batches, "Sequences that decode together")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--context", engine.context_tokens, "Tokens in the cache of each of them")
      ->check(CLI::Range(1, 16384))
      ->capture_default_str();
  command->add_flag("--hold-core",
                    engine.holds_core,
                    "Prompts and decoding beside a process that holds a core, too");
}

absl::Status RunKernels(const Settings& settings, Report& report) {
  if (!kernels::BestIsa().has_value()) {
    return absl::FailedPreconditionError("this machine has no AVX2");
  }
  KernelsBenchmark benchmark = settings.kernels;
  benchmark.models = settings.models;
  for (const std::string& isa : settings.isas) benchmark.isas.push_back(*kernels::ParseIsa(isa));
  benchmark.roofline.num_threads = settings.num_threads;
  benchmark.roofline.repeats = {.repeats = settings.repeats, .max_extra = settings.repeats};
  benchmark.roofline.cycle_bytes = static_cast<size_t>(settings.cycle_mib) << 20;
  if (settings.sample_seconds > 0) benchmark.roofline.sample_seconds = settings.sample_seconds;
  report.tables = RunKernelsBenchmark(benchmark);
  return absl::OkStatus();
}

absl::Status RunEngine(const Settings& settings, Report& report) {
  report.tables.push_back(EmptyEngineTable());
  for (const std::string& model : settings.models) {
    EngineBenchmark benchmark = settings.engine;
    benchmark.model = model;
    benchmark.runner.num_threads = settings.num_threads;
    benchmark.repeats = {.repeats = settings.repeats, .max_extra = settings.repeats};
    if (settings.sample_seconds > 0) benchmark.sample_seconds = settings.sample_seconds;
    absl::Status status = RunEngineBenchmark(benchmark, report.tables.back());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Settings settings;
  CLI::App app("How fast the kernels are, and whole models on them");
  app.require_subcommand(1);
  CLI::App* kernels_command = app.add_subcommand("kernels", "Each kernel by itself");
  CLI::App* engine_command = app.add_subcommand("engine", "Whole models of random weights");
  AddCommonOptions(kernels_command, settings);
  AddCommonOptions(engine_command, settings);
  AddKernelsOptions(kernels_command, settings);
  AddEngineOptions(engine_command, settings.engine);
  CLI11_PARSE(app, argc, argv);

  Report report = {.command = CommandLine(argc, argv),
                   .machine = kernels::MachineName(),
                   .num_threads = settings.num_threads};
  const absl::Status status =
      kernels_command->parsed() ? RunKernels(settings, report) : RunEngine(settings, report);
  if (!status.ok()) std::cerr << "error: " << std::string(status.message()) << "\n";
  // What was measured before something failed is shown.
  return WriteReport(report, settings.output) && status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace parrot

int main(int argc, char** argv) {
  parrot::UseSleepingOpenMpThreads(argv);
  try {
    return parrot::Main(argc, argv);
  } catch (const std::exception& error) {  // of the command-line parser, or no memory
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
