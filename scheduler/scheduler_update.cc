// The other half of Scheduler: what the result of a step means.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "scheduler/scheduler.h"
#include "scheduler/worker_failure.h"

namespace parrot {

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
    // First: what a failed sequence computed is worth nothing to others.
    for (const SlotFailure& failure : output->failed_slots) {
      Sequence* sequence = RunningIn(failure.slot);
      if (sequence == nullptr) continue;
      FinishSequence(sequence, {.status = ClientStatus(failure.status)}, turn);
    }
    CommitSpans(input, *output);
    AddVisionTimes(input, *output);
    TakeEncodes(*output, turn);
    TakeRoutes(output, turn);
    for (size_t i = 0; i < output->rows.size(); ++i) {
      const LogitsRow& asked = input.logits_rows[i];
      const Span& span = input.spans[asked.span_idx];
      Sequence* sequence = RunningIn(span.slot);
      if (sequence == nullptr) continue;
      if (asked.use == LogitsUse::kScore) {
        TakeScore(sequence, span.start_position + asked.row + 1, &output->rows[i], turn);
        continue;
      }
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
  std::vector<Sequence*> sequences;
  const auto add = [&](SlotId slot) {
    Sequence* sequence = RunningIn(slot);
    if (sequence == nullptr) return;
    if (std::find(sequences.begin(), sequences.end(), sequence) != sequences.end()) return;
    sequences.push_back(sequence);
  };
  for (const SlotStart& start : input.new_slots) add(start.slot);
  for (const RouteJob& job : input.route_jobs) add(job.slot);
  for (const Span& span : input.spans) add(span.slot);
  for (const auto& sequence : running_) {
    for (const EncodeJob& job : input.encode_jobs) {
      if (sequence->IsEncoding(job.image.hash)) add(sequence->slot());
    }
  }
  const Finish finish{.reason = FinishReason::kError, .status = ClientStatus(status)};
  const bool runs_again = sequences.size() > 1 && !absl::IsUnavailable(status);
  for (Sequence* sequence : sequences) {
    if (!runs_again) {
      FinishSequence(sequence, finish, turn);
      continue;
    }
    sequence->Spoil();
    Leave(sequence);
    ++totals_.num_retries;
  }
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
  if (sequence == nullptr || sequence->state() != SequenceState::kRunning ||
      sequence->is_spoiled()) {
    return nullptr;
  }
  return sequence;
}

void Scheduler::CommitSpans(const StepInput& input, const StepOutput& output) {
  for (const Span& span : input.spans) {
    Sequence* sequence = RunningIn(span.slot);
    if (sequence == nullptr) continue;
    const int32_t num_computed_before = sequence->num_computed_tokens();
    sequence->CommitTokens(span.num_tokens);
    sequence->Absolve();
    shares_.Charge(sequence->request().tenant, span.num_tokens);
    kv_.OfferPrefix(sequence, num_computed_before);
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

void Scheduler::AddVisionTimes(const StepInput& input, const StepOutput& output) {
  if (input.encode_jobs.empty() && output.encodes_done.empty() && output.routes_done.empty()) {
    return;
  }
  for (const auto& sequence : running_) {
    bool encoded = false;
    bool routed = false;
    for (size_t i = 0; i < sequence->visuals().size(); ++i) {
      const VisualState state = sequence->visuals()[i].state;
      if (state != VisualState::kRouting && state != VisualState::kEncoding) continue;
      const ImageHash& hash = sequence->request().images[i].image.hash;
      for (const EncodeJob& job : input.encode_jobs) encoded |= job.image.hash == hash;
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
    // Those for whom it was encoded fail; those that waited for it try again.
    const Finish finish{.reason = FinishReason::kError, .status = ClientStatus(done.status)};
    for (const auto& sequence : running_) {
      bool reads = false;
      for (size_t i = 0; i < sequence->visuals().size(); ++i) {
        const VisualState state = sequence->visuals()[i].state;
        reads |= (state == VisualState::kRouting || state == VisualState::kEncoding) &&
                 sequence->request().images[i].routing != RoutingSource::kZeros &&
                 sequence->request().images[i].image.hash == done.image;
      }
      if (reads && RunningIn(sequence->slot()) != nullptr) {
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
    if (visual.route_step > output->step_id) continue;
    if (visual.awaits_bound) {
      ReportRouting(sequence, done.image_idx, done.error_bound, turn);
      continue;
    }
    if (visual.state != VisualState::kRouting) continue;
    if (!done.status.ok()) {
      FinishSequence(sequence, {.status = ClientStatus(done.status)}, turn);
      continue;
    }
    sequence->Absolve();
    visual.state = VisualState::kReady;
    visual.weights = std::move(done.weights);
    ReportRouting(sequence, done.image_idx, done.error_bound, turn);
    if (sequence->request().images[done.image_idx].routing != RoutingSource::kZeros) {
      ++totals_.num_vision_queries;
      if (visual.cache_level != CacheLevel::kNone) ++totals_.num_vision_hits;
    }
    if (sequence->request().kind == RequestKind::kRoute && sequence->all_visuals_routed()) {
      FinishSequence(sequence, {.reason = FinishReason::kStop}, turn);
    }
  }
}

void Scheduler::TakeScore(Sequence* sequence, int32_t position, RowResult* row, const Turn& turn) {
  sequence->MarkScored(position);
  turn.events->emplace_back(
      PromptLogprobEvent{sequence->key(), position, row->token, row->logprob, std::move(row->top)});
}

void Scheduler::TakeRow(Sequence* sequence, RowResult* row, const Turn& turn) {
  const Request& request = sequence->request();
  // Routing comes before the first token, with its bound or without.
  for (size_t i = 0; i < sequence->visuals().size(); ++i) {
    if (!sequence->visuals()[i].awaits_bound) continue;
    ReportRouting(sequence, static_cast<int32_t>(i), std::nullopt, turn);
  }
  sequence->MarkToken(turn.now);
  const bool is_stop =
      std::binary_search(request.stop_token_ids.begin(), request.stop_token_ids.end(), row->token);
  if (is_stop && sequence->num_generated_tokens() >= request.min_tokens) {
    const Finish finish{
        .reason = FinishReason::kStop, .stop_token = row->token, .stop_logprob = row->logprob};
    FinishSequence(sequence, finish, turn);
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
  event.is_blocked = row->is_blocked;
  turn.events->emplace_back(std::move(event));
  if (sequence->num_generated_tokens() >= request.max_tokens) {
    FinishSequence(sequence, {.reason = FinishReason::kLength}, turn);
  }
}

}  // namespace parrot
