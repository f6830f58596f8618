// Row functions over a vector struct V; see simd_emulated.h. Included by row_functions_*.cc only.
#ifndef PARROT_MODEL_KERNELS_ROW_FUNCTIONS_IMPL_H_
#define PARROT_MODEL_KERNELS_ROW_FUNCTIONS_IMPL_H_

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "model/kernels/row_functions.h"

namespace parrot::kernels {

template <typename V>
struct RowKernels {
  using F = typename V::F;
  static constexpr int kLanes = V::kLanes;

  static RowExtremes FindExtremes(const float* x, int64_t n) {
    constexpr int64_t kChunk = 4096;  // the index is looked for in the best chunk only
    RowExtremes result = {.index = -1, .largest = -INFINITY};
    // x - x is 0 or NaN; sums of it remember.
    F odd = V::Zero(), unbounded = V::Zero();
    int64_t chunk_of_largest = 0;
    for (int64_t begin = 0; begin < n; begin += kChunk) {
      const int64_t end = n - begin < kChunk ? n : begin + kChunk;
      F largest = V::Set(-INFINITY);
      for (int64_t i = begin; i < end; i += kLanes) {
        const F v = LoadOr(x + i, end - i, -FLT_MAX);
        largest = V::Max(v, largest);
        odd = V::Add(odd, V::Sub(v, v));
        const F raised = V::Max(V::Set(-FLT_MAX), v);  // NaN stays
        unbounded = V::Add(unbounded, V::Sub(raised, raised));
      }
      const float best = V::MaxOf(largest);
      if (best > result.largest) {
        result.largest = best;
        chunk_of_largest = begin;
      }
    }
    result.finite = V::Sum(odd) == 0.0f;
    result.bounded_above = V::Sum(unbounded) == 0.0f;
    for (int64_t i = chunk_of_largest; i < n && result.index < 0; ++i) {
      if (x[i] == result.largest && x[i] > -INFINITY) result.index = i;
    }
    return result;
  }

  // Plain C++ that compilers turn into vectors; no contraction, so every instruction set rounds
  // alike.
  static double ExpTerms(const float* x, int64_t n, float temperature, float top, double* terms) {
    for (int64_t i = 0; i < n; ++i) terms[i] = Exp(double{x[i] / temperature} - double{top});
    constexpr int kSums = 8;
    double sums[kSums] = {};
    int64_t i = 0;
    for (; i + kSums <= n; i += kSums) {
      for (int j = 0; j < kSums; ++j) sums[j] += terms[i + j];
    }
    for (int j = 0; i + j < n; ++j) sums[j] += terms[i + j];
    double sum = 0.0;
    for (const double part : sums) sum += part;
    return sum;
  }

  static float Dot(const float* a, const float* b, int64_t n) {
    F sum = V::Zero();
    for (int64_t i = 0; i < n; i += kLanes) {
      sum = V::Fma(LoadOr(a + i, n - i, 0.0f), LoadOr(b + i, n - i, 0.0f), sum);
    }
    return V::Sum(sum);
  }

  static void Add(const float* a, const float* b, int64_t n, float* out) {
    for (int64_t i = 0; i < n; i += kLanes) {
      StoreUpTo(out + i, V::Add(LoadOr(a + i, n - i, 0.0f), LoadOr(b + i, n - i, 0.0f)), n - i);
    }
  }

  static void WeightedSum(const float* weights,
                          int64_t count,
                          const float* x,
                          int64_t stride,
                          float extra_weight,
                          const float* extra,
                          int64_t n,
                          float* out) {
    for (int64_t i = 0; i < n; i += kLanes) {
      F sum = V::Mul(V::Set(weights[0]), LoadOr(x + i, n - i, 0.0f));
      for (int64_t term = 1; term < count; ++term) {
        sum = V::Fma(V::Set(weights[term]), LoadOr(x + term * stride + i, n - i, 0.0f), sum);
      }
      if (extra != nullptr) {
        sum = V::Fma(V::Set(extra_weight), LoadOr(extra + i, n - i, 0.0f), sum);
      }
      StoreUpTo(out + i, sum, n - i);
    }
  }

  static constexpr RowFunctions kTable = {.find_extremes = FindExtremes,
                                          .exp_terms = ExpTerms,
                                          .dot = Dot,
                                          .add = Add,
                                          .weighted_sum = WeightedSum};

 private:
  // e^x for x <= 0: x = k ln 2 + r, |r| <= ln 2 / 2, and the series of e^r up to r^13 / 13!.
  static double Exp(double x) {
    constexpr double kShift = 0x1.8p52;  // a sum with it rounds to an integer, in its low bits
    constexpr double kLog2e = 0x1.71547652b82fep0;
    constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 0x1.a39ef35793c76p-33;
    const double bounded = x < -kNegligible ? -double{kNegligible} : x;
    const double shifted = bounded * kLog2e + kShift;
    const double k = shifted - kShift;
    const double r = (bounded - k * kLn2High) - k * kLn2Low;
    double sum = 1.0 / 6227020800.0;
    sum = sum * r + 1.0 / 479001600.0;
    sum = sum * r + 1.0 / 39916800.0;
    sum = sum * r + 1.0 / 3628800.0;
    sum = sum * r + 1.0 / 362880.0;
    sum = sum * r + 1.0 / 40320.0;
    sum = sum * r + 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    sum = sum * r * r + r + 1.0;
    const uint64_t exponent = __builtin_bit_cast(uint64_t, shifted) << 52;
    const double power = __builtin_bit_cast(double, __builtin_bit_cast(uint64_t, sum) + exponent);
    return x < -kNegligible ? 0.0 : power;
  }

  // The next min(left, kLanes) elements, then `fill`.
  static F LoadOr(const float* p, int64_t left, float fill) {
    if (left >= kLanes) return V::Load(p);
    const int n = static_cast<int>(left);
    if (fill == 0.0f) return V::LoadPartial(p, n);
    float padded[kLanes];
    for (int i = 0; i < kLanes; ++i) padded[i] = i < n ? p[i] : fill;
    return V::Load(padded);
  }
  static void StoreUpTo(float* p, F v, int64_t left) {
    if (left >= kLanes) {
      V::Store(p, v);
    } else {
      V::StorePartial(p, v, static_cast<int>(left));
    }
  }
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_ROW_FUNCTIONS_IMPL_H_
