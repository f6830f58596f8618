// The eight tile registers of AMX, each 16 rows of 64 bytes, from construction to destruction in
// the thread that does both. REQUIRES: NativeIsas() has kAmx. Members as in tile_emulated.h, which
// says what they do.
//
// Own statements, because those of GCC 12 do not say what they read: they drop stores to the
// configuration, of which they name 8 bytes of 64, and do not wait for stores to what is loaded.
#ifndef PARROT_MODEL_KERNELS_TILE_AMX_H_
#define PARROT_MODEL_KERNELS_TILE_AMX_H_

#include <cstdint>

namespace parrot::kernels {

class AmxTiles {
 public:
  [[gnu::always_inline]] AmxTiles() {
    const Configuration configuration;
    asm volatile("ldtilecfg %0" : : "m"(configuration));
  }
  [[gnu::always_inline]] ~AmxTiles() { asm volatile("tilerelease"); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  template <int kTile>
  [[gnu::always_inline]] void Load(const void* p, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "n"(kTile) : "memory");
  }
  template <int kTile>
  [[gnu::always_inline]] void Store(void* p, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "n"(kTile) : "memory");
  }
  template <int kSum, int kA, int kB>
  [[gnu::always_inline]] void Dot() {
    // AT&T's order: the last operand is the sum, the one before it the rows.
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "n"(kSum), "n"(kA), "n"(kB));
  }

 private:
  struct alignas(64) Configuration {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static_assert(sizeof(Configuration) == 64);
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_TILE_AMX_H_
