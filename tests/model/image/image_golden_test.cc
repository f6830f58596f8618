// Every image of the golden set, against the pixels of the reference's own preprocessing.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/hash.h"
#include "gtest/gtest.h"
#include "model/image/clip_image_processor.h"
#include "model/image/image_decoder.h"
#include "model/image/png_encoder.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/model/image/image_test_support.h"

namespace parrot {
namespace {

using testing::TestImage;

constexpr int kNumImages = 63;

// The sensible result where the reference mistakes rows for channels (padded sides 1 and 3).
const nlohmann::json& Expected(const nlohmann::json& entry, const std::string& key) {
  const std::string sensible = key + "_channels_last";
  return entry.at(entry.contains(sensible) ? sensible : key);
}

TestImage DecodeGolden(const nlohmann::json& entry) {
  const std::string bytes = ReadGoldenFile(entry.at("file").get<std::string>());
  const std::string format = entry.at("pil_format");
  if (format == "GIF") return testing::ReadGif(bytes);
  if (format == "BMP") return testing::ReadBmp(bytes);
  const absl::StatusOr<DecodedImage> decoded = DecodeImage(bytes, "", {});
  EXPECT_TRUE(decoded.ok()) << entry.at("file") << ": " << decoded.status();
  if (!decoded.ok()) return {};
  const RgbView view = testing::View(decoded->rgb);
  return {view.width, view.height, {view.pixels, view.pixels + decoded->rgb.size_bytes()}};
}

class ImageGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    entries_ = ReadJsonLines("images/images.jsonl");
    ASSERT_EQ(entries_.size(), kNumImages);
  }
  std::vector<nlohmann::json> entries_;
};

TEST_F(ImageGoldenTest, DecodesToPillowsRgbBitForBit) {
  int num_files_of_other_formats = 0;
  for (const nlohmann::json& entry : entries_) {
    SCOPED_TRACE(entry.at("file").get<std::string>());
    const TestImage image = DecodeGolden(entry);
    EXPECT_EQ(image.width, entry.at("width"));
    EXPECT_EQ(image.height, entry.at("height"));
    EXPECT_EQ(testing::PixelsHex(image.view()), entry.at("rgb_sha256"));
    const std::string format = entry.at("pil_format");
    if (format == "GIF" || format == "BMP") ++num_files_of_other_formats;
  }
  EXPECT_EQ(num_files_of_other_formats, 2);
}

TEST_F(ImageGoldenTest, PadsAndResizesBitForBit) {
  int num_results = 0;
  for (const nlohmann::json& entry : entries_) {
    SCOPED_TRACE(entry.at("file").get<std::string>());
    const TestImage image = DecodeGolden(entry);
    for (const auto& [target, expected] : Expected(entry, "resized").items()) {
      SCOPED_TRACE(target);
      const ClipImageProcessor processor(ImageProcessorConfig(), std::stoi(target), {});
      const std::vector<uint8_t> resized = processor.Resize(image.view());
      const RgbView view = {resized.data(), processor.size(), processor.size()};
      EXPECT_EQ(testing::PixelsHex(view), expected.at("rgb_sha256"));
      ++num_results;
    }
  }
  EXPECT_EQ(num_results, 2 * kNumImages);
}

TEST_F(ImageGoldenTest, NormalisesWithinOneMillionth) {
  int num_samples = 0;
  for (const nlohmann::json& entry : entries_) {
    SCOPED_TRACE(entry.at("file").get<std::string>());
    const TestImage image = DecodeGolden(entry);
    for (const auto& [target, samples] : Expected(entry, "pixel_values").items()) {
      const int size = std::stoi(target);
      const ClipImageProcessor processor(ImageProcessorConfig(), size, {});
      const std::vector<float> values = processor.Normalize(processor.Resize(image.view()));
      ASSERT_EQ(values.size(), size_t{3} * size * size);
      for (const nlohmann::json& sample : samples) {
        const int channel = sample.at(0);
        const int y = sample.at(1);
        const int x = sample.at(2);
        EXPECT_NEAR(values[(channel * size + y) * size + x], sample.at(3).get<float>(), 1e-6)
            << channel << " " << y << " " << x;
        ++num_samples;
      }
    }
  }
  EXPECT_EQ(num_samples, 2 * 32 * kNumImages);
}

TEST_F(ImageGoldenTest, PreprocessGivesTheSamePixelsAsItsStages) {
  int num_refused = 0;
  for (const nlohmann::json& entry : entries_) {
    SCOPED_TRACE(entry.at("file").get<std::string>());
    const ClipImageProcessor processor(ImageProcessorConfig(), 336, {});
    const std::string bytes = ReadGoldenFile(entry.at("file").get<std::string>());
    const absl::StatusOr<PreprocessedImage> image = processor.Preprocess(bytes, "", "salt");
    const std::string format = entry.at("pil_format");
    if (format == "GIF" || format == "BMP") {
      EXPECT_EQ(image.status().message(), "format not enabled (jpeg,png,webp)");
      ++num_refused;
      continue;
    }
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->info.width, entry.at("width"));
    EXPECT_EQ(image->info.height, entry.at("height"));
    EXPECT_EQ(image->input.size, 336);
    const RgbView view = {image->input.pixels->data(), 336, 336};
    EXPECT_EQ(testing::PixelsHex(view), Expected(entry, "resized").at("336").at("rgb_sha256"));
  }
  EXPECT_EQ(num_refused, 2);
}

// The PNG that parrot-inspect writes reads back as the same pixels.
TEST_F(ImageGoldenTest, EncodedPngDecodesToTheSamePixels) {
  const std::string bytes = ReadGoldenFile("images/resized_336/jpeg_420_q90_480x320.jpg.png");
  const absl::StatusOr<DecodedImage> image = DecodeImage(bytes, "image/png", {});
  ASSERT_TRUE(image.ok()) << image.status();
  const absl::StatusOr<std::string> encoded = EncodePng(testing::View(image->rgb));
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  const absl::StatusOr<DecodedImage> again = DecodeImage(*encoded, "image/png", {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(testing::PixelsHex(testing::View(again->rgb)),
            testing::PixelsHex(testing::View(image->rgb)));
}

}  // namespace
}  // namespace parrot
