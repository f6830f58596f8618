// Attention over paged keys and values: rotary embedding, the store's layout, and the softmax.
//
// A block holds `block_size` positions of all heads of one layer. Per head: keys transposed,
// [head_dim][key_lanes], values as they are, [block_size][value_lanes], with block_size and
// head_dim rounded up to multiples of 16: scores of a block are vectors without sums across lanes,
// and every load is a whole vector. int8: scale = max |x| / 127, one per position and head for keys
// and for values, after the elements.
//
// One order. A row's keys are taken in runs of about 256 positions from the start of its sequence
// ("splits", whole blocks); within a split up to 32 keys at a time with a running maximum, then the
// splits in order. What a row gets depends on its own keys only: not on other rows, on how a prompt
// was cut into chunks, or on the threads. Memory that no position was written to is never weighed.
//
// Confined to the thread that owns the WorkerPool.
#ifndef PARROT_MODEL_KERNELS_ATTENTION_H_
#define PARROT_MODEL_KERNELS_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/kernels/aligned_buffer.h"
#include "model/kernels/isa.h"
#include "model/kernels/worker_pool.h"

namespace parrot::kernels {

enum class KvFormat { kFloat32, kBFloat16, kInt8 };

struct KvLayout {
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;  // any; rotary needs it even
  int32_t block_size = 0;
  KvFormat format = KvFormat::kFloat32;

  int64_t key_lanes() const { return (block_size + 15) / 16 * 16; }
  int64_t value_lanes() const { return (head_dim + 15) / 16 * 16; }
  // From the beginning of a head of a block, in bytes; multiples of 64.
  int64_t values_offset() const;
  int64_t scales_offset() const;  // [2][key_lanes] fp32, keys' then values'; int8 only
  int64_t head_bytes() const;
  int64_t block_bytes() const;  // of one layer
};

// Rows [first_row, + num_rows) are positions [start, + num_rows) of one sequence, whose block b is
// at store + blocks[b] * layout.block_bytes().
struct AttentionSpan {
  int32_t first_row = 0;
  int32_t num_rows = 0;
  int32_t start = 0;
  const int32_t* blocks = nullptr;
};

struct AttentionCall {
  KvLayout layout;
  int32_t num_heads = 0;  // a multiple of layout.num_kv_heads
  bool causal = true;     // false: every row sees all start + num_rows positions of its span
  std::byte* store = nullptr;
  std::span<const AttentionSpan> spans;
  // Row strides in floats: query[row * query_stride + head * head_dim + d].
  const float* query = nullptr;  // rotated already, not scaled; the kernel multiplies by
  int64_t query_stride = 0;      // 1 / sqrt(head_dim)
  float* out = nullptr;          // [row, heads * head_dim]
  int64_t out_stride = 0;
};

// cos and sin of positions [0, n): [n][head_dim / 2] each. angle(p, i) = p * theta^(-2i/d) in fp32,
// as the reference makes it.
struct RotaryTable {
  const float* cos = nullptr;
  const float* sin = nullptr;
};
struct RotaryValues {
  std::vector<float> cos, sin;
  RotaryTable table() const { return {.cos = cos.data(), .sin = sin.data()}; }
};
RotaryValues MakeRotaryValues(float theta, int32_t head_dim, int32_t num_positions);

struct KvWrite {
  KvLayout layout;
  std::byte* store = nullptr;
  std::span<const AttentionSpan> spans;
  int32_t num_heads = 0;
  // Rotated in place when `rotary` has tables: x * cos + rotate_half(x) * sin.
  float* query = nullptr;
  int64_t query_stride = 0;
  const float* key = nullptr;  // [row, kv_heads * head_dim], not rotated; stays as it is
  int64_t key_stride = 0;
  const float* value = nullptr;
  int64_t value_stride = 0;
  RotaryTable rotary;  // rows by position; empty: none
};

// Rotates queries, and rotates and stores keys and values of all spans' rows. Every instruction set
// rounds alike.
void RotateAndStore(Isa isa, WorkerPool& pool, const KvWrite& write);

// softmax(q k^T / sqrt(d)) v of all spans' rows. Grows `scratch`.
void Attend(Isa isa, WorkerPool& pool, const AttentionCall& call, AlignedBuffer& scratch);

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_ATTENTION_H_
