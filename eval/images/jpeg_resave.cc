#include "eval/images/jpeg_resave.h"

#include <setjmp.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "jpeglib.h"
#include "model/image/image_decoder.h"
#include "model/image/image_probe.h"

namespace parrot {
namespace {

constexpr int kQuality = 75;

struct Session {
  jpeg_error_mgr errors;  // first: libjpeg hands back its address
  jmp_buf on_failure;
  jpeg_compress_struct compressor;
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): libjpeg's type

  Session() {
    compressor.err = jpeg_std_error(&errors);
    errors.error_exit = [](j_common_ptr info) {
      longjmp(reinterpret_cast<Session*>(info->err)->on_failure, 1);
    };
    errors.output_message = [](j_common_ptr) {};
    jpeg_create_compress(&compressor);
  }
  ~Session() {
    jpeg_destroy_compress(&compressor);
    std::free(bytes);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

// Pillow's own choice of tables, sampling and arithmetic: libjpeg's defaults. False without memory.
// Holds no object with a destructor: a longjmp may end it.
bool Compress(Session& session, const RgbImage& image) {
  if (setjmp(session.on_failure) != 0) return false;
  jpeg_compress_struct& compressor = session.compressor;
  jpeg_mem_dest(&compressor, &session.bytes, &session.size);
  compressor.image_width = static_cast<JDIMENSION>(image.width);
  compressor.image_height = static_cast<JDIMENSION>(image.height);
  compressor.input_components = 3;
  compressor.in_color_space = JCS_RGB;
  jpeg_set_defaults(&compressor);
  jpeg_set_quality(&compressor, kQuality, /*force_baseline=*/TRUE);
  jpeg_start_compress(&compressor, /*write_all_tables=*/TRUE);
  const size_t row_bytes = size_t{3} * static_cast<size_t>(image.width);
  while (compressor.next_scanline < compressor.image_height) {
    JSAMPROW row = image.pixels.get() + row_bytes * compressor.next_scanline;
    jpeg_write_scanlines(&compressor, &row, 1);
  }
  jpeg_finish_compress(&compressor);
  return true;
}

}  // namespace

absl::StatusOr<std::string> SaveAgainAsJpeg(std::string_view encoded) {
  ASSIGN_OR_RETURN(const DecodedImage decoded, DecodeImage(encoded, /*declared_mime=*/"", {}));
  Session session;
  if (Compress(session, decoded.rgb)) {
    return std::string(reinterpret_cast<const char*>(session.bytes), session.size);
  }
  return ErrorStatus(absl::StatusCode::kResourceExhausted,
                     "no memory to save a picture again",
                     {.reason = kImageMemory});
}

}  // namespace parrot
