// A counter-based generator: the draw of a token is a function of (seed, position) alone, so it
// does not depend on batch mates, chunks, preemption or the backend.
#ifndef PARROT_MODEL_RUNTIME_COUNTER_RNG_H_
#define PARROT_MODEL_RUNTIME_COUNTER_RNG_H_

#include <cstdint>

namespace parrot {

// Finalizer of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
// OOPSLA 2014): a bijection of 64 bits with full avalanche.
constexpr uint64_t MixBits(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Uniform in [0, 1), multiples of 2^-53.
constexpr double CounterUniform(uint64_t seed, int32_t position) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;
  const uint64_t counter = static_cast<uint32_t>(position);
  const uint64_t bits = MixBits(MixBits(seed + kGolden) ^ MixBits(counter + kGolden * 3));
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_COUNTER_RNG_H_
