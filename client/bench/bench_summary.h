// The figures of a benchmark, from its samples. Plain data and pure functions; thread-safe.
// docs/benchmarking.md defines each for users.
#ifndef PARROT_CLIENT_BENCH_BENCH_SUMMARY_H_
#define PARROT_CLIENT_BENCH_BENCH_SUMMARY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/bench/distribution.h"
#include "client/bench/load_generator.h"
#include "client/bench/request_sample.h"

namespace parrot {

// What a request must keep to count into the goodput; each is a longest time.
struct ServiceLevels {
  std::optional<absl::Duration> ttft;
  std::optional<absl::Duration> tpot;
  std::optional<absl::Duration> e2el;

  bool any() const { return ttft.has_value() || tpot.has_value() || e2el.has_value(); }
};

// Completed, and within every level. A level of something that the request does not have (the time
// per token of a one-token answer) is kept.
bool IsGood(const RequestSample& sample, const ServiceLevels& levels);

// How a run was made: what a reader of its results has to know. `target`, `model` and the like may
// hold any text.
struct BenchDescription {
  absl::Time date;
  std::string target;
  std::string model;
  std::string workload;  // one line, for people
  std::string version;   // of this program
  double request_rate = 0;
  double burstiness = 1;
  int32_t max_concurrency = 0;  // 0: none
  int64_t num_warmups = 0;
  uint64_t seed = 0;
  std::vector<double> percentiles = {99};
  ServiceLevels levels;
};

// Of all requests, or of those of one language.
struct GroupSummary {
  std::string name;
  int64_t num_completed = 0;
  int64_t num_failed = 0;
  int64_t num_good = 0;  // of the completed
  // Of the completed.
  int64_t num_input_tokens = 0;
  int64_t num_cached_tokens = 0;
  int64_t num_output_tokens = 0;
  int64_t num_characters = 0;
  // Milliseconds, of the completed.
  Distribution ttft_ms;
  Distribution tpot_ms;
  Distribution itl_ms;
  Distribution e2el_ms;
};

struct BenchSummary {
  GroupSummary all;
  std::vector<GroupSummary> languages;  // by name; empty when no request has one
  int64_t num_interrupted = 0;
  double duration_s = 0;
  int64_t peak_running = 0;
  double peak_output_tokens_per_s = 0;  // the best second
  // From the time a request was due to the time it was sent, milliseconds, of all that were sent.
  Distribution schedule_lag_ms;
  double client_cpu_s = 0;
  int64_t num_connections = 0;
  std::map<std::pair<std::string, std::string>, int64_t> errors;  // (code, reason)
  std::map<std::string, int64_t> cache_levels;                    // images of the completed
  // The server's, milliseconds, of the completed; stages that never ran are left out.
  std::vector<std::pair<std::string, Distribution>> stages_ms;

  double PerSecond(double amount) const { return duration_s > 0 ? amount / duration_s : 0; }
};

BenchSummary Summarize(const LoadResult& result, const BenchDescription& description);

// Tokens that arrived in each whole second of the run and in the rest after it.
std::vector<int64_t> TokensBySecond(const LoadResult& result);

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_BENCH_SUMMARY_H_
