// What a run shows of itself: a line of progress on the terminal, one JSON object per step in
// log.jsonl, the losses as loss.svg. Confined to the thread that trains.
#ifndef PARROT_TRAIN_REPORT_H_
#define PARROT_TRAIN_REPORT_H_

#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "train/trainer.h"

namespace parrot {

class RunReport {
 public:
  // Lines of log.jsonl after `first_step` are of a part of the run that was lost: they go.
  // `names` are the objective's metrics, `title` heads the chart.
  RunReport(std::string output_dir,
            std::string title,
            std::vector<std::string> names,
            int64_t first_step);

  void Add(const StepReport& report);
  // Ends the line on the terminal and draws the chart.
  absl::Status Finish();

 private:
  void ReadLog(int64_t first_step);
  void Show(const StepReport& report);

  const std::string output_dir_;
  const std::string title_;
  const std::vector<std::string> names_;
  const bool is_terminal_;
  std::ofstream log_;
  std::vector<std::pair<double, double>> losses_;
  absl::Time begin_;
  absl::Time last_shown_ = absl::InfinitePast();
  int64_t first_step_;
  double rows_ = 0.0;           // since begin_
  double smoothed_loss_ = 0.0;  // what the terminal shows
};

}  // namespace parrot

#endif  // PARROT_TRAIN_REPORT_H_
