#include "train/process_group.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "ATen/ops/empty_like.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "c10/util/intrusive_ptr.h"
#include "model/runtime/device.h"
#include "torch/csrc/distributed/c10d/TCPStore.hpp"

namespace parrot {
namespace {

// A value of the store is at most 8 MiB.
constexpr int64_t kPieceBytes = int64_t{4} << 20;
constexpr std::chrono::minutes kTimeout(30);

class SingleProcess : public ProcessGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  absl::Status Sum(std::vector<at::Tensor>&) override { return absl::OkStatus(); }
};

class StoreGroup : public ProcessGroup {
 public:
  explicit StoreGroup(const ProcessGroupOptions& options)
      : rank_(options.rank), size_(options.size) {
    c10d::TCPStoreOptions store_options;
    store_options.port = static_cast<std::uint16_t>(options.port);
    store_options.isServer = rank_ == 0;
    store_options.numWorkers = size_;
    store_options.timeout = kTimeout;
    store_ = c10::make_intrusive<c10d::TCPStore>(options.host, store_options);
  }

  ~StoreGroup() override {
    // Rank 0 holds the store: it may go when nobody reads it any more. Who failed does not come.
    static_cast<void>(CatchTorchErrors("leaving", [&] {
      const auto left = store_->add("left", 1);
      if (rank_ == 0 && left < size_ && !failed_) store_->wait({"all_left"}, kTimeout);
      if (left == size_) store_->set("all_left", {1});
      return absl::OkStatus();
    }));
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  absl::Status Sum(std::vector<at::Tensor>& tensors) override {
    absl::Status status = CatchTorchErrors("adding up over processes", [&] {
      for (at::Tensor& tensor : tensors) SumOne(tensor);
      return absl::OkStatus();
    });
    failed_ = failed_ || !status.ok();
    return status;
  }

 private:
  static std::string Key(int64_t round, int rank) { return absl::StrCat(round, "/", rank); }

  void SumOne(at::Tensor& tensor) {
    const at::Tensor host = tensor.to(at::kCPU).contiguous();
    const at::Tensor flat = host.view({-1});
    const int64_t piece = kPieceBytes / static_cast<int64_t>(host.element_size());
    for (int64_t begin = 0; begin < flat.numel(); begin += piece) {
      at::Tensor part = flat.narrow(0, begin, std::min(piece, flat.numel() - begin));
      SumPiece(part);
    }
    if (!host.is_same(tensor)) tensor.copy_(host);
  }

  // One round: all put, all get.
  void SumPiece(at::Tensor& part) {
    const auto* bytes = static_cast<const uint8_t*>(part.const_data_ptr());
    const auto num_bytes = static_cast<size_t>(part.nbytes());
    store_->set(Key(round_, rank_), {bytes, bytes + num_bytes});
    const at::Tensor own = part.clone();
    at::Tensor other = at::empty_like(part);
    part.zero_();
    for (int rank = 0; rank < size_; ++rank) {
      if (rank == rank_) {
        part.add_(own);
        continue;
      }
      const std::vector<uint8_t> got = store_->get(Key(round_, rank));
      TORCH_CHECK(got.size() == num_bytes, "the processes train different models");
      std::copy(got.begin(), got.end(), static_cast<uint8_t*>(other.mutable_data_ptr()));
      part.add_(other);
    }
    // Everybody has put this round's numbers, so everybody has read those of the last one.
    if (round_ > 0) store_->deleteKey(Key(round_ - 1, rank_));
    ++round_;
  }

  const int rank_;
  const int size_;
  c10::intrusive_ptr<c10d::TCPStore> store_;
  int64_t round_ = 0;
  bool failed_ = false;
};

absl::Status ReadNumber(const char* name, int min, int max, int* value) {
  const char* text = std::getenv(name);
  if (text == nullptr) return absl::OkStatus();
  if (!absl::SimpleAtoi(text, value) || *value < min || *value > max) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": is no number from ", min, " to ", max));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessGroup>> JoinProcessGroup(const ProcessGroupOptions& options) {
  if (options.size == 1) return std::make_unique<SingleProcess>();
  std::unique_ptr<ProcessGroup> group;
  RETURN_IF_ERROR(CatchTorchErrors("joining the other processes", [&] {
    group = std::make_unique<StoreGroup>(options);
    return absl::OkStatus();
  }));
  return group;
}

absl::StatusOr<ProcessGroupOptions> ReadProcessGroupOptions() {
  ProcessGroupOptions options;
  RETURN_IF_ERROR(ReadNumber("WORLD_SIZE", 1, 4096, &options.size));
  RETURN_IF_ERROR(ReadNumber("RANK", 0, options.size - 1, &options.rank));
  RETURN_IF_ERROR(ReadNumber("MASTER_PORT", 1, 65535, &options.port));
  const char* host = std::getenv("MASTER_ADDR");
  if (host != nullptr) options.host = host;
  return options;
}

}  // namespace parrot
