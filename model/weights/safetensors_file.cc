#include "model/weights/safetensors_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/weights/model_file.h"

namespace parrot {
namespace {

int64_t ModifiedNs(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

}  // namespace

SafetensorsFile::~SafetensorsFile() {
  if (map_ != nullptr) munmap(const_cast<std::byte*>(map_), file_bytes_);
  if (fd_ >= 0) close(fd_);
}

absl::Status SafetensorsFile::Map(const std::string& path) {
  base_name_ = ModelBaseName(path);
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return ModelFileMissing(base_name_, "no such file");
    return ModelFileInvalid(base_name_, {}, "cannot be opened", strerror(errno));
  }
  struct stat info;
  if (fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    return ModelFileInvalid(base_name_, {}, "is not a regular file");
  }
  file_bytes_ = static_cast<uint64_t>(info.st_size);
  modified_ns_ = ModifiedNs(info);

  // The prefix is read, not mapped, so that a hostile file costs nothing before its first check.
  char prefix[8] = {};
  const ssize_t got = pread(fd_, prefix, sizeof(prefix), 0);
  const size_t prefix_bytes = got < 0 ? 0 : static_cast<size_t>(got);
  const auto header_bytes = ReadSafetensorsHeaderSize({prefix, prefix_bytes}, file_bytes_);
  if (!header_bytes.ok()) return WithField(header_bytes.status(), base_name_);
  header_bytes_ = *header_bytes;

  void* map = mmap(nullptr, file_bytes_, PROT_READ, MAP_PRIVATE, fd_, 0);
  if (map == MAP_FAILED) {
    return ModelFileInvalid(base_name_, {}, "cannot be mapped", strerror(errno));
  }
  map_ = static_cast<const std::byte*>(map);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(
    const std::string& path) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile());
  RETURN_IF_ERROR(file->Map(path));
  auto header = ParseSafetensorsHeader(file->header_text(), file->data().size());
  if (!header.ok()) return WithField(header.status(), file->base_name_);
  file->header_ = *std::move(header);
  file->by_name_.reserve(file->header_.tensors.size());
  for (const SafetensorsTensor& tensor : file->header_.tensors) {
    file->by_name_.emplace(tensor.name, &tensor);
  }
  return file;
}

const SafetensorsTensor* SafetensorsFile::Find(std::string_view name) const {
  const auto it = by_name_.find(absl::string_view(name.data(), name.size()));
  return it == by_name_.end() ? nullptr : it->second;
}

std::string_view SafetensorsFile::header_text() const {
  return {reinterpret_cast<const char*>(map_) + 8, header_bytes_};
}

std::span<const std::byte> SafetensorsFile::data() const {
  return {map_ + 8 + header_bytes_, file_bytes_ - 8 - header_bytes_};
}

std::span<const std::byte> SafetensorsFile::Data(const SafetensorsTensor& tensor) const {
  return data().subspan(tensor.begin, tensor.end - tensor.begin);
}

void SafetensorsFile::Prefetch(const SafetensorsTensor& tensor) const {
  Advise(tensor, MADV_WILLNEED);
}

void SafetensorsFile::Release(const SafetensorsTensor& tensor) const {
  Advise(tensor, MADV_DONTNEED);
}

void SafetensorsFile::Advise(const SafetensorsTensor& tensor, int advice) const {
  if (tensor.begin == tensor.end) return;
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = (8 + header_bytes_ + tensor.begin) / page * page;
  const uint64_t end = 8 + header_bytes_ + tensor.end;
  // A failure changes nothing.
  (void)madvise(const_cast<std::byte*>(map_) + begin, end - begin, advice);
}

void SafetensorsFile::AddFingerprint(Sha256& hash) const {
  constexpr size_t kSampleBytes = 256;  // of each tensor, from its middle
  hash.UpdateSized(base_name_);
  hash.UpdateInt(file_bytes_);
  hash.UpdateInt(static_cast<uint64_t>(modified_ns_));
  hash.UpdateSized(header_text());
  for (const SafetensorsTensor& tensor : tensors()) {
    const std::span<const std::byte> bytes = Data(tensor);
    const std::span<const std::byte> sample =
        bytes.subspan(bytes.size() / 2, std::min(kSampleBytes, bytes.size() - bytes.size() / 2));
    hash.Update(sample.data(), sample.size());
  }
}

absl::Status SafetensorsFile::CheckUnchanged() const {
  struct stat info;
  if (fstat(fd_, &info) == 0 && static_cast<uint64_t>(info.st_size) == file_bytes_ &&
      ModifiedNs(info) == modified_ns_) {
    return absl::OkStatus();
  }
  return ErrorStatus(absl::StatusCode::kDataLoss,
                     base_name_ + ": changed while it was in use",
                     {.reason = "MODEL_FILE_INVALID", .field = base_name_});
}

}  // namespace parrot
