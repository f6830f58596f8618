#include "server/frontend/call_table.h"

namespace parrot {

void CallTable::Insert(std::shared_ptr<Call> call) {
  absl::MutexLock lock(&mutex_);
  const RequestKey key = call->facts().key;
  calls_.emplace(key, std::move(call));
}

std::shared_ptr<Call> CallTable::Find(RequestKey key) const {
  absl::MutexLock lock(&mutex_);
  const auto it = calls_.find(key);
  return it == calls_.end() ? nullptr : it->second;
}

void CallTable::Remove(const Call& call) {
  const RequestKey key = call.facts().key;
  std::shared_ptr<Call> removed;  // destroyed without the lock
  absl::MutexLock lock(&mutex_);
  const auto it = calls_.find(key);
  if (it == calls_.end()) return;
  removed = std::move(it->second);
  calls_.erase(it);
  if (!removed->shared_stream()->closed()) unread_.emplace(key, removed->shared_stream());
}

std::vector<std::shared_ptr<Call>> CallTable::Calls() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<Call>> calls;
  calls.reserve(calls_.size());
  for (const auto& [key, call] : calls_) calls.push_back(call);
  return calls;
}

std::vector<CallTable::UnreadStream> CallTable::SweepUnread() {
  std::vector<UnreadStream> streams;  // the last owner of one may be this, so destroyed outside
  std::vector<std::shared_ptr<ResponseStream>> closed;
  absl::MutexLock lock(&mutex_);
  for (auto it = unread_.begin(); it != unread_.end();) {
    std::shared_ptr<ResponseStream> stream = it->second.lock();
    if (stream != nullptr && !stream->closed()) {
      streams.emplace_back(it->first, std::move(stream));
      ++it;
      continue;
    }
    closed.push_back(std::move(stream));
    it = unread_.erase(it);
  }
  return streams;
}

std::shared_ptr<ResponseStream> CallTable::TakeUnread(RequestKey key) {
  absl::MutexLock lock(&mutex_);
  const auto it = unread_.find(key);
  if (it == unread_.end()) return nullptr;
  std::shared_ptr<ResponseStream> stream = it->second.lock();
  unread_.erase(it);
  return stream;
}

int32_t CallTable::size() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int32_t>(calls_.size());
}

bool CallTable::WaitUntilEmpty(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(this, &CallTable::Empty), timeout);
}

bool CallTable::WaitUntilRead(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(this, &CallTable::AllRead), timeout);
}

bool CallTable::WaitForTick(absl::Duration interval) const {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &CallTable::ClosedOrWatching));
  return !mutex_.AwaitWithTimeout(absl::Condition(&closed_), interval);
}

void CallTable::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

}  // namespace parrot
