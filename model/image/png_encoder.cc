#include "model/image/png_encoder.h"

#include <png.h>

#include <cstring>

#include "absl/status/status.h"

namespace parrot {

absl::StatusOr<std::string> EncodePng(RgbView image) {
  // libpng's simplified interface: it keeps its setjmp to itself.
  png_image header = {};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width);
  header.height = static_cast<png_uint_32>(image.height);
  header.format = PNG_FORMAT_RGB;
  png_alloc_size_t size_bytes = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::string encoded(size_bytes, '\0');
  if (png_image_write_to_memory(&header,
                                encoded.data(),
                                &size_bytes,
                                /*convert_to_8_bit=*/0,
                                image.pixels,
                                /*row_stride=*/0,
                                /*colormap=*/nullptr) == 0) {
    return absl::InternalError("PNG encoding failed");
  }
  encoded.resize(size_bytes);
  return encoded;
}

}  // namespace parrot
