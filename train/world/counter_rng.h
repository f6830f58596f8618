// Random numbers that are the same on every machine and in every order of work: each (seed, stream,
// index) has a sequence of its own, the SplitMix64 hash of a counter. Integers alone, because the
// standard library's distributions differ between implementations. Confined to one thread.
//
//   CounterRng rng(seed, RandomStream::kScene, picture_idx);
//   const int cell = rng.Below(9);
#ifndef PARROT_TRAIN_WORLD_COUNTER_RNG_H_
#define PARROT_TRAIN_WORLD_COUNTER_RNG_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace parrot {

// What the numbers are for: a change of one thing leaves the others as they are.
enum class RandomStream : uint64_t {
  kScene = 1,
  kPaint = 2,
  kDialog = 3,
  kText = 4,
  kCaption = 5,
  kTest = 6,
  kHeldOut = uint64_t{1} << 32,  // added to a stream: its held-out half
};

constexpr RandomStream HeldOutStream(RandomStream stream) {
  return static_cast<RandomStream>(static_cast<uint64_t>(stream) +
                                   static_cast<uint64_t>(RandomStream::kHeldOut));
}

class CounterRng {
 public:
  CounterRng(uint64_t seed, RandomStream stream, uint64_t index)
      : key_(Mix(Mix(Mix(seed) + static_cast<uint64_t>(stream)) + index)) {}

  uint64_t Next() { return Mix(key_ + kGolden * ++counter_); }

  // Uniform in [0, n). REQUIRES: n > 0.
  int Below(int n) { return static_cast<int>(((Next() >> 32) * static_cast<uint64_t>(n)) >> 32); }
  // Uniform in [low, high].
  int Between(int low, int high) { return low + Below(high - low + 1); }
  // True in `percent` of 100 cases.
  bool Percent(int percent) { return Below(100) < percent; }

  // An index with probability in proportion to its weight. REQUIRES: weights are not negative,
  // their sum is in [1, 2^31).
  int Weighted(std::span<const int> weights) {
    int sum = 0;
    for (const int weight : weights) sum += weight;
    int rest = Below(sum);
    int index = 0;
    while (rest >= weights[index]) rest -= weights[index++];
    return index;
  }

  template <typename Container>
  void Shuffle(Container& items) {
    for (size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[static_cast<size_t>(Below(static_cast<int>(i)))]);
    }
  }

 private:
  static constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;

  // The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
  // generators, 2014).
  static uint64_t Mix(uint64_t x) {
    x += kGolden;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
  }

  uint64_t key_;
  uint64_t counter_ = 0;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_COUNTER_RNG_H_
