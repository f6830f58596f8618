// Files that parrot-inspect writes. Stateless.
#ifndef PARROT_INSPECT_OUTPUT_FILE_H_
#define PARROT_INSPECT_OUTPUT_FILE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace parrot {

// INTERNAL with the path when it cannot be written.
absl::Status WriteOutputFile(const std::string& path, std::string_view bytes);

// NumPy's .npy format, version 1.0, little-endian float32 in C order.
std::string NpyBytes(const std::vector<int64_t>& shape, std::span<const float> values);

}  // namespace parrot

#endif  // PARROT_INSPECT_OUTPUT_FILE_H_
