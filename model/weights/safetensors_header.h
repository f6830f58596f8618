// The header of a safetensors file: eight bytes N (little-endian), N bytes of JSON, then the data.
// Pure functions of bytes, so that they can be fuzzed without files.
//
// Accepted is what the format's own validator accepts, and no more: the JSON begins with '{', is
// valid UTF-8, has no duplicate key; each tensor has exactly dtype, shape and data_offsets, its
// size equals shape times dtype without overflow, and the tensors tile the data section from its
// first byte to its last without hole or overlap. Tensors without elements are fine.
#ifndef PARROT_MODEL_WEIGHTS_SAFETENSORS_HEADER_H_
#define PARROT_MODEL_WEIGHTS_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace parrot {

// The kinds of number that the format names and that fill whole bytes.
enum class SafetensorsType {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64
};
// "F32", "BF16", ...
const char* SafetensorsTypeName(SafetensorsType type);
int SafetensorsTypeBytes(SafetensorsType type);

struct SafetensorsTensor {
  std::string name;
  SafetensorsType type = SafetensorsType::kF32;
  std::vector<int64_t> shape;
  // [begin, end) in bytes, from the start of the data section.
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsTensor> tensors;  // by offset
  std::map<std::string, std::string> metadata;
};

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr int kMaxSafetensorsTensors = 100'000;
inline constexpr int kMaxSafetensorsRank = 16;

// N, from the first eight bytes of a file of `file_bytes`. Fails when the file is shorter than the
// header that N announces or N is over the limit. `prefix` holds the file's first eight bytes, or
// all of them if there are fewer.
absl::StatusOr<uint64_t> ReadSafetensorsHeaderSize(std::string_view prefix, uint64_t file_bytes);

// Parses and checks the N bytes of JSON for a data section of `data_bytes`. Errors are
// INVALID_ARGUMENT; they name the tensor and the rule, not the file.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json,
                                                         uint64_t data_bytes);

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_SAFETENSORS_HEADER_H_
