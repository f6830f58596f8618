#include "model/kernels/aligned_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace parrot::kernels {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kCacheLine = 64;

size_t RoundUp(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

AlignedBuffer::AlignedBuffer(size_t size) {
  if (size == 0) return;
  const size_t page = sysconf(_SC_PAGESIZE);
  const size_t lines = RoundUp(size, kCacheLine), usable = RoundUp(lines, page);
  // Pages come from the system zeroed, and when they are first written.
  void* mapping =
      mmap(nullptr, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  std::byte* end = static_cast<std::byte*>(mapping) + usable;
  data_ = std::unique_ptr<std::byte, UnmapMemory>(end - lines, {mapping, usable + page});
  size_ = size;
  if (mprotect(end, page, PROT_NONE) != 0) throw std::bad_alloc();
  if (size >= kHugePage) madvise(mapping, usable, MADV_HUGEPAGE);  // advice: may be refused
}

AlignedBuffer AlignedBuffer::FromMapping(void* mapping, size_t size) {
  AlignedBuffer buffer;
  buffer.data_ = std::unique_ptr<std::byte, UnmapMemory>(static_cast<std::byte*>(mapping),
                                                         UnmapMemory{mapping, size});
  buffer.size_ = size;
  return buffer;
}

void UnmapMemory::operator()(std::byte*) const { munmap(mapping, size); }

}  // namespace parrot::kernels
