// InputBatch: some spans of a StepInput as the rows of one pass through the language model. Host
// side only; tensors are made when the pass runs.
//
// Spans are added one by one; row numbers count from the first span added. Example: spans of 1 and
// 40 tokens are rows 0 and 1..40.
#ifndef PARROT_MODEL_RUNTIME_INPUT_BATCH_H_
#define PARROT_MODEL_RUNTIME_INPUT_BATCH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "model/api/step.h"
#include "model/backend/backend.h"
#include "model/nn/parrot_model.h"
#include "model/runtime/slot_table.h"

namespace parrot {

struct InputBatch {
  std::vector<TokenId> ids;         // [rows]; kVisualToken under visual rows
  std::vector<VisualRows> visuals;  // in order of first_row
  std::vector<PagedSpan> spans;     // blocks point into the slots
  std::vector<SlotId> slots;        // of each span
  // Rows whose logits are wanted.
  struct LogitsRows {
    std::vector<int32_t> rows;          // of this batch
    std::vector<int32_t> result_index;  // of each: its place in StepInput::logits_rows
  };
  LogitsRows draws;   // LogitsUse::kSample
  LogitsRows scores;  // LogitsUse::kScore; perhaps as many as the batch has rows

  void Clear();
  int32_t num_rows() const { return static_cast<int32_t>(ids.size()); }

  // Appends span `span_idx` of `input`. INTERNAL (reason MALFORMED_STEP), and nothing is appended,
  // when it contradicts itself or the slot: unknown slot, ids out of range, too few blocks, visual
  // tokens that are not there.
  absl::Status Add(const StepInput& input,
                   int32_t span_idx,
                   const SlotState& slot,
                   int32_t block_size,
                   int32_t vocab_rows);

 private:
  absl::Status AddVisuals(const StepInput& input,
                          const Span& span,
                          const SlotState& slot,
                          std::span<const TokenId> span_ids);
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_INPUT_BATCH_H_
