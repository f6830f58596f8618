// Python's random.Random(seed).shuffle, exactly: the reference shuffles its training data with it,
// and a sample's place decides the step that sees it. The generator is MT19937 with CPython's way
// of seeding from an integer and of drawing below a bound. Confined to one thread.
#ifndef PARROT_TRAIN_DATA_PYTHON_RANDOM_H_
#define PARROT_TRAIN_DATA_PYTHON_RANDOM_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace parrot {

class PythonRandom {
 public:
  explicit PythonRandom(uint32_t seed);

  // In place, as random.shuffle does it.
  template <typename T>
  void Shuffle(std::vector<T>* items) {
    for (size_t i = items->size(); i-- > 1;) std::swap((*items)[i], (*items)[Below(i + 1)]);
  }

 private:
  static constexpr size_t kSize = 624;

  uint32_t Next();
  void Refill();
  // Uniform in [0, bound). REQUIRES: 0 < bound < 2^32.
  uint64_t Below(uint64_t bound);

  std::array<uint32_t, kSize> state_;
  size_t position_ = kSize;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_DATA_PYTHON_RANDOM_H_
