#include "model/image/clip_image_processor.h"

#include <memory>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/live_count.h"
#include "base/status_macros.h"
#include "model/image/codec_decoders.h"

namespace parrot {
namespace {

// What Preprocess hands out points into one of these.
struct CountedPixels {
  ImagePixels pixels;
  LiveCount<LiveKind::kImagePixels> live_count;
};

RgbColour PaddingColour(const ImageProcessorConfig& config) {
  RgbColour colour;
  for (int channel = 0; channel < 3; ++channel) {
    colour[channel] = static_cast<uint8_t>(config.mean[channel] * 255);
  }
  return colour;
}

}  // namespace

ClipImageProcessor::ClipImageProcessor(const ImageProcessorConfig& config,
                                       int32_t size,
                                       const DecodeOptions& options,
                                       Clock& clock)
    : size_(size),
      pad_to_square_(config.pad_to_square),
      background_(PaddingColour(config)),
      revision_(absl::StrCat(kPreprocessingRevision,
                             "/",
                             size,
                             config.pad_to_square ? "/pad/" : "/crop/",
                             background_[0],
                             ",",
                             background_[1],
                             ",",
                             background_[2])),
      options_(options),
      normalization_(config),
      clock_(clock) {
  PARROT_CHECK(size >= 1);
}

absl::StatusOr<PreprocessedImage> ClipImageProcessor::Preprocess(
    std::string_view encoded, std::string_view declared_mime, std::string_view tenant_salt) const {
  const absl::Time start = clock_.Now();
  ASSIGN_OR_RETURN(const DecodedImage decoded, DecodeImage(encoded, declared_mime, options_));
  const absl::Time decoded_at = clock_.Now();
  const RgbView view = {decoded.rgb.pixels.get(), decoded.rgb.width, decoded.rgb.height};
  PreprocessedImage image;
  try {
    auto counted = std::make_shared<const CountedPixels>(CountedPixels{Resize(view), {}});
    image.input.pixels = {counted, &counted->pixels};
  } catch (const std::bad_alloc&) {
    return internal::DecodeMemoryError();
  }
  image.input.size = size_;
  image.input.hash = Hash(view, tenant_salt);
  image.info = decoded.info;
  image.decode_time = decoded_at - start;
  image.preprocess_time = clock_.Now() - decoded_at;
  return image;
}

std::vector<uint8_t> ClipImageProcessor::Resize(RgbView image) const {
  return pad_to_square_ ? PadAndResize(image, background_, size_)
                        : ResizeAndCentreCrop(image, size_);
}

ImageHash ClipImageProcessor::Hash(RgbView image, std::string_view tenant_salt) const {
  Sha256 hash;
  hash.UpdateSized(tenant_salt);
  hash.UpdateSized(revision_);
  hash.UpdateInt(static_cast<uint64_t>(image.width));
  hash.UpdateInt(static_cast<uint64_t>(image.height));
  hash.Update(image.pixels, size_t{3} * image.width * image.height);
  return hash.Finish();
}

std::vector<float> ClipImageProcessor::Normalize(const ImagePixels& pixels) const {
  std::vector<float> values(pixels.size());
  normalization_.Apply(pixels, size_, values.data());
  return values;
}

}  // namespace parrot
