// Thousands of damaged files: whatever comes in, a Status goes out. The sanitizer build of this
// test is where it earns its keep.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/error_status.h"
#include "gtest/gtest.h"
#include "model/image/clip_image_processor.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/model/image/image_test_support.h"

namespace parrot {
namespace {

constexpr int kNumMutants = 12000;
constexpr uint32_t kSeed = 4711;

// One to eight edits: bits, bytes, cut, doubled or removed pieces.
std::string Mutate(std::string bytes, std::mt19937& random) {
  const auto below = [&](size_t limit) { return random() % std::max<size_t>(limit, 1); };
  const size_t num_edits = 1 + below(8);
  for (size_t i = 0; i < num_edits && !bytes.empty(); ++i) {
    // Headers decide more than data: half of the edits fall into the first 200 bytes.
    const size_t at =
        below(2) == 0 ? below(std::min<size_t>(bytes.size(), 200)) : below(bytes.size());
    const size_t length = below(std::min<size_t>(bytes.size() - at, 40)) + 1;
    const char fill = below(2) == 0 ? '\xff' : '\0';
    switch (below(6)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(random());
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, length);
        break;
      case 4:
        bytes.insert(below(bytes.size()), bytes.substr(at, length));
        break;
      case 5:
        for (size_t j = at; j < std::min(at + 4, bytes.size()); ++j) bytes[j] = fill;
        break;
    }
  }
  return bytes;
}

// Gives a PNG's chunks their right checksums, so that mutants get past the probe.
std::string MendPng(const std::string& bytes) {
  if (!std::string_view(bytes).starts_with(testing::kPngSignature)) return bytes;
  std::string mended(testing::kPngSignature);
  size_t at = mended.size();
  while (at + 12 <= bytes.size()) {
    size_t length = 0;
    for (int i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(bytes[at + i]);
    if (length > bytes.size() - at - 12) break;
    mended += testing::PngChunk(bytes.substr(at + 4, 4), bytes.substr(at + 8, length));
    at += length + 12;
  }
  return mended + bytes.substr(at);
}

TEST(ImageMutationTest, EveryMutantIsAnsweredWithAStatus) {
  const std::set<std::string> reasons = {kImageFormat,
                                         kImageTooLarge,
                                         kImageZeroSize,
                                         kImageImplausible,
                                         kImageTooComplex,
                                         kImageAnimated,
                                         kImageTruncated,
                                         kImageCorrupt,
                                         kImageTrailingData,
                                         kImageDecodeTime,
                                         kImageMemory};
  std::vector<std::string> seeds;
  for (const nlohmann::json& entry : ReadJsonLines("images/images.jsonl")) {
    // Small files: time goes into variety.
    if (entry.at("bytes").get<int>() > 12'000) continue;
    seeds.push_back(ReadGoldenFile(entry.at("file").get<std::string>()));
  }
  ASSERT_GE(seeds.size(), 30u);
  const ClipImageProcessor processor(ImageProcessorConfig(), 32, {.apply_exif_orientation = true});
  std::mt19937 random(kSeed);
  int num_accepted = 0;
  for (int i = 0; i < kNumMutants; ++i) {
    std::string mutant = Mutate(seeds[random() % seeds.size()], random);
    if (random() % 2 == 0) mutant = MendPng(mutant);
    const absl::StatusOr<PreprocessedImage> image = processor.Preprocess(mutant, "", "");
    if (image.ok()) {
      ++num_accepted;
      ASSERT_EQ(image->input.pixels->size(), 32u * 32 * 3);
      continue;
    }
    const ErrorFacts facts = GetErrorFacts(image.status());
    ASSERT_EQ(reasons.count(facts.reason), 1u)
        << "seed " << kSeed << " mutant " << i << ": " << image.status();
  }
  // Both outcomes occur, else the mutants test nothing.
  EXPECT_GT(num_accepted, kNumMutants / 50);
  EXPECT_LT(num_accepted, kNumMutants * 9 / 10);
}

}  // namespace
}  // namespace parrot
