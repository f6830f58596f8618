#include "model/backend/cpu/packed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

namespace parrot {
namespace {

// Of the header and of every piece: a mapping begins at a page.
constexpr uint64_t kPage = 4096;
constexpr std::array<char, 8> kMagic = {'P', 'R', 'T', 'P', 'A', 'C', 'K', '1'};

struct Header {
  std::array<char, 8> magic = kMagic;
  Sha256Digest key;
  uint64_t file_size = 0;
};

uint64_t PageAligned(uint64_t size) { return (size + kPage - 1) / kPage * kPage; }

}  // namespace

PackedFile::PackedFile(const std::string& dir, const Sha256Digest& key)
    : path_(dir + "/packed-" + key.ToHex().substr(0, 24) + ".weights"), key_(key), size_(kPage) {
  if (MapExisting()) {
    mode_ = Mode::kMapped;
    outcome_ = "mapped";
  } else if (BeginWriting()) {
    mode_ = Mode::kWriting;
  } else {
    GiveUp(errno == EWOULDBLOCK ? "another process is writing it" : strerror(errno));
  }
}

PackedFile::~PackedFile() {
  if (fd_ >= 0) close(fd_);
}

bool PackedFile::MapExisting() {
  fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) return false;
  Header header;
  struct stat info;
  if (pread(fd_, &header, sizeof(header), 0) == sizeof(header) && header.magic == kMagic &&
      header.key == key_ && fstat(fd_, &info) == 0 &&
      header.file_size == static_cast<uint64_t>(info.st_size)) {
    file_size_ = header.file_size;
    return true;
  }
  close(std::exchange(fd_, -1));
  return false;
}

bool PackedFile::BeginWriting() {
  fd_ = open((path_ + ".partial").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  return fd_ >= 0 && flock(fd_, LOCK_EX | LOCK_NB) == 0 && ftruncate(fd_, 0) == 0;
}

void PackedFile::GiveUp(const char* cause) {
  outcome_ = std::string("not written: ") + cause;
  mode_ = Mode::kOff;
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

void* PackedFile::Map(size_t size, int protection) {
  void* data = mmap(nullptr, size, protection, MAP_SHARED, fd_, static_cast<off_t>(size_));
  if (data == MAP_FAILED) throw std::bad_alloc();
  size_ += PageAligned(size);
  return data;
}

kernels::AlignedBuffer PackedFile::Take(size_t size) {
  if (size == 0) return {};
  if (mode_ == Mode::kMapped) {
    if (size > file_size_ || size_ > file_size_ - size) {
      throw std::runtime_error("the file of packed weights is not this model's; delete it");
    }
    void* data = Map(size, PROT_READ);
    (void)madvise(data, size, MADV_WILLNEED);
    return kernels::AlignedBuffer::FromMapping(data, size);
  }
  if (mode_ == Mode::kWriting) {
    // Reserved before it is written through a mapping: a full disk is an error here, a signal
    // there.
    const int error =
        posix_fallocate(fd_, static_cast<off_t>(size_), static_cast<off_t>(PageAligned(size)));
    if (error == 0) {
      auto* data = static_cast<std::byte*>(Map(size, PROT_READ | PROT_WRITE));
      taken_.emplace_back(data, size);
      return kernels::AlignedBuffer::FromMapping(data, size);
    }
    (void)unlink((path_ + ".partial").c_str());
    GiveUp(strerror(error));
  }
  return kernels::AlignedBuffer(size);
}

void PackedFile::Commit() {
  if (mode_ != Mode::kWriting) return;
  for (const std::span<std::byte> piece : taken_) {
    (void)mprotect(piece.data(), piece.size(), PROT_READ);
  }
  // The header last: a file without one is nobody's.
  const Header header = {.key = key_, .file_size = size_};
  const std::string partial = path_ + ".partial";
  if (fsync(fd_) == 0 && pwrite(fd_, &header, sizeof(header), 0) == sizeof(header) &&
      fsync(fd_) == 0 && rename(partial.c_str(), path_.c_str()) == 0) {
    outcome_ = "written";
    mode_ = Mode::kOff;
    return;
  }
  GiveUp(strerror(errno));
}

}  // namespace parrot
