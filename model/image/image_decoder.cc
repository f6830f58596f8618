#include "model/image/image_decoder.h"

#include <time.h>

#include <exception>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/image/codec_decoders.h"
#include "model/image/container_probes.h"

namespace parrot {

namespace internal {
namespace {

int64_t ThreadCpuNanoseconds() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

CpuBudget::CpuBudget(absl::Duration budget)
    : deadline_ns_(ThreadCpuNanoseconds() + absl::ToInt64Nanoseconds(budget)) {}

bool CpuBudget::IsSpent() const { return ThreadCpuNanoseconds() >= deadline_ns_; }

absl::Status DecodeTimeError(const ImageLimits& limits) {
  return ImageError(kImageDecodeTime,
                    absl::StrCat("decoding takes more than ",
                                 absl::ToInt64Milliseconds(limits.max_decode_cpu),
                                 " ms of CPU time"),
                    "",
                    absl::StrCat(absl::ToInt64Milliseconds(limits.max_decode_cpu), " ms"));
}

absl::Status DecodeMemoryError() {
  return ErrorStatus(absl::StatusCode::kResourceExhausted,
                     "not enough memory to decode the image",
                     {.reason = kImageMemory});
}

absl::Status CodecFailureError(CodecFailure failure,
                               std::string_view format,
                               const ImageLimits& limits) {
  switch (failure) {
    case CodecFailure::kTruncated:
      return ImageError(kImageTruncated, "truncated " + std::string(format));
    case CodecFailure::kTime:
      return DecodeTimeError(limits);
    case CodecFailure::kMemory:
      return DecodeMemoryError();
    case CodecFailure::kNone:
    case CodecFailure::kCorrupt:
      break;
  }
  return ImageError(kImageCorrupt, "corrupt " + std::string(format) + " data");
}

}  // namespace internal

namespace {

absl::StatusOr<DecodedImage> Decode(std::string_view encoded,
                                    std::string_view declared_mime,
                                    const DecodeOptions& options) {
  DecodedImage image;
  ASSIGN_OR_RETURN(image.info, ProbeImage(encoded, declared_mime, options.limits));
  const std::string_view picture =
      encoded.substr(image.info.picture_begin, image.info.picture_end - image.info.picture_begin);
  image.rgb = AllocateRgbImage(image.info.width, image.info.height);
  switch (image.info.format) {
    case ImageFormat::kJpeg:
      RETURN_IF_ERROR(internal::DecodeJpeg(picture, options.limits, &image.rgb));
      break;
    case ImageFormat::kPng:
      RETURN_IF_ERROR(internal::DecodePng(picture, options.limits, &image.rgb));
      break;
    case ImageFormat::kWebp:
      RETURN_IF_ERROR(internal::DecodeWebp(picture, options.limits, &image.rgb));
      break;
  }
  if (options.apply_exif_orientation) {
    image.rgb = internal::TurnUpright(std::move(image.rgb), image.info.orientation);
  }
  return image;
}

}  // namespace

RgbImage AllocateRgbImage(int32_t width, int32_t height) {
  RgbImage image{.width = width, .height = height, .pixels = nullptr};
  image.pixels = std::make_unique_for_overwrite<uint8_t[]>(image.size_bytes());
  return image;
}

absl::StatusOr<DecodedImage> DecodeImage(std::string_view encoded,
                                         std::string_view declared_mime,
                                         const DecodeOptions& options) {
  // The boundary where exceptions of libraries end. Their texts stay inside: they may name
  // addresses or files.
  try {
    return Decode(encoded, declared_mime, options);
  } catch (const std::bad_alloc&) {
    return internal::DecodeMemoryError();
  } catch (const std::exception&) {
    return internal::ImageError(kImageCorrupt, "image cannot be decoded");
  }
}

}  // namespace parrot
