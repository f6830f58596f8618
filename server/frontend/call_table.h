// CallTable: the calls that live, and the streams of ended calls that their readers have not read
// to the end. Thread-safe; calls nothing of theirs under its lock but ResponseStream::closed.
#ifndef PARROT_SERVER_FRONTEND_CALL_TABLE_H_
#define PARROT_SERVER_FRONTEND_CALL_TABLE_H_

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "scheduler/request.h"
#include "server/frontend/call.h"
#include "server/frontend/response_stream.h"

namespace parrot {

class CallTable {
 public:
  using UnreadStream = std::pair<RequestKey, std::shared_ptr<ResponseStream>>;

  void Insert(std::shared_ptr<Call> call);
  std::shared_ptr<Call> Find(RequestKey key) const;  // null if it does not live
  // The call lives no more; its stream is remembered until it is read. Idempotent.
  void Remove(const Call& call);
  std::vector<std::shared_ptr<Call>> Calls() const;

  // Forgets the streams that were read or dropped by their readers, and returns the others.
  std::vector<UnreadStream> SweepUnread();
  // Takes one out; null if it was read.
  std::shared_ptr<ResponseStream> TakeUnread(RequestKey key);

  int32_t size() const;
  // False after `timeout`. The second waits until a sweep has found every stream read as well.
  bool WaitUntilEmpty(absl::Duration timeout) const;
  bool WaitUntilRead(absl::Duration timeout) const;

  // For the timer thread: waits until there is anything to watch, then for `interval`. False once
  // Close was called.
  bool WaitForTick(absl::Duration interval) const;
  void Close();

 private:
  bool Empty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return calls_.empty(); }
  bool AllRead() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return calls_.empty() && unread_.empty();
  }
  bool ClosedOrWatching() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closed_ || !AllRead();
  }

  mutable absl::Mutex mutex_;
  std::unordered_map<RequestKey, std::shared_ptr<Call>> calls_ ABSL_GUARDED_BY(mutex_);
  // Owned by their readers; swept several times a second, so few.
  std::unordered_map<RequestKey, std::weak_ptr<ResponseStream>> unread_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_CALL_TABLE_H_
