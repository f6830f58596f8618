// Sixteen floats in an AVX-512 register. Members as in simd_emulated.h, which says what they do.
// Included by sources compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl only.
#ifndef PARROT_MODEL_KERNELS_SIMD_AVX512_H_
#define PARROT_MODEL_KERNELS_SIMD_AVX512_H_

#include <immintrin.h>

#include <cstdint>

namespace parrot::kernels {

struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 32;
  using F = __m512;

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set(float x) { return _mm512_set1_ps(x); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static F LoadPartial(const float* p, int n) { return _mm512_maskz_loadu_ps(Mask(n), p); }
  static void Store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static void StorePartial(float* p, F a, int n) { _mm512_mask_storeu_ps(p, Mask(n), a); }

  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F Sqrt(F a) { return _mm512_sqrt_ps(a); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F Accumulate(F a, F b, F c) { return Fma(a, b, c); }
  static F Fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F Round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F PowerOfTwo(F a) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
  }
  static float Sum(F a) {
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
  }
  static float MaxOf(F a) {
    const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
  }

  static F LoadBf16(const uint16_t* p) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
  }
  static void LoadBf16Pairs(const uint16_t* p, F* low, F* high) {
    const __m512i words = _mm512_loadu_si512(p);
    *low = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
    *high = _mm512_castsi512_ps(
        _mm512_and_si512(words, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))));
  }
  static void StoreBf16Halves(uint16_t* p, F low, F high) {
    _mm512_storeu_si512(p,
                        _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(low), 16),
                                        _mm512_castps_si512(high)));
  }
  static void StoreBf16(uint16_t* p, F a) {
    const __m512i bits = _mm512_castps_si512(a);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(rounded));
  }
  static F LoadInt8(const int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }
  template <int kNibble>
  static F LoadUint4(const uint8_t* p) {
    const __m512i words = _mm512_loadu_si512(p);
    const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // An index counts modulo 16.
    return _mm512_permutexvar_ps(
        _mm512_srli_epi32(words, 4 * kNibble),
        kNibble % 2 == 0 ? values : _mm512_mul_ps(values, _mm512_set1_ps(16)));
  }
  // Always inline: GCC drops calls of a function that has no other effect.
  [[gnu::always_inline]] static void Prefetch(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
  }
  [[gnu::always_inline]] static void PrefetchFar(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
  }

 private:
  static __mmask16 Mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_SIMD_AVX512_H_
