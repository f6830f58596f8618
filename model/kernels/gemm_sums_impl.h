// The sums of a product in registers: a tile of R rows (a block) times P panels; see
// simd_emulated.h for who includes this.
//
// R * P * 2 vectors of sums. W says what they sum: weights as floats, or pairs of bfloat16
// (gemm_weights_impl.h). All sizes in bytes unless said otherwise.
#ifndef PARROT_MODEL_KERNELS_GEMM_SUMS_IMPL_H_
#define PARROT_MODEL_KERNELS_GEMM_SUMS_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"
#include "model/kernels/gemm_weights_impl.h"

namespace parrot::kernels::internal {

// Some input features of a tile.
struct TileSpan {
  const std::byte* a = nullptr;  // [word][R]
  const float* sums = nullptr;   // [group][R]
  const std::byte* b = nullptr;  // weights
  int64_t group_gap = 0;         // bytes between those of two groups
  const std::byte* scales = nullptr;
  int64_t scales_stride = 0;  // bytes from one group's to the next one's
  int64_t panel_bytes = 0;
  int64_t group = 0;
  int64_t count = 0;  // input features
  // What to prefetch: without `ahead`, the weights that come kStreamAhead bytes later, which from
  // `stream_end` on are those of the next tile, `stream_gap` bytes further on; else with each step
  // two lines of it, which may be one.
  const std::byte* stream_end = nullptr;
  int64_t stream_gap = 0;
  const std::byte* ahead = nullptr;
  int64_t ahead_second = 0;  // bytes from the first to the second
  int64_t ahead_step = 0;
  float* c = nullptr;  // [R][c_stride]
  int64_t c_stride = 0;
};

// As far as memory is behind, for weights that are read once.
inline constexpr int64_t kStreamAhead = 1024;

template <typename V, typename W, int R, int P>
struct Tile {
  using F = typename V::F;
  static constexpr int64_t kStepWords = kStep / W::kFeatures;
  F sum[R][P][2];

  // Word kWord of a step.
  template <int kWord>
  [[gnu::always_inline]] void Row(const std::byte* a, const std::byte* b, int64_t panel_bytes) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      typename W::Vector w0, w1;
      W::template Load<kWord>(b + p * panel_bytes, &w0, &w1);
      // Activations are read anew for each panel: GCC would keep them in registers that sums need.
      if constexpr (R > 2 && P > 1) asm("" : "+r"(a));
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const typename W::Vector x = W::Set(a + kWordBytes * (kWord * R + r));
        sum[r][p][0] = W::MultiplyAdd(x, w0, sum[r][p][0]);
        sum[r][p][1] = W::MultiplyAdd(x, w1, sum[r][p][1]);
      }
    }
  }

  // Of a step.
  [[gnu::always_inline]] static const std::byte* Prefetch(const TileSpan& t,
                                                          const std::byte* b,
                                                          const std::byte* ahead) {
    if (P == 1 && ahead != nullptr) {
      V::PrefetchFar(ahead);
      V::PrefetchFar(ahead + t.ahead_second);
      return ahead + t.ahead_step;
    }
    b += kStreamAhead;
    if (b >= t.stream_end) b += t.stream_gap;
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
      for (int64_t line = 0; line < kStepWords * W::kWeightBytes; line += 64) {
        V::Prefetch(b + p * t.panel_bytes + line);
      }
    }
    return ahead;
  }

  // sum += a b over `count` input features. Returns what to prefetch next.
  [[gnu::always_inline]] const std::byte* Run(const TileSpan& t,
                                              const std::byte* a,
                                              const std::byte* b,
                                              int64_t count,
                                              const std::byte* ahead) {
    const int64_t panel_bytes = t.panel_bytes;
    int64_t k = 0;
    for (; k + kStep <= count; k += kStep) {
      ahead = Prefetch(t, b, ahead);
      Row<0>(a, b, panel_bytes);
      Row<1>(a, b, panel_bytes);
      if constexpr (kStepWords == 4) {
        Row<2>(a, b, panel_bytes);
        Row<3>(a, b, panel_bytes);
      }
      a += kStepWords * R * kWordBytes;
      b += kStepWords * W::kWeightBytes;
    }
    for (; k < count; k += W::kFeatures) {
      Row<0>(a, b, panel_bytes);
      a += R * kWordBytes;
      b += W::kWeightBytes;
    }
    return ahead;
  }

  [[gnu::always_inline]] float* At(const TileSpan& t, int r, int p, int v) {
    return t.c + r * t.c_stride + (2 * p + v) * V::kLanes;
  }

  static void Plain(const TileSpan& t) {
    Tile tile;
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        tile.sum[r][p][0] = V::Load(tile.At(t, r, p, 0));
        tile.sum[r][p][1] = V::Load(tile.At(t, r, p, 1));
      }
    }
    tile.Run(t, t.a, t.b, t.count, t.ahead);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        V::Store(tile.At(t, r, p, 0), tile.sum[r][p][0]);
        V::Store(tile.At(t, r, p, 1), tile.sum[r][p][1]);
      }
    }
  }

  // c = fma(scale, sum, c), or with zero points fma(scale, sum - zero * (sum of a), c).
  template <bool kZeroPoints>
  [[gnu::always_inline]] void AddGroup(const TileSpan& t,
                                       const float* sums,
                                       const std::byte* scales) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const std::byte* at = scales + p * t.panel_bytes + v * 4 * V::kLanes;
        F scale = V::Zero(), zero = V::Zero();
        if constexpr (kZeroPoints) {
          V::LoadBf16Pairs(reinterpret_cast<const uint16_t*>(at), &zero, &scale);
        } else {
          scale = V::Load(reinterpret_cast<const float*>(at));
        }
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
          F s = sum[r][p][v];
          if constexpr (kZeroPoints) s = V::Fnma(zero, V::Set(sums[r]), s);
          float* c = At(t, r, p, v);
          V::Store(c, V::Fma(scale, s, V::Load(c)));
        }
      }
    }
  }

  template <bool kZeroPoints>
  static void Grouped(const TileSpan& t) {
    const std::byte* a = t.a;
    const std::byte* b = t.b;
    const std::byte* scales = t.scales;
    const std::byte* ahead = t.ahead;
    const float* sums = t.sums;
    for (int64_t left = t.count; left > 0; left -= t.group) {
      const int64_t count = left < t.group ? left : t.group;
      const int64_t padded = (count + kStep - 1) / kStep * kStep;
      Tile tile;
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) tile.sum[r][p][0] = tile.sum[r][p][1] = V::Zero();
      }
      ahead = tile.Run(t, a, b, padded, ahead);
      tile.template AddGroup<kZeroPoints>(t, sums, scales);
      a += padded / W::kFeatures * R * kWordBytes;
      b += padded / W::kFeatures * W::kWeightBytes + t.group_gap;
      scales += t.scales_stride;
      sums += R;
    }
  }
};

}  // namespace parrot::kernels::internal

#endif  // PARROT_MODEL_KERNELS_GEMM_SUMS_IMPL_H_
