#include "scheduler/step_time_predictor.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace parrot {
namespace {

// Of a new step in mean_step(): about twenty are remembered.
constexpr double kNewShare = 0.05;
// What a step's weight is multiplied with at each later step: a hundred steps are remembered well.
constexpr double kForgetting = 0.99;
// Features are divided by these, so that each is about 1 in a usual step and the ridge means the
// same for all of them.
constexpr std::array<double, 3> kScales = {1.0, 64.0, 1.0};
// Pull to the coefficients of before, in weights of steps with features of 1. Small against the
// hundred steps of a direction that is observed, all there is in one that is not.
constexpr double kRidge = 0.01;
// An observation counts as at most so many times the expected.
constexpr double kMaxSurprise = 4.0;
// Refits that only push rounding errors about.
constexpr double kMinPivot = 1e-12;

std::array<double, 3> Features(int64_t num_tokens, double num_images) {
  return {1.0 / kScales[0], static_cast<double>(num_tokens) / kScales[1], num_images / kScales[2]};
}

double Dot(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

}  // namespace

void StepTimePredictor::Observe(int32_t num_tokens, double num_images, absl::Duration elapsed) {
  double seconds = absl::ToDoubleSeconds(elapsed);
  if (!(seconds > 0.0) || std::isinf(seconds)) return;
  const Vector x = Features(num_tokens, num_images);
  if (is_ready()) {
    const double error = std::abs(Dot(x, theta_) - seconds) / seconds;
    // The mean of all at first, later a moving one.
    const double share = 1.0 / static_cast<double>(num_observed_ - kMinObserved + 1);
    mean_relative_error_ += std::max(share, 1.0 - kForgetting) * (error - mean_relative_error_);
  }
  if (is_ready()) seconds = std::min(seconds, kMaxSurprise * std::max(Dot(x, theta_), 1e-6));
  mean_seconds_ +=
      std::max(kNewShare, 1.0 / static_cast<double>(num_observed_ + 1)) * (seconds - mean_seconds_);
  for (int i = 0; i < kSize; ++i) {
    for (int j = 0; j < kSize; ++j) {
      products_[i][j] = kForgetting * products_[i][j] + x[i] * x[j];
    }
    responses_[i] = kForgetting * responses_[i] + x[i] * seconds;
  }
  ++num_observed_;
  Refit();
}

// Gauss with the normal equations of the ridge problem around the coefficients of before. They are
// positive definite, so no pivoting is needed.
StepTimePredictor::Vector StepTimePredictor::Solve(const std::array<bool, kSize>& used) const {
  Matrix a = products_;
  Vector b = responses_;
  for (int i = 0; i < kSize; ++i) {
    a[i][i] += kRidge;
    b[i] += kRidge * theta_[i];
  }
  for (int i = 0; i < kSize; ++i) {
    if (used[i]) continue;
    for (int j = 0; j < kSize; ++j) a[i][j] = a[j][i] = i == j ? 1.0 : 0.0;
    b[i] = 0.0;
  }
  for (int i = 0; i < kSize; ++i) {
    const double pivot = std::max(a[i][i], kMinPivot);
    for (int row = i + 1; row < kSize; ++row) {
      const double factor = a[row][i] / pivot;
      for (int j = i; j < kSize; ++j) a[row][j] -= factor * a[i][j];
      b[row] -= factor * b[i];
    }
  }
  Vector theta{};
  for (int i = kSize - 1; i >= 0; --i) {
    double rest = b[i];
    for (int j = i + 1; j < kSize; ++j) rest -= a[i][j] * theta[j];
    theta[i] = rest / std::max(a[i][i], kMinPivot);
  }
  return theta;
}

// Nothing takes negative time: a coefficient that would be negative is 0, and the others are fitted
// again without it.
void StepTimePredictor::Refit() {
  std::array<bool, kSize> used = {true, true, true};
  while (true) {
    const Vector theta = Solve(used);
    const auto least = std::min_element(theta.begin(), theta.end());
    if (*least >= 0.0) {
      theta_ = theta;
      return;
    }
    used[least - theta.begin()] = false;
  }
}

absl::Duration StepTimePredictor::Step(int64_t num_tokens, int64_t num_images) const {
  return absl::Seconds(Dot(Features(num_tokens, static_cast<double>(num_images)), theta_));
}

absl::Duration StepTimePredictor::NthToken(double n, const Queue& queue) const {
  const int64_t decoding = std::max(queue.num_decoding, 0);
  const int64_t room = std::max<int64_t>(queue.max_step_tokens - decoding, 1);
  const int64_t images = std::max<int64_t>(queue.max_step_images, 1);
  const int64_t for_tokens = (queue.num_tokens + room - 1) / room;
  const int64_t for_images = (queue.num_images + images - 1) / images;
  const int64_t num_steps = std::max({for_tokens, for_images, int64_t{1}});
  // Work that other steps of the same time do is counted once: as tokens and images in one sum.
  // What others compute in the meantime is not known; lately it took so long.
  const double num_others = queue.num_steps_until_slot + std::max(n - 1.0, 0.0);
  return num_others * std::max(Step(decoding, 0), mean_step()) + (num_steps - 1) * Step(0, 0) +
         Step(queue.num_tokens + num_steps * decoding, queue.num_images);
}

StepTimePredictor::Coefficients StepTimePredictor::coefficients() const {
  return {.step = theta_[0] / kScales[0],
          .token = theta_[1] / kScales[1],
          .image = theta_[2] / kScales[2]};
}

}  // namespace parrot
