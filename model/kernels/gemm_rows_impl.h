// Packing rows of activations, with the norm before them; see simd_emulated.h for who includes
// this.
#ifndef PARROT_MODEL_KERNELS_GEMM_ROWS_IMPL_H_
#define PARROT_MODEL_KERNELS_GEMM_ROWS_IMPL_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "model/kernels/gemm_kernels.h"

namespace parrot::kernels::internal {

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

// One element of a packed block: a float, or a bfloat16 that is rounded first. Store gives back
// what it has stored.
template <typename V>
struct FloatItem {
  using Type = float;
  static typename V::F Store(Type* to, typename V::F y) {
    V::Store(to, y);
    return y;
  }
};
template <typename V>
struct Bf16Item {
  using Type = uint16_t;
  static typename V::F Store(Type* to, typename V::F y) {
    V::StoreBf16(to, y);
    return V::LoadBf16(to);
  }
};

// A block [padded_in / kUnit][block rows][kUnit] of items. Without kWholeRows the block has
// num_rows rows, else all of view.block_rows.
template <typename V, typename Item, int kUnit, int kMaxRows, bool kWholeRows>
void PackBlock(const PackedRows::Source& source,
               int64_t first_row,
               int64_t num_rows,
               const RowsView& view,
               std::byte* block,
               float* sums) {
  using Type = typename Item::Type;
  constexpr int64_t kPiece = kUnit < V::kLanes ? kUnit : V::kLanes;
  const int64_t block_rows = kWholeRows ? view.block_rows : num_rows;
  RowNorm<V> row[kMaxRows];
  typename V::F sum[kMaxRows];
  Type values[kMaxRows][V::kLanes] = {};
  for (int64_t r = 0; r < num_rows; ++r) {
    row[r] = RowNorm<V>(source, first_row + r, view.in_features);
  }
  for (int64_t k = 0; k < view.runs * kRun; k += V::kLanes) {
    const int64_t left = view.in_features - k;
    const int n = left < 0 ? 0 : left < V::kLanes ? static_cast<int>(left) : V::kLanes;
    for (int64_t r = 0; r < num_rows; ++r) {
      const typename V::F y = Item::Store(values[r], n > 0 ? row[r].Values(k, n) : V::Zero());
      sum[r] = k % kRun == 0 ? y : V::Add(sum[r], y);
      if ((k + V::kLanes) % kRun == 0) sums[k / kRun * num_rows + r] = V::Sum(sum[r]);
    }
    const int64_t padded = view.padded_in - k;
    for (int64_t i = 0; i < V::kLanes && i < padded; i += kPiece) {
      Type* to =
          reinterpret_cast<Type*>(block) + (k + i) / kUnit * block_rows * kUnit + (k + i) % kUnit;
      for (int64_t r = 0; r < block_rows; ++r) {
        std::memcpy(to + r * kUnit, &values[r][i], kPiece * sizeof(Type));
      }
    }
  }
  float* groups = sums + view.runs * num_rows;
  for (int64_t i = 0; i < view.runs / 4 * num_rows; ++i) {
    const float* first = sums + i / num_rows * 4 * num_rows + i % num_rows;
    groups[i] = ((first[0] + first[num_rows]) + first[2 * num_rows]) + first[3 * num_rows];
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

}  // namespace parrot::kernels::internal

#endif  // PARROT_MODEL_KERNELS_GEMM_ROWS_IMPL_H_
