// Writes a safetensors file. The bytes stay where they are until they are written: a model being
// saved needs no second copy.
//
//   RETURN_IF_ERROR(WriteSafetensors("out.safetensors",
//       {{.name = "router", .type = SafetensorsType::kF32, .shape = {6}, .bytes = AsBytes(r)}}));
#ifndef PARROT_MODEL_WEIGHTS_SAFETENSORS_WRITER_H_
#define PARROT_MODEL_WEIGHTS_SAFETENSORS_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/weights/safetensors_header.h"

namespace parrot {

struct SafetensorsEntry {
  std::string name;
  SafetensorsType type = SafetensorsType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, little-endian; shape times type
};

// Replaces `path` only once the new file is complete: it grows beside it as `path`.partial. Tensors
// are laid out by falling element size and then by name, so each is aligned to its element, and the
// header is padded to eight bytes. INVALID_ARGUMENT for duplicate names or a size that is not shape
// times type; INTERNAL when writing fails (disk full), and `path` is as before.
absl::Status WriteSafetensors(const std::string& path,
                              std::vector<SafetensorsEntry> entries,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_SAFETENSORS_WRITER_H_
