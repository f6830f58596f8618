// Avx512 with products of bfloat16 pairs. Members as in simd_emulated.h, which says what they do.
// Included by sources compiled with AVX-512's flags and -mavx512bf16 only. (GCC writes those
// instructions where they are asked for and nowhere else: what Avx512 has inline stays the same.)
#ifndef PARROT_MODEL_KERNELS_SIMD_AVX512_BF16_H_
#define PARROT_MODEL_KERNELS_SIMD_AVX512_BF16_H_

#include <immintrin.h>

#include <cstdint>

#include "model/kernels/simd_avx512.h"

namespace parrot::kernels {

struct Avx512Bf16 : Avx512 {
  using Pairs = __m512i;

  static Pairs SetPair(const void* p) { return _mm512_set1_epi32(*static_cast<const Word*>(p)); }
  static Pairs LoadPairs(const uint16_t* p) { return _mm512_loadu_si512(p); }
  static void StorePairs(uint16_t* p, Pairs a) { _mm512_storeu_si512(p, a); }
  static F Dot(Pairs a, Pairs b, F c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static Pairs LoadInt8Pairs(const int8_t* p) {
    return RoundPairs(LoadInt8(p), LoadInt8(p + kLanes));
  }
  template <int kNibble>
  static Pairs LoadUint4Pairs(const uint8_t* p) {
    // An index counts modulo 32.
    return _mm512_permutexvar_epi16(_mm512_srli_epi16(_mm512_loadu_si512(p), 4 * kNibble),
                                    _mm512_load_si512(kNumbers));
  }
  static void SplitPairs(Pairs a, F* even, F* odd) {
    *even = _mm512_castsi512_ps(_mm512_slli_epi32(a, 16));
    *odd = _mm512_castsi512_ps(
        _mm512_and_si512(a, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))));
  }
  static Pairs JoinPairs(F even, F odd) {
    return _mm512_permutexvar_epi16(_mm512_load_si512(kTurns), RoundPairs(even, odd));
  }

 private:
  using Word [[gnu::may_alias]] = int32_t;
  // 0 to 15 as bfloat16, twice.
  alignas(64) static constexpr uint16_t kNumbers[32] = {
      0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120,
      0x4130, 0x4140, 0x4150, 0x4160, 0x4170, 0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0,
      0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170};
  // Words i and 16 + i in turns.
  alignas(64) static constexpr uint16_t kTurns[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                      21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                      11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

  // `first`, then `second`.
  static Pairs RoundPairs(F first, F second) {
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
  }
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_SIMD_AVX512_BF16_H_
