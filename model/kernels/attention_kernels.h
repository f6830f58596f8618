// One tile of attention, one version per instruction set. Private to the folder. Thread-safe.
//
// A tile is some rows of a span and one key head with the `group` query heads that share it: tile
// row r is row first_row + r / group of the span, query head kv_head * group + r % group. A state
// is what the softmax of a tile row has come to over some splits: [0] the sum of exponentials
// (while a split is running, one per lane), [kMaximum] their maximum, [kSums, + value_lanes) the
// weighted sum of values.
#ifndef PARROT_MODEL_KERNELS_ATTENTION_KERNELS_H_
#define PARROT_MODEL_KERNELS_ATTENTION_KERNELS_H_

#include <cstdint>

#include "model/kernels/attention.h"

namespace parrot::kernels {

// Rows that go through the keys together, and how many keys at a time.
inline constexpr int kGroupRows = 12;
inline constexpr int kKeyRun = 32;
inline constexpr int kMaximum = 16;
inline constexpr int kSums = 32;

// What all tiles of a call share.
struct AttentionShape {
  explicit AttentionShape(const AttentionCall& call);

  int64_t head_dim, key_lanes, value_lanes;
  int64_t block_size, blocks_per_split;
  int64_t group;  // query heads of a key head
  int64_t values_offset, scales_offset, head_bytes, block_bytes;
  KvFormat format;
  bool causal;
  float query_scale;
  const std::byte* store;
  const float* query;
  int64_t query_stride;
  float* out;
  int64_t out_stride;

  int64_t state_size() const { return kSums + value_lanes; }  // floats
  // Floats that a thread needs for a tile of `rows` tile rows.
  int64_t scratch_size(int64_t rows) const;
};

struct AttentionTile {
  AttentionSpan span;
  int32_t kv_head = 0;
  int32_t first_row = 0;  // of the span
  int32_t num_rows = 0;
  int32_t first_split = 0;
  int32_t end_split = 0;
};

struct AttentionKernels {
  // The states of the tile over its splits, [num_rows * group][state_size].
  void (*attend)(const AttentionShape& shape,
                 const AttentionTile& tile,
                 float* states,
                 float* scratch);
  // states = states followed by `later` ones.
  void (*merge)(const AttentionShape& shape, int64_t rows, const float* later, float* states);
  // Writes the tile's part of `out`.
  void (*finish)(const AttentionShape& shape, const AttentionTile& tile, const float* states);
};

const AttentionKernels& AttentionKernelsOf(Isa isa);

// One per instruction set: each is defined in the source with its flags.
extern const AttentionKernels kAttentionAvx2, kAttentionAvx512;
extern const AttentionKernels kAttentionEmulated8, kAttentionEmulated16;

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_ATTENTION_KERNELS_H_
