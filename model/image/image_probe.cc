#include "model/image/image_probe.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/image/container_probes.h"

namespace parrot {

using std::string_view_literals::operator""sv;

namespace internal {

absl::Status ImageError(const char* reason,
                        std::string_view message,
                        std::string value,
                        std::string limit) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     message,
                     {.reason = reason, .value = std::move(value), .limit = std::move(limit)});
}

absl::Status ImageLimitError(const char* reason,
                             std::string_view what,
                             int64_t value,
                             int64_t limit) {
  return ImageError(reason,
                    absl::StrCat(std::string(what), ": ", value, ", limit ", limit),
                    absl::StrCat(value),
                    absl::StrCat(limit));
}

absl::Status CheckDimensions(int64_t width, int64_t height, const ImageLimits& limits) {
  const std::string size = absl::StrCat(width, "x", height);
  if (width == 0 || height == 0) {
    return ImageError(kImageZeroSize, size + " has no pixels", size, "1");
  }
  // width * height > max_pixels, without the overflow of two sides near 2^32.
  if (width > limits.max_pixels / height) {
    // Rounded down: a limit must not be shown as larger than it is.
    const std::string megapixels = absl::StrFormat(
        "%d.%d MP", limits.max_pixels / 1'000'000, limits.max_pixels / 100'000 % 10);
    return ImageError(
        kImageTooLarge,
        absl::StrCat(size, " exceeds ", megapixels, " (", limits.max_pixels, " pixels)"),
        size,
        absl::StrCat(limits.max_pixels));
  }
  if (std::max(width, height) > limits.max_side) {
    return ImageError(kImageTooLarge,
                      absl::StrCat(size, " exceeds ", limits.max_side, " pixels per side"),
                      size,
                      absl::StrCat(limits.max_side));
  }
  return absl::OkStatus();
}

}  // namespace internal

namespace {

using internal::BigEndian32;
using internal::ByteAt;
using internal::ImageError;
using internal::ImageLimitError;

// No image of the three formats is shorter; what is, is a bare signature at best.
constexpr size_t kMinImageBytes = 20;

bool HasAt(std::string_view bytes, size_t offset, std::string_view expected) {
  return bytes.size() >= offset && bytes.substr(offset).starts_with(expected);
}

std::optional<ImageFormat> Sniff(std::string_view bytes) {
  if (bytes.size() < kMinImageBytes) return std::nullopt;
  if (bytes.starts_with("\xff\xd8\xff"sv)) return ImageFormat::kJpeg;
  if (bytes.starts_with("\x89PNG\r\n\x1a\n"sv)) return ImageFormat::kPng;
  if (bytes.starts_with("RIFF"sv) && HasAt(bytes, 8, "WEBP"sv)) return ImageFormat::kWebp;
  return std::nullopt;
}

// Formats that are images, but not ours: told apart only for the message.
bool IsOtherImageFormat(std::string_view bytes) {
  struct Signature {
    size_t offset;
    std::string_view bytes;
  };
  static constexpr std::array kSignatures = {
      Signature{0, "GIF87a"sv},
      Signature{0, "GIF89a"sv},
      Signature{0, "II*\0"sv},  // TIFF
      Signature{0, "MM\0*"sv},
      Signature{0, "II+\0"sv},  // BigTIFF
      Signature{0, "MM\0+"sv},
      Signature{0, "\x76\x2f\x31\x01"sv},  // OpenEXR
      Signature{0, "#?RADIANCE"sv},
      Signature{0, "#?RGBE"sv},
      Signature{0, "\0\0\0\x0cjP  \r\n\x87\n"sv},  // JPEG 2000
      Signature{0, "\xff\x4f\xff\x51"sv},          // JPEG 2000 code stream
      Signature{0, "\0\0\0\x0cJXL \r\n\x87\n"sv},  // JPEG XL
      Signature{0, "\xff\x0a"sv},                  // JPEG XL code stream
      Signature{0, "\x59\xa6\x6a\x95"sv},          // Sun raster
      Signature{128, "DICM"sv},
      Signature{4, "ftypavif"sv},
      Signature{4, "ftypavis"sv},
      Signature{4, "ftypheic"sv},
      Signature{4, "ftypheix"sv},
      Signature{4, "ftyphevc"sv},
      Signature{4, "ftypmif1"sv},
      Signature{4, "ftypmsf1"sv},
      Signature{0, "8BPS"sv},      // Photoshop
      Signature{0, "\0\0\1\0"sv},  // Windows icon
  };
  for (const Signature& signature : kSignatures) {
    if (HasAt(bytes, signature.offset, signature.bytes)) return true;
  }
  // BMP: two letters could begin a text, its reserved field cannot.
  if (bytes.starts_with("BM"sv) && HasAt(bytes, 6, "\0\0\0\0"sv)) return true;
  // PNM and PAM: "P1" to "P7" and white space.
  return bytes.size() >= 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '7' &&
         absl::ascii_isspace(ByteAt(bytes, 2));
}

// Lower case, without parameters and blanks.
std::string CanonicalMime(std::string_view mime) {
  mime = mime.substr(0, mime.find(';'));
  while (!mime.empty() && absl::ascii_isspace(ByteAt(mime, 0))) mime.remove_prefix(1);
  while (!mime.empty() && absl::ascii_isspace(ByteAt(mime, mime.size() - 1))) mime.remove_suffix(1);
  std::string canonical(mime);
  absl::AsciiStrToLower(&canonical);
  if (canonical == "image/jpg" || canonical == "image/pjpeg") return "image/jpeg";
  if (canonical == "image/x-png") return "image/png";
  return canonical;
}

absl::Status CheckMime(std::string_view declared_mime, ImageFormat format) {
  const std::string declared = CanonicalMime(declared_mime);
  if (declared.empty() || declared == ImageMimeType(format)) return absl::OkStatus();
  // The declared type is the client's text: only a type that we know is repeated.
  const bool is_known =
      declared == "image/jpeg" || declared == "image/png" || declared == "image/webp";
  return ImageError(kImageMimeMismatch,
                    absl::StrCat("declared as ",
                                 is_known ? declared : "another type",
                                 ", but the bytes are ",
                                 ImageMimeType(format)),
                    is_known ? declared : "",
                    ImageMimeType(format));
}

absl::Status CheckPixelsPerByte(const ImageInfo& info, const ImageLimits& limits) {
  int64_t max_ratio = 0;
  switch (info.format) {
    case ImageFormat::kJpeg:
      max_ratio = limits.max_jpeg_pixels_per_byte;
      break;
    case ImageFormat::kPng:
      max_ratio = limits.max_png_pixels_per_byte;
      break;
    case ImageFormat::kWebp:
      return absl::OkStatus();
  }
  const int64_t pixels = int64_t{info.width} * info.height;
  const auto bytes = static_cast<int64_t>(info.image_bytes);
  if (pixels <= max_ratio * bytes) return absl::OkStatus();
  return ImageLimitError(kImageImplausible,
                         "implausible compression, pixels per byte",
                         (pixels + bytes - 1) / bytes,
                         max_ratio);
}

}  // namespace

const char* ImageMimeType(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "image/jpeg";
    case ImageFormat::kPng:
      return "image/png";
    case ImageFormat::kWebp:
      return "image/webp";
  }
  return "";
}

absl::StatusOr<ImageInfo> ProbeImage(std::string_view encoded,
                                     std::string_view declared_mime,
                                     const ImageLimits& limits) {
  if (encoded.size() > limits.max_encoded_bytes) {
    return ImageLimitError(kImageTooLarge,
                           "too many bytes",
                           static_cast<int64_t>(encoded.size()),
                           static_cast<int64_t>(limits.max_encoded_bytes));
  }
  const std::optional<ImageFormat> format = Sniff(encoded);
  if (!format.has_value()) {
    return ImageError(kImageFormat,
                      IsOtherImageFormat(encoded) ? "format not enabled (jpeg,png,webp)"
                                                  : "unsupported or unrecognised format");
  }
  RETURN_IF_ERROR(CheckMime(declared_mime, *format));
  ImageInfo info;
  info.format = *format;
  switch (*format) {
    case ImageFormat::kJpeg:
      RETURN_IF_ERROR(internal::ProbeJpeg(encoded, limits, &info));
      break;
    case ImageFormat::kPng:
      RETURN_IF_ERROR(internal::ProbePng(encoded, limits, &info));
      break;
    case ImageFormat::kWebp:
      RETURN_IF_ERROR(internal::ProbeWebp(encoded, limits, &info));
      break;
  }
  RETURN_IF_ERROR(CheckPixelsPerByte(info, limits));
  const size_t trailing_bytes = encoded.size() - info.image_bytes;
  if (trailing_bytes > limits.max_trailing_bytes) {
    return ImageLimitError(kImageTrailingData,
                           "too many bytes after the end of the image",
                           static_cast<int64_t>(trailing_bytes),
                           static_cast<int64_t>(limits.max_trailing_bytes));
  }
  return info;
}

absl::Status CheckImageTotals(const ImageTotals& totals, const ImageLimits& limits) {
  if (totals.images > limits.max_images) {
    return ImageLimitError(kImageCount, "too many images", totals.images, limits.max_images);
  }
  if (totals.encoded_bytes > limits.max_total_bytes) {
    return ImageLimitError(kImageTooLarge,
                           "too many bytes in all images",
                           static_cast<int64_t>(totals.encoded_bytes),
                           static_cast<int64_t>(limits.max_total_bytes));
  }
  if (totals.pixels > limits.max_total_pixels) {
    return ImageLimitError(
        kImageTooLarge, "too many pixels in all images", totals.pixels, limits.max_total_pixels);
  }
  return absl::OkStatus();
}

}  // namespace parrot
