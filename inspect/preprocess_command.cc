#include <string>
#include <utility>
#include <vector>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/messages/bounded_file.h"
#include "inspect/commands.h"
#include "inspect/output_file.h"
#include "model/image/clip_image_processor.h"
#include "model/image/png_encoder.h"
#include "model/weights/checkpoint.h"

namespace parrot {

absl::Status PreprocessImage(const PreprocessOptions& options) {
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(options.dir));
  const ClipImageProcessor processor(config.image_processor, config.vision.image_size, {});
  const auto limit = static_cast<int64_t>(processor.limits().max_encoded_bytes);
  ASSIGN_OR_RETURN(const std::string encoded, ReadBoundedFile(options.image_path, limit));
  auto image = processor.Preprocess(encoded, /*declared_mime=*/"", /*tenant_salt=*/"");
  if (!image.ok()) return WithField(image.status(), "image");
  const ImagePixels& pixels = *image->input.pixels;
  const int32_t size = image->input.size;
  if (options.npy) {
    return WriteOutputFile(options.output_path,
                           NpyBytes({3, size, size}, processor.Normalize(pixels)));
  }
  ASSIGN_OR_RETURN(const std::string png,
                   EncodePng({.pixels = pixels.data(), .width = size, .height = size}));
  return WriteOutputFile(options.output_path, png);
}

}  // namespace parrot
