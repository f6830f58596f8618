#include "scheduler/step_builder.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace parrot {

void StepBuilder::Begin(uint64_t step_id, absl::Time now, StepInput* input) {
  input->Clear();
  input->step_id = step_id;
  input_ = input;
  now_ = now;
  num_tokens_left_ = budget_.max_tokens;
  num_images_left_ = budget_.max_images;
  price_ = {};
  seconds_left_ = std::numeric_limits<double>::infinity();
  is_due_ = false;
}

void StepBuilder::Touch(Sequence* sequence) {
  sequence->set_last_step(input_->step_id);
  sequence->MarkFirstStep(now_);
  if (sequence->started()) return;
  SlotStart start;
  start.slot = sequence->slot();
  start.sampling = sequence->request().sampling;
  start.sampling.sequence_idx = sequence->sequence_idx();
  if (!sequence->request().forced_token_ids.empty()) {
    start.sampling.forced_token_ids =
        sequence->request().forced_token_ids[sequence->sequence_idx()];
  }
  start.block_ids = sequence->blocks().ids();
  sequence->CopyTokens(0, sequence->num_tokens(), &start.token_ids);
  start.num_prompt_tokens = sequence->num_prompt_tokens();
  input_->new_slots.push_back(std::move(start));
  sequence->set_started();
}

void StepBuilder::AddVisionJobs(std::span<Sequence* const> sequences,
                                CacheLevel level,
                                bool alone) {
  AddEncodeJobs(sequences, alone);
  const bool has_time = is_due_ || seconds_left_ > 0.0;
  if (has_time && (alone || vision_.unsubmitted().empty())) {
    for (Sequence* sequence : sequences) BeginEncodes(sequence);
    AddEncodeJobs(sequences, alone);
  }
  for (Sequence* sequence : sequences) AddRouteJobs(sequence, level);
}

void StepBuilder::BeginEncodes(Sequence* sequence) {
  for (size_t i = 0; i < sequence->visuals().size(); ++i) {
    const PlacedImage& placed = sequence->request().images[i];
    VisualProgress& visual = sequence->visuals()[i];
    if (visual.state != VisualState::kAbsent || placed.routing == RoutingSource::kZeros) continue;
    const ImageHash& hash = placed.image.hash;
    const VisionCacheIndex::State state = vision_.state(hash);
    if (state == VisionCacheIndex::State::kAbsent && num_images_left_ > 0) {
      --num_images_left_;
      vision_.BeginEncode(hash, input_->step_id, &input_->evicted_images);
      input_->encode_jobs.push_back({.image = placed.image});
      visual.state = VisualState::kEncoding;
    } else if (state == VisionCacheIndex::State::kEncoding &&
               vision_.encode_step(hash) == input_->step_id) {
      visual.state = VisualState::kEncoding;
    }
  }
}

void StepBuilder::AddEncodeJobs(std::span<Sequence* const> sequences, bool alone) {
  towers_.clear();
  int32_t num_layers = 0;
  for (const ImageHash& hash : vision_.unsubmitted()) {
    const bool is_needed =
        std::any_of(sequences.begin(), sequences.end(), [&](const Sequence* sequence) {
          return sequence->NeedsFeatures(hash);
        });
    if (alone && !is_needed) continue;
    towers_.push_back(hash);
    num_layers = std::max(num_layers, vision_.num_layers_left(hash));
  }
  if (towers_.empty()) return;
  const double layer_price =
      price_.image * static_cast<double>(towers_.size()) / budget_.num_vision_layers;
  if (seconds_left_ <= 0.0) {
    num_layers = 1;
  } else if (seconds_left_ < layer_price * num_layers) {
    num_layers = std::max(1, static_cast<int32_t>(seconds_left_ / layer_price));
  }
  seconds_left_ -= layer_price * num_layers;
  is_due_ = false;
  for (const ImageHash& hash : towers_) {
    const int32_t count = std::min(num_layers, vision_.num_layers_left(hash));
    const int32_t first = vision_.SubmitLayers(hash, count, input_->step_id);
    if (first > 0) {
      --num_images_left_;
      input_->encode_jobs.push_back({.image = {.hash = hash}});
    }
    const auto job = std::find_if(input_->encode_jobs.begin(),
                                  input_->encode_jobs.end(),
                                  [&](const EncodeJob& other) { return other.image.hash == hash; });
    job->first_layer = first;
    job->num_layers = count;
  }
}

void StepBuilder::AddRouteJobs(Sequence* sequence, CacheLevel level) {
  for (size_t i = 0; i < sequence->visuals().size(); ++i) {
    VisualProgress& visual = sequence->visuals()[i];
    if (visual.state != VisualState::kAbsent && visual.state != VisualState::kEncoding) continue;
    const PlacedImage& placed = sequence->request().images[i];
    CacheLevel cache_level = CacheLevel::kNone;
    if (placed.routing != RoutingSource::kZeros) {
      const ImageHash& hash = placed.image.hash;
      const bool is_ready = vision_.state(hash) == VisionCacheIndex::State::kReady;
      const bool is_own = visual.state == VisualState::kEncoding;
      if (!is_ready && !(is_own && vision_.EndsIn(hash, input_->step_id))) continue;
      if (!is_own) cache_level = level;
    }
    visual.cache_level = cache_level;
    AddRouteJob(sequence, static_cast<int32_t>(i));
  }
}

void StepBuilder::AddRouteJob(Sequence* sequence, int32_t image_idx) {
  PushRouteJob(sequence, image_idx);
  VisualProgress& visual = sequence->visuals()[image_idx];
  visual.state = VisualState::kRouting;
  visual.route_step = input_->step_id;
}

void StepBuilder::AddBoundJob(Sequence* sequence, int32_t image_idx) {
  PushRouteJob(sequence, image_idx).bound_only = true;
  VisualProgress& visual = sequence->visuals()[image_idx];
  visual.awaits_bound = true;
  visual.route_step = input_->step_id;
}

RouteJob& StepBuilder::PushRouteJob(Sequence* sequence, int32_t image_idx) {
  Touch(sequence);
  const PlacedImage& placed = sequence->request().images[image_idx];
  RouteJob job;
  job.slot = sequence->slot();
  job.image_idx = image_idx;
  job.image = placed.image.hash;
  job.source = placed.routing;
  if (placed.routing == RoutingSource::kText) job.text_ids = sequence->request().text_ids;
  if (placed.routing == RoutingSource::kWeights) job.weights = placed.weights;
  if (placed.routing != RoutingSource::kZeros) {
    job.exact_text_ids = sequence->request().exact_text_ids;
  }
  return input_->route_jobs.emplace_back(std::move(job));
}

void StepBuilder::LimitTime(const StepTimeLimit& limit) {
  price_ = limit.price;
  const int32_t num_taken = budget_.max_tokens - num_tokens_left_;
  seconds_left_ = absl::ToDoubleSeconds(limit.limit) - price_.step - price_.token * num_taken;
  is_due_ = true;
}

int64_t StepBuilder::NumTokensInTime() const {
  if (seconds_left_ >= price_.token * num_tokens_left_) return num_tokens_left_;
  const int64_t least = is_due_ ? 1 : 0;
  if (seconds_left_ <= 0.0) return least;  // whatever the price, which may be 0
  return std::max(static_cast<int64_t>(seconds_left_ / price_.token), least);
}

int32_t StepBuilder::SpanEnd(const Sequence& sequence) const {
  const int32_t begin = sequence.next_position();
  int64_t end = sequence.num_tokens();
  if (begin >= end) end = std::min(begin + 1, sequence.num_device_tokens());
  const int32_t visual_limit = sequence.visual_limit();
  if (visual_limit < sequence.num_prompt_tokens()) end = std::min<int64_t>(end, visual_limit);
  end = std::min(end, sequence.max_positions());
  end = std::min<int64_t>(end, begin + std::min<int64_t>(num_tokens_left_, NumTokensInTime()));
  return std::max(begin, static_cast<int32_t>(end));
}

void StepBuilder::AddCopy(Sequence* sequence, const BlockCopy& copy) {
  Touch(sequence);
  input_->block_copies.push_back(copy);
}

void StepBuilder::AppendBlocks(const Sequence& sequence, size_t first) {
  if (!sequence.started()) return;  // its SlotStart brings them
  const std::vector<BlockId>& blocks = sequence.blocks().ids();
  for (size_t i = first; i < blocks.size(); ++i) {
    input_->block_appends.push_back({.slot = sequence.slot(), .block = blocks[i]});
  }
}

void StepBuilder::AddSpan(Sequence* sequence, int32_t end) {
  const int32_t begin = sequence->next_position();
  const bool on_device = begin >= sequence->num_tokens();
  Touch(sequence);
  Span span;
  span.slot = sequence->slot();
  span.start_position = begin;
  span.num_tokens = end - begin;
  if (on_device) {
    span.source = TokenSource::kSampledOnDevice;
  } else {
    span.token_offset = static_cast<int32_t>(input_->token_ids.size());
    sequence->CopyTokens(begin, span.num_tokens, &input_->token_ids);
  }
  if (sequence->needs_prompt_logprobs()) AddScoreRows(*sequence, begin, end);
  const bool samples = end == sequence->num_device_tokens();
  if (samples) {
    LogitsRow row;
    row.span_idx = static_cast<int32_t>(input_->spans.size());
    row.row = span.num_tokens - 1;
    input_->logits_rows.push_back(row);
  }
  input_->spans.push_back(span);
  AddVisualSpans(*sequence, begin, end);
  sequence->SubmitTokens(span.num_tokens, samples);
  num_tokens_left_ -= span.num_tokens;
  seconds_left_ -= price_.token * span.num_tokens;
  is_due_ = false;
}

void StepBuilder::AddScoreRows(const Sequence& sequence, int32_t begin, int32_t end) {
  const int32_t last = std::min(end, sequence.num_prompt_tokens() - 1);
  for (int32_t p = std::max(begin + 1, sequence.next_scored_position()); p <= last; ++p) {
    if (sequence.token(p) == kVisualToken) continue;
    LogitsRow row;
    row.span_idx = static_cast<int32_t>(input_->spans.size());
    row.row = p - 1 - begin;
    row.use = LogitsUse::kScore;
    row.target = sequence.token(p);
    input_->logits_rows.push_back(row);
  }
}

void StepBuilder::AddVisualSpans(const Sequence& sequence, int32_t begin, int32_t end) {
  if (begin >= sequence.num_prompt_tokens()) return;
  for (size_t i = 0; i < sequence.visuals().size(); ++i) {
    const PlacedImage& placed = sequence.request().images[i];
    const int32_t first = std::max(begin, placed.position);
    const int32_t last = std::min(end, placed.position + placed.num_tokens);
    if (first >= last) continue;
    VisualSpan visual;
    visual.slot = sequence.slot();
    visual.image_idx = static_cast<int32_t>(i);
    visual.start_position = first;
    visual.first_row = first - placed.position;
    visual.num_tokens = last - first;
    input_->visual_spans.push_back(visual);
  }
}

}  // namespace parrot
