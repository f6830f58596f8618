// CLIPImageProcessor, as Parrot's reference uses it: encoded bytes -> probe -> RGB -> (pad to a
// square) -> Pillow-exact bicubic resize -> [size, size, 3] uint8, and from there the normalised
// floats. Immutable after construction, thread-safe: one instance serves every preprocessing
// thread.
//
//   const ClipImageProcessor processor(config.image_processor, config.vision.image_size, {});
//   ASSIGN_OR_RETURN(PreprocessedImage image, processor.Preprocess(bytes, "image/jpeg",
//   tenant_salt));
//
// Images of one request are checked together by CheckImageTotals (image_probe.h).
#ifndef PARROT_MODEL_IMAGE_CLIP_IMAGE_PROCESSOR_H_
#define PARROT_MODEL_IMAGE_CLIP_IMAGE_PROCESSOR_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "model/api/image_input.h"
#include "model/api/model_config.h"
#include "model/api/pixel_normalization.h"
#include "model/image/image_decoder.h"
#include "model/image/pillow_resample.h"

namespace parrot {

// Part of every ImageHash. Raise it whenever the same bytes may come to other pixels.
inline constexpr char kPreprocessingRevision[] = "parrot-image-1";

struct PreprocessedImage {
  ImageInput input;
  ImageInfo info;                  // format, size as encoded, orientation
  absl::Duration decode_time;      // probe and decoder
  absl::Duration preprocess_time;  // resize and content hash
};

class ClipImageProcessor {
 public:
  // `size` is VisionConfig::image_size. `clock` is borrowed and outlives the processor.
  ClipImageProcessor(const ImageProcessorConfig& config,
                     int32_t size,
                     const DecodeOptions& options,
                     Clock& clock = Clock::Real());

  // Errors as DecodeImage's; the caller adds the field.
  absl::StatusOr<PreprocessedImage> Preprocess(std::string_view encoded,
                                               std::string_view declared_mime,
                                               std::string_view tenant_salt) const;

  // The part after decoding, for pixels from elsewhere: [size, size, 3].
  std::vector<uint8_t> Resize(RgbView image) const;

  // SHA-256 over (tenant salt, preprocessing revision with target size and padding, width, height,
  // decoded pixels). The sides are numbers of their own: 30x100 and 100x30 of one colour differ.
  ImageHash Hash(RgbView image, std::string_view tenant_salt) const;

  // [3, size, size] floats (channels first) from [size, size, 3] bytes.
  std::vector<float> Normalize(const ImagePixels& pixels) const;

  int32_t size() const { return size_; }
  const ImageLimits& limits() const { return options_.limits; }

 private:
  const int32_t size_;
  const bool pad_to_square_;
  const RgbColour background_;  // int(mean * 255), the reference's padding
  const std::string revision_;
  const DecodeOptions options_;
  const PixelNormalization normalization_;
  Clock& clock_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_IMAGE_CLIP_IMAGE_PROCESSOR_H_
