// Scheduler: decides what each step computes. Schedule() -> StepInput, Update(StepOutput) ->
// events. It owns the sequences, the KV block pool and the vision index of one worker, and does no
// input or output: the Engine gives it the time and the step results. Deterministic.
//
// Policy. One token budget and one images budget per step, decode tokens first, then prefill, both
// by urgency (priority, then arrival); a prefill that does not fit the rest of the budget goes on
// in the next step. WaitingQueue says who starts next, and nobody overtakes it; it starts when a
// slot and the blocks of its prompt are there. Blocks that the prefix cache knows are not computed
// again.
//
// Blocks are taken as positions are computed. When none is left, the least urgent sequence is
// preempted: it goes back to the queue and later computes again what the prefix cache has lost of
// it (its blocks are evicted from the tail, so only as much as was needed). Only less urgent ones
// make room, so the most urgent always moves on, and what could not run alone was refused by
// CheckRequest: nobody starves and nothing can block for ever. A sequence that a step in flight
// names leaves when that step is done; meanwhile nobody is admitted.
//
//   scheduler.Add(request, now);
//   if (scheduler.Schedule(now, &input, &events)) Submit(input);  // again before Update, if wanted
//   scheduler.Update(input, &output, now, &events);            // steps come back in order
//
// A step that is lost as a whole costs only the request that did it: its sequences become
// *suspects*, return to the queue, and run again one at a time, nobody else beside them. Who fails
// alone has failed; who comes through is cleared.
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
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/api/model_executor.h"
#include "model/api/step.h"
#include "scheduler/block_pool.h"
#include "scheduler/event.h"
#include "scheduler/kv_cache_manager.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"
#include "scheduler/step_builder.h"
#include "scheduler/step_time_predictor.h"
#include "scheduler/tenant_shares.h"
#include "scheduler/vision_cache_index.h"
#include "scheduler/waiting_queue.h"

namespace parrot {

struct SchedulerOptions {
  int32_t max_num_seqs = 1;            // sequences that run at once
  int32_t max_num_batched_tokens = 1;  // positions of one step
  int32_t max_images_per_step = 1;     // vision tower passes of one step
  bool enable_prefix_caching = true;
  std::string model_revision;             // part of every prefix key
  int64_t vision_cache_memory_bytes = 0;  // for features that nobody uses
  absl::Duration priority_aging_interval = absl::Seconds(10);
  absl::Duration queue_timeout = absl::InfiniteDuration();  // longest wait in the queue
};

// Counts since construction.
struct SchedulerTotals {
  int64_t num_prompt_tokens = 0;     // computed
  int64_t num_generated_tokens = 0;  // sent as TokenEvents
  int64_t num_preemptions = 0;
  int64_t num_retries = 0;         // sequences put back because a step was lost
  int64_t num_vision_queries = 0;  // RouteJobs that read features
  int64_t num_vision_hits = 0;     // of these, of features that were there
  // Of sequences that came to their end: the mean, in which recent ones count more, and the longest
  // of about the last hundred.
  double mean_completion_tokens = 0.0;
  double longest_completion_tokens = 0.0;
};

class Scheduler {
 public:
  // Options above the executor's capacity are cut to it. REQUIRES: all of them >= 1.
  Scheduler(const SchedulerOptions& options, const ExecutorCapacity& capacity);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Queues the request. REQUIRES: CheckRequest passed; its key is not live.
  void Add(const std::shared_ptr<const Request>& request, absl::Time now);
  // Finishes the request's sequence (kAllSequences: all of them) with kCancelled; unknown ones are
  // ignored.
  void Cancel(SequenceKey key, absl::Time now, std::vector<EngineEvent>* events);
  // Finishes whatever is past its deadline (kDeadline), or has waited longer than queue_timeout
  // (RESOURCE_EXHAUSTED).
  void Expire(absl::Time now, std::vector<EngineEvent>* events);
  // The earliest time at which Expire has something to do.
  absl::Time next_expiry() const;
  // Finishes every request with kError and `status`.
  void FailAll(const absl::Status& status, absl::Time now, std::vector<EngineEvent>* events);

  // Fills `input` with the next step and takes it as submitted. False when there is nothing to do;
  // `input` is then to be thrown away. Each true must be followed by one Update, in the same order.
  [[nodiscard]] bool Schedule(absl::Time now, StepInput* input, std::vector<EngineEvent>* events);
  // Takes the result of the oldest step in flight. Moves parts of `output` into `events`. Of a
  // failed step, or one whose output does not match its input, the sequences run again one by one;
  // one that was alone in it ends with kError, as do all when the worker is gone (UNAVAILABLE).
  void Update(const StepInput& input,
              StepOutput* output,
              absl::Time now,
              std::vector<EngineEvent>* events);

  // Says who of those that wait can still make it; borrowed, and outlives this. Before, all can.
  void set_predictor(const StepTimePredictor* predictor) { predictor_ = predictor; }
  // While somebody decodes, towers are cut and prompt chunks shrink to this.
  void set_step_time_limit(const StepTimeLimit& limit) { step_time_limit_ = limit; }
  // Forgets every prefix and every image that no live sequence uses.
  void FlushCache();

  int32_t num_waiting() const { return waiting_.size(); }
  int64_t num_waiting_tokens() const { return waiting_.num_prompt_tokens(); }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  // Finished, but named by a step in flight.
  int32_t num_retiring() const { return static_cast<int32_t>(retiring_.size()); }
  int32_t num_steps_in_flight() const {
    return static_cast<int32_t>(last_submitted_step_ - last_finished_step_);
  }
  const BlockPool& blocks() const { return kv_.pool(); }
  const KvCacheManager& kv_cache() const { return kv_; }
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
    float stop_logprob = 0.0f;
  };

  void AddSequence(std::unique_ptr<Sequence> sequence);
  void Admit(const Turn& turn);
  // The n samples of a request share its prompt: the others wait until the first has computed it.
  bool MayStart(const Sequence& sequence) const;
  // Until its n-th token, if it began now; zero when nothing is known.
  absl::Duration TimeUntilToken(const Sequence& sequence, double n) const;
  // An answer as long as the longest lately would not be done by its deadline. A request that has
  // begun is not late: what it has sent would be wasted.
  bool IsLate(const Sequence& sequence, absl::Time now) const;
  // Ends it when not even its first token can come in time.
  bool RefuseIfHopeless(Sequence* sequence, const Turn& turn);
  // Blocks that those who run will still take for the tokens they have, and one more for each.
  int64_t NumPromisedBlocks() const;
  // Gives a sequence that is to start the blocks of what is known of its tokens, when there is room
  // for the rest of them beside what is promised to others; else changes nothing. `source`: the
  // other answer to its request that it forks from, or null.
  bool TakeBlocks(const Sequence* source, Sequence* sequence, std::optional<BlockCopy>* copy);
  const Sequence* FindForkSource(const Sequence& sequence) const;
  // Images whose keys and values are all there need no features; what the router said of them is
  // reported again.
  void SkipKnownImages(const Sequence* source, Sequence* sequence, const Turn& turn);
  static bool IsToBeReported(const Sequence& sequence, size_t image_idx);
  void ReportRouting(Sequence* sequence,
                     int32_t image_idx,
                     std::optional<float> error_bound,
                     const Turn& turn);

  void AddSpans(bool in_decode);
  void AddSpan(Sequence* sequence);
  // The one that runs next and alone; null when nobody is suspect.
  Sequence* FirstSuspect() const;
  static bool IsSchedulable(const Sequence& sequence);
  void Leave(Sequence* sequence);
  // Blocks for positions up to `end`, preempting less urgent sequences if need be. Returns how far
  // the table reaches, at most `end`.
  int32_t ReserveBlocks(Sequence* sequence, int32_t end);
  // Makes the least urgent sequence that is less urgent than this one leave. False when there is
  // none, or when its blocks come only after a step in flight.
  bool PreemptFor(const Sequence& sequence);
  void Preempt(Sequence* sequence);
  void ReleaseSlot(Sequence* sequence);
  // Takes the sequences that left out of running_, back into the queue.
  void RequeuePreempted();
  // A RouteJob or EncodeJob is unfinished, and no step in flight can bring it.
  bool AwaitsJobs() const;

  // The output answers the input row by row.
  static bool Matches(const StepInput& input, const StepOutput& output);
  void FailStep(const StepInput& input, const absl::Status& status, const Turn& turn);
  void CommitSpans(const StepInput& input, const StepOutput& output);
  void AddVisionTimes(const StepInput& input, const StepOutput& output);
  void TakeEncodes(const StepOutput& output, const Turn& turn);
  void TakeRoutes(StepOutput* output, const Turn& turn);
  // The log-probability of the prompt's token at `position`.
  void TakeScore(Sequence* sequence, int32_t position, RowResult* row, const Turn& turn);
  void TakeRow(Sequence* sequence, RowResult* row, const Turn& turn);
  // The running sequence that holds the slot; null for a retiring, spoiled or unknown one.
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
  KvCacheManager kv_;
  const CacheLevel feature_level_;  // what features that are there spare a request
  VisionCacheIndex vision_;
  StepBuilder builder_;

  TenantShares shares_;
  WaitingQueue waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;         // most urgent first
  std::vector<std::unique_ptr<Sequence>> retiring_;        // by finish
  absl::flat_hash_map<SequenceKey, Sequence*> live_;       // waiting and running
  std::set<std::pair<absl::Time, SequenceKey>> expiries_;  // of live_, finite ones
  int32_t num_leaving_ = 0;                                // of running_
  const StepTimePredictor* predictor_ = nullptr;
  StepTimeLimit step_time_limit_;
  bool blocks_are_short_ = false;  // somebody wanted more in the last Schedule

  std::vector<SlotId> free_slots_;
  std::vector<Sequence*> slot_owner_;   // by slot; running or retiring
  std::vector<Sequence*> schedulable_;  // reused by one call

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
