#include "scheduler/scheduler.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
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
               options.max_images_per_step >= 1 && capacity.block_size >= 1 &&
               capacity.num_vision_layers >= 1);
  return options;
}

int64_t MaxImages(const SchedulerOptions& options, const ExecutorCapacity& capacity) {
  return capacity.image_bytes > 0 ? options.vision_cache_memory_bytes / capacity.image_bytes : 0;
}

bool IsMoreUrgent(const Sequence& a, const Sequence& b) {
  if (a.request().priority != b.request().priority) {
    return a.request().priority > b.request().priority;
  }
  if (a.queued_at() != b.queued_at()) return a.queued_at() < b.queued_at();
  return a.sequence_key() < b.sequence_key();
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, const ExecutorCapacity& capacity)
    : options_(Cut(options, capacity)),
      kv_({.num_blocks = capacity.num_blocks,
           .block_size = capacity.block_size,
           .has_experts = capacity.num_experts > 0,
           .enable_prefix_caching = options.enable_prefix_caching,
           .model_revision = options.model_revision}),
      feature_level_(capacity.caches_experts ? CacheLevel::kExperts : CacheLevel::kFeatures),
      vision_(MaxImages(options, capacity), capacity.num_vision_layers),
      builder_({.max_tokens = options_.max_num_batched_tokens,
                .max_images = options_.max_images_per_step,
                .num_vision_layers = capacity.num_vision_layers},
               &vision_),
      waiting_(options.priority_aging_interval, &shares_),
      slot_owner_(options_.max_num_seqs, nullptr) {
  for (SlotId slot = options_.max_num_seqs - 1; slot >= 0; --slot) free_slots_.push_back(slot);
  running_.reserve(options_.max_num_seqs);
  retiring_.reserve(options_.max_num_seqs);
  schedulable_.reserve(options_.max_num_seqs);
}

// ---- Requests come and go ----

void Scheduler::Add(const std::shared_ptr<const Request>& request, absl::Time now) {
  for (int32_t i = 0; i < request->num_sequences; ++i) {
    AddSequence(std::make_unique<Sequence>(request, i, now));
  }
}

void Scheduler::AddSequence(std::unique_ptr<Sequence> sequence) {
  const bool inserted = live_.emplace(sequence->sequence_key(), sequence.get()).second;
  PARROT_CHECK(inserted) << "request key " << sequence->key() << " is live";
  for (const PlacedImage& placed : sequence->request().images) vision_.AddRef(placed.image.hash);
  shares_.Enter(sequence->request().tenant);
  const absl::Time expiry = ExpiryOf(*sequence);
  if (expiry != absl::InfiniteFuture()) expiries_.emplace(expiry, sequence->sequence_key());
  waiting_.Push(std::move(sequence));
}

void Scheduler::Cancel(SequenceKey key, absl::Time now, std::vector<EngineEvent>* events) {
  const auto cancel = [&](const SequenceKey& one) {
    const auto it = live_.find(one);
    if (it == live_.end()) return;
    FinishSequence(it->second, {.reason = FinishReason::kCancelled}, {now, events});
  };
  if (key.second != kAllSequences) {
    cancel(key);
  } else {
    // Sequences of a request are numbered from 0, and may have ended in any order.
    std::vector<SequenceKey> all;
    for (const auto& [live, sequence] : live_) {
      if (live.first == key.first) all.push_back(live);
    }
    std::sort(all.begin(), all.end());
    for (const SequenceKey& one : all) cancel(one);
  }
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
  if (sequence.was_admitted()) return deadline;
  return std::min(deadline, sequence.queued_at() + options_.queue_timeout);
}

void Scheduler::FailAll(const absl::Status& status,
                        absl::Time now,
                        std::vector<EngineEvent>* events) {
  const Turn turn{now, events};
  const Finish finish{.reason = FinishReason::kError, .status = status};
  for (const auto& sequence : running_) FinishSequence(sequence.get(), finish, turn);
  while (!waiting_.empty()) FinishSequence(waiting_.Any(), finish, turn);
  Sweep();
}

void Scheduler::FlushCache() {
  kv_.Flush();
  vision_.EvictUnused(&pending_evicted_images_);
}

void Scheduler::FinishSequence(Sequence* sequence, const Finish& finish, const Turn& turn) {
  FinishEvent event;
  event.key = sequence->key();
  event.sequence_idx = sequence->sequence_idx();
  event.reason = finish.reason;
  event.stop_token = finish.stop_token;
  event.stop_logprob = finish.stop_logprob;
  event.status = finish.status;
  event.num_completion_tokens = sequence->num_generated_tokens();
  event.num_cached_tokens = sequence->num_cached_tokens();
  event.times = sequence->Times(turn.now);
  turn.events->emplace_back(std::move(event));

  const bool came_to_its_end =
      finish.reason == FinishReason::kStop || finish.reason == FinishReason::kLength;
  if (came_to_its_end && sequence->request().kind == RequestKind::kGenerate) {
    constexpr double kNewShare = 0.1;
    constexpr double kForgetting = 0.01;
    const int32_t length = sequence->num_generated_tokens();
    double& mean = totals_.mean_completion_tokens;
    mean += (mean == 0.0 ? 1.0 : kNewShare) * (length - mean);
    double& longest = totals_.longest_completion_tokens;
    longest += (length > longest ? 1.0 : kForgetting) * (length - longest);
  }
  expiries_.erase({ExpiryOf(*sequence), sequence->sequence_key()});
  live_.erase(sequence->sequence_key());
  shares_.Leave(sequence->request().tenant);
  if (sequence->state() == SequenceState::kRunning) {
    if (sequence->is_leaving()) --num_leaving_;
    sequence->MoveTo(SequenceState::kRetiring);
    return;
  }
  const std::unique_ptr<Sequence> removed = waiting_.Remove(sequence->sequence_key());
  removed->MoveTo(SequenceState::kReleased);
  for (const PlacedImage& placed : removed->request().images) {
    vision_.Release(placed.image.hash, &pending_evicted_images_);
  }
}

void Scheduler::Sweep() {
  for (const std::unique_ptr<Sequence>& sequence : running_) {
    if (sequence->is_leaving() && sequence->state() == SequenceState::kRunning &&
        sequence->last_step() <= last_finished_step_) {
      --num_leaving_;
      Preempt(sequence.get());
    }
  }
  RequeuePreempted();
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
    ReleaseSlot(sequence.get());
    for (const PlacedImage& placed : sequence->request().images) {
      vision_.Release(placed.image.hash, &pending_evicted_images_);
    }
    sequence->MoveTo(SequenceState::kReleased);
    return true;
  });
}

void Scheduler::ReleaseSlot(Sequence* sequence) {
  const SlotId slot = sequence->slot();
  kv_.Release(sequence);
  slot_owner_[slot] = nullptr;
  free_slots_.push_back(slot);
  if (sequence->started()) pending_retired_slots_.push_back(slot);
  std::erase_if(pending_released_visuals_, [slot](const auto& v) { return v.first == slot; });
}

// ---- Preemption ----

void Scheduler::Preempt(Sequence* sequence) {
  if (!sequence->is_spoiled()) ++totals_.num_preemptions;
  ReleaseSlot(sequence);
  sequence->Preempt();
}

void Scheduler::RequeuePreempted() {
  size_t num_kept = 0;
  for (std::unique_ptr<Sequence>& sequence : running_) {
    if (sequence->state() == SequenceState::kWaiting) {
      waiting_.Push(std::move(sequence));
    } else {
      running_[num_kept++] = std::move(sequence);
    }
  }
  running_.resize(num_kept);
}

bool Scheduler::PreemptFor(const Sequence& sequence) {
  if (num_leaving_ > 0) return false;  // its blocks are on their way
  for (auto it = running_.rbegin(); it != running_.rend() && it->get() != &sequence; ++it) {
    Sequence* victim = it->get();
    // Those that hold no block would give none.
    if (victim->state() != SequenceState::kRunning || victim->blocks().ids().empty()) continue;
    if (victim->last_step() <= last_finished_step_) {
      Preempt(victim);
      return true;
    }
    Leave(victim);
    return false;
  }
  return false;
}

void Scheduler::Leave(Sequence* sequence) {
  if (sequence->is_leaving()) return;
  sequence->set_leaving();
  ++num_leaving_;
}

int32_t Scheduler::ReserveBlocks(Sequence* sequence, int32_t end) {
  const auto num_wanted = static_cast<int32_t>(kv_.NumMissing(*sequence, end));
  if (num_wanted == 0) return end;
  while (kv_.pool().num_available() < num_wanted && PreemptFor(*sequence)) {
  }
  const int32_t num_taken = std::min(num_wanted, kv_.pool().num_available());
  blocks_are_short_ |= num_taken < num_wanted;
  const size_t num_before = sequence->blocks().ids().size();
  kv_.Append(num_taken, sequence);
  builder_.AppendBlocks(*sequence, num_before);
  return std::min(end, static_cast<int32_t>(sequence->blocks().ids().size()) * kv_.block_size());
}

// ---- The next step ----

bool Scheduler::Schedule(absl::Time now, StepInput* input, std::vector<EngineEvent>* events) {
  builder_.Begin(last_submitted_step_ + 1, now, input);
  Admit({now, events});
  blocks_are_short_ = false;
  if (Sequence* suspect = FirstSuspect(); suspect != nullptr) {
    builder_.AddVisionJobs({&suspect, 1}, feature_level_, /*alone=*/true);
    AddSpan(suspect);
  } else {
    AddSpans(/*in_decode=*/true);
    if (!input->spans.empty()) builder_.LimitTime(step_time_limit_);
    schedulable_.clear();
    for (const auto& sequence : running_) {
      if (IsSchedulable(*sequence)) schedulable_.push_back(sequence.get());
    }
    builder_.AddVisionJobs(schedulable_, feature_level_, /*alone=*/false);
    AddSpans(/*in_decode=*/false);
  }
  RequeuePreempted();
  input->retired_slots.swap(pending_retired_slots_);
  input->released_visuals.swap(pending_released_visuals_);
  input->evicted_images.insert(
      input->evicted_images.end(), pending_evicted_images_.begin(), pending_evicted_images_.end());
  if (input->empty() && !AwaitsJobs()) return false;
  pending_evicted_images_.clear();
  ++last_submitted_step_;
  return true;
}

Sequence* Scheduler::FirstSuspect() const {
  const auto it = std::find_if(running_.begin(), running_.end(), [](const auto& sequence) {
    return sequence->is_suspect() && IsSchedulable(*sequence);
  });
  return it == running_.end() ? nullptr : it->get();
}

bool Scheduler::IsSchedulable(const Sequence& sequence) {
  return sequence.state() == SequenceState::kRunning && !sequence.is_leaving();
}

void Scheduler::AddSpans(bool in_decode) {
  // A decode that was served has nothing left to submit, and cannot be served twice.
  for (const auto& sequence : running_) {
    if (sequence->in_decode() == in_decode) AddSpan(sequence.get());
  }
}

void Scheduler::AddSpan(Sequence* sequence) {
  if (!IsSchedulable(*sequence)) return;
  const int32_t end = ReserveBlocks(sequence, builder_.SpanEnd(*sequence));
  if (end > sequence->next_position()) builder_.AddSpan(sequence, end);
}

void Scheduler::Admit(const Turn& turn) {
  const auto may_start = [this](const Sequence& sequence) { return MayStart(sequence); };
  const auto is_late = [&](const Sequence& sequence) { return IsLate(sequence, turn.now); };
  while (!waiting_.empty() && !free_slots_.empty() && num_leaving_ == 0) {
    if (blocks_are_short_ && !running_.empty()) return;
    Sequence* next = waiting_.Next(turn.now, may_start, is_late);
    if (next == nullptr) return;
    if (RefuseIfHopeless(next, turn)) continue;
    const Sequence* source = FindForkSource(*next);
    std::optional<BlockCopy> copy;
    if (!TakeBlocks(source, next, &copy)) return;
    std::unique_ptr<Sequence> sequence = waiting_.Remove(next->sequence_key());
    expiries_.erase({ExpiryOf(*next), next->sequence_key()});
    next->MoveTo(SequenceState::kRunning);
    const absl::Time expiry = ExpiryOf(*next);
    if (expiry != absl::InfiniteFuture()) expiries_.emplace(expiry, next->sequence_key());
    next->set_slot(free_slots_.back());
    free_slots_.pop_back();
    slot_owner_[next->slot()] = next;
    SkipKnownImages(source, next, turn);
    if (copy.has_value()) builder_.AddCopy(next, *copy);
    const auto place = std::find_if(running_.begin(), running_.end(), [&](const auto& other) {
      return IsMoreUrgent(*next, *other);
    });
    running_.insert(place, std::move(sequence));
  }
}

bool Scheduler::MayStart(const Sequence& sequence) const {
  if (sequence.sequence_idx() == 0) return true;
  const auto first = live_.find({sequence.key(), 0});
  return first == live_.end() || first->second->num_generated_tokens() > 0;
}

absl::Duration Scheduler::TimeUntilToken(const Sequence& sequence, double n) const {
  if (predictor_ == nullptr || !predictor_->is_ready()) return absl::ZeroDuration();
  const bool has_caches = options_.vision_cache_memory_bytes > 0 || options_.enable_prefix_caching;
  const size_t num_images = has_caches ? 0 : sequence.request().images.size();
  return predictor_->NthToken(n,
                              {.num_tokens = sequence.num_prompt_tokens(),
                               .num_images = static_cast<int64_t>(num_images),
                               .num_decoding = num_running(),
                               .max_step_tokens = options_.max_num_batched_tokens,
                               .max_step_images = options_.max_images_per_step});
}

bool Scheduler::IsLate(const Sequence& sequence, absl::Time now) const {
  const Request& request = sequence.request();
  const bool has_begun = sequence.was_admitted() || sequence.sequence_idx() > 0;
  if (request.deadline == absl::InfiniteFuture() || has_begun) return false;
  const double length = std::min<double>(totals_.longest_completion_tokens, request.max_tokens);
  return now + TimeUntilToken(sequence, length) > request.deadline;
}

bool Scheduler::RefuseIfHopeless(Sequence* sequence, const Turn& turn) {
  if (!IsLate(*sequence, turn.now)) return false;
  const absl::Duration predicted = TimeUntilToken(*sequence, 1);
  const absl::Duration left = sequence->request().deadline - turn.now;
  if (predicted <= left) return false;
  FinishSequence(sequence, {.status = DeadlineUnreachable(predicted, left)}, turn);
  return true;
}

int64_t Scheduler::NumPromisedBlocks() const {
  // One more for each that runs: it shall not be preempted for a newcomer's sake at once.
  auto count = static_cast<int64_t>(running_.size());
  for (const auto& sequence : running_) {
    if (sequence->request().kind == RequestKind::kRoute) continue;
    count += kv_.NumMissing(*sequence, sequence->num_tokens());
  }
  return count;
}

bool Scheduler::TakeBlocks(const Sequence* source,
                           Sequence* sequence,
                           std::optional<BlockCopy>* copy) {
  if (sequence->request().kind == RequestKind::kRoute) return true;
  if (source == nullptr) return kv_.Start(sequence, NumPromisedBlocks());
  return kv_.Fork(*source, sequence, NumPromisedBlocks(), copy);
}

const Sequence* Scheduler::FindForkSource(const Sequence& sequence) const {
  if (sequence.request().num_sequences == 1) return nullptr;
  for (int32_t i = 0; i < sequence.request().num_sequences; ++i) {
    const auto it = live_.find({sequence.key(), i});
    if (it == live_.end() || it->second == &sequence) continue;
    if (KvCacheManager::CanFork(*it->second, sequence)) return it->second;
  }
  return nullptr;
}

void Scheduler::SkipKnownImages(const Sequence* source, Sequence* sequence, const Turn& turn) {
  const std::vector<PlacedImage>& images = sequence->request().images;
  int32_t last_block = -1;
  size_t nth_in_block = 0;
  for (size_t i = 0; i < images.size(); ++i) {
    const int32_t end = images[i].position + images[i].num_tokens;
    if (end > sequence->num_computed_tokens()) return;
    const int32_t block = (end - 1) / kv_.block_size();
    nth_in_block = block == last_block ? nth_in_block + 1 : 0;
    last_block = block;
    VisualProgress& visual = sequence->visuals()[i];
    visual.state = VisualState::kConsumed;
    visual.weights = source != nullptr ? source->visuals()[i].weights
                                       : kv_.routing(sequence->blocks().ids()[block], nth_in_block);
    visual.cache_level = CacheLevel::kKv;
    const bool wants_bound =
        !sequence->request().exact_text_ids.empty() && IsToBeReported(*sequence, i);
    if (wants_bound && vision_.state(images[i].image.hash) == VisionCacheIndex::State::kReady) {
      builder_.AddBoundJob(sequence, static_cast<int32_t>(i));
    } else {
      ReportRouting(sequence, static_cast<int32_t>(i), std::nullopt, turn);
    }
  }
}

bool Scheduler::IsToBeReported(const Sequence& sequence, size_t image_idx) {
  const VisualProgress& visual = sequence.visuals()[image_idx];
  // Once for each image of a request, however often it is computed.
  return !visual.reported && !visual.weights.empty() && sequence.sequence_idx() == 0;
}

void Scheduler::ReportRouting(Sequence* sequence,
                              int32_t image_idx,
                              std::optional<float> error_bound,
                              const Turn& turn) {
  VisualProgress& visual = sequence->visuals()[image_idx];
  visual.awaits_bound = false;
  if (!IsToBeReported(*sequence, image_idx)) return;
  visual.reported = true;
  turn.events->emplace_back(
      RoutingEvent{sequence->key(), image_idx, visual.weights, visual.cache_level, error_bound});
}

bool Scheduler::AwaitsJobs() const {
  if (num_steps_in_flight() > 0) return false;
  if (vision_.num_encoding() > static_cast<int32_t>(vision_.unsubmitted().size())) return true;
  return std::any_of(running_.begin(), running_.end(), [](const auto& sequence) {
    return std::any_of(sequence->visuals().begin(),
                       sequence->visuals().end(),
                       [](const VisualProgress& v) { return v.state == VisualState::kRouting; });
  });
}

// ---- Invariants ----

absl::Status Scheduler::CheckIntegrity() const {
  std::vector<const Sequence*> holders;
  int32_t num_leaving = 0;
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
      holders.push_back(sequence.get());
      if (sequence->is_leaving() && state == SequenceState::kRunning) ++num_leaving;
    }
  }
  RETURN_IF_ERROR(kv_.CheckIntegrity(holders));
  if (const size_t num_slots = free_slots_.size() + holders.size();
      num_slots != slot_owner_.size()) {
    return absl::InternalError(absl::StrCat(num_slots, " of ", slot_owner_.size(), " slots"));
  }
  if (num_leaving != num_leaving_) {
    return absl::InternalError(absl::StrCat(num_leaving, " leave, not ", num_leaving_));
  }
  if (live_.size() != running_.size() + static_cast<size_t>(waiting_.size())) {
    return absl::InternalError(absl::StrCat(live_.size(), " live sequences"));
  }
  for (const auto& [expiry, key] : expiries_) {
    const auto it = live_.find(key);
    if (it == live_.end() || ExpiryOf(*it->second) != expiry) {
      return absl::InternalError(absl::StrCat("stale expiry of request ", key.first));
    }
  }
  if (live_.empty() && retiring_.empty() && vision_.num_used() > 0) {
    return absl::InternalError(absl::StrCat(vision_.num_used(), " images of nobody"));
  }
  return absl::OkStatus();
}

}  // namespace parrot
