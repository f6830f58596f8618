#include "scheduler/waiting_queue.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace parrot {

void WaitingQueue::Push(std::unique_ptr<Sequence> sequence) {
  const bool inserted = index_of_.emplace(sequence->sequence_key(), sequences_.size()).second;
  PARROT_CHECK(inserted) << "request key " << sequence->key() << " is queued twice";
  num_prompt_tokens_ += sequence->num_prompt_tokens();
  sequences_.push_back(std::move(sequence));
}

int64_t WaitingQueue::Priority(const Sequence& sequence, absl::Time now) const {
  const absl::Duration waited = std::max(now - sequence.queued_at(), absl::ZeroDuration());
  absl::Duration remainder;
  return sequence.request().priority + absl::IDivDuration(waited, aging_interval_, &remainder);
}

bool WaitingQueue::IsBefore(const Sequence& a, const Sequence& b, absl::Time now) const {
  const int64_t a_priority = Priority(a, now);
  const int64_t b_priority = Priority(b, now);
  if (a_priority != b_priority) return a_priority > b_priority;
  const Request& a_request = a.request();
  const Request& b_request = b.request();
  if (a_request.tenant != b_request.tenant) {
    const int64_t a_served = shares_.served(a_request.tenant);
    const int64_t b_served = shares_.served(b_request.tenant);
    if (a_served != b_served) return a_served < b_served;
  }
  if (a_request.deadline != b_request.deadline) return a_request.deadline < b_request.deadline;
  if (a.queued_at() != b.queued_at()) return a.queued_at() < b.queued_at();
  return a.sequence_key() < b.sequence_key();
}

Sequence* WaitingQueue::Next(absl::Time now,
                             const std::function<bool(const Sequence&)>& may_start) const {
  Sequence* next = nullptr;
  for (const std::unique_ptr<Sequence>& sequence : sequences_) {
    if (!may_start(*sequence)) continue;
    if (next == nullptr || IsBefore(*sequence, *next, now)) next = sequence.get();
  }
  return next;
}

std::unique_ptr<Sequence> WaitingQueue::Remove(SequenceKey key) {
  const auto it = index_of_.find(key);
  if (it == index_of_.end()) return nullptr;
  const size_t index = it->second;
  index_of_.erase(it);
  std::unique_ptr<Sequence> sequence = std::exchange(sequences_[index], nullptr);
  if (index + 1 < sequences_.size()) {
    sequences_[index] = std::move(sequences_.back());
    index_of_.at(sequences_[index]->sequence_key()) = index;
  }
  sequences_.pop_back();
  num_prompt_tokens_ -= sequence->num_prompt_tokens();
  return sequence;
}

}  // namespace parrot
