// What the server costs beside the model: the whole server on a fake executor, its clients in a
// process of their own.
//
//   server_overhead [--repeats 5] [--window 5] [--only NAME ...] [--json FILE]
//
//   streams-N         CPU per streamed token, memory per stream and gaps between messages with N
//                     streams (10,000 tokens a second at most); streams-1000-fast: more tokens a
//                     second than it can do, so that messages hold several
//   refusals          time to RESOURCE_EXHAUSTED while the queue is full
//   neighbours        gaps that 32 streams see; neighbours-stalled: the same beside a reader on
//                     another connection that takes nothing
//   metrics           rendering of /metrics
//
// Measurements take turns, each in a fresh process: minimum, median and maximum of the repeats.
#include <algorithm>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "bench/server_overhead/child_process.h"
#include "bench/server_overhead/measurements.h"

namespace parrot {
namespace {

struct Settings {
  int repeats = 5;
  double window_seconds = 5;
  std::vector<std::string> only;
  std::string json;
};

struct Measurement {
  std::string name;
  std::function<Figures()> run;
};

std::vector<Measurement> AllMeasurements(absl::Duration window) {
  const auto streams = [window](std::string name, StreamsPlan plan) {
    plan.window = window;
    return Measurement{std::move(name), [plan] { return MeasureStreams(plan); }};
  };
  RefusalsPlan refusals;
  refusals.num_calls = static_cast<int32_t>(window / refusals.interval);
  const StreamsPlan neighbours = {.num_streams = 32, .step_time = absl::Milliseconds(20)};
  StreamsPlan stalled = neighbours;
  stalled.stalled_reader = true;
  return {streams("streams-1", {.num_streams = 1, .step_time = absl::Milliseconds(5)}),
          streams("streams-100", {.num_streams = 100, .step_time = absl::Milliseconds(10)}),
          streams("streams-1000", {.num_streams = 1000, .step_time = absl::Milliseconds(100)}),
          streams("streams-1000-fast", {.num_streams = 1000, .step_time = absl::Milliseconds(10)}),
          {"refusals", [refusals] { return MeasureRefusals(refusals); }},
          streams("neighbours", neighbours),
          streams("neighbours-stalled", stalled),
          {"metrics", [] { return MeasureMetrics(); }}};
}

Figures RunApart(const Measurement& measurement) {
  Child child([&measurement](Peer& parent) {
    nlohmann::ordered_json figures = nlohmann::ordered_json::array();
    for (const auto& [name, value] : measurement.run()) figures.push_back({name, value});
    parent.Send(figures);
  });
  Figures figures;
  for (const auto& figure : child.peer().Receive()) figures.emplace_back(figure[0], figure[1]);
  return figures;
}

// Of one measurement, figure by figure.
nlohmann::ordered_json Summarize(const std::vector<Figures>& repeats) {
  nlohmann::ordered_json summary;
  for (size_t i = 0; i < repeats.front().size(); ++i) {
    std::vector<double> values;
    for (const Figures& figures : repeats) values.push_back(figures[i].second);
    std::sort(values.begin(), values.end());
    summary[repeats.front()[i].first] = {
        {"min", values.front()}, {"median", values[values.size() / 2]}, {"max", values.back()}};
  }
  return summary;
}

void Print(const std::string& name, const nlohmann::ordered_json& summary) {
  std::cout << absl::StrFormat("%-28s %12s %12s %12s\n", name, "min", "median", "max");
  for (const auto& [figure, values] : summary.items()) {
    std::cout << absl::StrFormat("  %-26s %12.2f %12.2f %12.2f\n",
                                 figure,
                                 values["min"].get<double>(),
                                 values["median"].get<double>(),
                                 values["max"].get<double>());
  }
}

int Run(const Settings& settings) {
  std::vector<Measurement> measurements = AllMeasurements(absl::Seconds(settings.window_seconds));
  if (!settings.only.empty()) {
    std::erase_if(measurements, [&settings](const Measurement& measurement) {
      return std::count(settings.only.begin(), settings.only.end(), measurement.name) == 0;
    });
  }
  std::map<std::string, std::vector<Figures>> results;
  for (int i = 0; i < settings.repeats; ++i) {
    for (const Measurement& measurement : measurements) {
      results[measurement.name].push_back(RunApart(measurement));
    }
  }
  nlohmann::ordered_json report = {{"cores", std::thread::hardware_concurrency()},
                                   {"repeats", settings.repeats},
                                   {"window_seconds", settings.window_seconds}};
  for (const Measurement& measurement : measurements) {
    const nlohmann::ordered_json summary = Summarize(results[measurement.name]);
    Print(measurement.name, summary);
    report["measurements"][measurement.name] = summary;
  }
  if (settings.json.empty()) return 0;
  std::ofstream file(settings.json);
  file << report.dump(2) << "\n";
  return file.flush() ? 0 : 1;
}

int Main(int argc, char** argv) {
  // As parrot-server does.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  Settings settings;
  CLI::App app("What the server costs beside the model");
  app.add_option("--repeats", settings.repeats, "Times that each measurement runs")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--window", settings.window_seconds, "Seconds that one takes, without its set-up")
      ->check(CLI::Range(0.1, 30.0))
      ->capture_default_str();
  std::vector<std::string> names;
  for (const Measurement& measurement : AllMeasurements({})) names.push_back(measurement.name);
  app.add_option("--only", settings.only, "Run these alone")->check(CLI::IsMember(names));
  app.add_option("--json", settings.json, "Write the report to this file as well");
  CLI11_PARSE(app, argc, argv);
  return Run(settings);
}

}  // namespace
}  // namespace parrot

int main(int argc, char** argv) { return parrot::Main(argc, argv); }
