#include "model/image/image_decoder.h"

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/model/image/image_test_support.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using std::string_literals::operator""s;

std::vector<int> Pixels(const absl::StatusOr<DecodedImage>& image) {
  EXPECT_TRUE(image.ok()) << image.status();
  if (!image.ok()) return {};
  const uint8_t* pixels = image->rgb.pixels.get();
  return {pixels, pixels + image->rgb.size_bytes()};
}

std::vector<int> DecodePixels(const std::string& bytes) {
  return Pixels(DecodeImage(bytes, "", {}));
}

// --- The golden set's malformed and hostile files
// -------------------------------------------------

// What we say to each; "" is acceptance with Pillow's pixels. Where Pillow accepts and we refuse,
// the rule is ours: a limit, more than one picture, a checksum (docs/numerics.md).
const std::map<std::string, std::string>& ExpectedReasons() {
  static const auto* const reasons = new std::map<std::string, std::string>{
      {"truncated_01.png", kImageTruncated},
      {"truncated_10.png", kImageTruncated},
      {"truncated_50.png", kImageTruncated},
      {"truncated_90.png", kImageTruncated},
      {"no_iend.png", ""},
      {"truncated_02.jpg", kImageTruncated},
      {"truncated_30.jpg", kImageTruncated},
      {"truncated_80.jpg", kImageTruncated},
      {"no_eoi.jpg", kImageTruncated},
      {"truncated_progressive_60.jpg", kImageTruncated},
      {"truncated_10.webp", kImageTruncated},
      {"truncated_70.webp", kImageTruncated},
      {"crc_ihdr.png", kImageCorrupt},
      {"crc_idat.png", kImageCorrupt},
      {"idat_bitflip.png", kImageCorrupt},
      {"forged_30000x30000.png", kImageTooLarge},
      {"forged_30000x30000.jpg", kImageTooLarge},
      {"forged_65535x1.jpg", kImageTooLarge},
      {"forged_65535x65535.jpg", kImageTooLarge},
      {"zero_width.png", kImageZeroSize},
      {"zero_height.jpg", kImageZeroSize},
      {"bad_depth.png", kImageCorrupt},
      {"bad_ctype.png", kImageCorrupt},
      {"wrong_magic.png", kImageFormat},
      {"jpeg_named.png", ""},
      {"animated.webp", kImageAnimated},
      {"animated.png", kImageAnimated},
      {"animated.gif", kImageFormat},
      {"text.txt", kImageFormat},
      {"empty.bin", kImageFormat},
      {"scan_bomb_2048.jpg", kImageTooComplex},
  };
  return *reasons;
}

TEST(BadImagesTest, EveryFileIsRefusedForItsReasonOrDecodesToPillowsPixels) {
  const std::vector<nlohmann::json> entries = ReadJsonLines("bad_images/bad_images.jsonl");
  ASSERT_EQ(entries.size(), 31u);
  int num_accepted = 0;
  for (const nlohmann::json& entry : entries) {
    const std::string path = entry.at("file");
    SCOPED_TRACE(path);
    const std::string& reason = ExpectedReasons().at(path.substr(path.rfind('/') + 1));
    const absl::StatusOr<DecodedImage> image = DecodeImage(ReadGoldenFile(path), "", {});
    if (reason.empty()) {
      ASSERT_TRUE(image.ok()) << image.status();
      EXPECT_FALSE(entry.at("pil_raises").get<bool>());
      EXPECT_EQ(testing::PixelsHex(testing::View(image->rgb)), entry.at("rgb_sha256"));
      ++num_accepted;
      continue;
    }
    EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(GetErrorFacts(image.status()).reason, reason) << image.status();
  }
  EXPECT_EQ(num_accepted, 2);
}

// --- convert("RGB") ------------------------------------------------------------------------------

TEST(ImageDecoderTest, Grey16IsClippedNotScaled) {
  EXPECT_THAT(DecodePixels(testing::MakePng(3, 1, 16, 0, "\x00\x7f\x01\x80\x00\xff"s)),
              ElementsAre(0x7f, 0x7f, 0x7f, 255, 255, 255, 255, 255, 255));
}

TEST(ImageDecoderTest, Rgb16AndAlpha16KeepTheHighByte) {
  EXPECT_THAT(DecodePixels(testing::MakePng(1, 1, 16, 2, "\x01\x80\x02\xff\x03\x00"s)),
              ElementsAre(1, 2, 3));
  EXPECT_THAT(DecodePixels(testing::MakePng(1, 1, 16, 6, "\x01\x80\x02\xff\x03\x00\x00\x00"s)),
              ElementsAre(1, 2, 3));
  EXPECT_THAT(DecodePixels(testing::MakePng(1, 1, 16, 4, "\x09\x80\x00\x00"s)),
              ElementsAre(9, 9, 9));
}

TEST(ImageDecoderTest, SmallGreyDepthsAreScaledToFullRange) {
  EXPECT_THAT(DecodePixels(testing::MakePng(2, 1, 1, 0, "\x40"s)),
              ElementsAre(0, 0, 0, 255, 255, 255));
  EXPECT_THAT(DecodePixels(testing::MakePng(2, 1, 2, 0, "\x60"s)),
              ElementsAre(85, 85, 85, 170, 170, 170));
  EXPECT_THAT(DecodePixels(testing::MakePng(2, 1, 4, 0, "\x1f"s)),
              ElementsAre(17, 17, 17, 255, 255, 255));
}

TEST(ImageDecoderTest, AlphaAndTransparencyAreDropped) {
  EXPECT_THAT(DecodePixels(testing::MakePng(1, 1, 8, 6, "\x0a\x14\x1e\x00"s)),
              ElementsAre(10, 20, 30));
  EXPECT_THAT(DecodePixels(testing::MakePng(1, 1, 8, 4, "\x0a\x00"s)), ElementsAre(10, 10, 10));
  const std::string palette = testing::PngChunk("PLTE", "\x01\x02\x03\x04\x05\x06");
  const std::string transparency = testing::PngChunk("tRNS", "\x00\xff"s);
  EXPECT_THAT(DecodePixels(testing::MakePng(2, 1, 8, 3, "\x00\x01"s, palette + transparency)),
              ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(ImageDecoderTest, GammaAndProfilesAreIgnored) {
  const std::string gamma = testing::PngChunk("gAMA", "\0\0\xb1\x8f"s);
  const std::string profile = testing::PngChunk("iCCP", "p\0\0"s + testing::Deflate("no profile"));
  EXPECT_THAT(DecodePixels(testing::MakePng(1, 1, 8, 2, "\x0a\x14\x1e", gamma + profile)),
              ElementsAre(10, 20, 30));
}

// As stored (inverted): C 255-200, M 255-100, Y 255-50, K 255-160.
TEST(ImageDecoderTest, CmykAndYcckAreInvertedAsAdobeWritesThem) {
  const uint8_t cmyk[4] = {200, 100, 50, 160};
  for (const bool is_ycck : {false, true}) {
    const std::vector<int> pixels = DecodePixels(testing::MakeCmykJpeg(8, 8, cmyk, is_ycck));
    ASSERT_EQ(pixels.size(), 192u);
    // not_black - ink * not_black / 255
    EXPECT_NEAR(pixels[0], 160 - 55 * 160 / 255, is_ycck ? 2 : 1);
    EXPECT_NEAR(pixels[1], 160 - 155 * 160 / 255, is_ycck ? 2 : 1);
    EXPECT_NEAR(pixels[2], 160 - 205 * 160 / 255, is_ycck ? 2 : 1);
  }
}

// --- EXIF orientation ----------------------------------------------------------------------------

// Six pixels in two rows: 1 2 3 / 4 5 6.
std::vector<int> Turned(int orientation, bool apply, int32_t* width) {
  const std::string exif =
      testing::PngChunk("eXIf", testing::TiffInteger(0x0112, orientation, false, true));
  const std::string png = testing::MakePng(3, 2, 8, 0, "\1\2\3\4\5\6", exif);
  const absl::StatusOr<DecodedImage> image =
      DecodeImage(png, "", {.apply_exif_orientation = apply});
  EXPECT_TRUE(image.ok()) << image.status();
  if (!image.ok()) return {};
  EXPECT_EQ(image->info.width, 3);  // as encoded
  *width = image->rgb.width;
  std::vector<int> greys;
  for (size_t i = 0; i < image->rgb.size_bytes(); i += 3) {
    greys.push_back(image->rgb.pixels[i]);
  }
  return greys;
}

TEST(ExifOrientationTest, IsIgnoredByDefault) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    int32_t width = 0;
    EXPECT_THAT(Turned(orientation, /*apply=*/false, &width), ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_EQ(width, 3);
  }
}

TEST(ExifOrientationTest, TurnsUprightOnRequest) {
  const std::array<std::vector<int>, 8> expected = {{{1, 2, 3, 4, 5, 6},
                                                     {3, 2, 1, 6, 5, 4},
                                                     {6, 5, 4, 3, 2, 1},
                                                     {4, 5, 6, 1, 2, 3},
                                                     {1, 4, 2, 5, 3, 6},
                                                     {4, 1, 5, 2, 6, 3},
                                                     {6, 3, 5, 2, 4, 1},
                                                     {3, 6, 2, 5, 1, 4}}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    int32_t width = 0;
    EXPECT_EQ(Turned(orientation, /*apply=*/true, &width), expected[orientation - 1])
        << orientation;
    EXPECT_EQ(width, orientation >= 5 ? 2 : 3);
  }
}

TEST(ExifOrientationTest, TurnsTheGoldenJpegs) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const std::string file = "images/files/jpeg_exif" + std::to_string(orientation) + "_60x40.jpg";
    const absl::StatusOr<DecodedImage> image =
        DecodeImage(ReadGoldenFile(file), "", {.apply_exif_orientation = true});
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->info.orientation, orientation);
    EXPECT_EQ(image->rgb.width, orientation >= 5 ? 40 : 60);
  }
}

// --- Damage that only a decoder can see, and time ------------------------------------------------

TEST(ImageDecoderTest, DamagedPictureDataIsRefusedNotPainted) {
  // Huffman codes run out of step in the middle of the scan.
  std::string jpeg = testing::MakeJpeg(testing::RandomImage(200, 150, 1).view());
  const size_t middle = jpeg.size() / 2;
  for (size_t i = 0; i < 40; ++i) jpeg[middle + i] = '\x5a';
  const absl::StatusOr<DecodedImage> image = DecodeImage(jpeg, "", {});
  EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorFacts(image.status()).reason, kImageCorrupt);

  // A PNG whose chunks are whole but hold too few rows.
  const std::string few_rows = std::string(testing::kPngSignature) +
                               testing::PngHeader(9, 9, 8, 0) +
                               testing::PngChunk("IDAT", testing::Deflate(std::string(50, '\0'))) +
                               testing::PngChunk("IEND", "");
  EXPECT_EQ(DecodeImage(few_rows, "", {}).status().code(), absl::StatusCode::kInvalidArgument);

  // A lossless WebP with noise where its codes should be.
  std::string webp = testing::MakeLosslessWebp(testing::RandomImage(50, 50, 2).view());
  for (size_t i = webp.size() / 4; i < webp.size() / 4 + 64; ++i) webp[i] = '\xff';
  EXPECT_FALSE(DecodeImage(webp, "", {}).ok());
}

// libwebp given the whole file would take the metadata for the picture's missing codes.
TEST(ImageDecoderTest, ShortWebpPictureIsNotFilledFromTheChunkBehindIt) {
  const std::string webp = testing::MakeLosslessWebp(testing::RandomImage(20, 10, 5).view());
  const std::string picture = webp.substr(20);
  const std::string canvas("\x08\0\0\0\x13\0\0\x09\0\0", 10);
  const auto file = [&](size_t picture_bytes) {
    return testing::WebpFile(testing::RiffChunk("VP8X", canvas) +
                             testing::RiffChunk("VP8L", picture.substr(0, picture_bytes)) +
                             testing::RiffChunk("EXIF", std::string(4000, '\x55')));
  };
  EXPECT_TRUE(DecodeImage(file(picture.size()), "", {}).ok());
  const absl::Status status = DecodeImage(file(picture.size() / 2), "", {}).status();
  EXPECT_EQ(GetErrorFacts(status).reason, kImageCorrupt) << status;
}

TEST(ImageDecoderTest, StopsWhenTheCpuBudgetIsSpent) {
  const testing::TestImage noise = testing::RandomImage(640, 480, 3);
  const std::string samples(reinterpret_cast<const char*>(noise.pixels.data()),
                            noise.pixels.size());
  DecodeOptions options;
  options.limits.max_decode_cpu = absl::Nanoseconds(1);
  for (const std::string& bytes : {testing::MakeJpeg(noise.view()),
                                   testing::MakeJpeg(noise.view(), {.progressive = true}),
                                   testing::MakePng(640, 480, 8, 2, samples),
                                   testing::MakeLosslessWebp(noise.view())}) {
    EXPECT_TRUE(DecodeImage(bytes, "", {}).ok());
    const absl::Status status = DecodeImage(bytes, "", options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(GetErrorFacts(status).reason, kImageDecodeTime);
  }
}

// Scans within their limit can still be too much: the clock is read inside each scan.
TEST(ImageDecoderTest, ProgressiveScansEndAtTheBudget) {
  const std::string jpeg =
      testing::MakeJpeg(testing::RandomImage(1024, 1024, 4).view(), {.num_scans = 64});
  DecodeOptions options;
  options.limits.max_decode_cpu = absl::Milliseconds(5);
  EXPECT_EQ(GetErrorFacts(DecodeImage(jpeg, "", options).status()).reason, kImageDecodeTime);
}

TEST(ImageDecoderTest, InterlacedPicturesOfEverySmallSizeDecode) {
  // Adam7 leaves passes empty for small sides; each pixel must be written once.
  for (uint32_t width = 1; width <= 9; ++width) {
    for (uint32_t height = 1; height <= 9; ++height) {
      const uint32_t starts[7][4] = {{0, 0, 8, 8},
                                     {4, 0, 8, 8},
                                     {0, 4, 4, 8},
                                     {2, 0, 4, 4},
                                     {0, 2, 2, 4},
                                     {1, 0, 2, 2},
                                     {0, 1, 1, 2}};
      std::string filtered;
      for (const auto& [x0, y0, dx, dy] : starts) {
        if (x0 >= width) continue;
        for (uint32_t y = y0; y < height; y += dy) {
          filtered += '\0';
          for (uint32_t x = x0; x < width; x += dx) filtered += static_cast<char>(16 * y + x + 1);
        }
      }
      const std::string png =
          std::string(testing::kPngSignature) + testing::PngHeader(width, height, 8, 0, 1) +
          testing::PngChunk("IDAT", testing::Deflate(filtered)) + testing::PngChunk("IEND", "");
      const std::vector<int> pixels = DecodePixels(png);
      ASSERT_EQ(pixels.size(), 3 * width * height);
      for (uint32_t i = 0; i < width * height; ++i) {
        ASSERT_EQ(pixels[3 * i], static_cast<int>(16 * (i / width) + i % width + 1));
      }
    }
  }
}

}  // namespace
}  // namespace parrot
