// The results of a benchmark for people and programs. Pure functions but SaveReport; thread-safe.
// docs/benchmarking.md holds the keys and columns; one is never renamed or given another meaning.
// Text of servers and users is escaped in each format.
#ifndef PARROT_CLIENT_BENCH_BENCH_REPORT_H_
#define PARROT_CLIENT_BENCH_BENCH_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/bench/bench_summary.h"
#include "client/bench/load_generator.h"

namespace parrot {

struct BenchReport {
  const BenchDescription& description;
  const BenchSummary& summary;
  const LoadResult& result;
};

// vLLM's block of 50 columns, then what only this server tells.
std::string BenchText(const BenchReport& report);

// One object with vLLM's keys and, under "parrot", the rest. `detailed` adds vLLM's lists, an entry
// a request.
std::string BenchJson(const BenchReport& report, bool detailed);

// One row a request, after a row of names. Times in seconds, latencies in milliseconds.
std::string BenchCsv(const BenchReport& report);

// A page that needs nothing else: figures, tables, and plots in SVG.
std::string BenchHtml(const BenchReport& report);

enum class BenchFormat { kJson, kCsv, kHtml };

// By the suffix of `path`: .json, .csv, .html. INVALID_ARGUMENT for any other.
absl::StatusOr<BenchFormat> BenchFormatOf(const std::string& path);

// Writes the file in the format of its suffix.
absl::Status SaveReport(const BenchReport& report, bool detailed, const std::string& path);

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_BENCH_REPORT_H_
