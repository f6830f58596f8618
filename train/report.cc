#include "train/report.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/svg/svg_chart.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using Json = nlohmann::ordered_json;

std::string LogPath(const std::string& output_dir) { return output_dir + "/log.jsonl"; }

// The means of runs of steps: a chart of ten thousand steps is noise otherwise.
std::vector<std::pair<double, double>> Smoothed(
    const std::vector<std::pair<double, double>>& points) {
  constexpr size_t kMaxPoints = 200;
  const size_t run = (points.size() + kMaxPoints - 1) / kMaxPoints;
  std::vector<std::pair<double, double>> means;
  for (size_t begin = 0; begin < points.size(); begin += run) {
    const size_t end = std::min(points.size(), begin + run);
    double sum = 0.0;
    for (size_t i = begin; i < end; ++i) sum += points[i].second;
    means.emplace_back(points[end - 1].first, sum / static_cast<double>(end - begin));
  }
  return means;
}

}  // namespace

RunReport::RunReport(std::string output_dir,
                     std::string title,
                     std::vector<std::string> names,
                     int64_t first_step)
    : output_dir_(std::move(output_dir)),
      title_(std::move(title)),
      names_(std::move(names)),
      is_terminal_(isatty(STDERR_FILENO) == 1),
      begin_(absl::Now()),
      first_step_(first_step) {
  ReadLog(first_step);
  log_.open(LogPath(output_dir_), std::ios::app);
}

void RunReport::ReadLog(int64_t first_step) {
  std::string kept;
  {
    std::ifstream old(LogPath(output_dir_));
    for (std::string line; std::getline(old, line);) {
      const Json entry = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!entry.is_object() || !entry.contains("step") || entry["step"] > first_step) break;
      losses_.emplace_back(entry["step"].get<double>(), entry.value("loss", 0.0));
      kept += line + "\n";
    }
  }
  const std::string partial = LogPath(output_dir_) + ".partial";
  std::ofstream(partial) << kept;
  std::error_code ignored;
  std::filesystem::rename(partial, LogPath(output_dir_), ignored);
}

void RunReport::Add(const StepReport& report) {
  Json line = {{"step", report.step},
               {"loss", report.loss},
               {"grad_norm", report.grad_norm},
               {"lr", report.learning_rate},
               {"targets", report.targets},
               {"rows", report.rows}};
  for (size_t i = 0; i < report.metrics.size() && i < names_.size(); ++i) {
    line[names_[i]] = report.metrics[i];
  }
  log_ << line.dump() << '\n';
  log_.flush();
  losses_.emplace_back(static_cast<double>(report.step), std::max(0.0, report.loss));
  rows_ += static_cast<double>(report.rows);
  const bool first = report.step == first_step_ + 1;
  smoothed_loss_ = first ? report.loss : 0.95 * smoothed_loss_ + 0.05 * report.loss;
  Show(report);
}

void RunReport::Show(const StepReport& report) {
  const absl::Time now = absl::Now();
  const bool is_last = report.step == report.total_steps;
  if (!is_last && now - last_shown_ < absl::Seconds(is_terminal_ ? 0.2 : 30)) return;
  last_shown_ = now;
  const double seconds = std::max(1e-3, absl::ToDoubleSeconds(now - begin_));
  const double per_step = seconds / static_cast<double>(report.step - first_step_);
  const auto left = absl::Seconds(
      static_cast<int64_t>(per_step * static_cast<double>(report.total_steps - report.step)));
  const double share = static_cast<double>(report.step) / static_cast<double>(report.total_steps);
  constexpr int kBar = 24;
  const int filled = static_cast<int>(share * kBar);
  std::cerr << (is_terminal_ ? "\r\x1b[K" : "")
            << absl::StrFormat("[%s%s] %d/%d  loss %.4f  lr %.2e  %.0f rows/s  %s left",
                               std::string(filled, '#'),
                               std::string(kBar - filled, '.'),
                               report.step,
                               report.total_steps,
                               smoothed_loss_,
                               report.learning_rate,
                               rows_ / seconds,
                               absl::FormatDuration(left))
            << (is_terminal_ ? "" : "\n") << std::flush;
}

absl::Status RunReport::Finish() {
  if (is_terminal_) std::cerr << '\n';
  std::ofstream chart(output_dir_ + "/loss.svg");
  chart << SvgPlot({.title = title_,
                    .x_label = "step",
                    .y_label = "loss",
                    .series = {{.name = "loss", .points = Smoothed(losses_)}}});
  chart.close();
  log_.flush();
  if (!chart || !log_) return absl::InternalError("the log cannot be written");
  return absl::OkStatus();
}

}  // namespace parrot
