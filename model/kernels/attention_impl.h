// Attention over a vector struct V; see simd_emulated.h. Included by attention_*.cc only.
//
// Scores and weighted sums are the small products of attention_sums_impl.h, with keys and elements
// of the head as columns. They read keys and values as they are stored, unless those are needed
// several times: then they are widened to fp32 first.
#ifndef PARROT_MODEL_KERNELS_ATTENTION_IMPL_H_
#define PARROT_MODEL_KERNELS_ATTENTION_IMPL_H_

#include <cmath>
#include <cstdint>

#include "model/kernels/attention_kernels.h"
#include "model/kernels/attention_sums_impl.h"
#include "model/kernels/vector_math.h"

namespace parrot::kernels {

template <typename V>
struct AttentionKernel {
  using F = typename V::F;
  using Sums = AttentionSums<V>;
  using Stream = typename Sums::Stream;
  static constexpr int kLanes = V::kLanes;
  static_assert(kGroupRows % Sums::kProductRows == 0);

  // Up to kKeyRun keys of one head. Lanes from num_keys on are anything.
  template <typename Element>
  struct KeyRun {
    int64_t first_position;
    int64_t num_keys;  // that any row of the tile sees
    int64_t lanes;     // 16 or 32
    const Element* keys;
    int64_t key_stride;
    const Element* values;
    const float* key_scales;  // int8 only
    const float* value_scales;
    Stream stream;
  };

  // Thread's memory for one tile.
  struct Scratch {
    Scratch(const AttentionShape& shape, int64_t rows, float* memory)
        : queries(memory),
          keys(queries + (rows + kGroupRows - 1) / kGroupRows * kGroupRows * shape.value_lanes),
          values(keys + shape.value_lanes * kKeyRun),
          states(values + shape.value_lanes * kKeyRun) {}
    float* queries;  // [groups][head_dim][kGroupRows]
    float* keys;     // [head_dim][kKeyRun]
    float* values;   // [kKeyRun][value_lanes]
    float* states;   // of a later split
  };

  static void Attend(const AttentionShape& shape,
                     const AttentionTile& tile,
                     float* states,
                     float* memory) {
    const int64_t rows = tile.num_rows * shape.group;
    const Scratch scratch(shape, rows, memory);
    PackQueries(shape, tile, scratch.queries);
    AttendSplit(shape, tile, tile.first_split, scratch, states);
    for (int32_t split = tile.first_split + 1; split < tile.end_split; ++split) {
      AttendSplit(shape, tile, split, scratch, scratch.states);
      Merge(shape, rows, scratch.states, states);
    }
  }

  static void Merge(const AttentionShape& shape, int64_t rows, const float* later, float* states) {
    for (int64_t row = 0; row < rows; ++row) {
      const float* b = later + row * shape.state_size();
      float* a = states + row * shape.state_size();
      if (b[kMaximum] == -INFINITY) continue;  // saw nothing there
      const float maximum = b[kMaximum] > a[kMaximum] ? b[kMaximum] : a[kMaximum];
      const F factor_a = Exp<V>(V::Set(a[kMaximum] - maximum));
      const F factor_b = Exp<V>(V::Set(b[kMaximum] - maximum));
      a[kMaximum] = maximum;
      MergeVector(a, b, factor_a, factor_b);
      for (int64_t i = kSums; i < shape.state_size(); i += kLanes) {
        MergeVector(a + i, b + i, factor_a, factor_b);
      }
    }
  }

  static void Finish(const AttentionShape& shape, const AttentionTile& tile, const float* states) {
    for (int64_t row = 0; row < tile.num_rows * shape.group; ++row) {
      const float* state = states + row * shape.state_size();
      const F total = V::Set(state[0]);
      float* out = shape.out + RowOf(shape, tile, row) * shape.out_stride +
                   HeadOf(shape, tile, row) * shape.head_dim;
      for (int64_t d = 0; d < shape.head_dim; d += kLanes) {
        const F x = V::Div(V::Load(state + kSums + d), total);
        if (d + kLanes <= shape.head_dim) {
          V::Store(out + d, x);
        } else {
          V::StorePartial(out + d, x, static_cast<int>(shape.head_dim - d));
        }
      }
    }
  }

  static constexpr AttentionKernels kTable = {.attend = Attend, .merge = Merge, .finish = Finish};

 private:
  static int64_t RowOf(const AttentionShape& shape, const AttentionTile& tile, int64_t row) {
    return tile.span.first_row + tile.first_row + row / shape.group;
  }
  static int64_t HeadOf(const AttentionShape& shape, const AttentionTile& tile, int64_t row) {
    return tile.kv_head * shape.group + row % shape.group;
  }

  static int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }
  static const std::byte* HeadOfBlock(const AttentionShape& shape,
                                      const AttentionTile& tile,
                                      int64_t block) {
    return shape.store + tile.span.blocks[block] * shape.block_bytes +
           tile.kv_head * shape.head_bytes;
  }

  static void MergeVector(float* a, const float* b, F factor_a, F factor_b) {
    V::Store(a, V::Fma(V::Load(b), factor_b, V::Mul(V::Load(a), factor_a)));
  }

  static void PackQueries(const AttentionShape& shape, const AttentionTile& tile, float* packed) {
    const int64_t rows = tile.num_rows * shape.group;
    for (int64_t row = 0; row < rows; ++row) {
      const float* query = shape.query + RowOf(shape, tile, row) * shape.query_stride +
                           HeadOf(shape, tile, row) * shape.head_dim;
      float* out = packed + row / kGroupRows * kGroupRows * shape.head_dim + row % kGroupRows;
      for (int64_t d = 0; d < shape.head_dim; ++d) {
        out[d * kGroupRows] = query[d] * shape.query_scale;
      }
    }
  }

  // The states after the positions of one split.
  static void AttendSplit(const AttentionShape& shape,
                          const AttentionTile& tile,
                          int32_t split,
                          const Scratch& scratch,
                          float* states) {
    const int64_t rows = tile.num_rows * shape.group;
    for (int64_t row = 0; row < rows; ++row) {
      float* state = states + row * shape.state_size();
      for (int64_t i = 0; i < shape.state_size(); i += kLanes) V::Store(state + i, V::Zero());
      state[kMaximum] = -INFINITY;
    }
    const int64_t end = VisibleTo(shape, tile, rows - 1);
    const int64_t end_block = Least((split + 1) * shape.blocks_per_split,
                                    (end + shape.block_size - 1) / shape.block_size);
    for (int64_t b = split * shape.blocks_per_split; b < end_block; ++b) {
      switch (shape.format) {
        case KvFormat::kFloat32:
          AttendBlock<float>(shape, tile, b, end_block, scratch, states);
          break;
        case KvFormat::kBFloat16:
          AttendBlock<uint16_t>(shape, tile, b, end_block, scratch, states);
          break;
        case KvFormat::kInt8:
          AttendBlock<int8_t>(shape, tile, b, end_block, scratch, states);
          break;
      }
    }
    for (int64_t row = 0; row < rows; ++row) {
      float* state = states + row * shape.state_size();
      state[0] = V::Sum(V::Load(state));
    }
  }

  // Positions [0, n) that a tile row sees.
  static int64_t VisibleTo(const AttentionShape& shape, const AttentionTile& tile, int64_t row) {
    const int64_t seen = shape.causal ? tile.first_row + row / shape.group + 1 : tile.span.num_rows;
    return tile.span.start + seen;
  }

  template <typename Element>
  static void AttendBlock(const AttentionShape& shape,
                          const AttentionTile& tile,
                          int64_t block,
                          int64_t end_block,
                          const Scratch& scratch,
                          float* states) {
    const int64_t rows = tile.num_rows * shape.group;
    const int64_t position = block * shape.block_size;
    const int64_t keys = Least(shape.block_size, VisibleTo(shape, tile, rows - 1) - position);
    const std::byte* head = HeadOfBlock(shape, tile, block);
    const auto* scales = reinterpret_cast<const float*>(head + shape.scales_offset);
    for (int64_t lane = 0; lane < keys; lane += kKeyRun) {
      const KeyRun<Element> run = {
          .first_position = position + lane,
          .num_keys = Least(kKeyRun, keys - lane),
          .lanes = Least(kKeyRun, shape.key_lanes - lane),
          .keys = reinterpret_cast<const Element*>(head) + lane,
          .key_stride = shape.key_lanes,
          .values = reinterpret_cast<const Element*>(head + shape.values_offset) +
                    lane * shape.value_lanes,
          .key_scales = shape.format == KvFormat::kInt8 ? scales + lane : nullptr,
          .value_scales = scales + shape.key_lanes + lane,
          .stream = {
              .end = head + shape.head_bytes,
              .next = block + 1 < end_block ? HeadOfBlock(shape, tile, block + 1) : nullptr}};
      if constexpr (sizeof(Element) < sizeof(float)) {
        if (rows > Sums::kProductRows) {
          AttendRows(shape, tile, Widened(shape, run, scratch), rows, scratch, states);
          continue;
        }
      }
      AttendRows(shape, tile, run, rows, scratch, states);
    }
  }

  template <typename Element>
  static KeyRun<float> Widened(const AttentionShape& shape,
                               const KeyRun<Element>& run,
                               const Scratch& scratch) {
    for (int64_t d = 0; d < shape.head_dim; ++d) {
      Sums::Widen(run.keys + d * run.key_stride, run.lanes, run.stream, scratch.keys + d * kKeyRun);
    }
    Sums::Widen(run.values, run.num_keys * shape.value_lanes, run.stream, scratch.values);
    return {.first_position = run.first_position,
            .num_keys = run.num_keys,
            .lanes = run.lanes,
            .keys = scratch.keys,
            .key_stride = kKeyRun,
            .values = scratch.values,
            .key_scales = run.key_scales,
            .value_scales = run.value_scales};
  }

  template <typename Element>
  static void AttendRows(const AttentionShape& shape,
                         const AttentionTile& tile,
                         const KeyRun<Element>& run,
                         int64_t rows,
                         const Scratch& scratch,
                         float* states) {
    for (int64_t row = 0; row < rows; row += kGroupRows) {
      AttendGroup(shape, tile, run, row, scratch, states);
    }
  }

  // Rows [first, + kGroupRows) of the tile, or what there is, over one run of keys.
  template <typename Element>
  static void AttendGroup(const AttentionShape& shape,
                          const AttentionTile& tile,
                          const KeyRun<Element>& run,
                          int64_t first,
                          const Scratch& scratch,
                          float* states) {
    const int64_t left = tile.num_rows * shape.group - first;
    const int rows = static_cast<int>(Least(left, kGroupRows));
    int64_t visible[kGroupRows] = {};
    for (int r = 0; r < rows; ++r) {
      const int64_t seen = VisibleTo(shape, tile, first + r) - run.first_position;
      visible[r] = seen < 0 ? 0 : Least(seen, run.num_keys);
    }
    if (visible[rows - 1] == 0) return;
    alignas(64) float weights[kGroupRows * kKeyRun];
    alignas(64) float corrections[16];
    float* group_states = states + first * shape.state_size();
    Sums::template Products<1, kGroupRows>(scratch.queries + first * shape.head_dim,
                                           rows,
                                           run.stream,
                                           run.keys,
                                           run.key_stride,
                                           run.lanes,
                                           shape.head_dim,
                                           nullptr,
                                           weights,
                                           kKeyRun);
    Softmax(shape, run, rows, visible, weights, corrections, group_states);
    Sums::template Products<kKeyRun, 1>(weights,
                                        rows,
                                        run.stream,
                                        run.values,
                                        shape.value_lanes,
                                        shape.value_lanes,
                                        visible[rows - 1],
                                        corrections,
                                        group_states + kSums,
                                        shape.state_size());
  }

  // Scores become weights; maxima and sums of the states move on, the weighted sums of values are
  // to be multiplied by `corrections`.
  template <typename Element>
  static void Softmax(const AttentionShape& shape,
                      const KeyRun<Element>& run,
                      int rows,
                      const int64_t* visible,
                      float* weights,
                      float* corrections,
                      float* states) {
    alignas(64) float shifts[16] = {};  // the maximum; 0 where nothing was seen so far
    for (int r = 0; r < 16; ++r) corrections[r] = 0.0f;
    for (int r = 0; r < rows; ++r) {
      float* row = weights + r * kKeyRun;
      float* maximum = states + r * shape.state_size() + kMaximum;
      if (run.key_scales != nullptr) Scale(run.key_scales, run.lanes, row);
      for (int64_t i = visible[r]; i < run.lanes; ++i) row[i] = -INFINITY;
      F largest = V::Load(row);
      for (int64_t i = kLanes; i < run.lanes; i += kLanes)
        largest = V::Max(V::Load(row + i), largest);
      const float next = V::MaxOf(largest);
      corrections[r] = *maximum;
      if (next > *maximum) *maximum = next;
      if (*maximum > -INFINITY) shifts[r] = *maximum;
    }
    for (int r = 0; r < 16; r += kLanes) {
      const F change = V::Sub(V::Load(corrections + r), V::Load(shifts + r));
      V::Store(corrections + r, Exp<V>(change));
    }
    for (int r = 0; r < rows; ++r) {
      float* row = weights + r * kKeyRun;
      float* sums = states + r * shape.state_size();
      F sum = V::Zero();
      for (int64_t i = 0; i < run.lanes; i += kLanes) {
        const F weight = Exp<V>(V::Sub(V::Load(row + i), V::Set(shifts[r])));
        V::Store(row + i, weight);
        sum = V::Add(sum, weight);
      }
      V::Store(sums, V::Fma(V::Load(sums), V::Set(corrections[r]), sum));
      if (run.key_scales != nullptr) Scale(run.value_scales, visible[r], row);
    }
  }

  static void Scale(const float* scales, int64_t n, float* row) {
    for (int64_t i = 0; i < n; ++i) row[i] *= scales[i];
  }
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_ATTENTION_IMPL_H_
