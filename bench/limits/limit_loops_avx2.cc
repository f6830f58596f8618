#include "bench/limits/isa_loops.h"
#include "bench/limits/limit_loops_impl.h"
#include "model/kernels/simd_avx2.h"

namespace parrot {
namespace {

struct Vector : kernels::Avx2 {
  static void Stream(float* p, F a) { _mm256_stream_ps(p, a); }
};

void Int8Peak(int64_t iterations) {
  const __m256i ones = _mm256_set1_epi16(1), b = _mm256_set1_epi8(3);
  __m256i a = _mm256_set1_epi8(2);
  RunChains(iterations, _mm256_setzero_si256(), [&](__m256i sum) {
    asm volatile("" : "+v"(a));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
  });
}

}  // namespace

MemoryLoops Avx2MemoryLoops() { return {.read = Read<Vector>, .triad = Triad<Vector>}; }

PeakLoop Avx2FmaPeak() { return FmaPeakLoop<Vector>(kernels::Isa::kAvx2); }

PeakLoop Avx2Int8Peak() {
  return {.arithmetic = Arithmetic::kInt8,
          .isa = kernels::Isa::kAvx2,
          .instruction = "vpmaddubsw + vpmaddwd",
          .operations = int64_t{2} * kAccumulators * 32,
          .run = Int8Peak};
}

}  // namespace parrot
