#include <png.h>
#include <setjmp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string_view>

#include "model/image/codec_decoders.h"
#include "model/image/container_probes.h"

namespace parrot::internal {
namespace {

constexpr int kRowsPerClockCheck = 32;
constexpr int kAdam7Passes = 7;

struct PngSession {
  png_structp decoder = nullptr;
  png_infop info = nullptr;
  std::string_view unread;
  CodecFailure failure = CodecFailure::kNone;
};

// Every frame between these and the setjmp is C or holds no object with a destructor.
[[noreturn]] void OnError(png_structp decoder, png_const_charp message) {
  auto* session = static_cast<PngSession*>(png_get_error_ptr(decoder));
  if (session->failure == CodecFailure::kNone) {
    const bool is_memory = std::strstr(message, "emory") != nullptr;  // "Out of memory" and kin
    session->failure = is_memory ? CodecFailure::kMemory : CodecFailure::kCorrupt;
  }
  png_longjmp(decoder, 1);
}

// Of what libpng only warns about, nothing concerns the pixels that Pillow would give.
void OnWarning(png_structp, png_const_charp) {}

void Read(png_structp decoder, png_bytep out, size_t size) {
  auto* session = static_cast<PngSession*>(png_get_io_ptr(decoder));
  if (session->unread.size() < size) {
    session->failure = CodecFailure::kTruncated;
    png_error(decoder, "");
  }
  std::memcpy(out, session->unread.data(), size);
  session->unread.remove_prefix(size);
}

// Frees libpng's structs on every path; constructed before, and destroyed after, any setjmp.
class SessionOwner {
 public:
  explicit SessionOwner(std::string_view bytes) {
    session_.unread = bytes;
    session_.decoder = png_create_read_struct(PNG_LIBPNG_VER_STRING, &session_, OnError, OnWarning);
    if (session_.decoder != nullptr) session_.info = png_create_info_struct(session_.decoder);
  }
  ~SessionOwner() { png_destroy_read_struct(&session_.decoder, &session_.info, nullptr); }
  SessionOwner(const SessionOwner&) = delete;
  SessionOwner& operator=(const SessionOwner&) = delete;

  PngSession& session() { return session_; }

 private:
  PngSession session_;
};

// How the bytes of a row become RGB. Samples of fewer than eight bits have a byte each.
struct RowFormat {
  enum class Kind { kTable, kGrey16, kSamples };
  Kind kind = Kind::kTable;
  // kTable: grey of at most 8 bits, or a palette.
  std::array<std::array<uint8_t, 3>, 256> table = {};
  // kSamples: bytes from one pixel to the next, and from red to green to blue (0 for grey).
  int pixel_bytes = 0;
  int channel_bytes = 0;

  int bytes_per_pixel() const {
    switch (kind) {
      case Kind::kTable:
        return 1;
      case Kind::kGrey16:
        return 2;
      case Kind::kSamples:
        return pixel_bytes;
    }
    return 0;
  }
};

struct Header {
  png_uint_32 width = 0;
  png_uint_32 height = 0;
  int depth = 0;
  int colour_type = 0;
  int interlace = 0;
  size_t row_bytes = 0;  // of a full row after unpacking
};

// The three functions below hold no object with a destructor: a longjmp may end them.

bool ReadHeader(PngSession& session, Header* header) {
  if (setjmp(png_jmpbuf(session.decoder)) != 0) return false;
  png_set_read_fn(session.decoder, &session, Read);
  // Ancillary chunks are skipped unread: profiles and text are attack surface and never used.
  png_set_keep_unknown_chunks(session.decoder, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(session.decoder, session.info);
  png_get_IHDR(session.decoder,
               session.info,
               &header->width,
               &header->height,
               &header->depth,
               &header->colour_type,
               &header->interlace,
               nullptr,
               nullptr);
  if (header->depth < 8) png_set_packing(session.decoder);
  // Interlaced pictures come pass by pass, so that only one raw row is ever held.
  png_read_update_info(session.decoder, session.info);
  header->row_bytes = png_get_rowbytes(session.decoder, session.info);
  return true;
}

RowFormat MakeRowFormat(const PngSession& session, const Header& header) {
  RowFormat format;
  const int sample_bytes = header.depth == 16 ? 2 : 1;
  switch (header.colour_type) {
    case PNG_COLOR_TYPE_GRAY: {
      if (header.depth == 16) {
        format.kind = RowFormat::Kind::kGrey16;
        return format;
      }
      const int max_value = (1 << header.depth) - 1;
      for (int value = 0; value <= max_value; ++value) {
        format.table[value].fill(static_cast<uint8_t>(value * 255 / max_value));
      }
      return format;
    }
    case PNG_COLOR_TYPE_PALETTE: {
      png_colorp palette = nullptr;
      int size = 0;
      png_get_PLTE(session.decoder, session.info, &palette, &size);
      for (int i = 0; i < std::min(size, 256); ++i) {
        format.table[i] = {palette[i].red, palette[i].green, palette[i].blue};
      }
      return format;
    }
    default: {
      // The high byte of a 16-bit sample comes first, and is all that Pillow keeps.
      const bool is_grey = header.colour_type == PNG_COLOR_TYPE_GRAY_ALPHA;
      const bool has_alpha = (header.colour_type & PNG_COLOR_MASK_ALPHA) != 0;
      format.kind = RowFormat::Kind::kSamples;
      format.channel_bytes = is_grey ? 0 : sample_bytes;
      format.pixel_bytes = sample_bytes * ((is_grey ? 1 : 3) + (has_alpha ? 1 : 0));
      return format;
    }
  }
}

// Writes `num_pixels` pixels, `step` pixels apart.
void ConvertRow(
    const RowFormat& format, const uint8_t* in, int num_pixels, int step, uint8_t* out) {
  const int out_step = 3 * step;
  switch (format.kind) {
    case RowFormat::Kind::kTable:
      for (int x = 0; x < num_pixels; ++x, out += out_step) {
        const std::array<uint8_t, 3>& colour = format.table[in[x]];
        out[0] = colour[0];
        out[1] = colour[1];
        out[2] = colour[2];
      }
      return;
    case RowFormat::Kind::kGrey16:
      // Clipped at 255, not scaled.
      for (int x = 0; x < num_pixels; ++x, in += 2, out += out_step) {
        out[0] = out[1] = out[2] = in[0] != 0 ? 255 : in[1];
      }
      return;
    case RowFormat::Kind::kSamples:
      if (format.pixel_bytes == 3 && step == 1) {  // 8-bit RGB, by far the most common
        std::memcpy(out, in, size_t{3} * num_pixels);
        return;
      }
      for (int x = 0; x < num_pixels; ++x, in += format.pixel_bytes, out += out_step) {
        out[0] = in[0];
        out[1] = in[format.channel_bytes];
        out[2] = in[2 * format.channel_bytes];
      }
      return;
  }
}

bool ReadRows(PngSession& session,
              const Header& header,
              const RowFormat& format,
              const CpuBudget& budget,
              uint8_t* row,
              uint8_t* pixels) {
  if (setjmp(png_jmpbuf(session.decoder)) != 0) return false;
  const bool is_interlaced = header.interlace != PNG_INTERLACE_NONE;
  int rows_until_check = 0;
  for (int pass = 0; pass < (is_interlaced ? kAdam7Passes : 1); ++pass) {
    const int x_start = is_interlaced ? PNG_PASS_START_COL(pass) : 0;
    const int y_start = is_interlaced ? PNG_PASS_START_ROW(pass) : 0;
    const int x_step = is_interlaced ? PNG_PASS_COL_OFFSET(pass) : 1;
    const int y_step = is_interlaced ? PNG_PASS_ROW_OFFSET(pass) : 1;
    const int columns =
        static_cast<int>(is_interlaced ? PNG_PASS_COLS(header.width, pass) : header.width);
    const int rows =
        static_cast<int>(is_interlaced ? PNG_PASS_ROWS(header.height, pass) : header.height);
    if (columns == 0) continue;  // libpng skips a pass that is empty
    for (int y = 0; y < rows; ++y) {
      if (rows_until_check-- == 0) {
        rows_until_check = kRowsPerClockCheck;
        if (budget.IsSpent()) {
          session.failure = CodecFailure::kTime;
          return false;
        }
      }
      png_read_row(session.decoder, row, nullptr);
      const size_t first = size_t{header.width} * (y_start + size_t{1} * y * y_step) + x_start;
      ConvertRow(format, row, columns, x_step, pixels + 3 * first);
    }
  }
  // IEND is not asked for: libpng has seen the end of the picture's data and its checksums.
  return true;
}

}  // namespace

absl::Status DecodePng(std::string_view bytes, const ImageLimits& limits, RgbImage* out) {
  const CpuBudget budget(limits.max_decode_cpu);
  SessionOwner owner(bytes);
  PngSession& session = owner.session();
  if (session.info == nullptr) return DecodeMemoryError();
  Header header;
  if (!ReadHeader(session, &header)) return CodecFailureError(session.failure, "PNG", limits);
  if (header.width != static_cast<png_uint_32>(out->width) ||
      header.height != static_cast<png_uint_32>(out->height)) {
    return ImageError(kImageCorrupt, "corrupt PNG header");
  }
  const RowFormat format = MakeRowFormat(session, header);
  if (header.row_bytes != size_t{header.width} * format.bytes_per_pixel()) {
    return ImageError(kImageCorrupt, "corrupt PNG header");
  }
  const auto row = std::make_unique_for_overwrite<uint8_t[]>(header.row_bytes);
  if (!ReadRows(session, header, format, budget, row.get(), out->pixels.get())) {
    return CodecFailureError(session.failure, "PNG", limits);
  }
  return absl::OkStatus();
}

}  // namespace parrot::internal
