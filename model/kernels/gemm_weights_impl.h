// What one word (4 bytes) of packed activations is multiplied by: an input feature's weights
// widened to floats, or a pair of them as bfloat16; see simd_emulated.h for who includes this.
#ifndef PARROT_MODEL_KERNELS_GEMM_WEIGHTS_IMPL_H_
#define PARROT_MODEL_KERNELS_GEMM_WEIGHTS_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"

namespace parrot::kernels::internal {

inline constexpr int64_t kWordBytes = 4;

// Bytes that `features` input features of a panel take.
constexpr int64_t WeightBytes(WeightFormat format, int64_t lanes, int64_t features) {
  return features * lanes * (8 >> static_cast<int>(format));
}

template <typename V, WeightFormat kFormatOf>
struct FloatWeights {
  using Vector = typename V::F;
  static constexpr WeightFormat kFormat = kFormatOf;
  static constexpr int64_t kFeatures = 1;  // of a word
  static constexpr int64_t kWeightBytes = WeightBytes(kFormat, V::kLanes, kFeatures);

  // Of word kWord of a step at p: the panel's first and second vector.
  template <int kWord>
  static void Load(const std::byte* p, Vector* w0, Vector* w1) {
    const std::byte* row = p + kWord * kWeightBytes;
    if constexpr (kFormat == WeightFormat::kFloat32) {
      *w0 = V::Load(reinterpret_cast<const float*>(row));
      *w1 = V::Load(reinterpret_cast<const float*>(row) + V::kLanes);
    } else if constexpr (kFormat == WeightFormat::kBFloat16) {
      V::LoadBf16Pairs(reinterpret_cast<const uint16_t*>(row), w0, w1);
    } else if constexpr (kFormat == WeightFormat::kInt8) {
      *w0 = V::LoadInt8(reinterpret_cast<const int8_t*>(row));
      *w1 = V::LoadInt8(reinterpret_cast<const int8_t*>(row) + V::kLanes);
    } else {
      *w0 = V::template LoadUint4<2 * kWord>(reinterpret_cast<const uint8_t*>(p));
      *w1 = V::template LoadUint4<2 * kWord + 1>(reinterpret_cast<const uint8_t*>(p));
    }
  }
  static Vector Set(const std::byte* word) { return V::Set(*reinterpret_cast<const float*>(word)); }
  static Vector MultiplyAdd(Vector x, Vector w, Vector sum) { return V::Accumulate(x, w, sum); }
  // As bfloat16 weights are packed, 2 * lanes of them; w0 and w1 are exact in it.
  static void StoreWide(uint16_t* to, Vector w0, Vector w1) { V::StoreBf16Halves(to, w0, w1); }
};

template <typename V, WeightFormat kFormatOf>
struct PairWeights {
  using Vector = typename V::Pairs;
  static constexpr WeightFormat kFormat = kFormatOf;
  static constexpr int64_t kFeatures = 2;
  static constexpr int64_t kWeightBytes = WeightBytes(kFormat, V::kLanes, kFeatures);

  template <int kWord>
  static void Load(const std::byte* p, Vector* w0, Vector* w1) {
    const std::byte* row = p + kWord * kWeightBytes;
    if constexpr (kFormat == WeightFormat::kBFloat16) {
      *w0 = V::LoadPairs(reinterpret_cast<const uint16_t*>(row));
      *w1 = V::LoadPairs(reinterpret_cast<const uint16_t*>(row) + 2 * V::kLanes);
    } else if constexpr (kFormat == WeightFormat::kInt8) {
      *w0 = V::LoadInt8Pairs(reinterpret_cast<const int8_t*>(row));
      *w1 = V::LoadInt8Pairs(reinterpret_cast<const int8_t*>(row) + 2 * V::kLanes);
    } else {
      *w0 = V::template LoadUint4Pairs<2 * kWord>(reinterpret_cast<const uint8_t*>(p));
      *w1 = V::template LoadUint4Pairs<2 * kWord + 1>(reinterpret_cast<const uint8_t*>(p));
    }
  }
  static Vector Set(const std::byte* word) { return V::SetPair(word); }
  static typename V::F MultiplyAdd(Vector x, Vector w, typename V::F sum) {
    return V::Dot(x, w, sum);
  }
  static void StoreWide(uint16_t* to, Vector w0, Vector w1) {
    V::StorePairs(to, w0);
    V::StorePairs(to + 2 * V::kLanes, w1);
  }
};

// Calls use(w0, w1) for each word of `count` input features at `from`, which with int4 are whole
// steps.
template <typename W, typename Use>
[[gnu::always_inline]] inline void ForWords(const std::byte* from, int64_t count, const Use& use) {
  typename W::Vector w0, w1;
  if constexpr (W::kFormat != WeightFormat::kInt4) {
    for (int64_t k = 0; k < count; k += W::kFeatures, from += W::kWeightBytes) {
      W::template Load<0>(from, &w0, &w1);
      use(w0, w1);
    }
  } else {
    for (int64_t k = 0; k < count; k += kStep, from += kStep / W::kFeatures * W::kWeightBytes) {
      W::template Load<0>(from, &w0, &w1);
      use(w0, w1);
      W::template Load<1>(from, &w0, &w1);
      use(w0, w1);
      if constexpr (W::kFeatures == 1) {
        W::template Load<2>(from, &w0, &w1);
        use(w0, w1);
        W::template Load<3>(from, &w0, &w1);
        use(w0, w1);
      }
    }
  }
}

// The stored numbers of `count` input features of a panel, from a group's start on, as bfloat16
// weights without scales. Returns the end.
template <typename V, typename W>
uint16_t* Widen(const MatrixView& w, const std::byte* from, int64_t count, uint16_t* to) {
  const int64_t group = w.grouped ? w.group : count;
  for (int64_t left = count; left > 0; left -= group, from += w.group_bytes) {
    int64_t features = left < group ? left : group;
    if (w.grouped) features = (features + kStep - 1) / kStep * kStep;  // as the panel has
    ForWords<W>(from + w.scale_bytes, features, [&](auto w0, auto w1) {
      W::StoreWide(to, w0, w1);
      to += W::kFeatures * 2 * V::kLanes;
    });
  }
  return to;
}

}  // namespace parrot::kernels::internal

#endif  // PARROT_MODEL_KERNELS_GEMM_WEIGHTS_IMPL_H_
