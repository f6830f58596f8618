// Memory for vectors and tiles: aligned to a cache line, a large one asks for huge pages. It ends
// (but for the rest of a cache line) where a page begins that nobody may touch: kernels that read
// or write too far fault, in tests and in production. Moves, does not copy.
#ifndef PARROT_MODEL_KERNELS_ALIGNED_BUFFER_H_
#define PARROT_MODEL_KERNELS_ALIGNED_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace parrot::kernels {

struct UnmapMemory {
  void* mapping = nullptr;
  size_t size = 0;
  void operator()(std::byte*) const;
};

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Zeros. Throws std::bad_alloc.
  explicit AlignedBuffer(size_t size);
  // Takes over `size` bytes that mmap gave, of a file perhaps.
  static AlignedBuffer FromMapping(void* mapping, size_t size);

  // Makes it at least `size` large; contents are lost when it has to grow.
  void Reserve(size_t size) {
    if (size > size_) *this = AlignedBuffer(size);
  }

  std::span<std::byte> bytes() { return {data_.get(), size_}; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<std::byte, UnmapMemory> data_;
  size_t size_ = 0;
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_ALIGNED_BUFFER_H_
