#include "train/item_order.h"

#include "ATen/CPUGeneratorImpl.h"
#include "ATen/ops/randperm.h"

namespace parrot {

ItemOrder::Permutation ItemOrder::Epoch(int64_t epoch) const {
  const absl::MutexLock lock(&mutex_);
  Permutation& permutation = epochs_[epoch];
  if (permutation == nullptr) {
    const at::Generator generator =
        at::detail::createCPUGenerator(seed_ + static_cast<uint64_t>(epoch));
    const at::Tensor drawn = at::randperm(num_items_, generator, at::TensorOptions(at::kLong));
    const int64_t* values = drawn.const_data_ptr<int64_t>();
    permutation = std::make_shared<const std::vector<int64_t>>(values, values + num_items_);
  }
  Permutation result = permutation;
  // Loader threads run ahead by little: two epochs at once are enough.
  while (epochs_.size() > 2) epochs_.erase(epochs_.begin());
  return result;
}

std::vector<int64_t> ItemOrder::Items(int64_t begin, int64_t count) const {
  std::vector<int64_t> items;
  items.reserve(static_cast<size_t>(count));
  for (int64_t at = begin; at < begin + count; ++at) {
    const int64_t place = at % num_items_;
    items.push_back(shuffled_ ? (*Epoch(at / num_items_))[static_cast<size_t>(place)] : place);
  }
  return items;
}

}  // namespace parrot
