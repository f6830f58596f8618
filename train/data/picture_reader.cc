#include "train/data/picture_reader.h"

#include <cstddef>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "model/image/image_decoder.h"

namespace parrot {
namespace {

// The operator's own files: larger than a client may send.
DecodeOptions TrainingDecodeOptions() {
  DecodeOptions options;
  options.limits.max_encoded_bytes = size_t{100} << 20;
  options.limits.max_pixels = 200'000'000;
  options.limits.max_side = 65'535;
  options.limits.max_decode_cpu = absl::Seconds(20);
  return options;
}

std::shared_ptr<const ImagePixels> PlainPicture(const ModelConfig& config) {
  const size_t side = static_cast<size_t>(config.vision.image_size);
  ImagePixels pixels(3 * side * side);
  for (size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<uint8_t>(config.image_processor.mean[i % 3] * 255.0);
  }
  return std::make_shared<const ImagePixels>(std::move(pixels));
}

}  // namespace

PictureReader::PictureReader(const ModelConfig& config, OnUnreadable on_unreadable)
    : processor_(config.image_processor, config.vision.image_size, TrainingDecodeOptions()),
      plain_(PlainPicture(config)),
      on_unreadable_(std::move(on_unreadable)) {}

absl::StatusOr<ImagePixels> PictureReader::Decode(const std::string& path) const {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError("cannot be opened");
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  ASSIGN_OR_RETURN(const DecodedImage image, DecodeImage(bytes, "", TrainingDecodeOptions()));
  // The reference's processor takes the one row of a 1x1 picture for its channels, and fails.
  if (image.rgb.width == 1 && image.rgb.height == 1) {
    return absl::InvalidArgumentError("is a single pixel");
  }
  return processor_.Resize(
      {.pixels = image.rgb.pixels.get(), .width = image.rgb.width, .height = image.rgb.height});
}

std::shared_ptr<const ImagePixels> PictureReader::Read(const std::string& path) const {
  absl::StatusOr<ImagePixels> pixels = Decode(path);
  if (pixels.ok()) return std::make_shared<const ImagePixels>(*std::move(pixels));
  num_unreadable_.fetch_add(1);
  if (on_unreadable_) on_unreadable_(path, pixels.status());
  return plain_;
}

}  // namespace parrot
