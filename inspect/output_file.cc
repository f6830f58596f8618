#include "inspect/output_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/error_status.h"

namespace parrot {

absl::Status WriteOutputFile(const std::string& path, std::string_view bytes) {
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file.good()) return absl::OkStatus();
  return ErrorStatus(absl::StatusCode::kInternal,
                     "cannot write '" + path + "': " + std::strerror(errno),
                     {.reason = "OUTPUT_NOT_WRITABLE"});
}

std::string NpyBytes(const std::vector<int64_t>& shape, std::span<const float> values) {
  std::string dims;
  for (const int64_t dim : shape) dims += std::to_string(dim) + ", ";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + dims + "), }";
  // Magic, version and length take 10 bytes; the data begins at a multiple of 64.
  constexpr size_t kFixedBytes = 10;
  header.append((64 - (kFixedBytes + header.size() + 1) % 64) % 64, ' ');
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += '\x01';
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  return bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

}  // namespace parrot
