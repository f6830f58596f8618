#include "eval/images/jpeg_resave.h"

#include <setjmp.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "eval/images/picture_file.h"
#include "jpeglib.h"
#include "model/image/image_decoder.h"
#include "model/image/image_probe.h"

namespace parrot {
namespace {

constexpr int kQuality = 75;

// libjpeg's way out of an error: back into the function that called it, by a longjmp.
struct ErrorExit {
  jpeg_error_mgr errors;  // first: libjpeg hands back its address
  jmp_buf on_failure;

  ErrorExit() {
    jpeg_std_error(&errors);
    errors.error_exit = [](j_common_ptr info) {
      longjmp(reinterpret_cast<ErrorExit*>(info->err)->on_failure, 1);
    };
    errors.output_message = [](j_common_ptr) {};
  }
};

struct Compressor {
  ErrorExit exit;
  jpeg_compress_struct info;
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): libjpeg's type

  Compressor() {
    info.err = &exit.errors;
    jpeg_create_compress(&info);
  }
  ~Compressor() {
    jpeg_destroy_compress(&info);
    std::free(bytes);
  }
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;
};

struct Decompressor {
  ErrorExit exit;
  jpeg_decompress_struct info;

  Decompressor() {
    info.err = &exit.errors;
    jpeg_create_decompress(&info);
  }
  ~Decompressor() { jpeg_destroy_decompress(&info); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
};

// [height, width, num_channels], as libjpeg takes them: RGB, or CMYK as it is in the file.
struct Samples {
  JDIMENSION width = 0;
  JDIMENSION height = 0;
  int num_channels = 3;
  uint8_t* values = nullptr;  // borrowed

  uint8_t* Row(JDIMENSION y) const {
    return values + size_t{y} * width * static_cast<size_t>(num_channels);
  }
};

// The functions below hold no object with a destructor: a longjmp may end them.

// Pillow's own choice of tables, sampling and arithmetic: libjpeg's defaults. False without memory.
bool Compress(Compressor& compressor, const Samples& samples) {
  if (setjmp(compressor.exit.on_failure) != 0) {
    compressor.bytes = nullptr;  // libjpeg may have freed it for a larger one
    return false;
  }
  jpeg_compress_struct* info = &compressor.info;
  jpeg_mem_dest(info, &compressor.bytes, &compressor.size);
  info->image_width = samples.width;
  info->image_height = samples.height;
  info->input_components = samples.num_channels;
  info->in_color_space = samples.num_channels == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(info);
  jpeg_set_quality(info, kQuality, /*force_baseline=*/TRUE);
  jpeg_start_compress(info, /*write_all_tables=*/TRUE);
  while (info->next_scanline < info->image_height) {
    JSAMPROW row = samples.Row(info->next_scanline);
    jpeg_write_scanlines(info, &row, 1);
  }
  jpeg_finish_compress(info);
  return true;
}

bool ReadHeader(Decompressor& decompressor, const unsigned char* bytes, size_t size) {
  if (setjmp(decompressor.exit.on_failure) != 0) return false;
  jpeg_mem_src(&decompressor.info, bytes, size);
  return jpeg_read_header(&decompressor.info, TRUE) == JPEG_HEADER_OK;
}

bool ReadCmykRows(Decompressor& decompressor, const Samples& samples) {
  if (setjmp(decompressor.exit.on_failure) != 0) return false;
  jpeg_decompress_struct* info = &decompressor.info;
  info->out_color_space = JCS_CMYK;
  jpeg_start_decompress(info);
  while (info->output_scanline < info->output_height) {
    JSAMPROW row = samples.Row(info->output_scanline);
    jpeg_read_scanlines(info, &row, 1);
  }
  return true;
}

absl::StatusOr<std::string> Compressed(const Samples& samples) {
  Compressor compressor;
  if (Compress(compressor, samples)) {
    return std::string(reinterpret_cast<const char*>(compressor.bytes), compressor.size);
  }
  return ErrorStatus(absl::StatusCode::kResourceExhausted,
                     "no memory to save a picture again",
                     {.reason = kImageMemory});
}

// What Pillow reads and writes of CMYK is inverted both times, so the samples stay as they are.
// Empty: not a CMYK picture. REQUIRES: DecodeImage takes `encoded`.
std::vector<uint8_t> CmykOf(std::string_view encoded, Samples* samples) {
  Decompressor decompressor;
  const auto* bytes = reinterpret_cast<const unsigned char*>(encoded.data());
  if (!encoded.starts_with("\xff\xd8") || !ReadHeader(decompressor, bytes, encoded.size()) ||
      decompressor.info.num_components != 4) {
    return {};
  }
  samples->num_channels = 4;
  std::vector<uint8_t> values(size_t{4} * samples->width * samples->height);
  samples->values = values.data();
  if (!ReadCmykRows(decompressor, *samples)) return {};
  return values;
}

}  // namespace

absl::StatusOr<std::string> SaveAgainAsJpeg(std::string_view encoded) {
  ASSIGN_OR_RETURN(const RgbImage rgb, DecodePictureFile(encoded));
  Samples samples{.width = static_cast<JDIMENSION>(rgb.width),
                  .height = static_cast<JDIMENSION>(rgb.height)};
  const std::vector<uint8_t> cmyk = CmykOf(encoded, &samples);
  if (cmyk.empty()) {
    samples.num_channels = 3;
    samples.values = rgb.pixels.get();
  }
  return Compressed(samples);
}

}  // namespace parrot
