// How long the scheduler takes to build a step and to take its result, without any model:
//
//   scheduler_benchmark [STEPS]
//
// For 1, 16, 256 and 1,024 sequences that decode after prompts of 641 tokens: minimum, median and
// 99th percentile of STEPS steps (default 500), and heap allocations per step.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "bench/decode_steps/allocation_counter.h"
#include "bench/decode_steps/decode_steps.h"

namespace parrot {
namespace {

constexpr int32_t kPromptTokens = 641;
constexpr int32_t kWarmUpSteps = 50;

struct Summary {
  double minimum = 0;
  double median = 0;
  double p99 = 0;
};

Summary Summarize(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values.front(), values[values.size() / 2], values[values.size() * 99 / 100]};
}

void Measure(int32_t num_sequences, int32_t num_steps) {
  DecodeSteps steps(num_sequences, kPromptTokens, kWarmUpSteps + num_steps);
  for (int32_t i = 0; i < kWarmUpSteps; ++i) steps.Step();
  std::vector<double> schedule(num_steps), update(num_steps);
  const int64_t allocations_before = NumAllocations();
  for (int32_t i = 0; i < num_steps; ++i) {
    steps.Step();
    schedule[i] = absl::ToDoubleMicroseconds(steps.schedule_time());
    update[i] = absl::ToDoubleMicroseconds(steps.update_time());
  }
  const double allocations = static_cast<double>(NumAllocations() - allocations_before) / num_steps;
  const Summary s = Summarize(schedule);
  const Summary u = Summarize(update);
  std::cout << absl::StrFormat("%9d  %8.1f %8.1f %8.1f  %8.1f %8.1f %8.1f  %11.2f\n",
                               num_sequences,
                               s.minimum,
                               s.median,
                               s.p99,
                               u.minimum,
                               u.median,
                               u.p99,
                               allocations);
}

int Main(int argc, char** argv) {
  int32_t num_steps = 500;
  if (argc > 2 || (argc == 2 && (!absl::SimpleAtoi(argv[1], &num_steps) || num_steps < 1))) {
    std::cerr << "usage: scheduler_benchmark [STEPS]\n";
    return 2;
  }
  std::cout << "           Schedule, us                 Update, us                  allocations\n"
            << "sequences       min   median      p99       min   median      p99     per step\n";
  for (const int32_t num_sequences : {1, 16, 256, 1024}) Measure(num_sequences, num_steps);
  return 0;
}

}  // namespace
}  // namespace parrot

int main(int argc, char** argv) { return parrot::Main(argc, argv); }
