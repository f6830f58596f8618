// ProcessGroup: the processes that train one model together, each with its share of the
// micro-batches. One process alone is a group of one.
//
// Environment, as the usual launchers set it: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT. Confined
// to the thread that trains; every process makes the same calls in the same order.
#ifndef PARROT_TRAIN_PROCESS_GROUP_H_
#define PARROT_TRAIN_PROCESS_GROUP_H_

#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace parrot {

class ProcessGroup {
 public:
  virtual ~ProcessGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Adds up the tensors of all processes, in place; the same bits everywhere.
  virtual absl::Status Sum(std::vector<at::Tensor>& tensors) = 0;
};

// The group that the environment describes; without WORLD_SIZE, or with 1, a group of one.
absl::StatusOr<std::unique_ptr<ProcessGroup>> JoinProcessGroup();

}  // namespace parrot

#endif  // PARROT_TRAIN_PROCESS_GROUP_H_
