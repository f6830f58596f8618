// What this machine can do at most: the denominators of every figure in docs/performance.md.
//
//   machine_limits [--quick] [--num-threads N] [--repeats 5] [--markdown] [--json FILE]
//
// Each limit with one thread and with all of them. Under two minutes; --quick takes ten seconds.
// Progress goes to stderr.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/limits/limit_meter.h"
#include "bench/measure/measure.h"
#include "bench/measure/report.h"
#include "model/kernels/isa.h"
#include "model/kernels/worker_pool.h"

namespace parrot {
namespace {

struct Settings {
  bool quick = false;
  int num_threads = kernels::DefaultNumThreads();
  int repeats = 5;
  ReportOptions output;
};

struct Limit {
  std::string name;
  std::string unit;
  std::function<double(kernels::WorkerPool&)> sample;  // bytes or operations per second
};

std::string KibibytesText(size_t bytes) { return std::to_string(bytes >> 10) + " KiB"; }

std::vector<Limit> MemoryLimits(LimitMeter& meter, int num_threads) {
  const kernels::Isa isa = *kernels::BestIsa();
  const auto read = [&meter, isa](const char* name, ReadPattern pattern) {
    return Limit{name, "GB/s", [&meter, isa, pattern](kernels::WorkerPool& pool) {
                   return meter.ReadRate(pool, isa, pattern);
                 }};
  };
  const auto triad = [&meter, isa](const char* name, bool streaming) {
    return Limit{name, "GB/s", [&meter, isa, streaming](kernels::WorkerPool& pool) {
                   return meter.TriadRate(pool, isa, streaming);
                 }};
  };
  const auto cached = [&meter, isa](const char* cache, size_t set_bytes) {
    return Limit{std::string(cache) + " read, " + KibibytesText(set_bytes) + " per thread",
                 "GB/s",
                 [&meter, isa, set_bytes](kernels::WorkerPool& pool) {
                   return meter.CachedReadRate(pool, isa, set_bytes);
                 }};
  };
  std::vector<Limit> limits = {
      read("read, 1 stream", ReadPattern::kOneStream),
      read("read, 4 streams", ReadPattern::kFourStreams),
      read("read, 4 streams + prefetch", ReadPattern::kFourStreamsPrefetched),
      triad("triad", false),
      triad("triad, streaming stores", true)};
  const size_t l2 = L2Bytes() > 0 ? L2Bytes() : size_t{512} << 10;
  limits.push_back(cached("L2", l2 / 2));
  const size_t l3_share = L3Bytes() / 2 / static_cast<size_t>(num_threads);
  if (l3_share >= 2 * l2) limits.push_back(cached("L3", std::min(4 * l2, l3_share)));
  return limits;
}

std::vector<Limit> PeakLimits(LimitMeter& meter) {
  std::vector<Limit> limits;
  for (const PeakLoop& loop : NativePeakLoops()) {
    const bool is_int8 = loop.arithmetic == Arithmetic::kInt8;
    const std::string type = is_int8                                    ? "int8"
                             : loop.arithmetic == Arithmetic::kBFloat16 ? "bf16"
                                                                        : "fp32";
    limits.push_back(
        {type + ", " + std::string(IsaName(loop.isa)) + " " + loop.instruction,
         is_int8 ? "GOP/s" : "GFLOP/s",
         [&meter, loop](kernels::WorkerPool& pool) { return meter.PeakRate(pool, loop); }});
  }
  return limits;
}

Table Measure(const Settings& settings, const std::vector<Limit>& limits) {
  Table table = {.title = "Machine limits",
                 .columns = {"limit", "threads", "unit", "min", "median", "max", "disturbed"}};
  std::vector<int> thread_counts = {1};
  if (settings.num_threads > 1) thread_counts.push_back(settings.num_threads);
  const RepeatOptions repeats = {.repeats = settings.repeats, .max_extra = settings.repeats};
  for (const int threads : thread_counts) {
    kernels::WorkerPool pool(threads);
    for (const Limit& limit : limits) {
      std::cerr << limit.name << ", " << threads << " thread(s)\n";
      const Repeated repeated =
          Repeat(repeats, [&] { return std::vector<double>{1e-9 * limit.sample(pool)}; });
      std::vector<Cell> row = {limit.name, Cell(threads, 0), limit.unit};
      AddSpread(repeated.values[0], 1, row);
      row.push_back(DisturbedCell(repeated.disturbed));
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

int Run(const Settings& settings, std::string command) {
  if (!kernels::BestIsa().has_value()) {
    std::cerr << "this machine has no AVX2\n";
    return 1;
  }
  LimitMeter meter(settings.quick ? LimitMeter::Options{.buffer_bytes = size_t{256} << 20,
                                                        .sample_seconds = 0.03}
                                  : LimitMeter::Options{});
  std::vector<Limit> limits = MemoryLimits(meter, settings.num_threads);
  for (Limit& limit : PeakLimits(meter)) limits.push_back(std::move(limit));
  const Report report = {.command = std::move(command),
                         .machine = kernels::MachineName(),
                         .num_threads = settings.num_threads,
                         .tables = {Measure(settings, limits)}};
  return WriteReport(report, settings.output) ? 0 : 1;
}

int Main(int argc, char** argv) {
  Settings settings;
  CLI::App app("What this machine can do at most");
  app.add_flag("--quick", settings.quick, "Short samples of a smaller buffer");
  app.add_option("--num-threads", settings.num_threads, "Threads beside one")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--repeats", settings.repeats, "Samples of each limit")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--markdown", settings.output.markdown, "Print Markdown");
  app.add_option("--json", settings.output.json, "Write the report to this file as well");
  CLI11_PARSE(app, argc, argv);
  return Run(settings, CommandLine(argc, argv));
}

}  // namespace
}  // namespace parrot

int main(int argc, char** argv) {
  try {
    return parrot::Main(argc, argv);
  } catch (const std::exception& error) {  // of the command-line parser, or no memory
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
