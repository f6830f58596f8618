// Scheduler: decides what each step computes. Schedule() -> StepInput, Update(StepOutput) ->
// events. It owns the sequences, the KV block pool and the vision index of one worker, and does no
// input or output: the Engine gives it the time and the step results. Deterministic.
//
// Policy. First come, first served, with one token budget and one images budget per step, decode
// tokens first, then prefill in order of admission; a prefill that does not fit the rest of the
// budget goes on in the next step. A sequence is admitted to running when a slot and all the blocks
// of its whole life are free: it can then never run out of blocks, so nobody is preempted. The head
// of the queue is never overtaken, so nobody starves; what could never fit was refused by
// CheckRequest.
//
//   scheduler.Add(request, now);
//   if (scheduler.Schedule(now, &input)) Submit(input);        // may be called again before Update
//   scheduler.Update(input, &output, now, &events);            // steps come back in order
//
// Blocks, slots and image features of a sequence that finished while a step in flight names it are
// held until that step is done (it is *retiring*); the worker hears of freed slots and features
// with the next step.
//
// Confined to the engine thread.
#ifndef PARROT_SCHEDULER_SCHEDULER_H_
#define PARROT_SCHEDULER_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/api/model_executor.h"
#include "model/api/step.h"
#include "scheduler/block_pool.h"
#include "scheduler/event.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"
#include "scheduler/step_builder.h"
#include "scheduler/vision_cache_index.h"
#include "scheduler/waiting_queue.h"

namespace parrot {

struct SchedulerOptions {
  int32_t max_num_seqs = 1;                                 // sequences that run at once
  int32_t max_num_batched_tokens = 1;                       // positions of one step
  int32_t max_images_per_step = 1;                          // vision tower passes of one step
  absl::Duration queue_timeout = absl::InfiniteDuration();  // longest wait in the queue
};

// Counts since construction.
struct SchedulerTotals {
  int64_t num_prompt_tokens = 0;     // computed
  int64_t num_generated_tokens = 0;  // sent as TokenEvents
  int64_t num_preemptions = 0;
};

class Scheduler {
 public:
  // Options above the executor's capacity are cut to it. REQUIRES: all of them >= 1.
  Scheduler(const SchedulerOptions& options, const ExecutorCapacity& capacity);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Queues the request. REQUIRES: CheckRequest passed; its key is not live.
  void Add(std::shared_ptr<const Request> request, absl::Time now);
  // Finishes the request with kCancelled; unknown keys are ignored.
  void Cancel(RequestKey key, absl::Time now, std::vector<EngineEvent>* events);
  // Finishes whatever is past its deadline (kDeadline), or has waited longer than queue_timeout
  // (RESOURCE_EXHAUSTED).
  void Expire(absl::Time now, std::vector<EngineEvent>* events);
  // The earliest time at which Expire has something to do.
  absl::Time next_expiry() const;
  // Finishes every request with kError and `status`.
  void FailAll(const absl::Status& status, absl::Time now, std::vector<EngineEvent>* events);

  // Fills `input` with the next step and takes it as submitted. False when there is nothing to do;
  // `input` is then to be thrown away. Each true must be followed by one Update, in the same order.
  [[nodiscard]] bool Schedule(absl::Time now, StepInput* input);
  // Takes the result of the oldest step in flight. Moves parts of `output` into `events`. A failed
  // step, or one whose output does not match its input, finishes the requests in it with kError.
  void Update(const StepInput& input,
              StepOutput* output,
              absl::Time now,
              std::vector<EngineEvent>* events);

  int32_t num_waiting() const { return waiting_.size(); }
  int64_t num_waiting_tokens() const { return waiting_.num_prompt_tokens(); }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  // Finished, but named by a step in flight.
  int32_t num_retiring() const { return static_cast<int32_t>(retiring_.size()); }
  int32_t num_steps_in_flight() const {
    return static_cast<int32_t>(last_submitted_step_ - last_finished_step_);
  }
  const BlockPool& blocks() const { return pool_; }
  const VisionCacheIndex& vision() const { return vision_; }
  const SchedulerTotals& totals() const { return totals_; }

  // INTERNAL with the broken invariant: every block, slot and image is accounted for. For tests and
  // idle moments.
  [[nodiscard]] absl::Status CheckIntegrity() const;

 private:
  // One public call: its time, and where its events go.
  struct Turn {
    absl::Time now;
    std::vector<EngineEvent>* events;
  };
  struct Finish {
    FinishReason reason = FinishReason::kError;
    absl::Status status;
    TokenId stop_token = -1;
  };

  void Admit();
  bool CanAdmit(const Sequence& sequence) const;
  // A RouteJob or EncodeJob is unfinished, and no step in flight can bring it.
  bool AwaitsJobs() const;

  // The output answers the input row by row.
  static bool Matches(const StepInput& input, const StepOutput& output);
  void FailStep(const StepInput& input, const absl::Status& status, const Turn& turn);
  void CommitSpans(const StepInput& input, const StepOutput& output);
  void AddVisionTimes(const StepOutput& output);
  void TakeEncodes(const StepOutput& output, const Turn& turn);
  void TakeRoutes(StepOutput* output, const Turn& turn);
  void TakeRow(Sequence* sequence, RowResult* row, const Turn& turn);
  // The running sequence that holds the slot; null for a retiring or unknown one.
  Sequence* RunningIn(SlotId slot) const;

  // Sends the FinishEvent. A waiting sequence is destroyed; a running one retires, and stays valid
  // and in running_ until Sweep.
  void FinishSequence(Sequence* sequence, const Finish& finish, const Turn& turn);
  // Ends each public call: takes finished sequences out of running_ and returns what no step in
  // flight uses.
  void Sweep();
  void Reclaim(Sequence* sequence);

  absl::Time ExpiryOf(const Sequence& sequence) const;

  const SchedulerOptions options_;
  BlockPool pool_;
  const int32_t block_size_;
  VisionCacheIndex vision_;
  StepBuilder builder_;

  WaitingQueue waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;        // by admission
  std::vector<std::unique_ptr<Sequence>> retiring_;       // by finish
  absl::flat_hash_map<RequestKey, Sequence*> live_;       // waiting and running
  std::set<std::pair<absl::Time, RequestKey>> expiries_;  // of live_, finite ones

  std::vector<SlotId> free_slots_;
  std::vector<Sequence*> slot_owner_;  // by slot; running or retiring

  // For the next step to tell the worker.
  std::vector<SlotId> pending_retired_slots_;
  std::vector<std::pair<SlotId, int32_t>> pending_released_visuals_;
  std::vector<ImageHash> pending_evicted_images_;

  uint64_t last_submitted_step_ = 0;
  uint64_t last_finished_step_ = 0;
  SchedulerTotals totals_;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_SCHEDULER_H_
