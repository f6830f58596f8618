// Engine: one per worker. Owns the sequences, the KV block pool and the cache indexes of its worker
// and alone mutates them, on its own thread. One inbox carries requests, cancels and step results,
// so nobody polls.
//
//   Engine engine(options, &executor, &sink, &Clock::Real());
//   engine.Start();
//   RETURN_IF_ERROR(engine.Add(request));   // events arrive at the sink
//   engine.Cancel(request->key);
//   engine.Drain(deadline); engine.Stop();
//
// Without Start(), a test or simulation drives the very same code by RunOnce() on one thread.
#ifndef PARROT_SCHEDULER_ENGINE_H_
#define PARROT_SCHEDULER_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "model/api/model_executor.h"
#include "scheduler/event.h"
#include "scheduler/request.h"
#include "scheduler/step_time_predictor.h"

namespace parrot {

// Values above the executor's capacity are cut to it. Order of requests: higher priority first (one
// more for each priority_aging_interval of waiting), then the tenant that was served least, then
// the earliest deadline, then the earliest arrival.
struct EngineOptions {
  int32_t max_num_seqs = 8;               // sequences that run at once; <= executor's max_slots
  int32_t max_num_batched_tokens = 1024;  // positions of one step; <= executor's max_step_tokens
  int32_t max_images_per_step = 1;        // <= executor's max_step_images
  int32_t max_model_len = 2048;           // prompt + completion
  int32_t max_queue_size =
      32;  // requests that wait for a place; those that start at once are extra
  bool enable_prefix_caching = true;
  std::string model_revision;  // part of every prefix key
  // Features of images that nobody uses are kept while all of them take no more; 0: none.
  int64_t vision_cache_memory_bytes = 0;
  absl::Duration priority_aging_interval = absl::Seconds(10);
  // While somebody decodes, vision towers are cut by layers and prompt chunks shrink so that a step
  // is not expected to take longer; 0: no limit.
  absl::Duration max_step_time;
  absl::Duration queue_timeout = absl::Seconds(30);  // longest wait; then RESOURCE_EXHAUSTED
  // The executor counts as dead after so many failed steps without a good one between them; a step
  // in which everything failed with kDeviceErrorReason is one. One UNAVAILABLE is enough.
  int32_t max_consecutive_failed_steps = 8;
};

// A snapshot for admission, metrics and GetLoad; published after every step.
struct EngineLoad {
  int32_t num_waiting = 0;
  int32_t num_running = 0;
  int64_t num_waiting_tokens = 0;      // prompt tokens of waiting requests
  int64_t num_outstanding_tokens = 0;  // prompt and max_tokens of all live requests
  int32_t num_blocks_total = 0;
  int32_t num_blocks_used = 0;
  int64_t num_steps = 0;
  int64_t num_failed_steps = 0;
  int64_t num_preemptions = 0;
  int64_t num_retries = 0;              // sequences that ran again because a step was lost
  int32_t num_blocks_cached = 0;        // free to take, with contents that a prefix may find
  int64_t num_prefix_query_tokens = 0;  // prompt tokens of requests that looked for a prefix
  int64_t num_prefix_hit_tokens = 0;    // of these, found
  int64_t num_prefix_evictions = 0;     // cached blocks that had to go
  int64_t num_vision_queries = 0;       // images that were routed
  int64_t num_vision_hits = 0;          // of these, from features that were there
  int64_t num_vision_evictions = 0;     // images whose features had to go
  int32_t num_vision_entries = 0;       // images whose features the worker holds
  bool paused = false;
  double mean_completion_tokens = 0.0;  // of recently finished sequences; 0 before the first
  StepTimePredictor predictor;
  int64_t num_prompt_tokens = 0;     // computed since the start
  int64_t num_generated_tokens = 0;  // since the start
  int32_t last_step_tokens = 0;
  absl::Time last_step_end = absl::InfinitePast();  // of the last finished step
  bool step_in_flight = false;
  absl::Time oldest_step_start = absl::InfinitePast();  // valid when step_in_flight
  // The worker's own words on its last failed step, for the operator's log and no one else.
  absl::Status last_failure;
  absl::Status health;  // not OK: the executor is dead
};

class Engine {
 public:
  // Borrows `executor`, `sink` and `clock`, which outlive it.
  Engine(const EngineOptions& options, ModelExecutor* executor, EventSink* sink, Clock* clock);
  // Stops; REQUIRES that no call is in progress.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Starts the engine thread.
  void Start();
  // Fails what is left with UNAVAILABLE, waits for the steps in flight and joins. Idempotent.
  // Without Start(): REQUIRES that the executor has finished every step.
  void Stop();

  // Thread-safe; never blocks. INVALID_ARGUMENT for what cannot fit even an empty cache,
  // DEADLINE_EXCEEDED when the first token is predicted to come too late, or, when it must wait for
  // a place, the last one of an answer of the usual length (a request of priority 0 waits behind
  // the whole queue, others at its head), RESOURCE_EXHAUSTED with retry_after when the queue is
  // full, UNAVAILABLE once draining, stopped or dead. When OK, the sink gets exactly one
  // FinishEvent per sequence.
  [[nodiscard]] absl::Status Add(std::shared_ptr<const Request> request);
  // Thread-safe; never blocks. Unknown or finished keys are ignored. The sink still gets the
  // FinishEvent (kCancelled, or what happened first).
  void Cancel(RequestKey key);
  // The same for one of the request's answers (a stop string was found in it).
  void CancelSequence(RequestKey key, int32_t sequence_idx);
  // Thread-safe; idempotent. While paused, no step is submitted: requests are taken, wait, and may
  // expire or be cancelled.
  void Pause();
  void Resume();
  // Thread-safe. Forgets every prefix and every image that no live request uses.
  void FlushCache();
  // Thread-safe. No request is accepted from now on; `done` runs on the engine thread once the last
  // one's FinishEvent is delivered (on the caller's if the engine is stopped).
  void Drain(std::function<void()> done);
  // Thread-safe.
  EngineLoad load() const;

  // One turn of the loop without waiting: takes the inbox, handles results, submits steps while the
  // executor has room, delivers events. True if it did anything. REQUIRES: Start() was not called.
  bool RunOnce();
  // Every block, slot and image is accounted for. REQUIRES: as RunOnce.
  [[nodiscard]] absl::Status CheckIntegrityForTest() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_ENGINE_H_
