// What attention needs besides queries, keys and values: where sequences begin, and where the keys
// and values of earlier positions are.
//
// A context is made once by its backend and planned once per step from host integers; every layer
// of the step then uses the same plan. Two kinds: *dense* (whole sequences lie side by side in the
// rows of the call: the vision tower, the trainer's packed batches, oracles in tests) and *paged*
// (rows are spans of longer sequences whose keys and values live in a KvStore). Nothing here
// synchronises with the device. Confined to the thread that runs the step.
#ifndef PARROT_MODEL_BACKEND_ATTENTION_CONTEXT_H_
#define PARROT_MODEL_BACKEND_ATTENTION_CONTEXT_H_

#include <cstdint>
#include <span>

#include "model/api/token.h"

namespace parrot {

// Planned by Backend::PlanDense or PlanPaged; used by Backend::Attend.
class AttentionContext {
 public:
  virtual ~AttentionContext() = default;
};

// Whole sequences: sequence i is the rows [cu_seqlens[i], cu_seqlens[i + 1]) of the call, at
// positions 0, 1, 2, ...
struct DenseSequences {
  std::span<const int32_t> cu_seqlens;  // [num_sequences + 1], host; starts with 0
  bool causal = true;                   // false: each row sees its whole sequence
};

// Rows [first_row, +num_tokens) of the call are positions [start_position, +num_tokens) of one
// sequence. Position p lives in block blocks[p / block_size], offset p % block_size; blocks cover
// at least start_position + num_tokens positions. Always causal.
struct PagedSpan {
  int32_t first_row = 0;
  int32_t num_tokens = 0;
  int32_t start_position = 0;
  std::span<const BlockId> blocks;  // host; read during PlanPaged only
};

struct KvStoreSpec {
  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;  // of this rank
  int32_t head_dim = 0;
  int32_t num_blocks = 0;
  int32_t block_size = 0;  // tokens
};

// Keys and values of all layers in the layout that the backend's kernels like. Owned by the
// runtime; written by Attend, confined to the thread that runs the steps.
class KvStore {
 public:
  virtual ~KvStore() = default;
  // Copies all layers of one block (copy-on-write). Ordered with the operations around it.
  virtual void CopyBlock(BlockId source, BlockId destination) = 0;
};

}  // namespace parrot

#endif  // PARROT_MODEL_BACKEND_ATTENTION_CONTEXT_H_
