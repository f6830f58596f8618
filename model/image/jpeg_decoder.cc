#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
// jpeglib.h needs stdio.h and stddef.h before it.
#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <memory>

#include "model/image/codec_decoders.h"
#include "model/image/container_probes.h"

namespace parrot::internal {
namespace {

constexpr int kMaxRowsPerRead = 8;
// The progress callback comes once per iMCU row; asking the clock every time would cost more than
// narrow rows do.
constexpr int kProgressStride = 8;

// What the C callbacks share. The structs of libjpeg come first in theirs, so that a pointer to one
// is a pointer to the other.
struct JpegSession {
  jpeg_decompress_struct decoder = {};
  jpeg_error_mgr errors = {};
  jpeg_progress_mgr progress = {};
  const CpuBudget* budget = nullptr;
  int calls_until_check = 0;
  CodecFailure failure = CodecFailure::kNone;
  jmp_buf on_failure;
};

// Every frame between this and the setjmp is C or holds no object with a destructor.
[[noreturn]] void Fail(j_common_ptr common, CodecFailure failure) {
  auto* session = static_cast<JpegSession*>(common->client_data);
  session->failure = failure;
  longjmp(session->on_failure, 1);
}

void OnError(j_common_ptr common) {
  Fail(
      common,
      common->err->msg_code == JERR_OUT_OF_MEMORY ? CodecFailure::kMemory : CodecFailure::kCorrupt);
}

// Negative levels are warnings about damaged data, which libjpeg would paint over.
void OnMessage(j_common_ptr common, int level) {
  if (level >= 0) return;
  const int code = common->err->msg_code;
  Fail(common,
       code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER ? CodecFailure::kTruncated
                                                        : CodecFailure::kCorrupt);
}

void DiscardMessage(j_common_ptr) {}

void OnProgress(j_common_ptr common) {
  auto* session = static_cast<JpegSession*>(common->client_data);
  if (session->calls_until_check-- > 0) return;
  session->calls_until_check = kProgressStride;
  if (session->budget->IsSpent()) Fail(common, CodecFailure::kTime);
}

// Frees libjpeg's pools on every path; constructed before, and destroyed after, any setjmp.
class SessionOwner {
 public:
  explicit SessionOwner(const CpuBudget* budget) {
    session_.decoder.err = jpeg_std_error(&session_.errors);
    session_.errors.error_exit = OnError;
    session_.errors.emit_message = OnMessage;
    session_.errors.output_message = DiscardMessage;
    session_.decoder.client_data = &session_;
    session_.progress.progress_monitor = OnProgress;
    session_.budget = budget;
  }
  ~SessionOwner() { jpeg_destroy_decompress(&session_.decoder); }
  SessionOwner(const SessionOwner&) = delete;
  SessionOwner& operator=(const SessionOwner&) = delete;

  JpegSession& session() { return session_; }

 private:
  JpegSession session_;
};

// The three functions below hold no object with a destructor: a longjmp may end them.

bool ReadHeader(JpegSession& session, const unsigned char* bytes, size_t size) {
  if (setjmp(session.on_failure) != 0) return false;
  jpeg_decompress_struct* decoder = &session.decoder;
  // jpeg_create_decompress clears all but err and client_data.
  jpeg_create_decompress(decoder);
  decoder->progress = &session.progress;
  jpeg_mem_src(decoder, bytes, size);
  jpeg_read_header(decoder, TRUE);
  // Grey and YCbCr come out as RGB; CMYK and YCCK as CMYK, which libjpeg does not turn into RGB.
  decoder->out_color_space = decoder->num_components == 4 ? JCS_CMYK : JCS_RGB;
  return true;
}

bool ReadRgbRows(JpegSession& session, uint8_t* pixels) {
  if (setjmp(session.on_failure) != 0) return false;
  jpeg_decompress_struct* decoder = &session.decoder;
  jpeg_start_decompress(decoder);
  const size_t row_bytes = size_t{3} * decoder->output_width;
  while (decoder->output_scanline < decoder->output_height) {
    JSAMPROW rows[kMaxRowsPerRead];
    const int num_rows =
        std::min<int>(kMaxRowsPerRead, decoder->output_height - decoder->output_scanline);
    for (int i = 0; i < num_rows; ++i) {
      rows[i] = pixels + row_bytes * (decoder->output_scanline + i);
    }
    jpeg_read_scanlines(decoder, rows, num_rows);
  }
  jpeg_finish_decompress(decoder);
  return true;
}

// a * b / 255, rounded (Pillow's MULDIV255).
int MultiplyBytes(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

// Adobe stores CMYK inverted, and Pillow takes every CMYK JPEG as stored that way:
// R = (255 - K) - C (255 - K) / 255 with C and K inverted back.
void CmykRowToRgb(const uint8_t* cmyk, int32_t width, uint8_t* rgb) {
  for (int32_t x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const int not_black = cmyk[3];
    for (int channel = 0; channel < 3; ++channel) {
      const int value = not_black - MultiplyBytes(255 - cmyk[channel], not_black);
      rgb[channel] = static_cast<uint8_t>(std::clamp(value, 0, 255));
    }
  }
}

bool ReadCmykRows(JpegSession& session, uint8_t* cmyk_row, uint8_t* pixels) {
  if (setjmp(session.on_failure) != 0) return false;
  jpeg_decompress_struct* decoder = &session.decoder;
  jpeg_start_decompress(decoder);
  const size_t row_bytes = size_t{3} * decoder->output_width;
  while (decoder->output_scanline < decoder->output_height) {
    uint8_t* out = pixels + row_bytes * decoder->output_scanline;
    JSAMPROW row = cmyk_row;
    jpeg_read_scanlines(decoder, &row, 1);
    CmykRowToRgb(cmyk_row, static_cast<int32_t>(decoder->output_width), out);
  }
  jpeg_finish_decompress(decoder);
  return true;
}

}  // namespace

absl::Status DecodeJpeg(std::string_view bytes, const ImageLimits& limits, RgbImage* out) {
  const CpuBudget budget(limits.max_decode_cpu);
  SessionOwner owner(&budget);
  JpegSession& session = owner.session();
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  if (!ReadHeader(session, data, bytes.size()))
    return CodecFailureError(session.failure, "JPEG", limits);
  const jpeg_decompress_struct& header = session.decoder;
  const int components = header.num_components;
  if (components != 1 && components != 3 && components != 4) {
    return ImageError(kImageCorrupt, "JPEG with an unusual number of components");
  }
  // The probe's own reading of the header decided the allocation: the two must agree.
  if (header.image_width != static_cast<JDIMENSION>(out->width) ||
      header.image_height != static_cast<JDIMENSION>(out->height)) {
    return ImageError(kImageCorrupt, "corrupt JPEG header");
  }
  if (components == 4) {
    const auto row = std::make_unique_for_overwrite<uint8_t[]>(size_t{4} * out->width);
    if (ReadCmykRows(session, row.get(), out->pixels.get())) return absl::OkStatus();
  } else {
    if (ReadRgbRows(session, out->pixels.get())) return absl::OkStatus();
  }
  return CodecFailureError(session.failure, "JPEG", limits);
}

}  // namespace parrot::internal
