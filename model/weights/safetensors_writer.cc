#include "model/weights/safetensors_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/weights/model_file.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

absl::Status WriteFailed(std::string_view file) {
  return ErrorStatus(absl::StatusCode::kInternal,
                     std::string(file) + ": cannot be written: " + strerror(errno),
                     {.reason = "MODEL_FILE_INVALID", .field = std::string(file)});
}

// `entries` are sorted by name.
absl::Status CheckEntries(std::string_view file, const std::vector<SafetensorsEntry>& entries) {
  for (size_t i = 0; i < entries.size(); ++i) {
    const SafetensorsEntry& entry = entries[i];
    int64_t bytes = SafetensorsTypeBytes(entry.type);
    for (const int64_t dim : entry.shape) {
      if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) {
        return ModelFileInvalid(file, entry.name, "shape overflows", ShapeText(entry.shape));
      }
    }
    if (static_cast<uint64_t>(bytes) != entry.bytes.size()) {
      return ModelFileInvalid(file,
                              entry.name,
                              "size differs from shape times dtype",
                              std::to_string(entry.bytes.size()),
                              std::to_string(bytes));
    }
    if (i > 0 && entries[i - 1].name == entry.name) {
      return ModelFileInvalid(file, entry.name, "duplicate name");
    }
  }
  return absl::OkStatus();
}

std::string BuildHeader(const std::vector<SafetensorsEntry>& entries,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    header[entry.name] = {{"dtype", SafetensorsTypeName(entry.type)},
                          {"shape", entry.shape},
                          {"data_offsets", {offset, offset + entry.bytes.size()}}};
    offset += entry.bytes.size();
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

absl::Status WriteAll(int fd, std::string_view file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return WriteFailed(file);
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
  return absl::OkStatus();
}

absl::Status WriteFile(int fd,
                       std::string_view file,
                       std::string_view header,
                       const std::vector<SafetensorsEntry>& entries) {
  std::byte prefix[8];
  for (int i = 0; i < 8; ++i) prefix[i] = static_cast<std::byte>(header.size() >> (8 * i) & 0xff);
  RETURN_IF_ERROR(WriteAll(fd, file, prefix));
  RETURN_IF_ERROR(WriteAll(fd, file, std::as_bytes(std::span(header))));
  for (const SafetensorsEntry& entry : entries) {
    RETURN_IF_ERROR(WriteAll(fd, file, entry.bytes));
  }
  if (fsync(fd) != 0) return WriteFailed(file);
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path,
                              std::vector<SafetensorsEntry> entries,
                              const std::map<std::string, std::string>& metadata) {
  const std::string file = ModelBaseName(path);
  std::sort(entries.begin(),
            entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) { return a.name < b.name; });
  RETURN_IF_ERROR(CheckEntries(file, entries));
  std::stable_sort(
      entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
        return SafetensorsTypeBytes(a.type) > SafetensorsTypeBytes(b.type);
      });
  const std::string header = BuildHeader(entries, metadata);

  const std::string partial = path + ".partial";
  const int fd = open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return WriteFailed(file);
  absl::Status status = WriteFile(fd, file, header, entries);
  if (close(fd) != 0 && status.ok()) status = WriteFailed(file);
  if (status.ok() && rename(partial.c_str(), path.c_str()) != 0) status = WriteFailed(file);
  if (!status.ok()) unlink(partial.c_str());
  return status;
}

}  // namespace parrot
