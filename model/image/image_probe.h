// What an encoded image is, from its bytes, before any decoder sees them.
//
// The probe walks the container itself (JPEG markers, PNG chunks, WebP RIFF chunks) and refuses
// what is not one still JPEG, PNG or WebP image within the limits: a decoder that is handed a
// forged header allocates gigabytes, and one that is handed two thousand tiny scans computes for
// half a minute. Its cost is linear in the bytes (a memchr over JPEG scans, a CRC over PNG chunks)
// and it allocates nothing in proportion to what a header claims.
//
// Errors are INVALID_ARGUMENT with facts (base/error_status.h). Their reasons are the constants
// below; the caller adds the field. Pure functions, thread-safe.
//
//   ASSIGN_OR_RETURN(ImageInfo info, ProbeImage(bytes, "image/png", limits));
#ifndef PARROT_MODEL_IMAGE_IMAGE_PROBE_H_
#define PARROT_MODEL_IMAGE_IMAGE_PROBE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace parrot {

// The closed set of reasons of this layer.
inline constexpr char kImageFormat[] = "IMAGE_FORMAT";               // not JPEG, PNG or WebP
inline constexpr char kImageMimeMismatch[] = "IMAGE_MIME_MISMATCH";  // declared != found
inline constexpr char kImageTooLarge[] = "IMAGE_TOO_LARGE";          // bytes, pixels or a side
inline constexpr char kImageZeroSize[] = "IMAGE_ZERO_SIZE";          // a side of 0
inline constexpr char kImageImplausible[] = "IMAGE_IMPLAUSIBLE";     // pixels per encoded byte
inline constexpr char kImageTooComplex[] = "IMAGE_TOO_COMPLEX";      // scans, markers, metadata
inline constexpr char kImageAnimated[] = "IMAGE_ANIMATED";           // more than one picture
inline constexpr char kImageTruncated[] = "IMAGE_TRUNCATED";         // ends before its end
inline constexpr char kImageCorrupt[] = "IMAGE_CORRUPT";             // breaks its format's rules
inline constexpr char kImageTrailingData[] = "IMAGE_TRAILING_DATA";
inline constexpr char kImageDecodeTime[] = "IMAGE_DECODE_TIME";  // CPU budget spent
inline constexpr char kImageCount[] = "IMAGE_COUNT";             // images per request
inline constexpr char kImageMemory[] = "IMAGE_MEMORY";  // RESOURCE_EXHAUSTED: allocation failed

enum class ImageFormat { kJpeg, kPng, kWebp };

// "image/jpeg", "image/png", "image/webp".
const char* ImageMimeType(ImageFormat format);

// All maxima are inclusive.
struct ImageLimits {
  size_t max_encoded_bytes = size_t{10} << 20;  // one image
  int32_t max_images = 1;                       // per request
  size_t max_total_bytes = size_t{12} << 20;    // all images of a request
  int64_t max_pixels = 33'554'432;              // one image; 8K UHD is 33.2 MP
  int64_t max_total_pixels = 67'108'864;        // all images of a request
  int32_t max_side = 16'384;                    // pixels
  int32_t max_jpeg_scans = 64;
  int32_t max_jpeg_markers = 1'000;  // restart markers inside scans not counted
  // PNG and WebP. IDAT chunks of 4 KiB and more are not counted: common encoders write a photo of
  // several megabytes as a thousand IDAT chunks of 8 KiB.
  int32_t max_chunks = 1'000;
  size_t max_metadata_bytes = size_t{1} << 20;  // ICC; EXIF; inflated iCCP, zTXt and iTXt
  // A flat progressive JPEG reaches 251 pixels a byte, a flat 1-bit PNG about 8,256 (deflate's
  // 1,032:1). No such rule for WebP, where a flat lossless picture is legitimately tiny.
  int64_t max_jpeg_pixels_per_byte = 1'000;
  int64_t max_png_pixels_per_byte = 8'300;
  size_t max_trailing_bytes = size_t{64} << 10;  // after the end of the image
  absl::Duration max_decode_cpu = absl::Seconds(2);
};

struct ImageInfo {
  ImageFormat format = ImageFormat::kJpeg;
  int32_t width = 0;  // pixels, as encoded; orientation not applied
  int32_t height = 0;
  size_t image_bytes = 0;  // of the encoded bytes; the rest is trailing data
  // What a codec is given of them: all, but of a WebP only the chunks with the picture. libwebp
  // would read past their end, into the metadata, where a damaged picture runs short.
  size_t picture_begin = 0;
  size_t picture_end = 0;
  int32_t orientation = 1;  // EXIF 0x0112, 1..8; 1 when absent or unreadable
};

// What a request's images come to.
struct ImageTotals {
  int32_t images = 0;
  size_t encoded_bytes = 0;
  int64_t pixels = 0;
};

// `declared_mime` is the client's claim: empty accepts any format, parameters ("; q=1") and case
// are ignored, "image/jpg" is a JPEG. File names play no part.
absl::StatusOr<ImageInfo> ProbeImage(std::string_view encoded,
                                     std::string_view declared_mime,
                                     const ImageLimits& limits);

// INVALID_ARGUMENT when a request's sums exceed the limits; call before probing (pixels 0) and
// again as pixels become known.
absl::Status CheckImageTotals(const ImageTotals& totals, const ImageLimits& limits);

}  // namespace parrot

#endif  // PARROT_MODEL_IMAGE_IMAGE_PROBE_H_
