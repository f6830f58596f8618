// Eight tile registers in plain C++: the stand-in for tile_amx.h, which has the same members.
#ifndef PARROT_MODEL_KERNELS_TILE_EMULATED_H_
#define PARROT_MODEL_KERNELS_TILE_EMULATED_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "model/kernels/simd_emulated.h"

namespace parrot::kernels {

class EmulatedTiles {
 public:
  // 16 rows of 64 bytes, `stride` bytes apart.
  template <int kTile>
  void Load(const void* p, int64_t stride) {
    for (int64_t m = 0; m < 16; ++m) {
      std::memcpy(tiles_[kTile].row[m], static_cast<const std::byte*>(p) + m * stride, 64);
    }
  }
  template <int kTile>
  void Store(void* p, int64_t stride) {
    for (int64_t m = 0; m < 16; ++m) {
      std::memcpy(static_cast<std::byte*>(p) + m * stride, tiles_[kTile].row[m], 64);
    }
  }
  // sum[m][n] += over k < 16: a[m][2 k] b[k][2 n] + a[m][2 k + 1] b[k][2 n + 1], of bfloat16. As
  // Intel describes tdpbf16ps: even and odd products have sums of their own, from 0 and in the
  // order of k, which are added at the end and then to `sum`; each step is rounded once, and
  // operands and results that are too small to be normal are 0.
  template <int kSum, int kA, int kB>
  void Dot() {
    for (int m = 0; m < 16; ++m) {
      float sum[16];
      std::memcpy(sum, tiles_[kSum].row[m], sizeof(sum));
      for (int n = 0; n < 16; ++n) {
        float part[2] = {0.0f, 0.0f};
        for (int k = 0; k < 16; ++k) {
          for (int i = 0; i < 2; ++i) {
            part[i] = Lanes::FmaOfNormals(At<kA>(m, 2 * k + i), At<kB>(k, 2 * n + i), part[i]);
          }
        }
        const float both = Lanes::OrZero(part[0] + part[1]);
        sum[n] = Lanes::OrZero(Lanes::OrZero(sum[n]) + both);
      }
      std::memcpy(tiles_[kSum].row[m], sum, sizeof(sum));
    }
  }

 private:
  using Lanes = Emulated<16>;
  struct Tile {
    std::byte row[16][64];
  };

  template <int kTile>
  float At(int row, int item) const {
    uint16_t value;
    std::memcpy(&value, tiles_[kTile].row[row] + 2 * item, sizeof(value));
    return Lanes::FromBf16(value);
  }

  Tile tiles_[8];
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_TILE_EMULATED_H_
