// The product's inner loops over vectors V; see simd_emulated.h for who includes this.
//
// A tile is R rows (a block) times P panels: R * P * 2 sums in registers. W says what they sum:
// weights as floats, or pairs of bfloat16 (gemm_weights_impl.h). Blocks of up to max_rows rows are
// bound by arithmetic and take one panel; few rows are bound by memory and take several, for enough
// independent sums and streams.
#ifndef PARROT_MODEL_KERNELS_GEMM_IMPL_H_
#define PARROT_MODEL_KERNELS_GEMM_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"
#include "model/kernels/gemm_rows_impl.h"
#include "model/kernels/gemm_task_impl.h"
#include "model/kernels/gemm_weights_impl.h"

namespace parrot::kernels::internal {

// Some input features of a tile.
struct TileSpan {
  const std::byte* a = nullptr;  // [word][R]
  const float* sums = nullptr;   // [run][R]
  const std::byte* b = nullptr;
  int64_t panel_bytes = 0;
  int64_t scale_bytes = 0;
  int64_t group = 0;
  int64_t count = 0;   // input features
  int64_t ahead = 0;   // bytes from the weights that are read to those to be prefetched
  float* c = nullptr;  // [R][c_stride]
  int64_t c_stride = 0;
};

template <typename V, typename W, int R, int P>
struct Tile {
  using F = typename V::F;
  static constexpr bool kZeroPoints = W::kFormat == WeightFormat::kInt4;
  static constexpr int64_t kStepWords = kStep / W::kFeatures;
  F sum[R][P][2];

  // Word kWord of a step.
  template <int kWord>
  [[gnu::always_inline]] void Row(const std::byte* a, const std::byte* b, int64_t panel_bytes) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      typename W::Vector w0, w1;
      W::template Load<kWord>(b + p * panel_bytes, &w0, &w1);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const typename W::Vector x = W::Set(a + kWordBytes * (kWord * R + r));
        sum[r][p][0] = W::MultiplyAdd(x, w0, sum[r][p][0]);
        sum[r][p][1] = W::MultiplyAdd(x, w1, sum[r][p][1]);
      }
    }
  }

  // sum += a b over `count` input features.
  [[gnu::always_inline]] void Run(const TileSpan& t,
                                  const std::byte* a,
                                  const std::byte* b,
                                  int64_t count) {
    const int64_t panel_bytes = t.panel_bytes;
    const std::byte* ahead = b + t.ahead;
    int64_t k = 0;
    for (; k + kStep <= count; k += kStep) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
        for (int64_t line = 0; line < kStepWords * W::kWeightBytes; line += 64) {
          V::Prefetch(ahead + p * panel_bytes + line);
        }
      }
      ahead += kStepWords * W::kWeightBytes;
      Row<0>(a, b, panel_bytes);
      Row<1>(a, b, panel_bytes);
      if constexpr (kStepWords == 4) {
        Row<2>(a, b, panel_bytes);
        Row<3>(a, b, panel_bytes);
      }
      a += kStepWords * R * kWordBytes;
      b += kStepWords * W::kWeightBytes;
    }
    for (; k < count; k += W::kFeatures) {
      Row<0>(a, b, panel_bytes);
      a += R * kWordBytes;
      b += W::kWeightBytes;
    }
  }

  [[gnu::always_inline]] float* At(const TileSpan& t, int r, int p, int v) {
    return t.c + r * t.c_stride + (2 * p + v) * V::kLanes;
  }

  static void Plain(const TileSpan& t) {
    Tile tile;
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        tile.sum[r][p][0] = V::Load(tile.At(t, r, p, 0));
        tile.sum[r][p][1] = V::Load(tile.At(t, r, p, 1));
      }
    }
    tile.Run(t, t.a, t.b + t.scale_bytes, t.count);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        V::Store(tile.At(t, r, p, 0), tile.sum[r][p][0]);
        V::Store(tile.At(t, r, p, 1), tile.sum[r][p][1]);
      }
    }
  }

  // c = fma(scale, sum, c), or with zero points fma(scale, sum - zero * (sum of a), c).
  [[gnu::always_inline]] void AddGroup(const TileSpan& t,
                                       const float* sums,
                                       const std::byte* scales) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const std::byte* at = scales + p * t.panel_bytes + v * 4 * V::kLanes;
        F scale = V::Zero(), zero = V::Zero();
        if constexpr (kZeroPoints) {
          V::LoadBf16Pairs(reinterpret_cast<const uint16_t*>(at), &zero, &scale);
        } else {
          scale = V::Load(reinterpret_cast<const float*>(at));
        }
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
          F s = sum[r][p][v];
          if constexpr (kZeroPoints) {
            float of_a = sums[r];
            if (t.group > kRun) of_a = ((of_a + sums[R + r]) + sums[2 * R + r]) + sums[3 * R + r];
            s = V::Fnma(zero, V::Set(of_a), s);
          }
          float* c = At(t, r, p, v);
          V::Store(c, V::Fma(scale, s, V::Load(c)));
        }
      }
    }
  }

  static void Grouped(const TileSpan& t) {
    const std::byte* a = t.a;
    const std::byte* b = t.b;
    const float* sums = t.sums;
    for (int64_t left = t.count; left > 0; left -= t.group) {
      const int64_t count = left < t.group ? left : t.group;
      const int64_t padded = (count + kStep - 1) / kStep * kStep;
      Tile tile;
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) tile.sum[r][p][0] = tile.sum[r][p][1] = V::Zero();
      }
      tile.Run(t, a, b + t.scale_bytes, padded);
      tile.AddGroup(t, sums, b);
      a += padded / W::kFeatures * R * kWordBytes;
      b += t.scale_bytes + padded / W::kFeatures * W::kWeightBytes;
      sums += t.group / kRun * R;
    }
  }
};

using TileFunction = void (*)(const TileSpan&);

template <typename V>
constexpr int kMaxRows = V::kRegisters == 32 ? 12 : 6;

// How many panels at most a tile of so many rows takes: 1, 2 or 4.
template <typename V>
constexpr int PanelsOf(int rows) {
  return 4 * rows <= kMaxRows<V> ? 4 : 2 * rows <= kMaxRows<V> ? 2 : 1;
}

template <typename V, typename W, bool kGrouped, int R, int P>
constexpr TileFunction TileOf() {
  if constexpr (P > 1 && P * R > kMaxRows<V>) {
    return nullptr;
  } else {
    return kGrouped ? Tile<V, W, R, P>::Grouped : Tile<V, W, R, P>::Plain;
  }
}

// For 1, 2 and 4 panels.
template <typename V, typename W, bool kGrouped>
struct Tiles {
  TileFunction of[13][3] = {};
  constexpr Tiles() { Fill<kMaxRows<V>>(); }

 private:
  template <int R>
  constexpr void Fill() {
    of[R][0] = TileOf<V, W, kGrouped, R, 1>();
    of[R][1] = TileOf<V, W, kGrouped, R, 2>();
    of[R][2] = TileOf<V, W, kGrouped, R, 4>();
    if constexpr (R > 1) Fill<R - 1>();
  }
};

template <typename V, typename W, bool kGrouped>
inline constexpr Tiles<V, W, kGrouped> kTiles;

template <typename V, template <typename, WeightFormat> typename Weights>
TileFunction FindTile(const MatrixView& w, int64_t rows, int panels) {
  using enum WeightFormat;
  const int at = panels == 4 ? 2 : panels - 1;
  switch (w.format) {
    case kFloat32:
      if constexpr (Weights<V, kFloat32>::kFeatures == 1) {
        return kTiles<V, Weights<V, kFloat32>, false>.of[rows][at];
      }
      break;  // never as pairs
    case kBFloat16:
      return kTiles<V, Weights<V, kBFloat16>, false>.of[rows][at];
    case kInt8:
      return w.grouped ? kTiles<V, Weights<V, kInt8>, true>.of[rows][at]
                       : kTiles<V, Weights<V, kInt8>, false>.of[rows][at];
    case kInt4:
      return kTiles<V, Weights<V, kInt4>, true>.of[rows][at];
  }
  return nullptr;
}

template <typename V, template <typename, WeightFormat> typename Weights>
void MultiplySpan(const GemmTask& task, int64_t k, int64_t count) {
  // As far as memory is behind, for weights that are read once.
  constexpr int64_t kStreamAhead = 1024;
  constexpr int64_t kFeatures = Weights<V, WeightFormat::kInt8>::kFeatures;
  const MatrixView& w = task.weights;
  const RowsView& a = task.rows;
  const int64_t end_block = task.first_block + task.num_blocks;
  // Nearly the same number of rows in all blocks: the largest decides.
  const int most = PanelsOf<V>(static_cast<int>(a.rows_of(task.first_block)));
  TileSpan t = {.panel_bytes = w.panel_bytes,
                .scale_bytes = w.scale_bytes,
                .group = w.group,
                .count = count,
                .c_stride = task.num_panels * 2 * V::kLanes};
  for (int64_t p = 0; p < task.num_panels;) {
    const int64_t left = task.num_panels - p;
    const int panels = left >= 4 && most == 4 ? 4 : left >= 2 && most >= 2 ? 2 : 1;
    t.b = WeightsAt<V>(w, task.first_panel + p, task.first_in + k);
    const std::byte* next = left > panels
                                ? t.b + panels * w.panel_bytes
                                : WeightsAt<V>(w, task.first_panel, task.first_in + k + count);
    t.c = task.sums + p * 2 * V::kLanes;
    for (int64_t block = task.first_block; block < end_block; ++block) {
      const int64_t rows = a.rows_of(block);
      t.a = a.data + block * a.block_bytes + k / kFeatures * rows * kWordBytes;
      t.sums = a.sums + block * a.runs * a.block_rows + k / kRun * rows;
      // Weights that are used again are in the cache: the last block brings the next ones.
      t.ahead = task.num_blocks == 1 ? kStreamAhead : block + 1 == end_block ? next - t.b : 0;
      FindTile<V, Weights>(w, rows, panels)(t);
      t.c += a.block_rows * t.c_stride;
    }
    p += panels;
  }
}

template <typename V, template <typename, WeightFormat> typename Weights>
void Multiply(const GemmTask& task) {
  // So many input features that a panel of weights (fp32: 64 KiB, int4: 8 KiB, for 16 lanes) stays
  // in the second-level cache, a block of rows in the first-level one.
  constexpr int64_t kSpan = 512;
  ZeroSums<V>(task);
  const int64_t span = task.num_blocks == 1 ? task.rows.in_features : kSpan;
  for (int64_t k = 0; k < task.rows.in_features; k += span) {
    const int64_t left = task.rows.in_features - k;
    MultiplySpan<V, Weights>(task, k, left < span ? left : span);
  }
  FinishTask<V>(task);
}

// Item: of gemm_rows_impl.h, as Weights multiply them.
template <typename V,
          template <typename, WeightFormat>
          typename Weights,
          template <typename>
          typename Item>
constexpr GemmKernels MakeGemmKernels() {
  constexpr int kUnit = Weights<V, WeightFormat::kInt8>::kFeatures;
  return {.lanes = V::kLanes,
          .max_rows = kMaxRows<V>,
          .chunk_rows = 192,
          .unit = kUnit,
          .pack = PackBlock<V, Item<V>, kUnit, kMaxRows<V>, false>,
          .norm_row = NormRow<V>,
          .multiply = Multiply<V, Weights>};
}

}  // namespace parrot::kernels::internal

#endif  // PARROT_MODEL_KERNELS_GEMM_IMPL_H_
