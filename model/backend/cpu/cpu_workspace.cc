#include "model/backend/cpu/cpu_workspace.h"

#include <algorithm>

#include "ATen/ops/empty.h"

namespace parrot::cpu {

// Held by the entry alone: its memory by `memory` and `view`, the view by the entry.
bool TensorPool::IsFree(const Entry& entry) {
  return entry.view.use_count() == 1 && entry.memory.storage().use_count() == 2;
}

at::Tensor TensorPool::Take(at::IntArrayRef sizes, at::ScalarType type) {
  Entry* roomy = nullptr;
  const int64_t bytes =
      c10::multiply_integers(sizes) * static_cast<int64_t>(c10::elementSize(type));
  for (Entry& entry : entries_) {
    if (!IsFree(entry)) continue;
    if (entry.view.sizes() == sizes && entry.view.scalar_type() == type) return entry.view;
    const int64_t capacity = entry.memory.numel();
    if (capacity >= bytes && (roomy == nullptr || capacity < roomy->memory.numel())) {
      roomy = &entry;
    }
  }
  if (roomy == nullptr) {
    entries_.push_back({.memory = at::empty({std::max<int64_t>(bytes, 64)}, at::kByte)});
    roomy = &entries_.back();
  }
  roomy->view = at::Tensor();
  roomy->view = roomy->memory.narrow(0, 0, bytes).view(type).view(sizes);
  return roomy->view;
}

}  // namespace parrot::cpu
