// JPEG markers (ITU-T T.81 annex B), from SOI to EOI.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/image/container_probes.h"
#include "model/image/tiff_directory.h"

namespace parrot::internal {
namespace {

using std::string_view_literals::operator""sv;

constexpr uint8_t kSof0 = 0xc0;  // baseline
constexpr uint8_t kSof1 = 0xc1;  // extended sequential
constexpr uint8_t kSof2 = 0xc2;  // progressive
constexpr uint8_t kSof15 = 0xcf;
constexpr uint8_t kDht = 0xc4;
constexpr uint8_t kJpg = 0xc8;
constexpr uint8_t kDac = 0xcc;
constexpr uint8_t kSof9 = 0xc9;   // extended sequential, arithmetic
constexpr uint8_t kSof10 = 0xca;  // progressive, arithmetic
constexpr uint8_t kRst0 = 0xd0;
constexpr uint8_t kRst7 = 0xd7;
constexpr uint8_t kSoi = 0xd8;
constexpr uint8_t kEoi = 0xd9;
constexpr uint8_t kSos = 0xda;
constexpr uint8_t kApp1 = 0xe1;
constexpr uint8_t kApp2 = 0xe2;
constexpr uint8_t kTem = 0x01;

bool IsRestart(uint8_t marker) { return marker >= kRst0 && marker <= kRst7; }
bool IsFrameHeader(uint8_t marker) {
  return marker >= kSof0 && marker <= kSof15 && marker != kDht && marker != kJpg && marker != kDac;
}

class JpegWalker {
 public:
  JpegWalker(std::string_view bytes, const ImageLimits& limits, ImageInfo* info)
      : bytes_(bytes), limits_(limits), info_(info) {}

  absl::Status Walk() {
    position_ = 2;  // SOI, seen by the sniffer
    while (true) {
      uint8_t marker = 0;
      RETURN_IF_ERROR(NextMarker(&marker));
      if (marker == kEoi) break;
      RETURN_IF_ERROR(Segment(marker));
    }
    if (num_scans_ == 0) return ImageError(kImageCorrupt, "JPEG without picture data");
    info_->image_bytes = info_->picture_end = position_;
    return absl::OkStatus();
  }

 private:
  static absl::Status Truncated() { return ImageError(kImageTruncated, "truncated JPEG"); }

  absl::Status NextMarker(uint8_t* marker) {
    if (position_ >= bytes_.size()) return Truncated();
    if (ByteAt(bytes_, position_) != 0xff) {
      return ImageError(kImageCorrupt, "corrupt JPEG: bytes between markers");
    }
    // 0xff before a marker is fill.
    while (position_ < bytes_.size() && ByteAt(bytes_, position_) == 0xff) ++position_;
    if (position_ >= bytes_.size()) return Truncated();
    *marker = ByteAt(bytes_, position_++);
    if (*marker == 0x00 || *marker == kTem || *marker == kSoi || IsRestart(*marker)) {
      return ImageError(kImageCorrupt, "corrupt JPEG: unexpected marker");
    }
    if (++num_markers_ > limits_.max_jpeg_markers) {
      return ImageLimitError(
          kImageTooComplex, "too many markers", num_markers_, limits_.max_jpeg_markers);
    }
    return absl::OkStatus();
  }

  absl::Status Segment(uint8_t marker) {
    if (bytes_.size() - position_ < 2) return Truncated();
    const size_t length = BigEndian16(bytes_, position_);  // its own two bytes included
    if (length < 2) return ImageError(kImageCorrupt, "corrupt JPEG: segment length");
    if (bytes_.size() - position_ < length) {
      // A forged header is named as such even when nothing follows it.
      if (!IsFrameHeader(marker) || bytes_.size() - position_ < 7) return Truncated();
    }
    const std::string_view payload = bytes_.substr(position_ + 2, length - 2);
    if (IsFrameHeader(marker)) RETURN_IF_ERROR(FrameHeader(marker, payload));
    if (bytes_.size() - position_ < length) return Truncated();
    position_ += length;
    switch (marker) {
      case kApp1:
        return Exif(payload);
      case kApp2:
        return IccOrMpf(payload);
      case kSos:
        return Scan();
      default:
        return absl::OkStatus();
    }
  }

  absl::Status FrameHeader(uint8_t marker, std::string_view payload) {
    constexpr uint8_t kBits = 8;
    if (has_frame_) return ImageError(kImageCorrupt, "corrupt JPEG: two frame headers");
    has_frame_ = true;
    if (payload.size() < 5) return ImageError(kImageCorrupt, "corrupt JPEG: frame header");
    const int64_t height = BigEndian16(payload, 1);
    const int64_t width = BigEndian16(payload, 3);
    RETURN_IF_ERROR(CheckDimensions(width, height, limits_));
    if (marker != kSof0 && marker != kSof1 && marker != kSof2 && marker != kSof9 &&
        marker != kSof10) {
      return ImageError(kImageFormat, "JPEG process not supported (lossless or hierarchical)");
    }
    if (ByteAt(payload, 0) != kBits) {
      return ImageError(kImageFormat,
                        absl::StrCat("JPEG with ", ByteAt(payload, 0), " bits per sample"),
                        absl::StrCat(ByteAt(payload, 0)),
                        absl::StrCat(kBits));
    }
    info_->width = static_cast<int32_t>(width);
    info_->height = static_cast<int32_t>(height);
    return absl::OkStatus();
  }

  absl::Status Exif(std::string_view payload) {
    if (!payload.starts_with("Exif\0\0"sv)) return absl::OkStatus();
    if (exif_bytes_ == 0) info_->orientation = ExifOrientation(payload);
    exif_bytes_ += payload.size();
    return CheckMetadata("EXIF", exif_bytes_);
  }

  absl::Status IccOrMpf(std::string_view payload) {
    if (payload.starts_with("ICC_PROFILE\0"sv)) {
      icc_bytes_ += payload.size();
      return CheckMetadata("ICC profile", icc_bytes_);
    }
    constexpr std::string_view kMpf = "MPF\0"sv;
    if (payload.starts_with(kMpf)) {
      const uint32_t images =
          FindTiffInteger(payload.substr(kMpf.size()), kMpfNumberOfImages).value_or(1);
      if (images > 1) {
        return ImageError(
            kImageAnimated, "multi-image JPEG (animated or MPO)", absl::StrCat(images), "1");
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckMetadata(std::string_view what, size_t size) const {
    if (size <= limits_.max_metadata_bytes) return absl::OkStatus();
    return ImageLimitError(kImageTooComplex,
                           absl::StrCat("too much metadata, bytes of ", std::string(what)),
                           static_cast<int64_t>(size),
                           static_cast<int64_t>(limits_.max_metadata_bytes));
  }

  // Entropy-coded data up to the next marker that is neither a stuffed 0xff nor a restart.
  absl::Status Scan() {
    if (!has_frame_) return ImageError(kImageCorrupt, "corrupt JPEG: scan before frame header");
    if (++num_scans_ > limits_.max_jpeg_scans) {
      return ImageLimitError(
          kImageTooComplex, "too many scans", num_scans_, limits_.max_jpeg_scans);
    }
    while (true) {
      const void* found = std::memchr(bytes_.data() + position_, 0xff, bytes_.size() - position_);
      if (found == nullptr) return Truncated();
      position_ = static_cast<size_t>(static_cast<const char*>(found) - bytes_.data());
      size_t next = position_ + 1;
      while (next < bytes_.size() && ByteAt(bytes_, next) == 0xff) ++next;
      if (next >= bytes_.size()) return Truncated();
      const uint8_t code = ByteAt(bytes_, next);
      if (code != 0x00 && !IsRestart(code)) return absl::OkStatus();
      position_ = next + 1;
    }
  }

  const std::string_view bytes_;
  const ImageLimits& limits_;
  ImageInfo* const info_;
  size_t position_ = 0;
  bool has_frame_ = false;
  int32_t num_markers_ = 0;
  int32_t num_scans_ = 0;
  size_t exif_bytes_ = 0;
  size_t icc_bytes_ = 0;
};

}  // namespace

absl::Status ProbeJpeg(std::string_view bytes, const ImageLimits& limits, ImageInfo* info) {
  return JpegWalker(bytes, limits, info).Walk();
}

}  // namespace parrot::internal
