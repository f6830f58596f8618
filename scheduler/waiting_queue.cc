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

bool WaitingQueue::IsBefore(const Candidate& a, const Candidate& b) const {
  if (a.priority != b.priority) return a.priority > b.priority;
  if (a.is_late != b.is_late) return b.is_late;
  const Request& a_request = a.sequence->request();
  const Request& b_request = b.sequence->request();
  if (a_request.tenant != b_request.tenant) {
    const int64_t a_served = shares_.served(a_request.tenant);
    const int64_t b_served = shares_.served(b_request.tenant);
    if (a_served != b_served) return a_served < b_served;
  }
  if (a_request.deadline != b_request.deadline) return a_request.deadline < b_request.deadline;
  if (a.sequence->queued_at() != b.sequence->queued_at()) {
    return a.sequence->queued_at() < b.sequence->queued_at();
  }
  return a.sequence->sequence_key() < b.sequence->sequence_key();
}

Sequence* WaitingQueue::Next(absl::Time now,
                             const Predicate& may_start,
                             const Predicate& is_late) const {
  Candidate next;
  for (const std::unique_ptr<Sequence>& sequence : sequences_) {
    if (!may_start(*sequence)) continue;
    Candidate candidate = {.sequence = sequence.get(),
                           .priority = sequence->request().priority,
                           .is_late = is_late(*sequence)};
    if (!candidate.is_late) {
      const absl::Duration waited = std::max(now - sequence->queued_at(), absl::ZeroDuration());
      absl::Duration remainder;
      candidate.priority += absl::IDivDuration(waited, aging_interval_, &remainder);
    }
    if (next.sequence == nullptr || IsBefore(candidate, next)) next = candidate;
  }
  return next.sequence;
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
