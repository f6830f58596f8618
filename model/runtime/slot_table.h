// SlotTable: what the worker remembers of each running sequence between steps, by slot. Changed by
// StepInput alone. Confined to the worker's thread.
#ifndef PARROT_MODEL_RUNTIME_SLOT_TABLE_H_
#define PARROT_MODEL_RUNTIME_SLOT_TABLE_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "model/api/step.h"
#include "model/runtime/kv_cache.h"

namespace parrot {

struct SlotState {
  bool started = false;
  SamplingParams sampling;
  std::vector<BlockId> blocks;
  int32_t num_prompt_tokens = 0;
  TokenId last_sampled = -1;  // -1: nothing yet
  // What stands at each position, as far as the worker has seen it (penalties read it): from the
  // start, from host spans, and what was drawn. kVisualToken at visual positions.
  std::vector<TokenId> tokens;
  void SetToken(int32_t position, TokenId token);
  // Visual tokens V [tokens, H] by image; may be there before the slot starts.
  absl::flat_hash_map<int32_t, at::Tensor> visuals;
};

class SlotTable {
 public:
  explicit SlotTable(int32_t num_slots) : slots_(num_slots) {}

  // Retirements, releases, starts, appended blocks and new sampling rules of a step. INTERNAL
  // (reason MALFORMED_STEP) when it names a slot or block that does not exist; what came before
  // that is applied.
  absl::Status Apply(const StepInput& input, const KvCache& cache);

  // Null for a slot that does not exist.
  SlotState* Find(SlotId slot);

 private:
  absl::Status Start(const SlotStart& start, const KvCache& cache);

  std::vector<SlotState> slots_;
};

absl::Status MalformedStep(const char* what, int64_t value);

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_SLOT_TABLE_H_
