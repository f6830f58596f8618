// Internal to model/image: one walker per container, behind ProbeImage. Each is given bytes whose
// signature has been recognised and fills `info` (format excepted), or says which rule was broken.
// Pure functions, thread-safe.
#ifndef PARROT_MODEL_IMAGE_CONTAINER_PROBES_H_
#define PARROT_MODEL_IMAGE_CONTAINER_PROBES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "model/image/image_probe.h"

namespace parrot::internal {

// Unsigned integers at `offset`. REQUIRES: offset + width <= bytes.size().
inline uint8_t ByteAt(std::string_view bytes, size_t offset) {
  return static_cast<uint8_t>(bytes[offset]);
}
inline uint32_t BigEndian16(std::string_view bytes, size_t offset) {
  return uint32_t{ByteAt(bytes, offset)} << 8 | ByteAt(bytes, offset + 1);
}
inline uint32_t BigEndian32(std::string_view bytes, size_t offset) {
  return BigEndian16(bytes, offset) << 16 | BigEndian16(bytes, offset + 2);
}
inline uint32_t LittleEndian16(std::string_view bytes, size_t offset) {
  return ByteAt(bytes, offset) | uint32_t{ByteAt(bytes, offset + 1)} << 8;
}
inline uint32_t LittleEndian24(std::string_view bytes, size_t offset) {
  return LittleEndian16(bytes, offset) | uint32_t{ByteAt(bytes, offset + 2)} << 16;
}
inline uint32_t LittleEndian32(std::string_view bytes, size_t offset) {
  return LittleEndian16(bytes, offset) | LittleEndian16(bytes, offset + 2) << 16;
}

// INVALID_ARGUMENT with facts.
absl::Status ImageError(const char* reason,
                        std::string_view message,
                        std::string value = "",
                        std::string limit = "");

// A broken limit: the message is `what`, value and limit.
absl::Status ImageLimitError(const char* reason,
                             std::string_view what,
                             int64_t value,
                             int64_t limit);

// Zero, pixels, sides, in this order. Takes 64 bits so that a header's 32-bit claims fit.
absl::Status CheckDimensions(int64_t width, int64_t height, const ImageLimits& limits);

absl::Status ProbeJpeg(std::string_view bytes, const ImageLimits& limits, ImageInfo* info);
absl::Status ProbePng(std::string_view bytes, const ImageLimits& limits, ImageInfo* info);
absl::Status ProbeWebp(std::string_view bytes, const ImageLimits& limits, ImageInfo* info);

}  // namespace parrot::internal

#endif  // PARROT_MODEL_IMAGE_CONTAINER_PROBES_H_
