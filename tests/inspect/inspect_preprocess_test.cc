// preprocess: the picture that the vision tower sees, to the bit.
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/image_decoder.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"
#include "tests/inspect/run_inspect.h"
#include "tests/model/weights/checkpoint_files.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

// Where the reference guesses the channel axis wrongly, the data hold the sensible result beside
// it.
Json Expected(const Json& image, const std::string& key, const std::string& size) {
  const std::string sensible = key + "_channels_last";
  return image.contains(sensible) ? image[sensible][size] : image[key][size];
}

std::vector<Json> GoldenImages() {
  std::vector<Json> images;
  for (Json& image : ReadJsonLines("images/images.jsonl")) {
    const bool enabled = image["pil_format"] != "GIF" && image["pil_format"] != "BMP";
    if (enabled) images.push_back(std::move(image));
  }
  return images;
}

TEST(InspectPreprocessTest, WritesTheGoldenPictureOfEveryImage) {
  const TempDir dir;
  const std::vector<Json> images = GoldenImages();
  EXPECT_EQ(images.size(), 61u);
  for (const Json& image : images) {
    const InspectResult result = RunInspect({"preprocess",
                                             GoldenCheckpoint("nano-mha"),
                                             GoldenPath(image["file"].get<std::string>()),
                                             "-o",
                                             dir.File("out.png")});
    ASSERT_EQ(result.exit_code, 0) << image["file"] << ": " << result.err;
    const auto png = DecodeImage(ReadBytes(dir.File("out.png")), "image/png", {});
    ASSERT_TRUE(png.ok()) << png.status();
    ASSERT_EQ(png->rgb.width, 336);
    ASSERT_EQ(png->rgb.height, 336);
    const std::string_view rgb(reinterpret_cast<const char*>(png->rgb.pixels.get()),
                               png->rgb.size_bytes());
    EXPECT_EQ(Sha256Of(rgb).ToHex(), Expected(image, "resized", "336")["rgb_sha256"])
        << image["file"];
  }
}

TEST(InspectPreprocessTest, WritesNormalisedFloatsAsNpy) {
  const TempDir dir;
  const std::vector<Json> images = GoldenImages();
  int samples = 0;
  for (size_t i = 0; i < images.size(); i += 6) {
    const InspectResult result = RunInspect({"preprocess",
                                             GoldenCheckpoint("nano-gqa"),
                                             GoldenPath(images[i]["file"].get<std::string>()),
                                             "--npy",
                                             "-o",
                                             dir.File("out.npy")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const std::string npy = ReadBytes(dir.File("out.npy"));
    ASSERT_THAT(npy.substr(0, 128), HasSubstr("'shape': (3, 224, 224, )"));
    ASSERT_THAT(npy, StartsWith("\x93NUMPY\x01"));
    const size_t header_bytes =
        10 + static_cast<uint8_t>(npy[8]) + 256 * static_cast<uint8_t>(npy[9]);
    ASSERT_EQ(header_bytes % 64, 0u);
    ASSERT_EQ(npy.size(), header_bytes + 3 * 224 * 224 * 4);
    for (const Json& sample : Expected(images[i], "pixel_values", "224")) {
      const size_t index =
          (sample[0].get<size_t>() * 224 + sample[1].get<size_t>()) * 224 + sample[2].get<size_t>();
      float value = 0.0f;
      std::memcpy(&value, npy.data() + header_bytes + 4 * index, 4);
      EXPECT_NEAR(value, sample[3].get<float>(), 1e-6f);
      ++samples;
    }
  }
  EXPECT_EQ(samples, 11 * 32);
}

TEST(InspectPreprocessTest, RefusesWhatTheServerRefuses) {
  const TempDir dir;
  const std::string checkpoint = GoldenCheckpoint("nano-gqa");
  const InspectResult gif = RunInspect({"preprocess",
                                        checkpoint,
                                        GoldenPath("images/files/gif_static_120x100.gif"),
                                        "-o",
                                        dir.File("out.png")});
  EXPECT_EQ(gif.exit_code, 1);
  EXPECT_THAT(gif.err, StartsWith("parrot-inspect: image: "));
  EXPECT_EQ(RunInspect({"preprocess", checkpoint, dir.File("none.png"), "-o", dir.File("out.png")})
                .exit_code,
            1);
  const InspectResult unwritable = RunInspect({"preprocess",
                                               checkpoint,
                                               GoldenPath("images/files/rgb_336x336.png"),
                                               "-o",
                                               dir.File("no/folder/out.png")});
  EXPECT_EQ(unwritable.exit_code, 1);
  EXPECT_THAT(unwritable.err, HasSubstr("cannot write"));
}

}  // namespace
}  // namespace parrot
