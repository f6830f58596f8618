// The product's inner loops over vectors V; see simd_emulated.h for who includes this.
//
// A tile is R rows (a block) times P panels: R * P * 2 sums in registers, weights widened to fp32
// in registers as they are read. Blocks of up to max_rows rows are bound by arithmetic and take one
// panel; few rows are bound by memory and take several, for enough independent sums and streams.
#ifndef PARROT_MODEL_KERNELS_GEMM_IMPL_H_
#define PARROT_MODEL_KERNELS_GEMM_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"
#include "model/kernels/vector_math.h"

namespace parrot::kernels::internal {

// Weights of input feature kStepIn of a step at p.
template <typename V, WeightFormat kFormat>
struct Weights {
  static constexpr int64_t kRowBytes = kFormat == WeightFormat::kFloat32    ? 8 * V::kLanes
                                       : kFormat == WeightFormat::kBFloat16 ? 4 * V::kLanes
                                       : kFormat == WeightFormat::kInt8     ? 2 * V::kLanes
                                                                            : V::kLanes;
  template <int kStepIn>
  static void Load(const std::byte* p, typename V::F* w0, typename V::F* w1) {
    const std::byte* row = p + kStepIn * kRowBytes;
    if constexpr (kFormat == WeightFormat::kFloat32) {
      *w0 = V::Load(reinterpret_cast<const float*>(row));
      *w1 = V::Load(reinterpret_cast<const float*>(row) + V::kLanes);
    } else if constexpr (kFormat == WeightFormat::kBFloat16) {
      V::LoadBf16Pairs(reinterpret_cast<const uint16_t*>(row), w0, w1);
    } else if constexpr (kFormat == WeightFormat::kInt8) {
      *w0 = V::LoadInt8(reinterpret_cast<const int8_t*>(row));
      *w1 = V::LoadInt8(reinterpret_cast<const int8_t*>(row) + V::kLanes);
    } else {
      *w0 = V::template LoadUint4<2 * kStepIn>(reinterpret_cast<const uint8_t*>(p));
      *w1 = V::template LoadUint4<2 * kStepIn + 1>(reinterpret_cast<const uint8_t*>(p));
    }
  }
};

// Some input features of a tile.
struct TileSpan {
  const float* a = nullptr;     // [k][R]
  const float* sums = nullptr;  // [run][R]
  const std::byte* b = nullptr;
  int64_t panel_bytes = 0;
  int64_t scale_bytes = 0;
  int64_t group = 0;
  int64_t count = 0;   // input features
  int64_t ahead = 0;   // bytes from the weights that are read to those to be prefetched
  float* c = nullptr;  // [R][c_stride]
  int64_t c_stride = 0;
};

template <typename V, WeightFormat kFormat, int R, int P>
struct Tile {
  using F = typename V::F;
  using W = Weights<V, kFormat>;
  F sum[R][P][2];

  template <int kStepIn>
  [[gnu::always_inline]] void Row(const float* a, const std::byte* b, int64_t panel_bytes) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      F w0, w1;
      W::template Load<kStepIn>(b + p * panel_bytes, &w0, &w1);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const F x = V::Set(a[kStepIn * R + r]);
        sum[r][p][0] = V::Fma(x, w0, sum[r][p][0]);
        sum[r][p][1] = V::Fma(x, w1, sum[r][p][1]);
      }
    }
  }

  // sum += a b over `count` input features.
  [[gnu::always_inline]] void Run(const TileSpan& t,
                                  const float* a,
                                  const std::byte* b,
                                  int64_t count) {
    const int64_t panel_bytes = t.panel_bytes;
    const std::byte* ahead = b + t.ahead;
    int64_t k = 0;
    for (; k + kStep <= count; k += kStep) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
        for (int64_t line = 0; line < kStep * W::kRowBytes; line += 64) {
          V::Prefetch(ahead + p * panel_bytes + line);
        }
      }
      ahead += kStep * W::kRowBytes;
      Row<0>(a, b, panel_bytes);
      Row<1>(a, b, panel_bytes);
      Row<2>(a, b, panel_bytes);
      Row<3>(a, b, panel_bytes);
      a += kStep * R;
      b += kStep * W::kRowBytes;
    }
    for (; k < count; ++k) {
      Row<0>(a, b, panel_bytes);
      a += R;
      b += W::kRowBytes;
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
        if constexpr (kFormat == WeightFormat::kInt4) {
          V::LoadBf16Pairs(reinterpret_cast<const uint16_t*>(at), &zero, &scale);
        } else {
          scale = V::Load(reinterpret_cast<const float*>(at));
        }
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
          F s = sum[r][p][v];
          if constexpr (kFormat == WeightFormat::kInt4) {
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
    const float* a = t.a;
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
      a += padded * R;
      b += t.scale_bytes + padded * W::kRowBytes;
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

template <typename V, WeightFormat kFormat, bool kGrouped, int R, int P>
constexpr TileFunction TileOf() {
  if constexpr (P > 1 && P * R > kMaxRows<V>) {
    return nullptr;
  } else {
    return kGrouped ? Tile<V, kFormat, R, P>::Grouped : Tile<V, kFormat, R, P>::Plain;
  }
}

// For 1, 2 and 4 panels.
template <typename V, WeightFormat kFormat, bool kGrouped>
struct Tiles {
  TileFunction of[13][3] = {};
  constexpr Tiles() { Fill<kMaxRows<V>>(); }

 private:
  template <int R>
  constexpr void Fill() {
    of[R][0] = TileOf<V, kFormat, kGrouped, R, 1>();
    of[R][1] = TileOf<V, kFormat, kGrouped, R, 2>();
    of[R][2] = TileOf<V, kFormat, kGrouped, R, 4>();
    if constexpr (R > 1) Fill<R - 1>();
  }
};

template <typename V, WeightFormat kFormat, bool kGrouped>
inline constexpr Tiles<V, kFormat, kGrouped> kTiles;

template <typename V>
TileFunction FindTile(const MatrixView& w, int64_t rows, int panels) {
  const int at = panels == 4 ? 2 : panels - 1;
  switch (w.format) {
    case WeightFormat::kFloat32:
      return kTiles<V, WeightFormat::kFloat32, false>.of[rows][at];
    case WeightFormat::kBFloat16:
      return kTiles<V, WeightFormat::kBFloat16, false>.of[rows][at];
    case WeightFormat::kInt8:
      return w.grouped ? kTiles<V, WeightFormat::kInt8, true>.of[rows][at]
                       : kTiles<V, WeightFormat::kInt8, false>.of[rows][at];
    case WeightFormat::kInt4:
      return kTiles<V, WeightFormat::kInt4, true>.of[rows][at];
  }
  return nullptr;
}

template <typename V>
typename V::F LoadFirst(const float* p, int n) {
  return n == V::kLanes ? V::Load(p) : V::LoadPartial(p, n);
}

template <typename V>
void StoreFirst(float* p, typename V::F y, int n) {
  if (n == V::kLanes) {
    V::Store(p, y);
  } else {
    V::StorePartial(p, y, n);
  }
}

// One vector of the product, columns [column, column + lanes) of row m, on its way out.
template <typename V>
void Finish(const Epilogue& e, int64_t columns, int64_t m, int64_t column, typename V::F y) {
  const int64_t left = columns - column;
  if (left <= 0) return;
  const int n = left < V::kLanes ? static_cast<int>(left) : V::kLanes;
  if (e.bias != nullptr) y = V::Add(y, LoadFirst<V>(e.bias + column, n));
  if (e.activation == GemmActivation::kGelu) y = Gelu<V>(y);
  if (e.activation == GemmActivation::kQuickGelu) y = Silu<V>(y, 1.702f);
  if (e.row_scale != nullptr) y = V::Mul(y, V::Set(e.row_scale[m]));
  if (e.residual != nullptr) {
    const float* residual = e.residual + m * e.residual_stride + column;
    y = V::Fma(V::Set(e.residual_scale), LoadFirst<V>(residual, n), y);
  }
  StoreFirst<V>(e.out + m * e.out_stride + column, y, n);
}

template <typename V>
void FinishTask(const GemmTask& task) {
  const MatrixView& w = task.weights;
  const int64_t first_row = task.rows.first_row(task.first_block);
  const int64_t end_row = task.rows.first_row(task.first_block + task.num_blocks);
  const float* c = task.sums;
  for (int64_t m = first_row; m < end_row; ++m) {
    for (int64_t p = task.first_panel; p < task.first_panel + task.num_panels; ++p) {
      typename V::F y0 = V::Load(c), y1 = V::Load(c + V::kLanes);
      c += 2 * V::kLanes;
      if (!w.grouped && w.scale_bytes != 0) {
        const float* scales = reinterpret_cast<const float*>(w.data + p * w.panel_bytes);
        y0 = V::Mul(y0, V::Load(scales));
        y1 = V::Mul(y1, V::Load(scales + V::kLanes));
      }
      if (w.order == PanelOrder::kGateUp) {
        y0 = V::Mul(Silu<V>(y0), y1);
        Finish<V>(*task.epilogue, w.columns, m, p * V::kLanes, y0);
      } else {
        Finish<V>(*task.epilogue, w.columns, m, 2 * p * V::kLanes, y0);
        Finish<V>(*task.epilogue, w.columns, m, (2 * p + 1) * V::kLanes, y1);
      }
    }
  }
}

// Where the weights of input feature k (of a group's start, with groups) of a panel are.
template <typename V>
const std::byte* WeightsAt(const MatrixView& w, int64_t panel, int64_t k) {
  const std::byte* p = w.data + panel * w.panel_bytes;
  return w.grouped ? p + k / w.group * w.group_bytes : p + k * (w.step_bytes / kStep);
}

template <typename V>
void MultiplySpan(const GemmTask& task, int64_t k, int64_t count) {
  // As far as memory is behind, for weights that are read once.
  constexpr int64_t kStreamAhead = 1024;
  const MatrixView& w = task.weights;
  const RowsView& a = task.rows;
  const int64_t first_row = a.first_row(task.first_block);
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
    for (int64_t block = task.first_block; block < end_block; ++block) {
      const int64_t row = a.first_row(block), rows = a.rows_of(block);
      t.a = a.data + row * a.padded_in + k * rows;
      t.sums = a.sums + row * a.runs + k / kRun * rows;
      t.c = task.sums + (row - first_row) * t.c_stride + p * 2 * V::kLanes;
      // Weights that are used again are in the cache: the last block brings the next ones.
      t.ahead = task.num_blocks == 1 ? kStreamAhead : block + 1 == end_block ? next - t.b : 0;
      FindTile<V>(w, rows, panels)(t);
    }
    p += panels;
  }
}

template <typename V>
void Multiply(const GemmTask& task) {
  // So many input features that a panel of weights and a block of rows fit the first-level cache.
  constexpr int64_t kSpan = 512;
  const int64_t rows = task.rows.first_row(task.first_block + task.num_blocks) -
                       task.rows.first_row(task.first_block);
  const int64_t size = rows * task.num_panels * 2 * V::kLanes;
  for (int64_t i = 0; i < size; i += V::kLanes) V::Store(task.sums + i, V::Zero());
  const int64_t span = task.num_blocks == 1 ? task.rows.in_features : kSpan;
  for (int64_t k = 0; k < task.rows.in_features; k += span) {
    const int64_t left = task.rows.in_features - k;
    MultiplySpan<V>(task, k, left < span ? left : span);
  }
  FinishTask<V>(task);
}

// (x - mean) * factor * weight + bias, as the norm has it.
template <typename V>
struct RowNorm {
  using F = typename V::F;
  const PackedRows::Source* source = nullptr;
  const float* x = nullptr;
  float mean = 0.0f;
  float factor = 1.0f;

  RowNorm() = default;
  RowNorm(const PackedRows::Source& from, int64_t row, int64_t size) : source(&from) {
    x = from.x + (from.row_index != nullptr ? from.row_index[row] : row) * from.stride;
    if (from.norm == NormOf::kNone) return;
    const float n = static_cast<float>(size);
    if (from.norm == NormOf::kLayer) mean = Sum(size, false) / n;
    factor = 1.0f / SquareRoot(Sum(size, true) / n + from.eps);
  }

  static float SquareRoot(float a) {
    float lanes[V::kLanes];
    V::Store(lanes, V::Sqrt(V::Set(a)));
    return lanes[0];
  }

  static F Keep(F a, int n) {
    float lanes[V::kLanes];
    V::Store(lanes, a);
    return V::LoadPartial(lanes, n);
  }

  // Of x, or of the squares of x - mean.
  float Sum(int64_t size, bool squares) const {
    F sum[4] = {V::Zero(), V::Zero(), V::Zero(), V::Zero()};
    const F center = V::Set(mean);
    int at = 0;
    for (int64_t k = 0; k < size; k += V::kLanes, at = (at + 1) % 4) {
      const int64_t left = size - k;
      const int n = left < V::kLanes ? static_cast<int>(left) : V::kLanes;
      const F value = LoadFirst<V>(x + k, n);
      if (squares) {
        F d = V::Sub(value, center);
        if (n < V::kLanes) d = Keep(d, n);
        sum[at] = V::Fma(d, d, sum[at]);
      } else {
        sum[at] = V::Add(sum[at], value);
      }
    }
    return V::Sum(V::Add(V::Add(sum[0], sum[1]), V::Add(sum[2], sum[3])));
  }

  // n <= lanes of the row's values from k on; the other lanes are 0.
  F Values(int64_t k, int n) const {
    F y = LoadFirst<V>(x + k, n);
    if (source->norm == NormOf::kNone) return y;
    const F weight = LoadFirst<V>(source->norm_weight + k, n);
    y = V::Mul(V::Sub(y, V::Set(mean)), V::Set(factor));
    if (source->norm == NormOf::kRms) return V::Mul(y, weight);
    return V::Fma(y, weight, LoadFirst<V>(source->norm_bias + k, n));
  }
};

template <typename V>
void PackBlock(const PackedRows::Source& source,
               int64_t first_row,
               int64_t num_rows,
               const RowsView& view,
               float* block,
               float* sums) {
  RowNorm<V> row[kMaxRows<V>];
  typename V::F sum[kMaxRows<V>];
  float values[kMaxRows<V>][V::kLanes];
  for (int64_t r = 0; r < num_rows; ++r) {
    row[r] = RowNorm<V>(source, first_row + r, view.in_features);
  }
  for (int64_t k = 0; k < view.runs * kRun; k += V::kLanes) {
    const int64_t left = view.in_features - k;
    const int n = left < 0 ? 0 : left < V::kLanes ? static_cast<int>(left) : V::kLanes;
    for (int64_t r = 0; r < num_rows; ++r) {
      const typename V::F y = n > 0 ? row[r].Values(k, n) : V::Zero();
      V::Store(values[r], y);
      sum[r] = k % kRun == 0 ? y : V::Add(sum[r], y);
      if ((k + V::kLanes) % kRun == 0) sums[k / kRun * num_rows + r] = V::Sum(sum[r]);
    }
    const int64_t padded = view.padded_in - k;
    for (int64_t i = 0; i < V::kLanes && i < padded; ++i) {
      for (int64_t r = 0; r < num_rows; ++r) block[(k + i) * num_rows + r] = values[r][i];
    }
  }
}

template <typename V>
void NormRow(const PackedRows::Source& source, int64_t row, int64_t size, float* out) {
  const RowNorm<V> norm(source, row, size);
  for (int64_t k = 0; k < size; k += V::kLanes) {
    const int64_t left = size - k;
    const int n = left < V::kLanes ? static_cast<int>(left) : V::kLanes;
    StoreFirst<V>(out + k, norm.Values(k, n), n);
  }
}

template <typename V>
constexpr GemmKernels MakeGemmKernels() {
  return {.lanes = V::kLanes,
          .max_rows = kMaxRows<V>,
          .pack = PackBlock<V>,
          .norm_row = NormRow<V>,
          .multiply = Multiply<V>};
}

}  // namespace parrot::kernels::internal

#endif  // PARROT_MODEL_KERNELS_GEMM_IMPL_H_
