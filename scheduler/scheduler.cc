#include "scheduler/scheduler.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "scheduler/block_table.h"
#include "scheduler/request_limits.h"

namespace parrot {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(1);

SchedulerOptions Cut(SchedulerOptions options, const ExecutorCapacity& capacity) {
  options.max_num_seqs = std::min(options.max_num_seqs, capacity.max_slots);
  options.max_num_batched_tokens =
      std::min(options.max_num_batched_tokens, capacity.max_step_tokens);
  options.max_images_per_step = std::min(options.max_images_per_step, capacity.max_step_images);
  PARROT_CHECK(options.max_num_seqs >= 1 && options.max_num_batched_tokens >= 1 &&
               options.max_images_per_step >= 1 && capacity.block_size >= 1);
  return options;
}

// What the client may hear of a worker's failure: never the worker's own words.
absl::Status ClientStatus(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return ErrorStatus(absl::StatusCode::kUnavailable,
                         "the worker is not available",
                         {.reason = "WORKER_UNAVAILABLE", .retry_after = kRetryAfter});
    case absl::StatusCode::kResourceExhausted:
      return ErrorStatus(absl::StatusCode::kResourceExhausted,
                         "the worker ran out of memory",
                         {.reason = "WORKER_OUT_OF_MEMORY", .retry_after = kRetryAfter});
    default:
      return ErrorStatus(
          absl::StatusCode::kInternal, "inference failed", {.reason = "INFERENCE_FAILED"});
  }
}

}  // namespace

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kError:
      return "error";
  }
  return "unknown";
}

Scheduler::Scheduler(const SchedulerOptions& options, const ExecutorCapacity& capacity)
    : options_(Cut(options, capacity)),
      pool_(capacity.num_blocks),
      block_size_(capacity.block_size),
      builder_({.max_tokens = options_.max_num_batched_tokens,
                .max_images = options_.max_images_per_step,
                .num_vision_layers = capacity.num_vision_layers},
               &vision_),
      slot_owner_(options_.max_num_seqs, nullptr) {
  for (SlotId slot = options_.max_num_seqs - 1; slot >= 0; --slot) free_slots_.push_back(slot);
  running_.reserve(options_.max_num_seqs);
  retiring_.reserve(options_.max_num_seqs);
}

// ---- Requests come and go ----

void Scheduler::Add(std::shared_ptr<const Request> request, absl::Time now) {
  auto sequence = std::make_unique<Sequence>(std::move(request), /*sequence_idx=*/0, now);
  const bool inserted = live_.emplace(sequence->key(), sequence.get()).second;
  PARROT_CHECK(inserted) << "request key " << sequence->key() << " is live";
  for (const PlacedImage& placed : sequence->request().images) vision_.AddRef(placed.image.hash);
  const absl::Time expiry = ExpiryOf(*sequence);
  if (expiry != absl::InfiniteFuture()) expiries_.emplace(expiry, sequence->key());
  waiting_.Push(std::move(sequence));
}

void Scheduler::Cancel(RequestKey key, absl::Time now, std::vector<EngineEvent>* events) {
  const auto it = live_.find(key);
  if (it == live_.end()) return;
  FinishSequence(it->second, {.reason = FinishReason::kCancelled}, {now, events});
  Sweep();
}

void Scheduler::Expire(absl::Time now, std::vector<EngineEvent>* events) {
  if (next_expiry() > now) return;
  while (next_expiry() <= now) {
    Sequence* sequence = live_.at(expiries_.begin()->second);
    Finish finish{.reason = FinishReason::kDeadline};
    if (sequence->request().deadline > now) {
      finish.reason = FinishReason::kError;
      finish.status = ErrorStatus(
          absl::StatusCode::kResourceExhausted,
          "the request waited too long for a free place",
          {.reason = "QUEUE_TIMEOUT",
           .value = absl::StrCat(absl::ToInt64Milliseconds(now - sequence->queued_at()), " ms"),
           .limit = absl::StrCat(absl::ToInt64Milliseconds(options_.queue_timeout), " ms"),
           .retry_after = kRetryAfter});
    }
    FinishSequence(sequence, finish, {now, events});
  }
  Sweep();
}

absl::Time Scheduler::next_expiry() const {
  return expiries_.empty() ? absl::InfiniteFuture() : expiries_.begin()->first;
}

absl::Time Scheduler::ExpiryOf(const Sequence& sequence) const {
  const absl::Time deadline = sequence.request().deadline;
  if (sequence.state() != SequenceState::kWaiting) return deadline;
  return std::min(deadline, sequence.queued_at() + options_.queue_timeout);
}

void Scheduler::FailAll(const absl::Status& status,
                        absl::Time now,
                        std::vector<EngineEvent>* events) {
  const Turn turn{now, events};
  const Finish finish{.reason = FinishReason::kError, .status = status};
  for (const auto& sequence : running_) FinishSequence(sequence.get(), finish, turn);
  while (!waiting_.empty()) FinishSequence(live_.at(waiting_.Front().key()), finish, turn);
  Sweep();
}

void Scheduler::FinishSequence(Sequence* sequence, const Finish& finish, const Turn& turn) {
  FinishEvent event;
  event.key = sequence->key();
  event.sequence_idx = sequence->sequence_idx();
  event.reason = finish.reason;
  event.stop_token = finish.stop_token;
  event.status = finish.status;
  event.num_completion_tokens = sequence->num_generated_tokens();
  event.times = sequence->Times(turn.now);
  turn.events->emplace_back(std::move(event));

  expiries_.erase({ExpiryOf(*sequence), sequence->key()});
  live_.erase(sequence->key());
  if (sequence->state() == SequenceState::kRunning) {
    sequence->MoveTo(SequenceState::kRetiring);
    return;
  }
  const std::unique_ptr<Sequence> removed = waiting_.Remove(sequence->key());
  removed->MoveTo(SequenceState::kReleased);
  for (const PlacedImage& placed : removed->request().images) {
    vision_.Release(placed.image.hash, &pending_evicted_images_);
  }
}

void Scheduler::Sweep() {
  size_t num_kept = 0;
  for (std::unique_ptr<Sequence>& sequence : running_) {
    if (sequence->state() == SequenceState::kRunning) {
      running_[num_kept++] = std::move(sequence);
    } else {
      retiring_.push_back(std::move(sequence));
    }
  }
  running_.resize(num_kept);
  std::erase_if(retiring_, [this](const std::unique_ptr<Sequence>& sequence) {
    if (sequence->last_step() > last_finished_step_) return false;
    Reclaim(sequence.get());
    return true;
  });
}

void Scheduler::Reclaim(Sequence* sequence) {
  const SlotId slot = sequence->slot();
  pool_.Release(sequence->blocks().ids());
  sequence->blocks().Clear();
  slot_owner_[slot] = nullptr;
  free_slots_.push_back(slot);
  if (sequence->started()) pending_retired_slots_.push_back(slot);
  std::erase_if(pending_released_visuals_, [slot](const auto& v) { return v.first == slot; });
  for (const PlacedImage& placed : sequence->request().images) {
    vision_.Release(placed.image.hash, &pending_evicted_images_);
  }
  sequence->MoveTo(SequenceState::kReleased);
}

// ---- The next step ----

bool Scheduler::Schedule(absl::Time now, StepInput* input) {
  builder_.Begin(last_submitted_step_ + 1, now, input);
  input->retired_slots.swap(pending_retired_slots_);
  input->released_visuals.swap(pending_released_visuals_);
  input->evicted_images.swap(pending_evicted_images_);
  Admit();
  for (const auto& sequence : running_) builder_.AddVisionJobs(sequence.get());
  for (const auto& sequence : running_) {
    if (sequence->in_decode()) builder_.AddSpan(sequence.get());
  }
  // In order of admission. A decode that the first pass served has nothing left to submit.
  for (const auto& sequence : running_) {
    if (!sequence->in_decode()) builder_.AddSpan(sequence.get());
  }
  if (input->empty() && !AwaitsJobs()) return false;
  ++last_submitted_step_;
  return true;
}

void Scheduler::Admit() {
  while (!waiting_.empty() && CanAdmit(waiting_.Front())) {
    std::unique_ptr<Sequence> sequence = waiting_.Pop();
    expiries_.erase({ExpiryOf(*sequence), sequence->key()});
    sequence->MoveTo(SequenceState::kRunning);
    const absl::Time expiry = ExpiryOf(*sequence);
    if (expiry != absl::InfiniteFuture()) expiries_.emplace(expiry, sequence->key());

    const auto num_blocks = static_cast<int32_t>(NumBlocksNeeded(sequence->request(), block_size_));
    const bool allocated = pool_.Allocate(num_blocks, sequence->blocks().mutable_ids());
    PARROT_CHECK(allocated);
    sequence->set_slot(free_slots_.back());
    free_slots_.pop_back();
    slot_owner_[sequence->slot()] = sequence.get();
    running_.push_back(std::move(sequence));
  }
}

bool Scheduler::CanAdmit(const Sequence& sequence) const {
  return !free_slots_.empty() &&
         NumBlocksNeeded(sequence.request(), block_size_) <= pool_.num_free();
}

bool Scheduler::AwaitsJobs() const {
  if (num_steps_in_flight() > 0) return false;
  if (vision_.num_encoding() > 0) return true;
  return std::any_of(running_.begin(), running_.end(), [](const auto& sequence) {
    return std::any_of(sequence->visuals().begin(),
                       sequence->visuals().end(),
                       [](const VisualProgress& v) { return v.state == VisualState::kRouting; });
  });
}

// ---- The result of a step ----

void Scheduler::Update(const StepInput& input,
                       StepOutput* output,
                       absl::Time now,
                       std::vector<EngineEvent>* events) {
  const Turn turn{now, events};
  PARROT_CHECK(input.step_id == last_finished_step_ + 1)
      << "step " << input.step_id << " after " << last_finished_step_;
  last_finished_step_ = input.step_id;
  if (!output->status.ok()) {
    FailStep(input, output->status, turn);
  } else if (!Matches(input, *output)) {
    output->status = absl::InternalError("the step's output does not match its input");
    FailStep(input, output->status, turn);
  } else {
    CommitSpans(input, *output);
    for (const SlotFailure& failure : output->failed_slots) {
      Sequence* sequence = RunningIn(failure.slot);
      if (sequence == nullptr) continue;
      FinishSequence(sequence, {.status = ClientStatus(failure.status)}, turn);
    }
    AddVisionTimes(*output);
    TakeEncodes(*output, turn);
    TakeRoutes(output, turn);
    for (size_t i = 0; i < output->rows.size(); ++i) {
      Sequence* sequence = RunningIn(input.spans[input.logits_rows[i].span_idx].slot);
      if (sequence == nullptr) continue;
      sequence->stages()[Stage::kSample] += output->times[Stage::kSample];
      TakeRow(sequence, &output->rows[i], turn);
    }
  }
  Sweep();
}

bool Scheduler::Matches(const StepInput& input, const StepOutput& output) {
  if (output.step_id != input.step_id || output.rows.size() != input.logits_rows.size()) {
    return false;
  }
  for (size_t i = 0; i < output.rows.size(); ++i) {
    if (output.rows[i].slot != input.spans[input.logits_rows[i].span_idx].slot) return false;
  }
  return true;
}

void Scheduler::FailStep(const StepInput& input, const absl::Status& status, const Turn& turn) {
  const Finish finish{.reason = FinishReason::kError, .status = ClientStatus(status)};
  const auto fail_slot = [&](SlotId slot) {
    if (Sequence* sequence = RunningIn(slot)) FinishSequence(sequence, finish, turn);
  };
  for (const RouteJob& job : input.route_jobs) fail_slot(job.slot);
  for (const Span& span : input.spans) fail_slot(span.slot);
  // Whoever else waits for these images has them encoded again.
  for (const EncodeJob& job : input.encode_jobs) {
    if (vision_.AbortEncode(job.image.hash, input.step_id)) {
      pending_evicted_images_.push_back(job.image.hash);
    }
  }
}

Sequence* Scheduler::RunningIn(SlotId slot) const {
  if (slot < 0 || slot >= static_cast<SlotId>(slot_owner_.size())) return nullptr;
  Sequence* sequence = slot_owner_[slot];
  if (sequence == nullptr || sequence->state() != SequenceState::kRunning) return nullptr;
  return sequence;
}

void Scheduler::CommitSpans(const StepInput& input, const StepOutput& output) {
  for (const Span& span : input.spans) {
    Sequence* sequence = RunningIn(span.slot);
    if (sequence == nullptr) continue;
    sequence->CommitTokens(span.num_tokens);
    const bool is_prefill = span.start_position < sequence->num_prompt_tokens();
    const Stage stage = is_prefill ? Stage::kPrefill : Stage::kDecode;
    sequence->stages()[stage] += output.times[stage];
    if (!is_prefill) continue;
    totals_.num_prompt_tokens += span.num_tokens;
    for (size_t i = 0; i < sequence->visuals().size(); ++i) {
      const PlacedImage& placed = sequence->request().images[i];
      VisualProgress& visual = sequence->visuals()[i];
      if (visual.state != VisualState::kReady ||
          sequence->num_computed_tokens() < placed.position + placed.num_tokens) {
        continue;
      }
      visual.state = VisualState::kConsumed;
      pending_released_visuals_.emplace_back(span.slot, static_cast<int32_t>(i));
    }
  }
}

void Scheduler::AddVisionTimes(const StepOutput& output) {
  if (output.encodes_done.empty() && output.routes_done.empty()) return;
  for (const auto& sequence : running_) {
    bool encoded = false;
    bool routed = false;
    for (size_t i = 0; i < sequence->visuals().size(); ++i) {
      if (sequence->visuals()[i].state != VisualState::kRouting) continue;
      const ImageHash& hash = sequence->request().images[i].image.hash;
      for (const EncodeDone& done : output.encodes_done) encoded |= done.image == hash;
      for (const RouteDone& done : output.routes_done) routed |= done.slot == sequence->slot();
    }
    for (const Stage stage : {Stage::kClip, Stage::kProjector}) {
      if (encoded) sequence->stages()[stage] += output.times[stage];
    }
    for (const Stage stage : {Stage::kRouter, Stage::kExperts}) {
      if (routed) sequence->stages()[stage] += output.times[stage];
    }
  }
}

void Scheduler::TakeEncodes(const StepOutput& output, const Turn& turn) {
  for (const EncodeDone& done : output.encodes_done) {
    if (done.status.ok()) {
      // False for an image that was evicted meanwhile: nobody asks for it.
      (void)vision_.FinishEncode(done.image, output.step_id);
      continue;
    }
    if (!vision_.AbortEncode(done.image, output.step_id)) continue;
    pending_evicted_images_.push_back(done.image);
    // Those whose RouteJob reads the lost features fail; those that still wait try again.
    const Finish finish{.reason = FinishReason::kError, .status = ClientStatus(done.status)};
    for (const auto& sequence : running_) {
      bool reads = false;
      for (size_t i = 0; i < sequence->visuals().size(); ++i) {
        reads |= sequence->visuals()[i].state == VisualState::kRouting &&
                 sequence->request().images[i].routing != RoutingSource::kZeros &&
                 sequence->request().images[i].image.hash == done.image;
      }
      if (reads && sequence->state() == SequenceState::kRunning) {
        FinishSequence(sequence.get(), finish, turn);
      }
    }
  }
}

void Scheduler::TakeRoutes(StepOutput* output, const Turn& turn) {
  for (RouteDone& done : output->routes_done) {
    Sequence* sequence = RunningIn(done.slot);
    // Stale news of the slot's former holder, whose job a later step dropped.
    if (sequence == nullptr || done.image_idx < 0 ||
        done.image_idx >= static_cast<int32_t>(sequence->visuals().size())) {
      continue;
    }
    VisualProgress& visual = sequence->visuals()[done.image_idx];
    if (visual.state != VisualState::kRouting || visual.route_step > output->step_id) continue;
    if (!done.status.ok()) {
      FinishSequence(sequence, {.status = ClientStatus(done.status)}, turn);
      continue;
    }
    visual.state = VisualState::kReady;
    if (!done.weights.empty()) {
      turn.events->emplace_back(
          RoutingEvent{sequence->key(), done.image_idx, std::move(done.weights)});
    }
    if (sequence->request().kind == RequestKind::kRoute && sequence->all_visuals_routed()) {
      FinishSequence(sequence, {.reason = FinishReason::kStop}, turn);
    }
  }
}

void Scheduler::TakeRow(Sequence* sequence, RowResult* row, const Turn& turn) {
  if (row->use != LogitsUse::kSample) return;
  const Request& request = sequence->request();
  sequence->MarkToken(turn.now);
  const bool is_stop =
      std::binary_search(request.stop_token_ids.begin(), request.stop_token_ids.end(), row->token);
  if (is_stop && sequence->num_generated_tokens() >= request.min_tokens) {
    FinishSequence(sequence, {.reason = FinishReason::kStop, .stop_token = row->token}, turn);
    return;
  }
  sequence->AppendSample(row->token);
  ++totals_.num_generated_tokens;
  TokenEvent event;
  event.key = sequence->key();
  event.sequence_idx = sequence->sequence_idx();
  event.token = row->token;
  event.logprob = row->logprob;
  event.top = std::move(row->top);
  turn.events->emplace_back(std::move(event));
  if (sequence->num_generated_tokens() >= request.max_tokens) {
    FinishSequence(sequence, {.reason = FinishReason::kLength}, turn);
  }
}

// ---- Invariants ----

absl::Status Scheduler::CheckIntegrity() const {
  RETURN_IF_ERROR(pool_.CheckIntegrity());
  size_t num_blocks = 0;
  size_t num_slots = free_slots_.size();
  for (const auto* sequences : {&running_, &retiring_}) {
    const SequenceState state =
        sequences == &running_ ? SequenceState::kRunning : SequenceState::kRetiring;
    for (const auto& sequence : *sequences) {
      if (sequence->state() != state || slot_owner_[sequence->slot()] != sequence.get()) {
        return absl::InternalError(absl::StrCat("a sequence is ",
                                                SequenceStateName(sequence->state()),
                                                " in slot ",
                                                sequence->slot(),
                                                " of another"));
      }
      num_blocks += sequence->blocks().ids().size();
      ++num_slots;
      for (const BlockId block : sequence->blocks().ids()) {
        if (pool_.ref_count(block) != 1) {
          return absl::InternalError(absl::StrCat("block ", block, " is shared"));
        }
      }
    }
  }
  if (num_blocks != static_cast<size_t>(pool_.num_used())) {
    return absl::InternalError(
        absl::StrCat(pool_.num_used(), " blocks used, ", num_blocks, " in tables"));
  }
  if (num_slots != slot_owner_.size()) {
    return absl::InternalError(absl::StrCat(num_slots, " of ", slot_owner_.size(), " slots"));
  }
  if (live_.size() != running_.size() + static_cast<size_t>(waiting_.size())) {
    return absl::InternalError(absl::StrCat(live_.size(), " live requests"));
  }
  for (const auto& [expiry, key] : expiries_) {
    const auto it = live_.find(key);
    if (it == live_.end() || ExpiryOf(*it->second) != expiry) {
      return absl::InternalError(absl::StrCat("stale expiry of request ", key));
    }
  }
  if (live_.empty() && retiring_.empty() && vision_.num_images() > 0) {
    return absl::InternalError(absl::StrCat(vision_.num_images(), " images of nobody"));
  }
  return absl::OkStatus();
}

}  // namespace parrot
