// The product over tiles T (tile_amx.h or its stand-in) and vectors V of 16 lanes with pairs; see
// simd_emulated.h for who includes this.
//
// Four tiles of sums: two times 16 rows (a block) by one panel of 32 columns. Input features go by
// tiles of kTileIn: 16 rows times kTileIn bfloat16 on one side, 16 pairs times 16 columns on the
// other. Weights that are not bfloat16 become it in a buffer, a span of a panel at a time, for all
// blocks of the task; the span of all its rows stays in the second-level cache meanwhile.
#ifndef PARROT_MODEL_KERNELS_GEMM_TILES_IMPL_H_
#define PARROT_MODEL_KERNELS_GEMM_TILES_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"
#include "model/kernels/gemm_rows_impl.h"
#include "model/kernels/gemm_task_impl.h"
#include "model/kernels/gemm_weights_impl.h"

namespace parrot::kernels::internal {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileIn = 32;
inline constexpr int64_t kTileItems = kTileRows * kTileIn;  // bfloat16s of a tile
inline constexpr int64_t kTileSpan = 512;                   // input features
inline constexpr uint32_t kZeroPair = 0;

// The weights themselves, scale * (q - zero), rounded.
template <typename V, typename W>
uint16_t* WidenScaled(const MatrixView& w, const std::byte* from, int64_t count, uint16_t* to) {
  for (int64_t left = count; left > 0; left -= w.group, from += w.group_bytes) {
    typename V::F scale[2], offset[2];
    for (int v = 0; v < 2; ++v) {
      const std::byte* at = from + v * 4 * V::kLanes;
      offset[v] = V::Zero();
      if constexpr (W::kFormat == WeightFormat::kInt4) {
        typename V::F zero;
        V::LoadBf16Pairs(reinterpret_cast<const uint16_t*>(at), &zero, &scale[v]);
        offset[v] = V::Fnma(scale[v], zero, offset[v]);
      } else {
        scale[v] = V::Load(reinterpret_cast<const float*>(at));
      }
    }
    const auto scaled = [&](typename V::Pairs q, int v) {
      typename V::F even, odd;
      V::SplitPairs(q, &even, &odd);
      return V::JoinPairs(V::Fma(scale[v], even, offset[v]), V::Fma(scale[v], odd, offset[v]));
    };
    ForWords<W>(from + w.scale_bytes, left < w.group ? left : w.group, [&](auto q0, auto q1) {
      W::StoreWide(to, scaled(q0, 0), scaled(q1, 1));
      to += 2 * kTileIn;
    });
  }
  return to;
}

// `count` <= kTileSpan input features of a panel from `from` on, as whole tiles: where they are, or
// in `buffer`. Past `count` come zeros, or weights whose activations are zeros.
template <typename V>
const uint16_t* TilesOf(const MatrixView& w,
                        const std::byte* from,
                        int64_t count,
                        uint16_t* buffer) {
  using Bf16 = PairWeights<V, WeightFormat::kBFloat16>;
  using Int8 = PairWeights<V, WeightFormat::kInt8>;
  using Int4 = PairWeights<V, WeightFormat::kInt4>;
  uint16_t* end = buffer;
  if (w.format == WeightFormat::kInt4) {
    end = WidenScaled<V, Int4>(w, from, count, buffer);
  } else if (w.format == WeightFormat::kInt8) {
    end = w.grouped ? WidenScaled<V, Int8>(w, from, count, buffer)
                    : Widen<V, Int8>(w, from, count, buffer);
  } else {
    if (count % kTileIn == 0) return reinterpret_cast<const uint16_t*>(from);
    end = Widen<V, Bf16>(w, from, count, buffer);
  }
  for (; (end - buffer) % (2 * kTileItems) != 0; end += kTileIn) {
    V::StorePairs(end, V::SetPair(&kZeroPair));
  }
  return buffer;
}

// What is left to be brought from memory while tiles are multiplied.
struct Prefetching {
  const std::byte* at = nullptr;
  int64_t lines = 0;  // per step of tiles
};

// c [rows][c_stride] += a [steps][block_rows][kTileIn] times b [steps][16 pairs][2][16][2].
template <typename V, typename T, bool kTwo>
void MultiplyTiles(T& tiles,
                   const uint16_t* a,
                   int64_t block_rows,
                   const uint16_t* b,
                   int64_t steps,
                   float* c,
                   int64_t c_stride,
                   Prefetching* prefetching) {
  constexpr int64_t kRowBytes = 2 * kTileIn;
  float* lower = c + kTileRows * c_stride;
  const int64_t c_bytes = c_stride * static_cast<int64_t>(sizeof(float));
  tiles.template Load<0>(c, c_bytes);
  tiles.template Load<1>(c + V::kLanes, c_bytes);
  if constexpr (kTwo) {
    tiles.template Load<2>(lower, c_bytes);
    tiles.template Load<3>(lower + V::kLanes, c_bytes);
  }
  for (int64_t i = 0; i < steps; ++i) {
    for (int64_t line = 0; line < prefetching->lines; ++line, prefetching->at += 64) {
      V::PrefetchFar(prefetching->at);
    }
    tiles.template Load<6>(b, 2 * kRowBytes);
    tiles.template Load<7>(b + kTileIn, 2 * kRowBytes);
    tiles.template Load<4>(a, kRowBytes);
    tiles.template Dot<0, 4, 6>();
    tiles.template Dot<1, 4, 7>();
    if constexpr (kTwo) {
      tiles.template Load<5>(a + kTileItems, kRowBytes);
      tiles.template Dot<2, 5, 6>();
      tiles.template Dot<3, 5, 7>();
    }
    a += block_rows * kTileIn;
    b += 2 * kTileItems;
  }
  tiles.template Store<0>(c, c_bytes);
  tiles.template Store<1>(c + V::kLanes, c_bytes);
  if constexpr (kTwo) {
    tiles.template Store<2>(lower, c_bytes);
    tiles.template Store<3>(lower + V::kLanes, c_bytes);
  }
}

template <typename V, typename T>
void MultiplyTileSpan(const GemmTask& task, T& tiles, int64_t k, int64_t count) {
  alignas(64) uint16_t buffer[2 * kTileRows * kTileSpan];
  const MatrixView& w = task.weights;
  const RowsView& rows = task.rows;
  const int64_t steps = (count + kTileIn - 1) / kTileIn;
  const int64_t c_stride = task.num_panels * 2 * V::kLanes;
  const int64_t all_steps = steps * task.num_blocks;
  const int64_t lines = (count / kStep * w.step_bytes + 63) / 64;
  for (int64_t p = 0; p < task.num_panels; ++p) {
    const std::byte* from = WeightsAt<V>(w, task.first_panel + p, task.first_in + k);
    Prefetching next = {.at = p + 1 < task.num_panels
                                  ? from + w.panel_bytes
                                  : WeightsAt<V>(w, task.first_panel, task.first_in + k + count),
                        .lines = (lines + all_steps - 1) / all_steps};
    const uint16_t* b = TilesOf<V>(w, from, count, buffer);
    for (int64_t i = 0; i < task.num_blocks; ++i) {
      const auto* a =
          reinterpret_cast<const uint16_t*>(rows.data + (task.first_block + i) * rows.block_bytes) +
          k * rows.block_rows;
      float* c = task.sums + i * rows.block_rows * c_stride + p * 2 * V::kLanes;
      if (rows.block_rows > kTileRows) {
        MultiplyTiles<V, T, true>(tiles, a, rows.block_rows, b, steps, c, c_stride, &next);
      } else {
        MultiplyTiles<V, T, false>(tiles, a, rows.block_rows, b, steps, c, c_stride, &next);
      }
    }
  }
}

template <typename V, typename T>
void MultiplyByTiles(const GemmTask& task) {
  ZeroSums<V>(task);
  {
    T tiles;
    for (int64_t k = 0; k < task.rows.in_features; k += kTileSpan) {
      const int64_t left = task.rows.in_features - k;
      MultiplyTileSpan<V, T>(task, tiles, k, left < kTileSpan ? left : kTileSpan);
    }
  }
  FinishTask<V>(task);
}

template <typename V, typename T>
constexpr GemmKernels MakeTileKernels() {
  static_assert(V::kLanes == kTileRows);
  constexpr int kMaxBlockRows = 2 * kTileRows;
  return {.lanes = V::kLanes,
          .max_rows = kMaxBlockRows,
          .row_step = kTileRows,
          .chunk_rows = 1024,
          .unit = kTileIn,
          .pack = PackBlock<V, Bf16Item<V>, kTileIn, kMaxBlockRows, true>,
          .norm_row = NormRow<V>,
          .multiply = MultiplyByTiles<V, T>};
}

}  // namespace parrot::kernels::internal

#endif  // PARROT_MODEL_KERNELS_GEMM_TILES_IMPL_H_
