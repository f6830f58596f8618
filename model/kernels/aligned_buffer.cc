#include "model/kernels/aligned_buffer.h"

#include <sys/mman.h>

#include <new>

namespace parrot::kernels {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

AlignedBuffer::AlignedBuffer(size_t size) {
  if (size == 0) return;
  // Pages come from the system zeroed, and when they are first written.
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  if (size >= kHugePage) madvise(data, size, MADV_HUGEPAGE);  // advice: may be refused
  *this = FromMapping(data, size);
}

AlignedBuffer AlignedBuffer::FromMapping(void* mapping, size_t size) {
  AlignedBuffer buffer;
  buffer.data_ = std::unique_ptr<std::byte, UnmapMemory>(static_cast<std::byte*>(mapping),
                                                         UnmapMemory{size});
  buffer.size_ = size;
  return buffer;
}

void UnmapMemory::operator()(std::byte* data) const { munmap(data, size); }

}  // namespace parrot::kernels
