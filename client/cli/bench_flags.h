// The flags of `parrot-cli bench` as plain data. docs/benchmarking.md describes each.
#ifndef PARROT_CLIENT_CLI_BENCH_FLAGS_H_
#define PARROT_CLIENT_CLI_BENCH_FLAGS_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/bench/bench_summary.h"
#include "client/bench/synthetic_picture.h"
#include "client/bench/workload.h"

namespace CLI {
class App;
}

namespace parrot {

struct BenchFlags {
  // How much, and how fast.
  std::optional<int64_t> num_prompts;
  std::optional<absl::Duration> duration;
  double request_rate = std::numeric_limits<double>::infinity();
  double burstiness = 1;
  int32_t max_concurrency = 0;  // 0: no limit
  int64_t num_warmups = 0;
  uint64_t seed = 0;
  int32_t streams_per_connection = 100;
  // What.
  std::string dataset;  // path; empty: synthetic
  double image_fraction = 0;
  std::vector<PictureSize> image_sizes = {{}};
  int64_t num_images = 0;
  std::vector<LanguageWeight> languages = {{"en"}};
  TokenRange input_len = {64, 64};
  std::optional<TokenRange> output_len;
  bool ignore_eos = false;
  int32_t shared_prefix_len = 0;
  // What is told.
  ServiceLevels levels;
  std::vector<double> percentiles = {50, 90, 95, 99};
  std::vector<std::string> result_files;  // each of a known format
  bool save_detailed = false;
};

// Adds them to `app`; `flags` outlives it.
void AddBenchFlags(CLI::App* app, BenchFlags* flags);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_BENCH_FLAGS_H_
