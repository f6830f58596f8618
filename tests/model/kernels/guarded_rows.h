// An array that ends where a page ends, with a page behind it that nobody may touch: an access past
// the end is a fault, with or without a sanitizer.
#ifndef PARROT_TESTS_MODEL_KERNELS_GUARDED_ROWS_H_
#define PARROT_TESTS_MODEL_KERNELS_GUARDED_ROWS_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <random>
#include <span>

namespace parrot::kernels {

template <typename T>
class GuardedRows {
 public:
  // Zeros.
  explicit GuardedRows(size_t count) : count_(count) {
    const size_t page = sysconf(_SC_PAGESIZE);
    const size_t bytes = (count * sizeof(T) + page - 1) / page * page;
    mapped_bytes_ = bytes + page;
    mapped_ =
        mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(static_cast<std::byte*>(mapped_) + bytes, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(static_cast<std::byte*>(mapped_) + bytes) - count;
  }
  ~GuardedRows() { munmap(mapped_, mapped_bytes_); }
  GuardedRows(const GuardedRows&) = delete;
  GuardedRows& operator=(const GuardedRows&) = delete;

  T* data() { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }
  std::span<T> span() { return {data_, count_}; }
  // Uniform in [-scale, scale).
  void Fill(std::mt19937& random, float scale = 1.0f) {
    for (T& x : span())
      x = static_cast<T>(scale * (static_cast<float>(random()) * 0x1p-31f - 1.0f));
  }

 private:
  size_t count_;
  void* mapped_ = nullptr;
  size_t mapped_bytes_ = 0;
  T* data_ = nullptr;
};

}  // namespace parrot::kernels

#endif  // PARROT_TESTS_MODEL_KERNELS_GUARDED_ROWS_H_
