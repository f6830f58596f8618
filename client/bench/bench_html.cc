#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/svg/svg_chart.h"
#include "client/bench/bench_report.h"

namespace parrot {
namespace {

using Points = std::vector<std::pair<double, double>>;

// A plot has few hundred pixels: more marks than this only make the page heavy.
constexpr size_t kMostMarks = 2000;
constexpr int kCdfSteps = 400;

constexpr char kHead[] = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>parrot-cli bench</title>
<style>
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1120px; color: #222; }
h1 { font-size: 22px; } h2 { font-size: 16px; margin-top: 2em; }
table { border-collapse: collapse; } th, td { padding: 2px 12px; text-align: right; }
th:first-child, td:first-child { text-align: left; }
tr + tr { border-top: 1px solid #ddd; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 16px; }
svg { width: 100%; }
</style>
</head>
<body>
)";

using Row = std::vector<std::string>;

std::string Number(double value) { return absl::StrFormat("%.2f", value); }

// The first row is the head.
std::string Table(const std::vector<Row>& rows) {
  std::string html = "<table>\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const char* cell = i == 0 ? "th" : "td";
    absl::StrAppend(&html, "<tr>");
    for (const std::string& text : rows[i]) {
      absl::StrAppend(&html, "<", cell, ">", EscapeHtml(text), "</", cell, ">");
    }
    absl::StrAppend(&html, "</tr>\n");
  }
  return html + "</table>\n";
}

std::string Section(const std::string& title, const std::string& content) {
  return absl::StrCat("<h2>", EscapeHtml(title), "</h2>\n", content);
}

std::string Settings(const BenchDescription& description) {
  const auto rate = std::isfinite(description.request_rate)
                        ? absl::StrCat(description.request_rate, " requests/s")
                        : std::string("not limited");
  return Table({{"Setting", ""},
                {"Date", absl::FormatTime(description.date)},
                {"Server", description.target},
                {"Model", description.model},
                {"Workload", description.workload},
                {"Arrivals", rate},
                {"Burstiness", absl::StrCat(description.burstiness)},
                {"Concurrency",
                 description.max_concurrency > 0 ? absl::StrCat(description.max_concurrency)
                                                 : "not limited"},
                {"Seed", absl::StrCat(description.seed)},
                {"parrot-cli", description.version}});
}

std::string Totals(const BenchReport& report) {
  const BenchSummary& summary = report.summary;
  const GroupSummary& all = summary.all;
  const auto per_second = [&](int64_t amount) {
    return Number(summary.PerSecond(static_cast<double>(amount)));
  };
  std::vector<Row> rows = {
      {"Total", ""},
      {"Successful requests", absl::StrCat(all.num_completed)},
      {"Failed requests", absl::StrCat(all.num_failed)},
      {"Interrupted requests", absl::StrCat(summary.num_interrupted)},
      {"Duration (s)", Number(summary.duration_s)},
      {"Requests/s", per_second(all.num_completed)},
      {"Output tokens/s", per_second(all.num_output_tokens)},
      {"Tokens/s, input and output", per_second(all.num_input_tokens + all.num_output_tokens)},
      {"Input tokens, cached", absl::StrCat(all.num_input_tokens, ", ", all.num_cached_tokens)},
      {"Peak concurrent requests", absl::StrCat(summary.peak_running)},
      {"Schedule lag, mean and longest (ms)",
       absl::StrCat(
           Number(summary.schedule_lag_ms.mean), ", ", Number(summary.schedule_lag_ms.max))},
      {"Client CPU (s)", Number(summary.client_cpu_s)}};
  if (report.description.levels.any())
    rows.push_back({"Goodput (requests/s)", per_second(all.num_good)});
  for (const auto& [level, count] : summary.cache_levels) {
    rows.push_back({absl::StrCat("Images from cache level ", level), absl::StrCat(count)});
  }
  return Table(rows);
}

Row DistributionRow(const std::string& name, const Distribution& distribution) {
  Row row = {name,
             Number(distribution.mean),
             Number(distribution.std),
             Number(distribution.min),
             Number(distribution.median)};
  for (const auto& [percent, value] : distribution.percentiles) row.push_back(Number(value));
  row.push_back(Number(distribution.max));
  return row;
}

std::string Distributions(const BenchReport& report,
                          const std::vector<std::pair<std::string, Distribution>>& list) {
  Row head = {"Milliseconds", "mean", "std", "min", "median"};
  for (const double percent : report.description.percentiles) {
    head.push_back(absl::StrCat("p", percent));
  }
  head.push_back("max");
  std::vector<Row> rows = {std::move(head)};
  for (const auto& [name, distribution] : list) rows.push_back(DistributionRow(name, distribution));
  return Table(rows);
}

std::string Languages(const BenchReport& report) {
  std::vector<Row> rows = {{"Language",
                            "done",
                            "failed",
                            "good",
                            "TTFT median (ms)",
                            "TPOT median (ms)",
                            "E2EL median (ms)",
                            "tokens/s",
                            "characters/s"}};
  for (const GroupSummary& group : report.summary.languages) {
    rows.push_back({group.name,
                    absl::StrCat(group.num_completed),
                    absl::StrCat(group.num_failed),
                    absl::StrCat(group.num_good),
                    Number(group.ttft_ms.median),
                    Number(group.tpot_ms.median),
                    Number(group.e2el_ms.median),
                    Number(report.summary.PerSecond(static_cast<double>(group.num_output_tokens))),
                    Number(report.summary.PerSecond(static_cast<double>(group.num_characters)))});
  }
  return Table(rows);
}

std::string Errors(const BenchSummary& summary) {
  std::vector<Row> rows = {{"Code", "reason", "requests"}};
  for (const auto& [error, count] : summary.errors) {
    rows.push_back({error.first, error.second, absl::StrCat(count)});
  }
  return Table(rows);
}

PlotSeries Cdf(std::string name, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  PlotSeries series{.name = std::move(name)};
  for (int i = 0; i <= kCdfSteps && !values.empty(); ++i) {
    const double percent = 100.0 * i / kCdfSteps;
    series.points.emplace_back(PercentileOfSorted(values, percent), percent);
  }
  return series;
}

using ValuesOf = std::function<std::vector<absl::Duration>(const RequestSample&)>;

// One curve, and one for each language if there are several.
std::string CdfPlot(const BenchReport& report,
                    const std::string& title,
                    const ValuesOf& values_of) {
  std::vector<double> all;
  std::map<std::string, std::vector<double>> languages;
  for (const RequestSample& sample : report.result.samples) {
    if (sample.outcome != RequestOutcome::kCompleted) continue;
    for (const absl::Duration value : values_of(sample)) {
      const double value_ms = std::max(0.0, absl::ToDoubleMilliseconds(value));
      all.push_back(value_ms);
      if (report.summary.languages.size() > 1) languages[sample.language].push_back(value_ms);
    }
  }
  Plot plot{.title = title, .x_label = "milliseconds", .y_label = "% of values"};
  if (languages.empty()) plot.series.push_back(Cdf("all", std::move(all)));
  for (auto& [language, values] : languages)
    plot.series.push_back(Cdf(language, std::move(values)));
  return SvgPlot(plot);
}

template <typename Value>
std::vector<absl::Duration> ListOf(const std::optional<Value>& value) {
  if (!value.has_value()) return {};
  return {*value};
}

std::string TtftOverTime(const LoadResult& result) {
  PlotSeries series{.name = "TTFT", .dots = true};
  const size_t stride = result.samples.size() / kMostMarks + 1;
  for (size_t i = 0; i < result.samples.size(); i += stride) {
    const RequestSample& sample = result.samples[i];
    const auto ttft = TimeToFirstToken(sample);
    if (!ttft.has_value()) continue;
    series.points.emplace_back(absl::ToDoubleSeconds(sample.scheduled),
                               absl::ToDoubleMilliseconds(*ttft));
  }
  return SvgPlot({.title = "Time to first token over the run",
                  .x_label = "time at which the request was due (s)",
                  .y_label = "milliseconds",
                  .series = {std::move(series)}});
}

std::string ThroughputOverTime(const LoadResult& result) {
  const std::vector<int64_t> tokens = TokensBySecond(result);
  PlotSeries series{.name = "tokens/s"};
  const size_t num_whole = std::max<size_t>(tokens.size(), 2) - 1;  // the last one is cut
  const size_t stride = num_whole / kMostMarks + 1;
  for (size_t i = 0; i < std::min(num_whole, tokens.size()); i += stride) {
    series.points.emplace_back(static_cast<double>(i), static_cast<double>(tokens[i]));
  }
  return SvgPlot({.title = "Output tokens in each second",
                  .x_label = "seconds",
                  .y_label = "tokens",
                  .series = {std::move(series)}});
}

std::string Plots(const BenchReport& report) {
  return absl::StrCat(
      "<div class=\"plots\">\n",
      CdfPlot(report,
              "Time to first token, CDF",
              [](const RequestSample& sample) { return ListOf(TimeToFirstToken(sample)); }),
      CdfPlot(report,
              "Time per output token, CDF",
              [](const RequestSample& sample) { return ListOf(TimePerOutputToken(sample)); }),
      CdfPlot(report, "Inter-token latency, CDF", InterTokenLatencies),
      CdfPlot(report,
              "End-to-end latency, CDF",
              [](const RequestSample& sample) {
                return std::vector<absl::Duration>{EndToEndLatency(sample)};
              }),
      TtftOverTime(report.result),
      ThroughputOverTime(report.result),
      "</div>\n");
}

}  // namespace

std::string BenchHtml(const BenchReport& report) {
  const BenchSummary& summary = report.summary;
  std::string html =
      absl::StrCat(kHead,
                   "<h1>",
                   EscapeHtml(absl::StrCat("Benchmark of ", report.description.model)),
                   "</h1>\n",
                   Settings(report.description),
                   Section("Result", Totals(report)),
                   Section("Latencies",
                           Distributions(report,
                                         {{"Time to first token (TTFT)", summary.all.ttft_ms},
                                          {"Time per output token (TPOT)", summary.all.tpot_ms},
                                          {"Inter-token latency (ITL)", summary.all.itl_ms},
                                          {"End-to-end latency (E2EL)", summary.all.e2el_ms}})),
                   Section("Over the requests", Plots(report)));
  if (!summary.languages.empty()) absl::StrAppend(&html, Section("Languages", Languages(report)));
  absl::StrAppend(&html, Section("Server stages", Distributions(report, summary.stages_ms)));
  if (!summary.errors.empty()) absl::StrAppend(&html, Section("Errors", Errors(summary)));
  return html + "</body>\n</html>\n";
}

}  // namespace parrot
