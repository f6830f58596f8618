#include "scheduler/waiting_queue.h"

#include <iterator>
#include <utility>

#include "base/check.h"

namespace parrot {

void WaitingQueue::Push(std::unique_ptr<Sequence> sequence) {
  const RequestKey key = sequence->key();
  num_prompt_tokens_ += sequence->num_prompt_tokens();
  order_.push_back(std::move(sequence));
  const bool inserted = by_key_.emplace(key, std::prev(order_.end())).second;
  PARROT_CHECK(inserted) << "request key " << key << " is queued twice";
}

std::unique_ptr<Sequence> WaitingQueue::Pop() {
  PARROT_CHECK(!order_.empty());
  return Take(order_.begin());
}

std::unique_ptr<Sequence> WaitingQueue::Remove(RequestKey key) {
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? nullptr : Take(it->second);
}

std::unique_ptr<Sequence> WaitingQueue::Take(Order::iterator it) {
  std::unique_ptr<Sequence> sequence = std::move(*it);
  by_key_.erase(sequence->key());
  order_.erase(it);
  num_prompt_tokens_ -= sequence->num_prompt_tokens();
  return sequence;
}

}  // namespace parrot
