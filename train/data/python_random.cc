#include "train/data/python_random.h"

#include <bit>

#include "base/check.h"

namespace parrot {

// MT19937's initialisation by an array of one word (Matsumoto and Nishimura), which is what CPython
// makes of a small integer.
PythonRandom::PythonRandom(uint32_t seed) {
  state_[0] = 19650218;
  for (size_t i = 1; i < kSize; ++i) {
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<uint32_t>(i);
  }
  size_t i = 1;
  const auto advance = [&] {
    if (++i == kSize) {
      state_[0] = state_[kSize - 1];
      i = 1;
    }
  };
  for (size_t k = 0; k < kSize; ++k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525u)) + seed;
    advance();
  }
  for (size_t k = 1; k < kSize; ++k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941u)) -
                static_cast<uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000u;
}

void PythonRandom::Refill() {
  constexpr size_t kShift = 397;
  for (size_t i = 0; i < kSize; ++i) {
    const uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % kSize] & 0x7fffffffu);
    state_[i] = state_[(i + kShift) % kSize] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908b0dfu : 0u);
  }
  position_ = 0;
}

uint32_t PythonRandom::Next() {
  if (position_ == kSize) Refill();
  uint32_t y = state_[position_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

uint64_t PythonRandom::Below(uint64_t bound) {
  PARROT_CHECK(bound > 0 && bound >> 32 == 0);
  const int bits = std::bit_width(bound);
  for (;;) {
    const uint64_t draw = Next() >> (32 - bits);
    if (draw < bound) return draw;
  }
}

}  // namespace parrot
