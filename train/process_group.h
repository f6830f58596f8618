// ProcessGroup: the processes that train one model together, each with its share of the
// micro-batches. One process alone is a group of one.
//
// Environment, as the usual launchers set it: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT.
//
// Sums go through c10d's TCPStore on rank 0: every process puts its numbers there, takes those of
// the others and adds all in the order of ranks. So the result is that of one process with the same
// micro-batches, bit by bit, and any device will do. The traffic grows with the number of
// processes: right for a handful and models of some hundred million parameters, not for a 7B model
// on many GPUs. (c10d's gloo needs headers that torch's wheel does not have.)
//
// Confined to the thread that trains; every process makes the same calls in the same order.
#ifndef PARROT_TRAIN_PROCESS_GROUP_H_
#define PARROT_TRAIN_PROCESS_GROUP_H_

#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace parrot {

class ProcessGroup {
 public:
  // The last process leaves last: destruction waits for the others.
  virtual ~ProcessGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Adds up the tensors of all processes, in place; the same bits everywhere.
  virtual absl::Status Sum(std::vector<at::Tensor>& tensors) = 0;
};

struct ProcessGroupOptions {
  int rank = 0;
  int size = 1;
  std::string host = "127.0.0.1";  // of rank 0
  int port = 29500;
};

// UNAVAILABLE when the processes do not find each other in time.
absl::StatusOr<std::unique_ptr<ProcessGroup>> JoinProcessGroup(const ProcessGroupOptions& options);

// From the environment; without WORLD_SIZE a group of one. INVALID_ARGUMENT names a variable.
absl::StatusOr<ProcessGroupOptions> ReadProcessGroupOptions();

}  // namespace parrot

#endif  // PARROT_TRAIN_PROCESS_GROUP_H_
