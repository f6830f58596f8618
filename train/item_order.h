// ItemOrder: which item stands at each place of the endless stream that training reads: epoch after
// epoch, each in an order of its own. A function of (number of items, seed), so resuming needs no
// state but the place. Thread-safe.
#ifndef PARROT_TRAIN_ITEM_ORDER_H_
#define PARROT_TRAIN_ITEM_ORDER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace parrot {

class ItemOrder {
 public:
  // `shuffled`: an epoch is torch.randperm of a generator seeded with seed + epoch, as the
  // reference's sampler draws it; else the items in their order.
  ItemOrder(int64_t num_items, uint64_t seed, bool shuffled)
      : num_items_(num_items), seed_(seed), shuffled_(shuffled) {}

  // The items at [begin, begin + count).
  std::vector<int64_t> Items(int64_t begin, int64_t count) const;

 private:
  using Permutation = std::shared_ptr<const std::vector<int64_t>>;
  Permutation Epoch(int64_t epoch) const;

  const int64_t num_items_;
  const uint64_t seed_;
  const bool shuffled_;
  mutable absl::Mutex mutex_;
  mutable std::map<int64_t, Permutation> epochs_ ABSL_GUARDED_BY(mutex_);  // the latest few
};

}  // namespace parrot

#endif  // PARROT_TRAIN_ITEM_ORDER_H_
