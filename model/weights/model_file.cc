#include "model/weights/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error_status.h"

namespace parrot {
namespace {

constexpr size_t kMaxQuotedBytes = 96;
// ErrorFacts promise values of at most 64 bytes.
constexpr size_t kMaxFactBytes = 64;

absl::Status FileError(absl::StatusCode code,
                       std::string_view reason,
                       std::string_view file,
                       std::string_view item,
                       std::string_view rule,
                       std::string_view value,
                       std::string_view limit) {
  std::string field(file);
  if (!item.empty()) field += ": " + PrintableName(item);
  return ErrorStatus(code,
                     field + ": " + std::string(rule),
                     {.reason = std::string(reason),
                      .field = field,
                      .value = PrintableName(value).substr(0, kMaxFactBytes),
                      .limit = std::string(limit)});
}

// Closes a file descriptor at the end of a scope.
class ScopedFd {
 public:
  explicit ScopedFd(int fd) : fd_(fd) {}
  ~ScopedFd() {
    if (fd_ >= 0) close(fd_);
  }
  ScopedFd(const ScopedFd&) = delete;
  ScopedFd& operator=(const ScopedFd&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace

absl::Status ModelFileMissing(std::string_view file, std::string_view rule) {
  return FileError(absl::StatusCode::kNotFound, "MODEL_FILE_MISSING", file, {}, rule, {}, {});
}

absl::Status ModelFileInvalid(std::string_view file,
                              std::string_view item,
                              std::string_view rule,
                              std::string_view value,
                              std::string_view limit) {
  return FileError(
      absl::StatusCode::kInvalidArgument, "MODEL_FILE_INVALID", file, item, rule, value, limit);
}

absl::Status ModelUnsupported(std::string_view file,
                              std::string_view item,
                              std::string_view rule,
                              std::string_view value,
                              std::string_view limit) {
  return FileError(
      absl::StatusCode::kInvalidArgument, "MODEL_UNSUPPORTED", file, item, rule, value, limit);
}

std::string PrintableName(std::string_view text) {
  std::string result(text.substr(0, kMaxQuotedBytes));
  for (char& c : result) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  if (text.size() > kMaxQuotedBytes) result += "...";
  return result;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t dim : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(dim);
  }
  return text + "]";
}

std::string ModelPath(std::string_view dir, std::string_view base_name) {
  std::string path(dir);
  if (path.empty() || path.back() != '/') path += '/';
  return path.append(base_name);
}

std::string ModelBaseName(std::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

bool ModelFileExists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

absl::StatusOr<std::string> ReadModelFile(const std::string& path, int64_t max_bytes) {
  const std::string file = ModelBaseName(path);
  // O_NONBLOCK: opening a FIFO must not hang.
  const ScopedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return ModelFileMissing(file, "no such file");
    return ModelFileInvalid(file, {}, "cannot be opened", strerror(errno));
  }
  struct stat info;
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return ModelFileInvalid(file, {}, "is not a regular file");
  }
  if (info.st_size > max_bytes) {
    return ModelFileInvalid(file,
                            {},
                            "is larger than " + std::to_string(max_bytes) + " bytes",
                            std::to_string(info.st_size),
                            std::to_string(max_bytes));
  }
  std::string text(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = read(fd.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return ModelFileInvalid(file, {}, "cannot be read to its end");
    done += static_cast<size_t>(got);
  }
  return text;
}

}  // namespace parrot
