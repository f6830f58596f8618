#include "model/backend/cpu/cpu_workspace.h"

#include <algorithm>

#include "ATen/ops/empty.h"

namespace parrot::cpu {
namespace {

// Memory that no step has asked for in so long is given back.
constexpr int64_t kStepsKept = 64;

}  // namespace

bool TensorPool::IsFree(const Entry& entry) {
  return entry.view.use_count() == 1 && entry.memory.storage().use_count() == entry.idle_uses;
}

void TensorPool::BeginStep() {
  ++step_;
  std::erase_if(entries_, [this](const Entry& entry) {
    return entry.last_step + kStepsKept < step_ && IsFree(entry);
  });
}

at::Tensor TensorPool::Take(at::IntArrayRef sizes, at::ScalarType type) {
  Entry* roomy = nullptr;  // the smallest one that is large enough and not part of this step
  const int64_t bytes =
      c10::multiply_integers(sizes) * static_cast<int64_t>(c10::elementSize(type));
  for (Entry& entry : entries_) {
    if (!IsFree(entry)) continue;
    if (entry.view.sizes() == sizes && entry.view.scalar_type() == type) {
      entry.last_step = step_;
      return entry.view;
    }
    const int64_t capacity = entry.memory.numel();
    const bool stale = entry.last_step + 1 < step_;
    if (stale && capacity >= bytes && (roomy == nullptr || capacity < roomy->memory.numel())) {
      roomy = &entry;
    }
  }
  if (roomy == nullptr) {
    entries_.push_back({.memory = at::empty({std::max<int64_t>(bytes, 64)}, at::kByte)});
    roomy = &entries_.back();
  }
  roomy->last_step = step_;
  roomy->view = at::Tensor();
  roomy->view = roomy->memory.narrow(0, 0, bytes).view(type).view(sizes);
  roomy->idle_uses = roomy->memory.storage().use_count();
  return roomy->view;
}

}  // namespace parrot::cpu
