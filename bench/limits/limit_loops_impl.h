// The loops of limit_loops.h over a vector struct V (model/kernels/simd_*.h) that also has
//   static void Stream(float* p, F a);   // a store past the caches
// Included by the sources of one instruction set only, which therefore use nothing inline of std::.
//
// asm statements without instructions stand for "this value is needed" (input) and "this value may
// have changed" (input and output): the compiler can neither drop nor share work.
#ifndef PARROT_BENCH_LIMITS_LIMIT_LOOPS_IMPL_H_
#define PARROT_BENCH_LIMITS_LIMIT_LOOPS_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "bench/limits/limit_loops.h"

namespace parrot {

constexpr size_t kLineFloats = 16;           // of a cache line
constexpr size_t kPrefetchFloats = 64 * 16;  // ahead of the loads: four pages of one stream

template <typename V>
inline void LoadLine(const float* p) {
  for (size_t i = 0; i < kLineFloats; i += V::kLanes) {
    const typename V::F value = V::Load(p + i);
    asm volatile("" : : "v"(value));
  }
}

template <typename V, bool kPrefetch>
void ReadStreams(const float* p, size_t count) {
  const size_t quarter = count / 4;
  for (size_t i = 0; i < quarter; i += 2 * kLineFloats) {
#pragma GCC unroll 4
    for (size_t stream = 0; stream < 4; ++stream) {
      const float* line = p + stream * quarter + i;
      if constexpr (kPrefetch) {
        V::Prefetch(line + kPrefetchFloats);
        V::Prefetch(line + kPrefetchFloats + kLineFloats);
      }
      LoadLine<V>(line);
      LoadLine<V>(line + kLineFloats);
    }
  }
}

template <typename V>
void Read(const std::byte* data, size_t bytes, ReadPattern pattern) {
  const auto* p = reinterpret_cast<const float*>(data);
  const size_t count = bytes / sizeof(float);
  if (pattern == ReadPattern::kFourStreams) return ReadStreams<V, false>(p, count);
  if (pattern == ReadPattern::kFourStreamsPrefetched) return ReadStreams<V, true>(p, count);
  for (size_t i = 0; i < count; i += 4 * kLineFloats) {
#pragma GCC unroll 4
    for (size_t line = 0; line < 4; ++line) LoadLine<V>(p + i + line * kLineFloats);
  }
}

template <typename V>
void Triad(float* a, const float* b, const float* c, size_t count, bool streaming) {
  const typename V::F three = V::Set(3.0f);
  if (streaming) {
    for (size_t i = 0; i < count; i += V::kLanes) {
      V::Stream(a + i, V::Fma(three, V::Load(c + i), V::Load(b + i)));
    }
  } else {
    for (size_t i = 0; i < count; i += V::kLanes) {
      V::Store(a + i, V::Fma(three, V::Load(c + i), V::Load(b + i)));
    }
  }
}

constexpr int kAccumulators = 12;  // latency times units of any core, and they fit 16 registers

// kAccumulators independent chains of `step`(accumulator).
template <typename Register, typename Step>
inline void RunChains(int64_t iterations, Register zero, const Step& step) {
  Register sum[kAccumulators];
#pragma GCC unroll 12
  for (int i = 0; i < kAccumulators; ++i) {
    sum[i] = zero;
    asm volatile("" : "+v"(sum[i]));
  }
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kAccumulators; ++i) sum[i] = step(sum[i]);
  }
#pragma GCC unroll 12
  for (int i = 0; i < kAccumulators; ++i) asm volatile("" : : "v"(sum[i]));
}

template <typename V>
void FmaPeak(int64_t iterations) {
  const typename V::F half = V::Set(0.5f), one = V::Set(1.0f);
  RunChains(iterations, V::Zero(), [&](typename V::F sum) { return V::Fma(sum, half, one); });
}

template <typename V>
PeakLoop FmaPeakLoop(kernels::Isa isa) {
  return {.arithmetic = Arithmetic::kFloat32,
          .isa = isa,
          .instruction = "vfmadd",
          .operations = int64_t{2} * kAccumulators * V::kLanes,
          .run = FmaPeak<V>};
}

}  // namespace parrot

#endif  // PARROT_BENCH_LIMITS_LIMIT_LOOPS_IMPL_H_
