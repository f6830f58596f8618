// WaitingQueue: sequences that wait for a slot and blocks, in the order in which they are to start.
// It owns them until Pop or Remove. Here first come, first served: the head is never overtaken, so
// none starves.
//
// Confined to the engine thread.
#ifndef PARROT_SCHEDULER_WAITING_QUEUE_H_
#define PARROT_SCHEDULER_WAITING_QUEUE_H_

#include <cstdint>
#include <list>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"

namespace parrot {

class WaitingQueue {
 public:
  bool empty() const { return order_.empty(); }
  int32_t size() const { return static_cast<int32_t>(order_.size()); }
  // Sum of the prompts' tokens.
  int64_t num_prompt_tokens() const { return num_prompt_tokens_; }

  // REQUIRES: its key is not in the queue.
  void Push(std::unique_ptr<Sequence> sequence);
  // The next to start. REQUIRES: not empty.
  const Sequence& Front() const { return *order_.front(); }
  std::unique_ptr<Sequence> Pop();
  // Null when the key is not here.
  std::unique_ptr<Sequence> Remove(RequestKey key);

 private:
  using Order = std::list<std::unique_ptr<Sequence>>;
  std::unique_ptr<Sequence> Take(Order::iterator it);

  Order order_;
  absl::flat_hash_map<RequestKey, Order::iterator> by_key_;
  int64_t num_prompt_tokens_ = 0;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_WAITING_QUEUE_H_
