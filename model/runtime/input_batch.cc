#include "model/runtime/input_batch.h"

#include <algorithm>

#include "base/status_macros.h"

namespace parrot {

void InputBatch::Clear() {
  ids.clear();
  visuals.clear();
  spans.clear();
  slots.clear();
  for (LogitsRows* wanted : {&draws, &scores}) {
    wanted->rows.clear();
    wanted->result_index.clear();
  }
}

absl::Status InputBatch::AddVisuals(const StepInput& input,
                                    const Span& span,
                                    const SlotState& slot,
                                    std::span<const TokenId> span_ids) {
  const int32_t first_row = num_rows();
  int64_t num_visual = 0;
  std::vector<VisualRows> found;
  for (const VisualSpan& visual : input.visual_spans) {
    if (visual.slot != span.slot) continue;
    const int32_t offset = visual.start_position - span.start_position;
    if (offset < 0 || offset >= span.num_tokens) continue;
    const auto it = slot.visuals.find(visual.image_idx);
    if (it == slot.visuals.end() || visual.num_tokens < 1 || visual.first_row < 0 ||
        visual.first_row + visual.num_tokens > it->second.size(0) ||
        offset + visual.num_tokens > span.num_tokens) {
      return MalformedStep("a span names visual tokens that are not there", visual.image_idx);
    }
    for (const TokenId id : span_ids.subspan(offset, visual.num_tokens)) {
      if (id != kVisualToken) return MalformedStep("a visual position holds a text token", id);
    }
    num_visual += visual.num_tokens;
    found.push_back({.first_row = first_row + offset,
                     .visual = it->second.narrow(0, visual.first_row, visual.num_tokens)});
  }
  if (num_visual != std::count(span_ids.begin(), span_ids.end(), kVisualToken)) {
    return MalformedStep("a span's visual positions are not all covered", num_visual);
  }
  std::sort(found.begin(), found.end(), [](const VisualRows& a, const VisualRows& b) {
    return a.first_row < b.first_row;
  });
  visuals.insert(visuals.end(), found.begin(), found.end());
  return absl::OkStatus();
}

absl::Status InputBatch::Add(const StepInput& input,
                             int32_t span_idx,
                             const SlotState& slot,
                             int32_t block_size,
                             int32_t vocab_rows) {
  const Span& span = input.spans[span_idx];
  if (!slot.started) return MalformedStep("a span of a slot that has not started", span.slot);
  const int64_t end = int64_t{span.start_position} + span.num_tokens;
  if (span.num_tokens < 1 || span.start_position < 0 ||
      end > static_cast<int64_t>(slot.blocks.size()) * block_size) {
    return MalformedStep("a span outside its blocks", end);
  }
  std::span<const TokenId> span_ids(&slot.last_sampled, 1);
  if (span.source == TokenSource::kSampledOnDevice) {
    if (span.num_tokens != 1) return MalformedStep("a sampled span has one token", span.num_tokens);
  } else {
    if (span.token_offset < 0 || int64_t{span.token_offset} + span.num_tokens >
                                     static_cast<int64_t>(input.token_ids.size())) {
      return MalformedStep("a span's ids are not in the step", span.token_offset);
    }
    span_ids = std::span(input.token_ids).subspan(span.token_offset, span.num_tokens);
  }
  for (const TokenId id : span_ids) {
    if (id != kVisualToken && (id < 0 || id >= vocab_rows)) {
      return MalformedStep("a token id outside the vocabulary", id);
    }
  }
  for (const LogitsRow& row : input.logits_rows) {
    if (row.span_idx == span_idx && (row.row < 0 || row.row >= span.num_tokens)) {
      return MalformedStep("logits of a row outside its span", row.row);
    }
  }
  RETURN_IF_ERROR(AddVisuals(input, span, slot, span_ids));
  const int32_t first_row = num_rows();
  for (size_t i = 0; i < input.logits_rows.size(); ++i) {
    if (input.logits_rows[i].span_idx != span_idx) continue;
    LogitsRows& wanted = input.logits_rows[i].use == LogitsUse::kSample ? draws : scores;
    wanted.rows.push_back(first_row + input.logits_rows[i].row);
    wanted.result_index.push_back(static_cast<int32_t>(i));
  }
  spans.push_back({.first_row = first_row,
                   .num_tokens = span.num_tokens,
                   .start_position = span.start_position,
                   .blocks = slot.blocks});
  slots.push_back(span.slot);
  ids.insert(ids.end(), span_ids.begin(), span_ids.end());
  return absl::OkStatus();
}

}  // namespace parrot
