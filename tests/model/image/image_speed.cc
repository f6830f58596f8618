// Times the stages of preprocessing: image_speed FILE... (or no file: a 1200x800 picture of noise).
// For each it prints decode, hash and resize milliseconds, the resize of a plain per-pixel loop
// next to ours, and SHA-256 of the decoded and resized pixels. Not a test: run it by hand.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "model/image/clip_image_processor.h"
#include "model/image/image_decoder.h"
#include "tests/model/image/image_test_support.h"
#include "tests/model/image/naive_resample.h"

namespace parrot {
namespace {

double BestMilliseconds(const std::function<void()>& work) {
  double best = 1e30;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::milli> taken =
        std::chrono::steady_clock::now() - start;
    best = std::min(best, taken.count());
  }
  return best;
}

int Measure(const std::string& name, const std::string& bytes) {
  constexpr RgbColour kMean = {122, 116, 104};
  constexpr int32_t kSize = 336;
  const absl::StatusOr<DecodedImage> image = DecodeImage(bytes, "", {});
  if (!image.ok()) {
    std::printf("%s: refused: %s\n", name.c_str(), std::string(image.status().message()).c_str());
    return 1;
  }
  const RgbView view = testing::View(image->rgb);
  const ClipImageProcessor processor(ImageProcessorConfig(), kSize, {});
  std::vector<uint8_t> resized;
  const double decode_ms =
      BestMilliseconds([&] { DecodeImage(bytes, "", {}).status().IgnoreError(); });
  const double hash_ms = BestMilliseconds([&] { processor.Hash(view, "salt"); });
  const double resize_ms = BestMilliseconds([&] { resized = PadAndResize(view, kMean, kSize); });
  const double naive_ms = BestMilliseconds([&] { testing::NaivePadAndResize(view, kMean, kSize); });
  std::printf(
      "%s: %dx%d, %zu bytes: decode %.2f ms, hash %.2f ms, resize %.2f ms (plain loop %.2f"
      " ms), rgb %s, resized %s\n",
      name.c_str(),
      view.width,
      view.height,
      bytes.size(),
      decode_ms,
      hash_ms,
      resize_ms,
      naive_ms,
      testing::PixelsHex(view).c_str(),
      testing::PixelsHex({resized.data(), kSize, kSize}).c_str());
  return 0;
}

}  // namespace
}  // namespace parrot

int main(int argc, char** argv) {
  if (argc == 1) {
    const parrot::testing::TestImage noise = parrot::testing::RandomImage(1200, 800, 1);
    return parrot::Measure("noise", parrot::testing::MakeJpeg(noise.view()));
  }
  int result = 0;
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    result |= parrot::Measure(argv[i], bytes);
  }
  return result;
}
