// A vector of kLanesOf floats in plain C++: the stand-in for simd_avx2.h, simd_avx512.h and, with
// Pairs, simd_avx512_bf16.h, which have the same members. Each operation rounds as the instruction
// does.
//
// Kernels are templates over such a struct, defined in *_impl.h and instantiated in one source per
// instruction set. Those sources see nothing else that is inline (no std:: containers or
// algorithms): the linker would keep one copy of it, perhaps the one that needs AVX-512.
#ifndef PARROT_MODEL_KERNELS_SIMD_EMULATED_H_
#define PARROT_MODEL_KERNELS_SIMD_EMULATED_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace parrot::kernels {

template <int kLanesOf>
struct Emulated {
  static constexpr int kLanes = kLanesOf;
  static constexpr int kRegisters = kLanesOf == 8 ? 16 : 32;  // of the hardware it stands for

  struct F {  // floats
    float lane[kLanes];
  };

  static F Zero() { return Set(0.0f); }
  static F Set(float x) {
    F r;
    for (float& lane : r.lane) lane = x;
    return r;
  }
  static F Load(const float* p) {
    F r;
    std::memcpy(r.lane, p, sizeof(r.lane));
    return r;
  }
  // The first n lanes, 0 <= n <= kLanes, the others 0; touches no more memory.
  static F LoadPartial(const float* p, int n) {
    F r = Zero();
    for (int i = 0; i < n; ++i) r.lane[i] = p[i];
    return r;
  }
  static void Store(float* p, F a) { std::memcpy(p, a.lane, sizeof(a.lane)); }
  static void StorePartial(float* p, F a, int n) {
    for (int i = 0; i < n; ++i) p[i] = a.lane[i];
  }

  static F Add(F a, F b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] += b.lane[i];
    return a;
  }
  static F Sub(F a, F b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] -= b.lane[i];
    return a;
  }
  static F Mul(F a, F b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] *= b.lane[i];
    return a;
  }
  static F Div(F a, F b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] /= b.lane[i];
    return a;
  }
  // a > b ? a : b, so b when either is NaN; as the instruction.
  static F Max(F a, F b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
  }
  static F Min(F a, F b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
  }
  static F Sqrt(F a) {
    for (float& lane : a.lane) lane = std::sqrt(lane);
    return a;
  }
  // a * b + c, rounded once.
  static F Fma(F a, F b, F c) {
    for (int i = 0; i < kLanes; ++i) c.lane[i] = std::fma(a.lane[i], b.lane[i], c.lane[i]);
    return c;
  }
  // The same, for the sums of a product.
  static F Accumulate(F a, F b, F c) { return Fma(a, b, c); }
  // c - a * b, rounded once.
  static F Fnma(F a, F b, F c) {
    for (int i = 0; i < kLanes; ++i) c.lane[i] = std::fma(-a.lane[i], b.lane[i], c.lane[i]);
    return c;
  }
  // To the nearest integer, halves to even.
  static F Round(F a) {
    for (float& lane : a.lane) lane = std::nearbyint(lane);
    return a;
  }
  // 2^a for integral a in [-126, 127].
  static F PowerOfTwo(F a) {
    for (float& lane : a.lane) {
      const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(lane) + 127) << 23;
      std::memcpy(&lane, &bits, sizeof(lane));
    }
    return a;
  }
  // Halves of the vector are added (compared) until one lane is left: one order for all.
  static float Sum(F a) {
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) a.lane[i] += a.lane[i + half];
    }
    return a.lane[0];
  }
  static float MaxOf(F a) {
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) {
        a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
      }
    }
    return a.lane[0];
  }

  // kLanes bfloat16 side by side.
  static F LoadBf16(const uint16_t* p) {
    F r;
    for (int i = 0; i < kLanes; ++i) {
      const uint32_t bits = uint32_t{p[i]} << 16;
      std::memcpy(&r.lane[i], &bits, sizeof(bits));
    }
    return r;
  }
  // 2 * kLanes bfloat16 as kLanes words: the low halves are `low`, the high halves `high`.
  static void LoadBf16Pairs(const uint16_t* p, F* low, F* high) {
    for (int i = 0; i < kLanes; ++i) {
      uint32_t word;
      std::memcpy(&word, p + 2 * i, sizeof(word));
      const uint32_t low_bits = word << 16, high_bits = word & 0xffff0000u;
      std::memcpy(&low->lane[i], &low_bits, sizeof(low_bits));
      std::memcpy(&high->lane[i], &high_bits, sizeof(high_bits));
    }
  }
  // The inverse, for values that are bfloat16.
  static void StoreBf16Halves(uint16_t* p, F low, F high) {
    for (int i = 0; i < kLanes; ++i) {
      p[2 * i] = ToBf16(low.lane[i]);
      p[2 * i + 1] = ToBf16(high.lane[i]);
    }
  }
  // Rounded to nearest, halves to even. NaN is not kept apart from infinity.
  static void StoreBf16(uint16_t* p, F a) {
    for (int i = 0; i < kLanes; ++i) {
      uint32_t bits;
      std::memcpy(&bits, &a.lane[i], sizeof(bits));
      p[i] = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    }
  }
  // kLanes int8 side by side.
  static F LoadInt8(const int8_t* p) {
    F r;
    for (int i = 0; i < kLanes; ++i) r.lane[i] = static_cast<float>(p[i]);
    return r;
  }
  // Of kLanes 32-bit words of eight nibbles each, the nibbles q of one place, counted from the
  // lowest bits. Even places give q, odd ones 16 q: it saves the wider shift.
  template <int kNibble>
  static F LoadUint4(const uint8_t* p) {
    F r;
    for (int i = 0; i < kLanes; ++i) {
      const int byte = p[4 * i + kNibble / 2];
      r.lane[i] = static_cast<float>(kNibble % 2 == 0 ? byte & 15 : byte & 240);
    }
    return r;
  }

  // bfloat16 in pairs: item 2 i is lane i's even one, 2 i + 1 its odd one.
  struct Pairs {
    uint16_t item[2 * kLanes];
  };
  // The pair at p for all lanes.
  static Pairs SetPair(const void* p) {
    Pairs r;
    for (int i = 0; i < kLanes; ++i) std::memcpy(r.item + 2 * i, p, 4);
    return r;
  }
  static Pairs LoadPairs(const uint16_t* p) {
    Pairs r;
    std::memcpy(r.item, p, sizeof(r.item));
    return r;
  }
  static void StorePairs(uint16_t* p, Pairs a) { std::memcpy(p, a.item, sizeof(a.item)); }
  // c + odd products, then + even products, each rounded once. Operands and results that are too
  // small to be normal are 0. (Intel's description of vdpbf16ps; AMD's Zen 4 agrees in all bits.)
  static F Dot(Pairs a, Pairs b, F c) {
    for (int i = 0; i < kLanes; ++i) {
      for (const int k : {2 * i + 1, 2 * i}) {
        c.lane[i] = FmaOfNormals(FromBf16(a.item[k]), FromBf16(b.item[k]), c.lane[i]);
      }
    }
    return c;
  }
  // 2 * kLanes int8 side by side.
  static Pairs LoadInt8Pairs(const int8_t* p) {
    Pairs r;
    for (int i = 0; i < 2 * kLanes; ++i) r.item[i] = ToBf16(static_cast<float>(p[i]));
    return r;
  }
  // Of 2 * kLanes 16-bit words of four nibbles each, the nibbles of one place, from the lowest.
  template <int kNibble>
  static Pairs LoadUint4Pairs(const uint8_t* p) {
    Pairs r;
    for (int i = 0; i < 2 * kLanes; ++i) {
      r.item[i] = ToBf16(static_cast<float>(p[2 * i + kNibble / 2] >> 4 * (kNibble % 2) & 15));
    }
    return r;
  }
  static void SplitPairs(Pairs a, F* even, F* odd) {
    for (int i = 0; i < kLanes; ++i) {
      even->lane[i] = FromBf16(a.item[2 * i]);
      odd->lane[i] = FromBf16(a.item[2 * i + 1]);
    }
  }
  // Rounded to nearest, halves to even; what is too small to be normal becomes 0.
  static Pairs JoinPairs(F even, F odd) {
    Pairs r;
    for (int i = 0; i < kLanes; ++i) {
      r.item[2 * i] = ToBf16(even.lane[i]);
      r.item[2 * i + 1] = ToBf16(odd.lane[i]);
    }
    return r;
  }
  static float FromBf16(uint16_t item) {
    const uint32_t bits = uint32_t{item} << 16;
    float x;
    std::memcpy(&x, &bits, sizeof(x));
    return x;
  }
  static float FmaOfNormals(float a, float b, float c) {
    return OrZero(std::fma(OrZero(a), OrZero(b), OrZero(c)));
  }
  static float OrZero(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

  static void Prefetch(const void*) {}
  // To the second-level cache: holds up less than Prefetch where memory is what one waits for.
  static void PrefetchFar(const void*) {}

 private:
  static uint16_t ToBf16(float x) {
    uint32_t bits;
    x = OrZero(x);
    std::memcpy(&bits, &x, sizeof(bits));
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_SIMD_EMULATED_H_
