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
  static Vector MultiplyAdd(Vector x, Vector w, Vector sum) { return V::Fma(x, w, sum); }
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
};

}  // namespace parrot::kernels::internal

#endif  // PARROT_MODEL_KERNELS_GEMM_WEIGHTS_IMPL_H_
