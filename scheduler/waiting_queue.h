// WaitingQueue: sequences that wait for a slot and blocks. It owns them until Remove, and says who
// is to start next:
//   1. the highest priority, which grows by one for each aging interval a sequence has waited,
//   2. who is not late,
//   3. the tenant that was served least,
//   4. the earliest deadline, then the earliest arrival.
// Who is late, so that even if it began now its answer might not be done by its deadline, does not
// age either: when there is more to do than can be done, places go to those who still can make it.
// The others start when none of these waits. The one it names is never overtaken, so with aging
// none starves that has the time.
//
// Confined to the engine thread.
#ifndef PARROT_SCHEDULER_WAITING_QUEUE_H_
#define PARROT_SCHEDULER_WAITING_QUEUE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"
#include "scheduler/tenant_shares.h"

namespace parrot {

class WaitingQueue {
 public:
  // Borrows `shares`, which outlives it. REQUIRES: aging_interval > 0.
  WaitingQueue(absl::Duration aging_interval, const TenantShares* shares)
      : aging_interval_(aging_interval), shares_(*shares) {}

  bool empty() const { return sequences_.empty(); }
  int32_t size() const { return static_cast<int32_t>(sequences_.size()); }
  // Sum of the prompts' tokens.
  int64_t num_prompt_tokens() const { return num_prompt_tokens_; }

  // REQUIRES: its key is not in the queue.
  void Push(std::unique_ptr<Sequence> sequence);
  using Predicate = std::function<bool(const Sequence&)>;
  // The next to start among those that `may_start` lets through; null when there is none. Linear in
  // size(), which the engine bounds.
  Sequence* Next(absl::Time now, const Predicate& may_start, const Predicate& is_late) const;
  // Null when the key is not here.
  std::unique_ptr<Sequence> Remove(SequenceKey key);
  // Any of them; null when empty.
  Sequence* Any() const { return empty() ? nullptr : sequences_.front().get(); }

 private:
  struct Candidate {
    Sequence* sequence = nullptr;
    int64_t priority = 0;  // its own, and what it has gained by waiting
    bool is_late = false;
  };
  bool IsBefore(const Candidate& a, const Candidate& b) const;

  const absl::Duration aging_interval_;
  const TenantShares& shares_;
  std::vector<std::unique_ptr<Sequence>> sequences_;   // in no order
  absl::flat_hash_map<SequenceKey, size_t> index_of_;  // into sequences_
  int64_t num_prompt_tokens_ = 0;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_WAITING_QUEUE_H_
