// EngineInbox: the one door between an engine's thread and the rest of the process. Requests,
// cancels, step results and the stop signal come in; the published load goes out.
//
// Nothing in it grows without bound, and none of its callers is ever blocked by another's work:
// requests are bounded by the queue's size, cancels by the number of live requests (a second cancel
// of a sequence, or one of an unknown key, is dropped), results by the number of steps in flight.
//
// Thread-safe; Take, Wait, Publish, TakeDrained and MarkStopped are for the engine thread.
#ifndef PARROT_SCHEDULER_ENGINE_INBOX_H_
#define PARROT_SCHEDULER_ENGINE_INBOX_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/api/model_executor.h"
#include "scheduler/engine.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"

namespace parrot {

class EngineInbox {
 public:
  // What has come in since the last Take, in order of arrival within each kind.
  struct Batch {
    std::vector<StepResult> results;
    std::vector<std::shared_ptr<const Request>> requests;
    std::vector<SequenceKey> cancels;
    bool flush_cache = false;
    bool paused = false;    // state, not news
    bool stopping = false;  // state, not news

    void Clear();
    bool empty() const {
      return results.empty() && requests.empty() && cancels.empty() && !flush_cache;
    }
  };

  EngineInbox(int32_t max_queue_size, int32_t max_num_seqs)
      : max_queue_size_(max_queue_size), max_num_seqs_(max_num_seqs) {}

  // RESOURCE_EXHAUSTED when the queue is full, UNAVAILABLE once draining, stopping or dead.
  [[nodiscard]] absl::Status AddRequest(std::shared_ptr<const Request> request);
  // sequence_idx kAllSequences: the whole request.
  void Cancel(SequenceKey key);
  void SetPaused(bool paused);
  void FlushCache();
  void PostResult(StepResult result);
  // Refuses requests from now on. `done` waits for TakeDrained, or runs here after MarkStopped.
  void Drain(std::function<void()> done);
  // Refuses requests and asks the engine thread to finish.
  void Stop();
  // The snapshot, with what waits in the inbox.
  EngineLoad load() const;

  // Swaps the contents into `batch`, which must be clear.
  void Take(Batch* batch);
  // Returns when something is there to take, the engine is to stop, or `timeout` has passed.
  void Wait(absl::Duration timeout);
  // Returns when a step result is there.
  void WaitForResult();
  // The state after a turn, in which these sequences ended (a request's key once for each).
  void Publish(const EngineLoad& load, const std::vector<RequestKey>& finished);
  // The drain callbacks that are due: no request is live.
  std::vector<std::function<void()>> TakeDrained();
  void MarkStopped();

 private:
  struct Live {
    int64_t num_tokens = 0;          // prompt and max_tokens of each sequence
    int32_t num_sequences = 1;       // unfinished
    std::vector<int32_t> cancelled;  // sequences, or kAllSequences
  };

  absl::Status CheckOpen() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !inbox_.empty() || stopping_ || paused_ != taken_paused_ ||
           (!drains_.empty() && live_.empty());
  }
  bool HasResult() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !inbox_.results.empty(); }

  const int32_t max_queue_size_;
  const int32_t max_num_seqs_;

  mutable absl::Mutex mutex_;
  Batch inbox_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<RequestKey, Live> live_ ABSL_GUARDED_BY(mutex_);  // admitted, unfinished
  int64_t num_outstanding_tokens_ ABSL_GUARDED_BY(mutex_) = 0;          // sum over live_
  int64_t num_live_sequences_ ABSL_GUARDED_BY(mutex_) = 0;              // sum over live_
  int32_t num_taken_ ABSL_GUARDED_BY(mutex_) = 0;  // requests taken, not yet published
  std::vector<std::function<void()>> drains_ ABSL_GUARDED_BY(mutex_);
  EngineLoad load_ ABSL_GUARDED_BY(mutex_);
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool taken_paused_ ABSL_GUARDED_BY(mutex_) = false;  // as the engine saw it last
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_ENGINE_INBOX_H_
