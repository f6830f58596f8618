// Thousands of damaged headers and configurations from a fixed seed: whatever a file holds, the
// readers answer with a Status, inside the file's bytes. Run under ASan and UBSan it is the fuzz
// smoke of this layer.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/weights/config_reader.h"
#include "model/weights/safetensors_file.h"
#include "model/weights/safetensors_header.h"
#include "model/weights/tensor_specs.h"
#include "model/weights/weight_files.h"
#include "tests/model/weights/checkpoint_files.h"

namespace parrot {
namespace {

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  size_t Below(size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random_);
  }

  // One to four small changes: flipped and replaced bytes, pieces cut out, doubled or swapped for
  // words that parsers trip over.
  std::string Mutate(std::string text) {
    const size_t changes = 1 + Below(4);
    for (size_t i = 0; i < changes && !text.empty(); ++i) {
      const size_t at = Below(text.size());
      switch (Below(6)) {
        case 0:
          text[at] = static_cast<char>(text[at] ^ (1 << Below(8)));
          break;
        case 1:
          text[at] = static_cast<char>(Below(256));
          break;
        case 2:
          text.erase(at, 1 + Below(16));
          break;
        case 3:
          text.insert(at, text.substr(Below(text.size()), Below(64)));
          break;
        case 4:
          text.insert(at, kWords[Below(std::size(kWords))]);
          break;
        case 5:
          ReplaceNumber(text, at);
          break;
      }
    }
    return text;
  }

 private:
  static constexpr const char* kWords[] = {"-",
                                           "1e999",
                                           "null",
                                           "{",
                                           "}",
                                           "[",
                                           "]",
                                           "\"",
                                           ",",
                                           ":",
                                           "\\u",
                                           "\\ud800",
                                           "18446744073709551615",
                                           "-1",
                                           "0",
                                           "9223372036854775808",
                                           "true",
                                           "\xff",
                                           "1.5",
                                           "{\"a\":{",
                                           "\"dtype\":\"F32\",",
                                           "[[[[[[[["};

  // Changes a whole number: that is where sizes and offsets are.
  void ReplaceNumber(std::string& text, size_t from) {
    const size_t begin = text.find_first_of("0123456789", from);
    if (begin == std::string::npos) return;
    const size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
    static constexpr const char* kNumbers[] = {"0",
                                               "1",
                                               "2",
                                               "-1",
                                               "4294967296",
                                               "2147483648",
                                               "18446744073709551615",
                                               "9223372036854775807"};
    text.replace(begin, end - begin, kNumbers[Below(std::size(kNumbers))]);
  }

  std::mt19937 random_;
};

constexpr uint32_t kSeed = 20240607;
constexpr int kHeaderMutants = 6000;
constexpr int kConfigMutants = 6000;
constexpr int kFileMutants = 1500;

// A small header with everything in it, so that most mutants hit structure, not names.
std::string SmallFile() {
  return SafetensorsBytes(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},)"
      R"("c":{"dtype":"U8","shape":[0,5],"data_offsets":[22,22]}})",
      std::string(22, 'd'));
}

TEST(MutationTest, SafetensorsHeadersNeverEscapeTheirBytes) {
  Mutator mutator(kSeed);
  const std::string header = SmallFile().substr(8, SmallFile().size() - 8 - 22);
  int accepted = 0;
  for (int i = 0; i < kHeaderMutants; ++i) {
    const std::string mutant = mutator.Mutate(header);
    const auto parsed = ParseSafetensorsHeader(mutant, 22);
    if (!parsed.ok()) {
      ASSERT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    ++accepted;
    uint64_t covered = 0;
    for (const SafetensorsTensor& tensor : parsed->tensors) {
      ASSERT_EQ(tensor.begin, covered) << mutant;
      covered = tensor.end;
    }
    ASSERT_EQ(covered, 22u) << mutant;
  }
  EXPECT_GT(accepted, 50);  // names and metadata may change: the mutants are not all hopeless
  EXPECT_LT(accepted, kHeaderMutants / 2);
}

TEST(MutationTest, SafetensorsFilesNeverEscapeTheirBytes) {
  Mutator mutator(kSeed + 1);
  const TempDir dir;
  const std::string bytes = SmallFile();
  int accepted = 0;
  uint64_t sum = 0;
  for (int i = 0; i < kFileMutants; ++i) {
    // A new file each: rewriting one makes some file systems flush it.
    const std::string path = dir.File(std::to_string(i) + ".safetensors");
    WriteBytes(path, mutator.Mutate(bytes));
    const auto file = SafetensorsFile::Open(path);
    if (!file.ok()) continue;
    ++accepted;
    for (const SafetensorsTensor& tensor : (*file)->tensors()) {
      for (const std::byte b : (*file)->Data(tensor)) sum += static_cast<uint64_t>(b);
    }
  }
  EXPECT_GT(accepted, 10);
  EXPECT_GT(sum, 0u);
}

TEST(MutationTest, ConfigurationsAreRefusedOrSound) {
  Mutator mutator(kSeed + 2);
  const auto golden = ReadConfigTexts(GoldenCheckpoint("nano-gqa"));
  ASSERT_TRUE(golden.ok());
  int accepted = 0;
  for (int i = 0; i < kConfigMutants; ++i) {
    ConfigTexts texts = *golden;
    switch (mutator.Below(3)) {
      case 0:
        texts.config = mutator.Mutate(texts.config);
        break;
      case 1:
        texts.vision = mutator.Mutate(*texts.vision);
        break;
      case 2:
        texts.preprocessor = mutator.Mutate(*texts.preprocessor);
        break;
    }
    auto files = ParseConfigTexts(texts);
    if (!files.ok() || !FinishConfig(*files).ok()) continue;
    ++accepted;
    const ModelConfig& c = files->config;
    ASSERT_GT(c.vision.num_tokens(), 1);
    ASSERT_GE(c.vision.num_used_layers(), 0);
    ASSERT_GT(c.kv_bytes_per_token(DataType::kFloat32), 0);
    for (const TensorSpec& spec : ExpectedTensors(c)) ASSERT_GT(spec.num_elements(), 0);
  }
  EXPECT_GT(accepted, 500);
}

TEST(MutationTest, WeightIndexesNameOnlyPlainFiles) {
  Mutator mutator(kSeed + 3);
  const std::string index =
      R"({"metadata":{"total_size":10},"weight_map":{"a":"model-1.safetensors","b":"x.safetensors"}})";
  int accepted = 0;
  for (int i = 0; i < kFileMutants; ++i) {
    const auto parsed = ParseWeightIndex(mutator.Mutate(index));
    if (!parsed.ok()) continue;
    ++accepted;
    for (const auto& [tensor, file] : *parsed) {
      ASSERT_EQ(file.find('/'), std::string::npos);
      ASSERT_TRUE(file.ends_with(".safetensors"));
    }
  }
  EXPECT_GT(accepted, 10);
}

}  // namespace
}  // namespace parrot
