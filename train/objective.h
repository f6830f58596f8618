// Objective: what a stage minimises. The trainer knows items by number alone: it says which items a
// micro-batch has, an objective makes the micro-batch (on a loader thread) and its loss (on a
// worker thread). Both depend on the items alone, and both are called from several threads at once.
#ifndef PARROT_TRAIN_OBJECTIVE_H_
#define PARROT_TRAIN_OBJECTIVE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"

namespace parrot {

// An objective's own form of a micro-batch.
class MicroBatch {
 public:
  virtual ~MicroBatch() = default;
};

struct MicroBatchLoss {
  at::Tensor loss;      // scalar with a graph; undefined: nothing to learn
  int64_t targets = 0;  // what the loss is a mean over: learned tokens, labels, rows
  int64_t rows = 0;     // work done: rows of the model, for the rate that is shown
  // One number for each of metric_names(), a mean over `metric_weight` things; empty when there are
  // none of them.
  std::vector<double> metrics;
  double metric_weight = 0.0;
};

class Objective {
 public:
  virtual ~Objective() = default;

  virtual int64_t num_items() const = 0;
  virtual std::vector<std::string> metric_names() const { return {}; }
  virtual absl::StatusOr<std::unique_ptr<MicroBatch>> Prepare(
      std::span<const int64_t> items) const = 0;
  // Throws c10::Error.
  virtual MicroBatchLoss Loss(MicroBatch& batch) const = 0;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_OBJECTIVE_H_
