#include "train/process_group.h"

namespace parrot {
namespace {

class SingleProcess : public ProcessGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  absl::Status Sum(std::vector<at::Tensor>&) override { return absl::OkStatus(); }
};

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessGroup>> JoinProcessGroup() {
  return std::make_unique<SingleProcess>();
}

}  // namespace parrot
