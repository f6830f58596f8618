// Compiled with AVX512-BF16 and AVX512-VNNI; a machine may have one of them.
#include <immintrin.h>

#include "bench/limits/isa_loops.h"
#include "bench/limits/limit_loops_impl.h"

namespace parrot {
namespace {

void Bf16Peak(int64_t iterations) {
  const auto ones = (__m512bh)_mm512_set1_epi16(0x3f80);
  RunChains(iterations, _mm512_setzero_ps(), [&](__m512 sum) {
    return _mm512_dpbf16_ps(sum, ones, ones);
  });
}

void Int8Peak(int64_t iterations) {
  const __m512i a = _mm512_set1_epi8(2), b = _mm512_set1_epi8(3);
  RunChains(iterations, _mm512_setzero_si512(), [&](__m512i sum) {
    return _mm512_dpbusd_epi32(sum, a, b);
  });
}

}  // namespace

PeakLoop Avx512Bf16Peak() {
  return {.arithmetic = Arithmetic::kBFloat16,
          .isa = kernels::Isa::kAvx512Bf16,
          .instruction = "vdpbf16ps",
          .operations = int64_t{2} * kAccumulators * 32,
          .run = Bf16Peak};
}

PeakLoop Avx512Int8Peak() {
  return {.arithmetic = Arithmetic::kInt8,
          .isa = kernels::Isa::kAvx512,
          .instruction = "vpdpbusd",
          .operations = int64_t{2} * kAccumulators * 64,
          .run = Int8Peak};
}

}  // namespace parrot
