// The product of a task, for vectors V without tiles; see simd_emulated.h for who includes this.
//
// One block of up to max_rows rows is bound by memory: its weights stream by, several panels side
// by side for enough independent sums and streams, over all input features at once. Several blocks
// are bound by arithmetic: they take one panel after the other, kSpan input features at a time, so
// that a panel's weights stay in the first-level cache and the blocks' rows in the second-level
// one; weights narrower than bfloat16 are widened once where there are many blocks.
#ifndef PARROT_MODEL_KERNELS_GEMM_IMPL_H_
#define PARROT_MODEL_KERNELS_GEMM_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"
#include "model/kernels/gemm_rows_impl.h"
#include "model/kernels/gemm_sums_impl.h"
#include "model/kernels/gemm_task_impl.h"
#include "model/kernels/gemm_weights_impl.h"

namespace parrot::kernels::internal {

using TileFunction = void (*)(const TileSpan&);

template <typename V>
constexpr int kMaxRows = V::kRegisters == 32 ? 12 : 6;

// How many panels at most a tile of so many rows takes: 1, 2 or 4.
template <typename V>
constexpr int PanelsOf(int rows) {
  return 4 * rows <= kMaxRows<V> ? 4 : 2 * rows <= kMaxRows<V> ? 2 : 1;
}

// How sums come to be: over all input features, or group by group with scales, or zero points too.
enum class SumOf { kAll, kGroups, kGroupsWithZeros };

template <typename V, typename W, SumOf kSum, int R, int P>
constexpr TileFunction TileOf() {
  if constexpr (P > 1 && P * R > kMaxRows<V>) {
    return nullptr;
  } else if constexpr (kSum == SumOf::kAll) {
    return Tile<V, W, R, P>::Plain;
  } else {
    return Tile<V, W, R, P>::template Grouped<kSum == SumOf::kGroupsWithZeros>;
  }
}

// For 1, 2 and 4 panels.
template <typename V, typename W, SumOf kSum>
struct Tiles {
  TileFunction of[13][3] = {};
  constexpr Tiles() { Fill<kMaxRows<V>>(); }

 private:
  template <int R>
  constexpr void Fill() {
    of[R][0] = TileOf<V, W, kSum, R, 1>();
    of[R][1] = TileOf<V, W, kSum, R, 2>();
    of[R][2] = TileOf<V, W, kSum, R, 4>();
    if constexpr (R > 1) Fill<R - 1>();
  }
};

template <typename V, typename W, SumOf kSum>
inline constexpr Tiles<V, W, kSum> kTiles;

// `format`: of the weights as they are read, perhaps widened from the matrix's.
template <typename V, template <typename, WeightFormat> typename Weights>
TileFunction FindTile(const MatrixView& w, WeightFormat format, int64_t rows, int panels) {
  using enum WeightFormat;
  using enum SumOf;
  const int at = panels == 4 ? 2 : panels - 1;
  switch (format) {
    case kFloat32:
      if constexpr (Weights<V, kFloat32>::kFeatures == 1) {
        return kTiles<V, Weights<V, kFloat32>, kAll>.of[rows][at];
      }
      break;  // never as pairs
    case kBFloat16:
      if (!w.grouped) return kTiles<V, Weights<V, kBFloat16>, kAll>.of[rows][at];
      return w.format == kInt4 ? kTiles<V, Weights<V, kBFloat16>, kGroupsWithZeros>.of[rows][at]
                               : kTiles<V, Weights<V, kBFloat16>, kGroups>.of[rows][at];
    case kInt8:
      return w.grouped ? kTiles<V, Weights<V, kInt8>, kGroups>.of[rows][at]
                       : kTiles<V, Weights<V, kInt8>, kAll>.of[rows][at];
    case kInt4:
      return kTiles<V, Weights<V, kInt4>, kGroupsWithZeros>.of[rows][at];
  }
  return nullptr;
}

// Input features that several blocks of rows take at a time: of those, a panel of weights as
// bfloat16 (16 KiB for 8 lanes, 32 KiB for 16) and a block of rows share the first-level and the
// second-level cache.
inline constexpr int64_t kSpan = 512;
// From so many blocks on it pays to widen int8 and int4 once for all.
inline constexpr int64_t kWidenBlocks = 8;

// Panels [panel, + panels) of the task times its only block: weights as they come from memory.
template <typename V, template <typename, WeightFormat> typename Weights>
void MultiplyStream(const GemmTask& task) {
  const MatrixView& w = task.weights;
  const RowsView& a = task.rows;
  const int64_t rows = a.rows_of(task.first_block);
  const int most = PanelsOf<V>(static_cast<int>(rows));
  TileSpan t = {.a = a.data + task.first_block * a.block_bytes,
                .sums = a.SumsAt(task.first_block, w.group, 0),
                .group_gap = w.scale_bytes,
                .scales_stride = w.group_bytes,
                .panel_bytes = w.panel_bytes,
                .group = w.group,
                .count = a.in_features,
                .c_stride = task.num_panels * 2 * V::kLanes};
  for (int64_t p = 0; p < task.num_panels;) {
    const int64_t left = task.num_panels - p;
    const int panels = left >= 4 && most == 4 ? 4 : left >= 2 && most >= 2 ? 2 : 1;
    t.scales = WeightsAt<V>(w, task.first_panel + p, task.first_in);
    t.b = t.scales + w.scale_bytes;
    const std::byte* next = left > panels ? t.scales + panels * w.panel_bytes
                                          : WeightsAt<V>(w, task.next_panel, task.first_in);
    t.stream_end = WeightsAt<V>(w, task.first_panel + p, task.first_in + a.in_features);
    t.stream_gap = next - t.stream_end;
    t.c = task.sums + p * 2 * V::kLanes;
    FindTile<V, Weights>(w, w.format, rows, panels)(t);
    p += panels;
  }
}

// Input features [k, + count) of all panels times all blocks. Weights that are narrower than
// bfloat16 become it once for all blocks; whichever way a weight takes, its value is the same. Each
// block prefetches its share of the next panel's weights.
template <typename V, template <typename, WeightFormat> typename Weights>
void MultiplySpan(const GemmTask& task, int64_t k, int64_t count) {
  using enum WeightFormat;
  constexpr int64_t kFeatures = Weights<V, kInt8>::kFeatures;
  alignas(64) uint16_t buffer[kSpan * 2 * V::kLanes];
  const MatrixView& w = task.weights;
  const RowsView& a = task.rows;
  const bool widens = (w.format == kInt8 || w.format == kInt4) && task.num_blocks >= kWidenBlocks;
  const int64_t lines = (count / kStep * w.step_bytes + 63) / 64;
  const int64_t steps = (count + kStep - 1) / kStep;
  TileSpan t = {.scales_stride = w.group_bytes,
                .panel_bytes = w.panel_bytes,
                .group = w.group,
                .count = count,
                .c_stride = task.num_panels * 2 * V::kLanes};
  if (!widens) t.group_gap = w.scale_bytes;
  const int64_t lines_per_step = lines <= steps * task.num_blocks ? 1 : 2;
  for (int64_t p = 0; p < task.num_panels; ++p) {
    t.scales = WeightsAt<V>(w, task.first_panel + p, task.first_in + k);
    const std::byte* next = p + 1 < task.num_panels ? t.scales + w.panel_bytes
                            : k + count < a.in_features
                                ? WeightsAt<V>(w, task.first_panel, task.first_in + k + count)
                                : WeightsAt<V>(w, task.next_panel, task.first_in);
    t.b = t.scales + w.scale_bytes;
    if (widens) {
      t.b = reinterpret_cast<const std::byte*>(buffer);
      if (w.format == kInt8) {
        Widen<V, Weights<V, kInt8>>(w, t.scales, count, buffer);
      } else {
        Widen<V, Weights<V, kInt4>>(w, t.scales, count, buffer);
      }
    }
    t.c = task.sums + p * 2 * V::kLanes;
    for (int64_t i = 0; i < task.num_blocks; ++i) {
      const int64_t block = task.first_block + i, rows = a.rows_of(block);
      t.a = a.data + block * a.block_bytes + k / kFeatures * rows * kWordBytes;
      t.sums = a.SumsAt(block, w.group, k);
      const int64_t first_line = i * steps * lines_per_step;
      const bool shares = first_line < lines;
      t.ahead = shares ? next + 64 * first_line : t.b;
      t.ahead_second = shares && lines_per_step == 2 ? 64 : 0;
      t.ahead_step = shares ? 64 * lines_per_step : 0;
      FindTile<V, Weights>(w, widens ? kBFloat16 : w.format, rows, 1)(t);
      t.c += a.block_rows * t.c_stride;
    }
  }
}

template <typename V, template <typename, WeightFormat> typename Weights>
void Multiply(const GemmTask& task) {
  ZeroSums<V>(task);
  const int64_t size = task.rows.in_features;
  if (task.num_blocks == 1) {
    MultiplyStream<V, Weights>(task);
  } else {
    for (int64_t k = 0; k < size; k += kSpan) {
      MultiplySpan<V, Weights>(task, k, size - k < kSpan ? size - k : kSpan);
    }
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
