// Internal to model/image: one decoder per codec, behind DecodeImage. Each gets bytes that
// ProbeImage accepted (picture_begin to picture_end of them) and fills `out`, which has the
// probed size. They throw nothing; memory of the codecs is freed on every path. Thread-safe.
#ifndef PARROT_MODEL_IMAGE_CODEC_DECODERS_H_
#define PARROT_MODEL_IMAGE_CODEC_DECODERS_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/image/image_decoder.h"

namespace parrot::internal {

// CPU time of the calling thread since construction, against a budget. Confined to its thread.
class CpuBudget {
 public:
  explicit CpuBudget(absl::Duration budget);
  bool IsSpent() const;

 private:
  int64_t deadline_ns_;  // of the thread's CPU clock
};

absl::Status DecodeTimeError(const ImageLimits& limits);
// RESOURCE_EXHAUSTED: the codec could not allocate.
absl::Status DecodeMemoryError();

// Why a codec that reports through callbacks gave up.
enum class CodecFailure { kNone, kCorrupt, kTruncated, kTime, kMemory };
// `format`: "JPEG", "PNG". A codec that failed without a reason met corrupt data.
absl::Status CodecFailureError(CodecFailure failure,
                               std::string_view format,
                               const ImageLimits& limits);

absl::Status DecodeJpeg(std::string_view bytes, const ImageLimits& limits, RgbImage* out);
absl::Status DecodePng(std::string_view bytes, const ImageLimits& limits, RgbImage* out);
absl::Status DecodeWebp(std::string_view bytes, const ImageLimits& limits, RgbImage* out);

// The picture with its EXIF orientation (1..8) undone. May throw std::bad_alloc, cv::Exception.
RgbImage TurnUpright(RgbImage image, int32_t orientation);

}  // namespace parrot::internal

#endif  // PARROT_MODEL_IMAGE_CODEC_DECODERS_H_
