#include <cmath>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/bench/bench_report.h"

namespace parrot {
namespace {

constexpr int kColumns = 50;

// " title " in the middle of a rule.
std::string Rule(char filling, std::string_view title) {
  const int left = (kColumns - static_cast<int>(title.size())) / 2;
  const int right = kColumns - static_cast<int>(title.size()) - left;
  return absl::StrCat(
      std::string(left, filling), std::string(title), std::string(right, filling), "\n");
}

std::string Line(std::string_view name, int64_t value) {
  return absl::StrFormat("%-40s %-10d\n", std::string(name), value);
}

std::string Line(std::string_view name, double value) {
  return absl::StrFormat("%-40s %-10.2f\n", std::string(name), value);
}

std::string Latency(const std::string& title, const std::string& metric, const Distribution& d) {
  std::string text = Rule('-', title);
  absl::StrAppend(&text, Line(absl::StrCat("Mean ", metric, " (ms):"), d.mean));
  absl::StrAppend(&text, Line(absl::StrCat("Median ", metric, " (ms):"), d.median));
  for (const auto& [percent, value] : d.percentiles) {
    absl::StrAppend(&text, Line(absl::StrCat("P", percent, " ", metric, " (ms):"), value));
  }
  return text;
}

std::string Throughput(const BenchReport& report) {
  const BenchSummary& summary = report.summary;
  const BenchDescription& description = report.description;
  const GroupSummary& all = summary.all;
  std::string text = Rule('=', " Serving Benchmark Result ");
  absl::StrAppend(&text, Line("Successful requests:", all.num_completed));
  absl::StrAppend(&text, Line("Failed requests:", all.num_failed));
  if (summary.num_interrupted > 0) {
    absl::StrAppend(&text, Line("Interrupted requests:", summary.num_interrupted));
  }
  if (description.max_concurrency > 0) {
    const int64_t most = description.max_concurrency;
    absl::StrAppend(&text, Line("Maximum request concurrency:", most));
  }
  if (std::isfinite(description.request_rate)) {
    absl::StrAppend(&text, Line("Request rate configured (RPS):", description.request_rate));
  }
  absl::StrAppend(&text, Line("Benchmark duration (s):", summary.duration_s));
  absl::StrAppend(&text, Line("Total input tokens:", all.num_input_tokens));
  absl::StrAppend(&text, Line("Total generated tokens:", all.num_output_tokens));
  const auto per_second = [&](const char* name, int64_t amount) {
    const double rate = summary.PerSecond(static_cast<double>(amount));
    absl::StrAppend(&text, Line(name, rate));
  };
  per_second("Request throughput (req/s):", all.num_completed);
  if (description.levels.any()) per_second("Request goodput (req/s):", all.num_good);
  per_second("Output token throughput (tok/s):", all.num_output_tokens);
  absl::StrAppend(&text,
                  Line("Peak output token throughput (tok/s):", summary.peak_output_tokens_per_s));
  absl::StrAppend(&text, Line("Peak concurrent requests:", summary.peak_running));
  per_second("Total Token throughput (tok/s):", all.num_input_tokens + all.num_output_tokens);
  return text;
}

std::string Languages(const BenchReport& report) {
  if (report.summary.languages.empty()) return "";
  std::string text = absl::StrFormat("%s%-8s %6s %6s %10s %10s %10s %9s %9s%s\n",
                                     Rule('-', "Languages"),
                                     "",
                                     "done",
                                     "failed",
                                     "TTFT p50",
                                     "TPOT p50",
                                     "E2EL p50",
                                     "tok/s",
                                     "char/s",
                                     report.description.levels.any() ? "     good" : "");
  for (const GroupSummary& group : report.summary.languages) {
    absl::StrAppend(
        &text,
        absl::StrFormat("%-8s %6d %6d %10.2f %10.2f %10.2f %9.2f %9.2f",
                        group.name,
                        group.num_completed,
                        group.num_failed,
                        group.ttft_ms.median,
                        group.tpot_ms.median,
                        group.e2el_ms.median,
                        report.summary.PerSecond(static_cast<double>(group.num_output_tokens)),
                        report.summary.PerSecond(static_cast<double>(group.num_characters))));
    const int64_t num_ended = group.num_completed + group.num_failed;
    if (report.description.levels.any() && num_ended > 0) {
      absl::StrAppendFormat(&text, " %7.1f%%", 100.0 * group.num_good / num_ended);
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

std::string Server(const BenchSummary& summary) {
  std::string text = Rule('-', "Server");
  absl::StrAppend(&text, Line("Input tokens cached:", summary.all.num_cached_tokens));
  for (const auto& [level, count] : summary.cache_levels) {
    absl::StrAppend(&text, Line(absl::StrCat("Images from cache level ", level, ":"), count));
  }
  for (const auto& [name, stage] : summary.stages_ms) {
    absl::StrAppend(&text, Line(absl::StrCat("Mean ", name, " (ms):"), stage.mean));
  }
  return text;
}

std::string Client(const BenchSummary& summary) {
  const Distribution& lag = summary.schedule_lag_ms;
  return absl::StrCat(Rule('-', "Client"),
                      Line("Connections:", summary.num_connections),
                      Line("CPU time (s):", summary.client_cpu_s),
                      Line("Mean schedule lag (ms):", lag.mean),
                      Line("Longest schedule lag (ms):", lag.max));
}

std::string Errors(const BenchSummary& summary) {
  if (summary.errors.empty()) return "";
  std::string text = Rule('-', "Errors");
  for (const auto& [error, count] : summary.errors) {
    const std::string name = absl::StrCat(error.first, " ", error.second);
    absl::StrAppend(&text,
                    Line(absl::StrCat(absl::StripTrailingAsciiWhitespace(name), ":"), count));
  }
  return text;
}

}  // namespace

std::string BenchText(const BenchReport& report) {
  const GroupSummary& all = report.summary.all;
  return absl::StrCat(Throughput(report),
                      Latency("Time to First Token", "TTFT", all.ttft_ms),
                      Latency("Time per Output Token (excl. 1st token)", "TPOT", all.tpot_ms),
                      Latency("Inter-token Latency", "ITL", all.itl_ms),
                      Latency("End-to-end Latency", "E2EL", all.e2el_ms),
                      Languages(report),
                      Server(report.summary),
                      Client(report.summary),
                      Errors(report.summary),
                      std::string(kColumns, '='),
                      "\n");
}

}  // namespace parrot
