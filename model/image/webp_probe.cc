// WebP: RIFF chunks (developers.google.com/speed/webp/docs/riff_container), RFC 6386 key frames and
// the VP8L header.
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/image/container_probes.h"
#include "model/image/tiff_directory.h"

namespace parrot::internal {
namespace {

using std::string_view_literals::operator""sv;

constexpr size_t kRiffHeaderBytes = 12;
constexpr size_t kChunkHeaderBytes = 8;

absl::Status Truncated() { return ImageError(kImageTruncated, "truncated WebP"); }
absl::Status Corrupt() { return ImageError(kImageCorrupt, "corrupt WebP header"); }

class WebpWalker {
 public:
  WebpWalker(std::string_view bytes, const ImageLimits& limits, ImageInfo* info)
      : bytes_(bytes), limits_(limits), info_(info) {}

  absl::Status Walk() {
    const size_t end = 8 + size_t{LittleEndian32(bytes_, 4)};
    int32_t num_chunks = 0;
    size_t position = kRiffHeaderBytes;
    // Not bounded by the file's end: the first chunk of a cut file still tells its size.
    while (position + kChunkHeaderBytes <= end) {
      if (bytes_.size() - position < kChunkHeaderBytes) return Truncated();
      if (++num_chunks > limits_.max_chunks) {
        return ImageLimitError(kImageTooComplex, "too many chunks", num_chunks, limits_.max_chunks);
      }
      const std::string_view type = bytes_.substr(position, 4);
      const size_t length = LittleEndian32(bytes_, position + 4);
      // A file is a picture alone, or starts with VP8X.
      const bool may_be_first = type == "VP8X"sv || type == "VP8 "sv || type == "VP8L"sv;
      if (num_chunks == 1 ? !may_be_first : type == "VP8X"sv) return Corrupt();
      const size_t chunk_begin = position;
      position += kChunkHeaderBytes;
      RETURN_IF_ERROR(Chunk(type, length, bytes_.substr(position, length)));
      if (length > bytes_.size() - position) return Truncated();
      if (length > end - position) return Corrupt();
      RETURN_IF_ERROR(PicturePart(type, chunk_begin, position + length));
      position += length + length % 2;
      if (position > bytes_.size()) return Truncated();
    }
    if (end > bytes_.size()) return Truncated();
    // Bytes left that are no chunk: some length was tampered with (libwebpdemux refuses too).
    if (!has_picture_ || position < end) return Corrupt();
    info_->image_bytes = end;
    return absl::OkStatus();
  }

 private:
  // `payload` is what the file has of the chunk's `length` bytes.
  absl::Status Chunk(std::string_view type, size_t length, std::string_view payload) {
    if (type == "ANIM"sv || type == "ANMF"sv) return Animated();
    if (type == "VP8X"sv) return Extended(payload);
    if (type == "VP8 "sv) return Lossy(payload);
    if (type == "VP8L"sv) return Lossless(payload);
    if (type == "EXIF"sv || type == "ICCP"sv) {
      if (length > limits_.max_metadata_bytes) {
        return ImageLimitError(kImageTooComplex,
                               "too much metadata, bytes of EXIF or ICC profile",
                               static_cast<int64_t>(length),
                               static_cast<int64_t>(limits_.max_metadata_bytes));
      }
      if (type == "EXIF"sv) info_->orientation = ExifOrientation(payload);
    }
    return absl::OkStatus();
  }

  // Where the picture's bytes lie: VP8 or VP8L, with an ALPH directly before it.
  absl::Status PicturePart(std::string_view type, size_t begin, size_t end) {
    const bool is_alpha = type == "ALPH"sv;
    const bool is_picture = type == "VP8 "sv || type == "VP8L"sv;
    if (is_alpha && (has_picture_ || follows_alpha_)) return Corrupt();
    if (follows_alpha_ && !is_picture) return Corrupt();
    if (is_alpha || (is_picture && !follows_alpha_)) info_->picture_begin = begin;
    if (is_picture) info_->picture_end = end;
    follows_alpha_ = is_alpha;
    return absl::OkStatus();
  }

  static absl::Status Animated() { return ImageError(kImageAnimated, "animated WebP", "", "1"); }

  absl::Status Extended(std::string_view payload) {
    constexpr uint8_t kAnimationFlag = 0x02;
    if (payload.size() < 10) return Truncated();
    if ((ByteAt(payload, 0) & kAnimationFlag) != 0) return Animated();
    return SetDimensions(int64_t{LittleEndian24(payload, 4)} + 1,
                         int64_t{LittleEndian24(payload, 7)} + 1);
  }

  absl::Status Lossy(std::string_view payload) {
    if (payload.size() < 10) return Truncated();
    const bool is_key_frame = (ByteAt(payload, 0) & 1) == 0;
    if (!is_key_frame || payload.substr(3, 3) != "\x9d\x01\x2a"sv) return Corrupt();
    return Picture(LittleEndian16(payload, 6) & 0x3fff, LittleEndian16(payload, 8) & 0x3fff);
  }

  absl::Status Lossless(std::string_view payload) {
    constexpr uint8_t kSignature = 0x2f;
    if (payload.size() < 5) return Truncated();
    if (ByteAt(payload, 0) != kSignature) return Corrupt();
    const uint32_t bits = LittleEndian32(payload, 1);
    return Picture(int64_t{bits & 0x3fff} + 1, int64_t{bits >> 14 & 0x3fff} + 1);
  }

  absl::Status Picture(int64_t width, int64_t height) {
    if (has_picture_) {
      return ImageError(kImageAnimated, "multi-image WebP (animated)", "2", "1");
    }
    has_picture_ = true;
    return SetDimensions(width, height);
  }

  // The canvas of VP8X and the picture in it must agree: a still picture fills its canvas.
  absl::Status SetDimensions(int64_t width, int64_t height) {
    RETURN_IF_ERROR(CheckDimensions(width, height, limits_));
    if (info_->width != 0 && (info_->width != width || info_->height != height)) return Corrupt();
    info_->width = static_cast<int32_t>(width);
    info_->height = static_cast<int32_t>(height);
    return absl::OkStatus();
  }

  const std::string_view bytes_;
  const ImageLimits& limits_;
  ImageInfo* const info_;
  bool has_picture_ = false;
  bool follows_alpha_ = false;  // the previous chunk was ALPH
};

}  // namespace

absl::Status ProbeWebp(std::string_view bytes, const ImageLimits& limits, ImageInfo* info) {
  return WebpWalker(bytes, limits, info).Walk();
}

}  // namespace parrot::internal
