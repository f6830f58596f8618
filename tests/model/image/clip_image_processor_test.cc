#include "model/image/clip_image_processor.h"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/error_status.h"
#include "gtest/gtest.h"
#include "tests/model/image/image_test_support.h"

namespace parrot {
namespace {

using testing::TestImage;

TestImage FlatImage(int32_t width, int32_t height) {
  return {width, height, std::vector<uint8_t>(size_t{3} * width * height, 90)};
}

std::string FlatPng(uint32_t width, uint32_t height) {
  return testing::MakePng(width, height, 8, 2, std::string(size_t{3} * width * height, 'Z'));
}

// Moves on by one millisecond whenever it is asked.
class TickingClock : public Clock {
 public:
  absl::Time Now() override { return now_ += absl::Milliseconds(1); }

 private:
  absl::Time now_ = absl::UnixEpoch();
};

TEST(ClipImageProcessorTest, HashDependsOnShapePixelsSaltAndProcessing) {
  const ClipImageProcessor processor(ImageProcessorConfig(), 336, {});
  ImageProcessorConfig crop;
  crop.pad_to_square = false;
  const ClipImageProcessor cropping(crop, 336, {});
  const ClipImageProcessor smaller(ImageProcessorConfig(), 224, {});
  const TestImage wide = FlatImage(100, 30);
  const TestImage tall = FlatImage(30, 100);
  TestImage other = wide;
  other.pixels[100] = 91;
  const std::set<ImageHash> hashes = {processor.Hash(wide.view(), "a"),
                                      processor.Hash(tall.view(), "a"),
                                      processor.Hash(other.view(), "a"),
                                      processor.Hash(wide.view(), "b"),
                                      processor.Hash(wide.view(), ""),
                                      cropping.Hash(wide.view(), "a"),
                                      smaller.Hash(wide.view(), "a")};
  EXPECT_EQ(hashes.size(), 7u);
  EXPECT_EQ(processor.Hash(wide.view(), "a"), processor.Hash(FlatImage(100, 30).view(), "a"));
}

TEST(ClipImageProcessorTest, HashIsOfPixelsNotOfTheirEncoding) {
  const ClipImageProcessor processor(ImageProcessorConfig(), 32, {});
  const TestImage image = testing::RandomImage(40, 25, 1);
  const std::string samples(reinterpret_cast<const char*>(image.pixels.data()),
                            image.pixels.size());
  const absl::StatusOr<PreprocessedImage> png =
      processor.Preprocess(testing::MakePng(40, 25, 8, 2, samples), "image/png", "tenant");
  const absl::StatusOr<PreprocessedImage> webp =
      processor.Preprocess(testing::MakeLosslessWebp(image.view()), "image/webp", "tenant");
  ASSERT_TRUE(png.ok()) << png.status();
  ASSERT_TRUE(webp.ok()) << webp.status();
  EXPECT_EQ(png->input.hash, webp->input.hash);
  EXPECT_EQ(*png->input.pixels, *webp->input.pixels);
  EXPECT_EQ(png->input.hash, processor.Hash(image.view(), "tenant"));
}

TEST(ClipImageProcessorTest, ReportsSizeFormatAndStageTimes) {
  TickingClock clock;
  const ClipImageProcessor processor(ImageProcessorConfig(), 32, {}, clock);
  const absl::StatusOr<PreprocessedImage> image = processor.Preprocess(FlatPng(40, 25), "", "");
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->info.format, ImageFormat::kPng);
  EXPECT_EQ(image->info.width, 40);
  EXPECT_EQ(image->info.height, 25);
  EXPECT_EQ(image->input.size, 32);
  EXPECT_EQ(image->input.pixels->size(), 32u * 32 * 3);
  EXPECT_EQ(image->decode_time, absl::Milliseconds(1));
  EXPECT_EQ(image->preprocess_time, absl::Milliseconds(1));
}

TEST(ClipImageProcessorTest, SmallestAndLongestPicturesGiveAFiniteSquare) {
  for (const bool pad : {true, false}) {
    ImageProcessorConfig config;
    config.pad_to_square = pad;
    const ClipImageProcessor processor(config, 336, {});
    for (const auto& [width, height] :
         {std::pair{1, 1}, {1, 336}, {337, 335}, {16384, 1}, {1, 16384}}) {
      const absl::StatusOr<PreprocessedImage> image =
          processor.Preprocess(FlatPng(width, height), "image/png", "");
      ASSERT_TRUE(image.ok()) << image.status();
      const std::vector<float> values = processor.Normalize(*image->input.pixels);
      ASSERT_EQ(values.size(), size_t{3} * 336 * 336);
      for (const float value : values) ASSERT_TRUE(value > -3 && value < 3);
    }
  }
}

TEST(ClipImageProcessorTest, CropsWithoutPaddingWhenTheCheckpointSaysSo) {
  ImageProcessorConfig config;
  config.pad_to_square = false;
  const ClipImageProcessor processor(config, 8, {});
  // Left and right thirds black, the middle white: the centre crop sees white alone.
  TestImage image = {24, 8, {}};
  for (int i = 0; i < 24 * 8; ++i) {
    image.pixels.insert(image.pixels.end(), 3, i % 24 >= 8 && i % 24 < 16 ? 255 : 0);
  }
  EXPECT_EQ(processor.Resize(image.view()), std::vector<uint8_t>(8 * 8 * 3, 255));
}

TEST(ClipImageProcessorTest, OrientationOptionChangesPixelsAndHash) {
  const std::string exif = testing::PngChunk("eXIf", testing::TiffInteger(0x0112, 6, false, false));
  const TestImage image = testing::RandomImage(6, 4, 2);
  const std::string png =
      testing::MakePng(6, 4, 8, 2, std::string(image.pixels.begin(), image.pixels.end()), exif);
  const ClipImageProcessor plain(ImageProcessorConfig(), 6, {});
  const ClipImageProcessor turning(ImageProcessorConfig(), 6, {.apply_exif_orientation = true});
  const absl::StatusOr<PreprocessedImage> as_stored = plain.Preprocess(png, "", "");
  const absl::StatusOr<PreprocessedImage> upright = turning.Preprocess(png, "", "");
  ASSERT_TRUE(as_stored.ok() && upright.ok());
  EXPECT_NE(as_stored->input.hash, upright->input.hash);
  EXPECT_NE(*as_stored->input.pixels, *upright->input.pixels);
  EXPECT_EQ(upright->info.width, 6);  // as encoded
}

TEST(ClipImageProcessorTest, RefusalsPassThroughWithTheirFacts) {
  const ClipImageProcessor processor(ImageProcessorConfig(), 336, {});
  const absl::Status status = processor.Preprocess("no image at all, but text", "", "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorFacts(status).reason, kImageFormat);
  EXPECT_EQ(WithField(status, "image[0]").message(),
            "image[0]: unsupported or unrecognised format");
}

}  // namespace
}  // namespace parrot
