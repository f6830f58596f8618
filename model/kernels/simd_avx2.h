// Eight floats in an AVX2 register. Members as in simd_emulated.h, which says what they do.
// Included by sources compiled with -mavx2 -mfma only.
#ifndef PARROT_MODEL_KERNELS_SIMD_AVX2_H_
#define PARROT_MODEL_KERNELS_SIMD_AVX2_H_

#include <immintrin.h>

#include <cstdint>

namespace parrot::kernels {

struct Avx2 {
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 16;
  using F = __m256;

  static F Zero() { return _mm256_setzero_ps(); }
  static F Set(float x) { return _mm256_set1_ps(x); }
  static F Load(const float* p) { return _mm256_loadu_ps(p); }
  static F LoadPartial(const float* p, int n) { return _mm256_maskload_ps(p, Mask(n)); }
  static void Store(float* p, F a) { _mm256_storeu_ps(p, a); }
  static void StorePartial(float* p, F a, int n) { _mm256_maskstore_ps(p, Mask(n), a); }

  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static F Max(F a, F b) { return _mm256_max_ps(a, b); }
  static F Min(F a, F b) { return _mm256_min_ps(a, b); }
  static F Sqrt(F a) { return _mm256_sqrt_ps(a); }
  static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  // Written out: a product's sums take nearly all registers, and GCC, free to choose which operand
  // to overwrite, would move one of them to memory in each step.
  static F Accumulate(F a, F b, F c) {
    asm("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b));
    return c;
  }
  static F Fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static F Round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F PowerOfTwo(F a) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }
  static float Sum(F a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
  }
  static float MaxOf(F a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
  }

  static F LoadBf16(const uint16_t* p) {
    const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
  }
  static void LoadBf16Pairs(const uint16_t* p, F* low, F* high) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    *low = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    *high = _mm256_castsi256_ps(And(words, kHighHalves));
  }
  static void StoreBf16Halves(uint16_t* p, F low, F high) {
    const __m256i words =
        _mm256_or_si256(_mm256_srli_epi32(_mm256_castps_si256(low), 16), _mm256_castps_si256(high));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), words);
  }
  static void StoreBf16(uint16_t* p, F a) {
    const __m256i bits = _mm256_castps_si256(a);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
  }
  static F LoadInt8(const int8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
  template <int kNibble>
  static F LoadUint4(const uint8_t* p) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i shifted = _mm256_srli_epi32(words, 8 * (kNibble / 2));
    return _mm256_cvtepi32_ps(And(shifted, kNibble % 2 == 0 ? kLowNibbles : kHighNibbles));
  }
  // Always inline: GCC drops calls of a function that has no other effect.
  [[gnu::always_inline]] static void Prefetch(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
  }
  [[gnu::always_inline]] static void PrefetchFar(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
  }

 private:
  struct alignas(32) Words {
    uint64_t half[4];
  };
  static constexpr Words kHighHalves = {
      {0xffff0000ffff0000u, 0xffff0000ffff0000u, 0xffff0000ffff0000u, 0xffff0000ffff0000u}};
  static constexpr Words kLowNibbles = {
      {0x0000000f0000000fu, 0x0000000f0000000fu, 0x0000000f0000000fu, 0x0000000f0000000fu}};
  static constexpr Words kHighNibbles = {
      {0x000000f0000000f0u, 0x000000f0000000f0u, 0x000000f0000000f0u, 0x000000f0000000f0u}};
  // From memory: the products' sums need all registers, and GCC would rather move sums to memory.
  static __m256i And(__m256i a, const Words& mask) {
    __m256i r;
    asm("vpand %2, %1, %0" : "=x"(r) : "x"(a), "m"(mask));
    return r;
  }

  static __m256i Mask(int n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes);
  }
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_SIMD_AVX2_H_
