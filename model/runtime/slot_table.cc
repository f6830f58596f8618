#include "model/runtime/slot_table.h"

#include <string>
#include <utility>

#include "base/error_status.h"
#include "base/status_macros.h"

namespace parrot {

absl::Status MalformedStep(const char* what, int64_t value) {
  return ErrorStatus(absl::StatusCode::kInternal,
                     what,
                     {.reason = "MALFORMED_STEP", .value = std::to_string(value)});
}

void SlotState::SetToken(int32_t position, TokenId token) {
  if (position >= static_cast<int32_t>(tokens.size())) tokens.resize(position + 1, kVisualToken);
  tokens[position] = token;
}

SlotState* SlotTable::Find(SlotId slot) {
  return slot >= 0 && slot < static_cast<SlotId>(slots_.size()) ? &slots_[slot] : nullptr;
}

absl::Status SlotTable::Start(const SlotStart& start, const KvCache& cache) {
  SlotState* slot = Find(start.slot);
  if (slot == nullptr) return MalformedStep("a step starts a slot that does not exist", start.slot);
  if (start.adapter_id != 0) {
    return MalformedStep("a step names an adapter that is not loaded", start.adapter_id);
  }
  for (const BlockId block : start.block_ids) RETURN_IF_ERROR(cache.CheckBlock(block));
  slot->started = true;
  slot->sampling = start.sampling;
  slot->blocks = start.block_ids;
  slot->num_prompt_tokens = start.num_prompt_tokens;
  slot->last_sampled = -1;
  slot->tokens = start.token_ids;
  return absl::OkStatus();
}

absl::Status SlotTable::Apply(const StepInput& input, const KvCache& cache) {
  for (const SlotId id : input.retired_slots) {
    SlotState* slot = Find(id);
    if (slot == nullptr) return MalformedStep("a step retires a slot that does not exist", id);
    *slot = SlotState();
  }
  for (const auto& [id, image_idx] : input.released_visuals) {
    SlotState* slot = Find(id);
    if (slot == nullptr) return MalformedStep("a step releases images of no slot", id);
    slot->visuals.erase(image_idx);
  }
  for (const SlotStart& start : input.new_slots) RETURN_IF_ERROR(Start(start, cache));
  for (const BlockAppend& append : input.block_appends) {
    SlotState* slot = Find(append.slot);
    if (slot == nullptr || !slot->started) {
      return MalformedStep("a step appends a block to no sequence", append.slot);
    }
    RETURN_IF_ERROR(cache.CheckBlock(append.block));
    slot->blocks.push_back(append.block);
  }
  for (const SamplingChange& change : input.sampling_changes) {
    SlotState* slot = Find(change.slot);
    if (slot == nullptr || !slot->started) {
      return MalformedStep("a step changes the sampling of no sequence", change.slot);
    }
    slot->sampling = change.sampling;
  }
  return absl::OkStatus();
}

}  // namespace parrot
