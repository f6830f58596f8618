// Encoded bytes to RGB pixels with the meaning of Pillow's Image.open(...).convert("RGB"): alpha
// and palette transparency are dropped, not composited; 16-bit grey is clipped at 255 (not scaled),
// 16-bit RGB keeps its high bytes; CMYK is inverted as Adobe writes it; gamma, colour profiles and
// (by default) EXIF orientation are ignored. docs/numerics.md lists where we refuse what Pillow
// takes.
//
// libjpeg-turbo, libpng and libwebp are called directly, after ProbeImage. Warnings of libjpeg are
// errors, so a damaged file is never filled with grey. A decode that spends more than its budget of
// CPU time is stopped from inside (per iMCU row, PNG row or 64 KiB of WebP). No exception leaves.
#ifndef PARROT_MODEL_IMAGE_IMAGE_DECODER_H_
#define PARROT_MODEL_IMAGE_IMAGE_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/image/image_probe.h"

namespace parrot {

// Owns [height, width, 3] uint8 RGB, row-major without gaps. Movable.
struct RgbImage {
  int32_t width = 0;
  int32_t height = 0;
  std::unique_ptr<uint8_t[]> pixels;

  size_t size_bytes() const { return size_t{3} * static_cast<size_t>(width) * height; }
};

// Memory for width x height pixels, not initialised. Throws std::bad_alloc.
RgbImage AllocateRgbImage(int32_t width, int32_t height);

struct DecodeOptions {
  ImageLimits limits;
  // Turn the picture as its EXIF orientation says. The reference does not.
  bool apply_exif_orientation = false;
};

struct DecodedImage {
  ImageInfo info;  // width and height as encoded
  RgbImage rgb;    // sides exchanged when an orientation 5..8 was applied
};

// Probes and decodes. Errors are INVALID_ARGUMENT with a reason of image_probe.h, or
// RESOURCE_EXHAUSTED with kImageMemory. Thread-safe. Memory: 3 bytes a pixel, 6 more inside libjpeg
// for progressive pictures, 3 more while a picture is turned.
absl::StatusOr<DecodedImage> DecodeImage(std::string_view encoded,
                                         std::string_view declared_mime,
                                         const DecodeOptions& options);

}  // namespace parrot

#endif  // PARROT_MODEL_IMAGE_IMAGE_DECODER_H_
