#include <webp/decode.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "model/image/codec_decoders.h"
#include "model/image/container_probes.h"

namespace parrot::internal {
namespace {

// libwebp has no progress callback: the incremental decoder is fed in slices, and the clock is read
// between them. The most that one slice can hold, 33 million pixels of back references, takes a
// fraction of a second.
constexpr size_t kSliceBytes = size_t{64} << 10;

struct DecoderDeleter {
  void operator()(WebPIDecoder* decoder) const { WebPIDelete(decoder); }
};

}  // namespace

absl::Status DecodeWebp(std::string_view bytes, const ImageLimits& limits, RgbImage* out) {
  const CpuBudget budget(limits.max_decode_cpu);
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    return absl::InternalError("libwebp differs from its headers");
  }
  // RGB output: alpha is decoded as far as its validity goes, and dropped.
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = out->pixels.get();
  config.output.u.RGBA.stride = 3 * out->width;
  config.output.u.RGBA.size = out->size_bytes();
  const std::unique_ptr<WebPIDecoder, DecoderDeleter> decoder(
      WebPIDecode(/*data=*/nullptr, /*data_size=*/0, &config));
  if (decoder == nullptr) return DecodeMemoryError();
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  VP8StatusCode result = VP8_STATUS_SUSPENDED;
  for (size_t fed = 0; result == VP8_STATUS_SUSPENDED && fed < bytes.size();) {
    fed = std::min(fed + kSliceBytes, bytes.size());
    result = WebPIUpdate(decoder.get(), data, fed);
    if (budget.IsSpent()) return DecodeTimeError(limits);
  }
  switch (result) {
    case VP8_STATUS_OK:
      return absl::OkStatus();
    case VP8_STATUS_OUT_OF_MEMORY:
      return DecodeMemoryError();
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return ImageError(kImageTruncated, "truncated WebP");
    default:
      return ImageError(kImageCorrupt, "corrupt WebP data");
  }
}

}  // namespace parrot::internal
