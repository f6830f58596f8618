#include "scheduler/step_builder.h"

#include <algorithm>
#include <utility>

namespace parrot {

void StepBuilder::Begin(uint64_t step_id, absl::Time now, StepInput* input) {
  input->Clear();
  input->step_id = step_id;
  input_ = input;
  now_ = now;
  num_tokens_left_ = budget_.max_tokens;
  num_images_left_ = budget_.max_images;
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

void StepBuilder::AddVisionJobs(Sequence* sequence, CacheLevel level) {
  for (size_t i = 0; i < sequence->visuals().size(); ++i) {
    if (sequence->visuals()[i].state != VisualState::kAbsent) continue;
    const PlacedImage& placed = sequence->request().images[i];
    sequence->visuals()[i].cache_level = CacheLevel::kNone;
    if (placed.routing != RoutingSource::kZeros) {
      const ImageHash& hash = placed.image.hash;
      const VisionCacheIndex::State state = vision_.state(hash);
      if (state == VisionCacheIndex::State::kAbsent) {
        if (num_images_left_ == 0) continue;
        --num_images_left_;
        input_->encode_jobs.push_back({placed.image, 0, budget_.num_vision_layers});
        vision_.BeginEncode(hash, input_->step_id, &input_->evicted_images);
      } else if (state == VisionCacheIndex::State::kReady) {
        sequence->visuals()[i].cache_level = level;
      } else if (vision_.encode_step(hash) != input_->step_id) {
        continue;
      }
    }
    AddRouteJob(sequence, static_cast<int32_t>(i));
  }
}

void StepBuilder::AddRouteJob(Sequence* sequence, int32_t image_idx) {
  Touch(sequence);
  const PlacedImage& placed = sequence->request().images[image_idx];
  RouteJob job;
  job.slot = sequence->slot();
  job.image_idx = image_idx;
  job.image = placed.image.hash;
  job.source = placed.routing;
  if (placed.routing == RoutingSource::kText) job.text_ids = sequence->request().text_ids;
  if (placed.routing == RoutingSource::kWeights) job.weights = placed.weights;
  input_->route_jobs.push_back(std::move(job));
  VisualProgress& visual = sequence->visuals()[image_idx];
  visual.state = VisualState::kRouting;
  visual.route_step = input_->step_id;
}

void StepBuilder::LimitTokens(int32_t max_tokens) {
  const int32_t num_taken = budget_.max_tokens - num_tokens_left_;
  num_tokens_left_ = std::clamp(max_tokens - num_taken, 0, num_tokens_left_);
}

int32_t StepBuilder::SpanEnd(const Sequence& sequence) const {
  const int32_t begin = sequence.next_position();
  int64_t end = sequence.num_tokens();
  if (begin >= end) end = std::min(begin + 1, sequence.num_device_tokens());
  const int32_t visual_limit = sequence.visual_limit();
  if (visual_limit < sequence.num_prompt_tokens()) end = std::min<int64_t>(end, visual_limit);
  end = std::min(end, sequence.max_positions());
  end = std::min<int64_t>(end, int64_t{begin} + num_tokens_left_);
  return std::max(begin, static_cast<int32_t>(end));
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
