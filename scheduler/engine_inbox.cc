#include "scheduler/engine_inbox.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "scheduler/retry_after.h"

namespace parrot {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(1);  // another replica takes less

}  // namespace

void EngineInbox::Batch::Clear() {
  results.clear();
  requests.clear();
  cancels.clear();
  flush_cache = false;
  paused = false;
  stopping = false;
}

absl::Status EngineInbox::CheckOpen() const {
  if (!load_.health.ok()) return load_.health;
  if (draining_ || stopping_) {
    return ErrorStatus(absl::StatusCode::kUnavailable,
                       "the server is shutting down",
                       {.reason = "DRAINING", .retry_after = kRetryAfter});
  }
  return absl::OkStatus();
}

absl::Status EngineInbox::AddRequest(std::shared_ptr<const Request> request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckOpen());
  // Free places count only while nobody waits: else it is blocks that are missing.
  const int32_t num_free_places =
      load_.num_waiting == 0 ? std::max(0, max_num_seqs_ - load_.num_running) : 0;
  const int64_t num_queued = num_live_sequences_ - load_.num_running;
  if (num_queued >= int64_t{max_queue_size_} + num_free_places) {
    return ErrorStatus(absl::StatusCode::kResourceExhausted,
                       "too many requests wait",
                       {.reason = "QUEUE_FULL",
                        .value = std::to_string(num_queued),
                        .limit = std::to_string(max_queue_size_),
                        .retry_after = RetryAfter(load_)});
  }
  Live live;
  live.num_tokens = request->num_outstanding_tokens();
  live.num_sequences = request->num_sequences;
  if (!live_.emplace(request->key, live).second) {
    return ErrorStatus(
        absl::StatusCode::kInternal, "the request key is in use", {.reason = "MALFORMED_REQUEST"});
  }
  num_outstanding_tokens_ += live.num_tokens;
  num_live_sequences_ += live.num_sequences;
  inbox_.requests.push_back(std::move(request));
  return absl::OkStatus();
}

void EngineInbox::Cancel(SequenceKey key) {
  absl::MutexLock lock(&mutex_);
  const auto it = live_.find(key.first);
  if (it == live_.end()) return;
  std::vector<int32_t>& cancelled = it->second.cancelled;
  for (const int32_t known : cancelled) {
    if (known == kAllSequences || known == key.second) return;
  }
  cancelled.push_back(key.second);
  inbox_.cancels.push_back(key);
}

void EngineInbox::SetPaused(bool paused) {
  absl::MutexLock lock(&mutex_);
  paused_ = paused;
}

void EngineInbox::FlushCache() {
  absl::MutexLock lock(&mutex_);
  inbox_.flush_cache = true;
}

void EngineInbox::PostResult(StepResult result) {
  absl::MutexLock lock(&mutex_);
  inbox_.results.push_back(std::move(result));
}

void EngineInbox::Drain(std::function<void()> done) {
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    if (!stopped_) {
      drains_.push_back(std::move(done));
      return;
    }
  }
  done();
}

void EngineInbox::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
}

EngineLoad EngineInbox::load() const {
  absl::MutexLock lock(&mutex_);
  EngineLoad load = load_;
  load.num_waiting += num_taken_ + static_cast<int32_t>(inbox_.requests.size());
  for (const auto& request : inbox_.requests) {
    load.num_waiting_tokens += request->num_prompt_tokens();
  }
  load.num_outstanding_tokens = num_outstanding_tokens_;
  return load;
}

void EngineInbox::Take(Batch* batch) {
  absl::MutexLock lock(&mutex_);
  std::swap(inbox_, *batch);
  num_taken_ = static_cast<int32_t>(batch->requests.size());
  batch->stopping = stopping_;
  batch->paused = paused_;
  taken_paused_ = paused_;
}

void EngineInbox::Wait(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &EngineInbox::HasWork), timeout);
}

void EngineInbox::WaitForResult() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &EngineInbox::HasResult));
}

void EngineInbox::Publish(const EngineLoad& load, const std::vector<RequestKey>& finished) {
  absl::MutexLock lock(&mutex_);
  load_ = load;
  num_taken_ = 0;
  for (const RequestKey key : finished) {
    const auto it = live_.find(key);
    if (it == live_.end()) continue;
    --num_live_sequences_;
    if (--it->second.num_sequences > 0) continue;
    num_outstanding_tokens_ -= it->second.num_tokens;
    live_.erase(it);
  }
}

std::vector<std::function<void()>> EngineInbox::TakeDrained() {
  std::vector<std::function<void()>> due;
  absl::MutexLock lock(&mutex_);
  if (live_.empty()) due.swap(drains_);
  return due;
}

void EngineInbox::MarkStopped() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
}

}  // namespace parrot
