// PNG chunks (W3C PNG, third edition), from IHDR to IEND.
#include <zlib.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/image/container_probes.h"
#include "model/image/tiff_directory.h"

namespace parrot::internal {
namespace {

using std::string_view_literals::operator""sv;

constexpr size_t kSignatureBytes = 8;
constexpr size_t kFrameBytes = 12;  // length, type, checksum
constexpr size_t kUncountedIdatBytes = 4096;

absl::Status Truncated() { return ImageError(kImageTruncated, "truncated PNG"); }
absl::Status Corrupt(std::string_view what) {
  return ImageError(kImageCorrupt, absl::StrCat("corrupt PNG: ", std::string(what)));
}

// Bytes that `deflated` inflates to, counted up to just over `max_bytes`; broken streams count as
// far as they go. Writes into a fixed buffer.
size_t InflatedBytes(std::string_view deflated, size_t max_bytes) {
  z_stream stream = {};
  if (inflateInit(&stream) != Z_OK) return max_bytes + 1;
  // zlib's pointer is not const but it does not write through it.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(deflated.data()));
  stream.avail_in = static_cast<uInt>(deflated.size());
  std::array<Bytef, 16384> sink;
  size_t total_bytes = 0;
  int result = Z_OK;
  while (result == Z_OK && total_bytes <= max_bytes) {
    stream.next_out = sink.data();
    stream.avail_out = sink.size();
    result = inflate(&stream, Z_NO_FLUSH);
    total_bytes += sink.size() - stream.avail_out;
  }
  inflateEnd(&stream);
  return total_bytes;
}

class PngWalker {
 public:
  PngWalker(std::string_view bytes, const ImageLimits& limits, ImageInfo* info)
      : bytes_(bytes), limits_(limits), info_(info) {}

  absl::Status Walk() {
    size_t position = kSignatureBytes;
    bool is_ended = false;
    while (!is_ended && position < bytes_.size()) {
      const std::string_view rest = bytes_.substr(position);
      if (rest.size() < kFrameBytes) return Truncated();
      const size_t length = BigEndian32(rest, 0);
      const std::string_view type = rest.substr(4, 4);
      RETURN_IF_ERROR(CheckFrame(type, length, rest));
      const std::string_view payload = rest.substr(8, length);
      RETURN_IF_ERROR(Chunk(type, payload));
      position += length + kFrameBytes;
      is_ended = type == "IEND"sv;
    }
    if (!has_data_) return is_ended ? Corrupt("no picture data") : Truncated();
    // A file that ends after whole IDAT chunks, IEND missing, has all its pixels (Pillow takes it);
    // the decoder finds out when it has not.
    info_->image_bytes = info_->picture_end = position;
    return absl::OkStatus();
  }

 private:
  // Order, length and checksum. REQUIRES: rest.size() >= kFrameBytes.
  absl::Status CheckFrame(std::string_view type, size_t length, std::string_view rest) {
    if (!std::all_of(type.begin(), type.end(), [](char c) {
          return absl::ascii_isalpha(static_cast<unsigned char>(c));
        })) {
      return Corrupt("chunk type");
    }
    // IHDR first, and once.
    if ((type == "IHDR"sv) == has_header_) return Corrupt("chunk order");
    const bool is_counted = type != "IDAT"sv || length < kUncountedIdatBytes;
    if (is_counted && ++num_chunks_ > limits_.max_chunks) {
      return ImageLimitError(kImageTooComplex, "too many chunks", num_chunks_, limits_.max_chunks);
    }
    if (length > rest.size() - kFrameBytes) return Truncated();
    // Ancillary chunks after the picture data are read by nobody.
    const bool is_critical = absl::ascii_isupper(static_cast<unsigned char>(type[0]));
    if (has_data_ && !is_critical) return absl::OkStatus();
    const auto* checked = reinterpret_cast<const Bytef*>(rest.data() + 4);
    const uint32_t checksum =
        static_cast<uint32_t>(crc32_z(0, checked, static_cast<z_size_t>(length + 4)));
    if (checksum != BigEndian32(rest, length + 8)) return Corrupt("chunk checksum");
    return absl::OkStatus();
  }

  absl::Status Chunk(std::string_view type, std::string_view payload) {
    if (type == "IHDR"sv) return Header(payload);
    if (type == "PLTE"sv) {
      has_palette_ = true;
      return absl::OkStatus();
    }
    if (type == "IDAT"sv) {
      if (is_palette_picture_ && !has_palette_) return Corrupt("no palette");
      has_data_ = true;
      return absl::OkStatus();
    }
    if (type == "acTL"sv) return AnimationControl(payload);
    if (type == "eXIf"sv) {
      info_->orientation = ExifOrientation(payload);
      return CheckMetadata("EXIF", payload.size());
    }
    if (type == "iCCP"sv || type == "zTXt"sv || type == "iTXt"sv) {
      return CompressedMetadata(type, payload);
    }
    return absl::OkStatus();
  }

  absl::Status Header(std::string_view payload) {
    has_header_ = true;
    if (payload.size() != 13) return Corrupt("header length");
    const int64_t width = BigEndian32(payload, 0);
    const int64_t height = BigEndian32(payload, 4);
    RETURN_IF_ERROR(CheckDimensions(width, height, limits_));
    const int depth = ByteAt(payload, 8);
    const int colour_type = ByteAt(payload, 9);
    if (!IsDepthOf(colour_type, depth)) return Corrupt("bit depth or colour type");
    is_palette_picture_ = colour_type == 3;
    if (ByteAt(payload, 10) != 0 || ByteAt(payload, 11) != 0 || ByteAt(payload, 12) > 1) {
      return Corrupt("compression, filter or interlace method");
    }
    info_->width = static_cast<int32_t>(width);
    info_->height = static_cast<int32_t>(height);
    return absl::OkStatus();
  }

  static bool IsDepthOf(int colour_type, int depth) {
    switch (colour_type) {
      case 0:
        return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
      case 3:
        return depth == 1 || depth == 2 || depth == 4 || depth == 8;
      case 2:
      case 4:
      case 6:
        return depth == 8 || depth == 16;
      default:
        return false;
    }
  }

  static absl::Status AnimationControl(std::string_view payload) {
    if (payload.size() < 8) return Corrupt("animation header");
    const uint32_t frames = BigEndian32(payload, 0);
    if (frames <= 1) return absl::OkStatus();
    return ImageError(kImageAnimated, "animated PNG", absl::StrCat(frames), "1");
  }

  // What the chunk's deflate stream comes to is bounded, although nobody here reads it: the file
  // may be passed on.
  absl::Status CompressedMetadata(std::string_view type, std::string_view payload) {
    // keyword NUL [iTXt: flag] method ...
    size_t start = payload.find('\0');
    if (start == std::string_view::npos) return absl::OkStatus();
    start += 1;
    if (type == "iTXt"sv) {
      const bool is_compressed = start < payload.size() && ByteAt(payload, start) == 1;
      if (!is_compressed) return absl::OkStatus();
      // flag, method, then language and translated keyword, each ended by NUL
      start = std::min(start + 2, payload.size());
      for (int i = 0; i < 2; ++i) {
        start = payload.find('\0', start);
        if (start == std::string_view::npos) return absl::OkStatus();
        start += 1;
      }
    } else {
      const bool is_deflate = start < payload.size() && ByteAt(payload, start) == 0;
      if (!is_deflate) return Corrupt("compression method of a text or profile");
      start += 1;
    }
    // One budget for all such chunks: a thousand of them must not cost a thousand times as much.
    inflated_bytes_ +=
        InflatedBytes(payload.substr(start), limits_.max_metadata_bytes - inflated_bytes_);
    return CheckMetadata("inflated text and ICC profile", inflated_bytes_);
  }

  absl::Status CheckMetadata(std::string_view what, size_t size) const {
    if (size <= limits_.max_metadata_bytes) return absl::OkStatus();
    return ImageLimitError(kImageTooComplex,
                           absl::StrCat("too much metadata, bytes of ", std::string(what)),
                           static_cast<int64_t>(size),
                           static_cast<int64_t>(limits_.max_metadata_bytes));
  }

  const std::string_view bytes_;
  const ImageLimits& limits_;
  ImageInfo* const info_;
  bool has_header_ = false;
  bool has_palette_ = false;
  bool has_data_ = false;
  bool is_palette_picture_ = false;
  int32_t num_chunks_ = 0;
  size_t inflated_bytes_ = 0;
};

}  // namespace

absl::Status ProbePng(std::string_view bytes, const ImageLimits& limits, ImageInfo* info) {
  return PngWalker(bytes, limits, info).Walk();
}

}  // namespace parrot::internal
