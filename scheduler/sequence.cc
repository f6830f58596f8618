#include "scheduler/sequence.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace parrot {

const char* SequenceStateName(SequenceState state) {
  switch (state) {
    case SequenceState::kWaiting:
      return "waiting";
    case SequenceState::kRunning:
      return "running";
    case SequenceState::kRetiring:
      return "retiring";
    case SequenceState::kReleased:
      return "released";
  }
  return "unknown";
}

Sequence::Sequence(std::shared_ptr<const Request> request, int32_t sequence_idx, absl::Time now)
    : request_(std::move(request)),
      sequence_idx_(sequence_idx),
      queued_at_(now),
      num_prompt_tokens_(request_->num_prompt_tokens()),
      visuals_(request_->images.size()) {}

bool Sequence::CanMove(SequenceState from, SequenceState to) {
  switch (from) {
    case SequenceState::kWaiting:
      return to == SequenceState::kRunning || to == SequenceState::kReleased;
    case SequenceState::kRunning:
      return to == SequenceState::kRetiring || to == SequenceState::kWaiting;
    case SequenceState::kRetiring:
      return to == SequenceState::kReleased;
    case SequenceState::kReleased:
      return false;
  }
  return false;
}

void Sequence::MoveTo(SequenceState state) {
  PARROT_CHECK(CanMove(state_, state))
      << SequenceStateName(state_) << " to " << SequenceStateName(state);
  state_ = state;
  if (state != SequenceState::kRunning) return;
  was_admitted_ = true;
  if (request_->kind == RequestKind::kGenerate) generated_.reserve(request_->max_tokens);
}

int64_t Sequence::max_positions() const {
  if (request_->kind == RequestKind::kRoute) return 0;
  return int64_t{num_prompt_tokens_} + request_->max_tokens - 1;
}

void Sequence::CopyTokens(int32_t begin, int32_t count, std::vector<TokenId>* ids) const {
  const int32_t end = begin + count;
  PARROT_CHECK(begin >= 0 && count >= 0 && end <= num_tokens())
      << "[" << begin << ", " << end << ") of " << num_tokens();
  const int32_t num_from_prompt = std::clamp(num_prompt_tokens_ - begin, 0, count);
  const auto prompt = request_->token_ids.begin() + begin;
  if (num_from_prompt > 0) ids->insert(ids->end(), prompt, prompt + num_from_prompt);
  if (num_from_prompt == count) return;
  const auto first = generated_.begin() + (begin + num_from_prompt - num_prompt_tokens_);
  ids->insert(ids->end(), first, first + (count - num_from_prompt));
}

void Sequence::SubmitTokens(int32_t count, bool samples) {
  PARROT_CHECK(count > 0 && next_position() + count <= num_device_tokens())
      << count << " at " << next_position() << " of " << num_device_tokens();
  num_inflight_tokens_ += count;
  if (samples) ++num_inflight_samples_;
}

void Sequence::CommitTokens(int32_t count) {
  PARROT_CHECK(count > 0 && count <= num_inflight_tokens_)
      << count << " of " << num_inflight_tokens_ << " in flight";
  num_inflight_tokens_ -= count;
  num_computed_tokens_ += count;
}

void Sequence::AppendSample(TokenId token) {
  PARROT_CHECK(num_inflight_samples_ > 0);
  --num_inflight_samples_;
  generated_.push_back(token);
}

void Sequence::TakeCachedTokens(int32_t count) {
  PARROT_CHECK(next_position() == 0 && count < num_tokens()) << count << " of " << num_tokens();
  num_computed_tokens_ = count;
  if (!was_admitted_) num_cached_tokens_ = std::min(count, num_prompt_tokens_);
}

void Sequence::Preempt() {
  if (is_spoiled_) num_inflight_tokens_ = num_inflight_samples_ = 0;  // lost
  PARROT_CHECK(num_inflight_tokens_ == 0 && num_inflight_samples_ == 0 && blocks_.ids().empty());
  MoveTo(SequenceState::kWaiting);
  num_computed_tokens_ = 0;
  slot_ = -1;
  started_ = false;
  is_leaving_ = false;
  is_spoiled_ = false;
  for (VisualProgress& visual : visuals_) {
    visual.state = VisualState::kAbsent;
    visual.awaits_bound = false;
  }
}

int32_t Sequence::visual_limit() const {
  for (size_t i = 0; i < visuals_.size(); ++i) {
    const PlacedImage& image = request_->images[i];
    if (visuals_[i].state == VisualState::kReady || visuals_[i].state == VisualState::kConsumed) {
      continue;
    }
    return image.position;
  }
  return num_prompt_tokens_;
}

bool Sequence::all_visuals_routed() const {
  return std::all_of(visuals_.begin(), visuals_.end(), [](const VisualProgress& visual) {
    return visual.state == VisualState::kReady || visual.state == VisualState::kConsumed;
  });
}

bool Sequence::IsEncoding(const ImageHash& image) const {
  for (size_t i = 0; i < visuals_.size(); ++i) {
    if (visuals_[i].state == VisualState::kEncoding && request_->images[i].image.hash == image) {
      return true;
    }
  }
  return false;
}

bool Sequence::NeedsFeatures(const ImageHash& image) const {
  for (size_t i = 0; i < visuals_.size(); ++i) {
    const bool is_open =
        visuals_[i].state == VisualState::kAbsent || visuals_[i].state == VisualState::kEncoding;
    const PlacedImage& placed = request_->images[i];
    if (is_open && placed.routing != RoutingSource::kZeros && placed.image.hash == image) {
      return true;
    }
  }
  return false;
}

void Sequence::MarkFirstStep(absl::Time now) { first_step_at_ = std::min(first_step_at_, now); }

void Sequence::MarkToken(absl::Time now) {
  first_token_at_ = std::min(first_token_at_, now);
  last_token_at_ = now;
}

RequestTimes Sequence::Times(absl::Time now) const {
  RequestTimes times;
  const absl::Time first_step = std::min(first_step_at_, now);
  times.queue = std::max(first_step - request_->arrival, absl::ZeroDuration());
  const absl::Time first_token = std::min(first_token_at_, now);
  times.prefill = first_token - first_step;
  if (last_token_at_ > first_token) times.decode = last_token_at_ - first_token;
  times.stages = stages_;
  return times;
}

}  // namespace parrot
