#include "client/messages/bounded_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"

namespace parrot {
namespace {

constexpr size_t kChunkBytes = 64 << 10;

absl::Status FileError(int error, const std::string& path) {
  std::string message = absl::StrCat("cannot read '", path, "': ", std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return ErrorStatus(absl::StatusCode::kNotFound, message, {.reason = "FILE_NOT_FOUND"});
    case EACCES:
    case EPERM:
      return ErrorStatus(
          absl::StatusCode::kPermissionDenied, message, {.reason = "FILE_NOT_READABLE"});
    default:
      return ErrorStatus(
          absl::StatusCode::kInvalidArgument, message, {.reason = "FILE_NOT_READABLE"});
  }
}

absl::Status TooLarge(const std::string& path, const std::string& value, int64_t max_bytes) {
  const std::string limit = std::to_string(max_bytes);
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("'", path, "' holds ", value, " bytes, limit ", limit),
                     {.reason = "FILE_TOO_LARGE", .value = value, .limit = limit});
}

// Closes on every way out.
struct Descriptor {
  explicit Descriptor(int descriptor) : fd(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  const int fd;
};

}  // namespace

absl::StatusOr<std::string> ReadBoundedFile(const std::string& path, int64_t max_bytes) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) return FileError(errno, path);
  struct stat info = {};
  if (fstat(file.fd, &info) != 0) return FileError(errno, path);
  if (S_ISREG(info.st_mode) && info.st_size > max_bytes) {
    return TooLarge(path, std::to_string(info.st_size), max_bytes);
  }
  std::string bytes;
  const size_t most = static_cast<size_t>(max_bytes) + 1;
  while (bytes.size() < most) {
    const size_t old_size = bytes.size();
    const size_t wanted = std::min(kChunkBytes, most - old_size);
    bytes.resize(old_size + wanted);
    const ssize_t got = read(file.fd, bytes.data() + old_size, wanted);
    bytes.resize(old_size + (got > 0 ? static_cast<size_t>(got) : 0));
    if (got == 0) return bytes;
    if (got < 0 && errno != EINTR) return FileError(errno, path);
  }
  return TooLarge(path, "more than " + std::to_string(max_bytes), max_bytes);
}

}  // namespace parrot
