// The products of attention over a vector struct V: a few rows of floats times keys or values as
// they are stored; see simd_emulated.h for who includes this.
#ifndef PARROT_MODEL_KERNELS_ATTENTION_SUMS_IMPL_H_
#define PARROT_MODEL_KERNELS_ATTENTION_SUMS_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "model/kernels/attention_kernels.h"

namespace parrot::kernels {

template <typename V>
struct AttentionSums {
  using F = typename V::F;
  static constexpr int kLanes = V::kLanes;
  // Sums of a product fill the registers: 3 x 4 vectors of 16, 12 x 2 of 32.
  static constexpr int kProductRows = V::kRegisters == 32 ? 12 : 3;
  static_assert(kKeyRun % kLanes == 0 && 16 % kLanes == 0);

  // Where the thread reads on after `end`; null: nothing is known.
  struct Stream {
    const std::byte* end;
    const std::byte* next;

    // Long enough before its use that memory answers in time, short enough to stay in the cache.
    void Prefetch(const void* p) const {
      constexpr int64_t kDistance = 8192;
      const std::byte* ahead = static_cast<const std::byte*>(p) + kDistance;
      V::PrefetchFar(next == nullptr || ahead < end ? ahead : next + (ahead - end));
    }
  };

  static F LoadElements(const float* p) { return V::Load(p); }
  static F LoadElements(const uint16_t* p) { return V::LoadBf16(p); }
  static F LoadElements(const int8_t* p) { return V::LoadInt8(p); }

  template <typename Element>
  static void Widen(const Element* from, int64_t n, const Stream& stream, float* to) {
    for (int64_t i = 0; i < n; i += 16) {
      stream.Prefetch(from + i);
      for (int64_t j = i; j < i + 16; j += kLanes) V::Store(to + j, LoadElements(from + j));
    }
  }

  // out[r][c] = start + sum over k, first to last, of a[r * kRowStep + k * kTermStep] * b[k][c],
  // r < rows, c < columns (a multiple of 16); start = out[r][c] * factors[r], or 0.
  template <int kRowStep, int kTermStep, typename Element>
  static void Products(const float* a,
                       int rows,
                       const Stream& stream,
                       const Element* b,
                       int64_t b_stride,
                       int64_t columns,
                       int64_t terms,
                       const float* factors,
                       float* out,
                       int64_t out_stride) {
    for (int r = 0; r < rows; r += kProductRows) {
      const int count = rows - r < kProductRows ? rows - r : kProductRows;
      for (int64_t c = 0; c < columns; c += kKeyRun) {
        ProductOf<kProductRows, kRowStep, kTermStep>(count,
                                                     columns - c >= kKeyRun,
                                                     stream,
                                                     a + r * kRowStep,
                                                     b + c,
                                                     b_stride,
                                                     terms,
                                                     factors == nullptr ? nullptr : factors + r,
                                                     out + r * out_stride + c,
                                                     out_stride);
      }
    }
  }

  template <int kRows, int kRowStep, int kTermStep, typename... Args>
  static void ProductOf(int rows, bool wide, const Args&... args) {
    if constexpr (kRows > 1) {
      if (rows < kRows) return ProductOf<kRows - 1, kRowStep, kTermStep>(rows, wide, args...);
    }
    if (wide) {
      Product<kRows, kKeyRun / kLanes, kRowStep, kTermStep>(args...);
    } else {
      Product<kRows, 16 / kLanes, kRowStep, kTermStep>(args...);
    }
  }

  template <int kRows, int kVectors, int kRowStep, int kTermStep, typename Element>
  static void Product(const Stream& stream,
                      const float* a,
                      const Element* b,
                      int64_t b_stride,
                      int64_t terms,
                      const float* factors,
                      float* out,
                      int64_t out_stride) {
    F sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = factors == nullptr
                        ? V::Zero()
                        : V::Mul(V::Load(out + r * out_stride + v * kLanes), V::Set(factors[r]));
      }
    }
    for (int64_t k = 0; k < terms; ++k, a += kTermStep, b += b_stride) {
      for (int c = 0; c < kVectors * kLanes; c += 64 / sizeof(Element)) stream.Prefetch(b + c);
      if constexpr (kRows < kVectors) {  // what there is less of stays in registers
        F x[kRows];
        for (int r = 0; r < kRows; ++r) x[r] = V::Set(a[r * kRowStep]);
        for (int v = 0; v < kVectors; ++v) {
          const F y = LoadElements(b + v * kLanes);
          for (int r = 0; r < kRows; ++r) sum[r][v] = V::Fma(x[r], y, sum[r][v]);
        }
      } else {
        F y[kVectors];
        for (int v = 0; v < kVectors; ++v) y[v] = LoadElements(b + v * kLanes);
        for (int r = 0; r < kRows; ++r) {
          const F x = V::Set(a[r * kRowStep]);
          for (int v = 0; v < kVectors; ++v) sum[r][v] = V::Fma(x, y[v], sum[r][v]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) V::Store(out + r * out_stride + v * kLanes, sum[r][v]);
    }
  }
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_ATTENTION_SUMS_IMPL_H_
