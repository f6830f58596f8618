// StepTimePredictor: how long a step takes, learned from the steps that were measured. A step's
// time is modelled as
//
//   seconds = step + tokens * num_tokens + images * num_images        (each coefficient >= 0)
//
// and fitted by least squares in which older steps count less and less. Directions that the recent
// steps say nothing about (the cost of an image while none comes) keep what was learned before,
// so hours of decoding do not unlearn prefill. A step that took many times the expected (another
// process, a page fault) counts as a few times only; a real change is followed within some steps.
//
//   predictor.Observe(num_tokens, num_images, elapsed);
//   if (predictor.is_ready() && now + predictor.NthToken(1, queue) > deadline) ... refuse ...
//
// Until it is_ready() it answers from what little it has seen, zero before the first step: nothing
// is to be refused for it then.
//
// Confined to one thread; plain data, cheap to copy for others.
#ifndef PARROT_SCHEDULER_STEP_TIME_PREDICTOR_H_
#define PARROT_SCHEDULER_STEP_TIME_PREDICTOR_H_

#include <array>
#include <cstdint>

#include "absl/time/time.h"

namespace parrot {

class StepTimePredictor {
 public:
  // Seconds. For metrics and tests.
  struct Coefficients {
    double step = 0.0;
    double token = 0.0;
    double image = 0.0;
  };

  // What stands before a request's first token, its own prompt included.
  struct Queue {
    int64_t num_tokens = 0;            // prompt positions to compute
    int64_t num_images = 0;            // images to encode
    int32_t num_decoding = 0;          // running sequences: each takes a token of every step
    int32_t num_steps_until_slot = 0;  // before it may run at all
    int32_t max_step_tokens = 1;       // budgets of one step
    int32_t max_step_images = 1;
  };

  // One finished step: positions computed, vision towers run (parts of them count in part), from
  // its start to its end. Times that are not positive are ignored.
  void Observe(int32_t num_tokens, double num_images, absl::Duration elapsed);

  absl::Duration Step(int64_t num_tokens, int64_t num_images) const;
  // Until the n-th token (>= 1), if nothing is reused of caches and nobody more urgent comes.
  absl::Duration NthToken(double n, const Queue& queue) const;
  // Of the recent steps, whatever they computed: how long who runs waits for a token.
  absl::Duration mean_step() const { return absl::Seconds(mean_seconds_); }

  // Enough steps were seen for decisions.
  bool is_ready() const { return num_observed_ >= kMinObserved; }
  int64_t num_observed() const { return num_observed_; }
  // How far off the recent steps were, on average: |predicted - measured| / measured, each
  // predicted from the steps before it. 0 until it is ready.
  double mean_relative_error() const { return mean_relative_error_; }
  Coefficients coefficients() const;

 private:
  static constexpr int kSize = 3;  // step, tokens, images
  static constexpr int64_t kMinObserved = 8;
  using Vector = std::array<double, kSize>;
  using Matrix = std::array<Vector, kSize>;

  // The coefficients of `used` that minimise the error, the others 0.
  Vector Solve(const std::array<bool, kSize>& used) const;
  void Refit();

  int64_t num_observed_ = 0;
  double mean_relative_error_ = 0.0;
  double mean_seconds_ = 0.0;
  Matrix products_{};   // sum of weight * x x'
  Vector responses_{};  // sum of weight * x seconds
  Vector theta_{};      // coefficients of the scaled features
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_STEP_TIME_PREDICTOR_H_
