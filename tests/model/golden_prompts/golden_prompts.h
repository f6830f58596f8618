// Test support: the golden prompts of one checkpoint, with resized images, recorded activations and
// greedy continuations. See tests/golden/README.md for what they are. A damaged or empty set ends
// the test program. Torch-free.
#ifndef PARROT_TESTS_MODEL_GOLDEN_PROMPTS_GOLDEN_PROMPTS_H_
#define PARROT_TESTS_MODEL_GOLDEN_PROMPTS_GOLDEN_PROMPTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/api/image_input.h"
#include "model/api/token.h"
#include "model/weights/checkpoint.h"
#include "model/weights/safetensors_file.h"

namespace parrot {

// All recorded checkpoints.
inline constexpr const char* kGoldenCheckpoints[] = {"nano-mha", "nano-gqa", "nano-7bshape"};
// Prompts of each, asserted by every test that walks through them.
inline const std::map<std::string, size_t> kGoldenPromptCounts = {
    {"nano-mha", 26}, {"nano-gqa", 14}, {"nano-7bshape", 14}};
// Continuations must agree up to the first step whose margin is below this.
inline constexpr double kSafeMargin = 0.01;

// PARROT_TEST_DEVICE, or "cpu". Tests that print it say what they covered.
std::string TestDevice();

// What computes a checkpoint's prompts.
struct GoldenCase {
  std::string checkpoint;
  std::string backend;  // "reference" or "cpu"
  std::string isa;      // of the latter

  bool is_reference() const { return backend == "reference"; }
};
std::string GoldenCaseName(const testing::TestParamInfo<GoldenCase>& info);
std::ostream& operator<<(std::ostream& out, const GoldenCase& golden);
// Every checkpoint with the reference backend and, where PARROT_TEST_DEVICE is a CPU, with our own
// kernels on each instruction set that the machine has.
std::vector<GoldenCase> AllGoldenCases();

struct GoldenPrompt {
  std::string id;    // "nano-mha/p00"
  std::string key;   // "p00"
  std::string kind;  // "single_image", "two_images", ...
  // What the model is given: kVisualToken per image; ids that the reference masks are removed.
  std::vector<TokenId> ids;
  std::vector<ImageInput> images;
  nlohmann::json entry;  // of activations/<checkpoint>.json

  std::vector<TokenId> text_ids() const;
  // Greedy ids up to the first step whose margin is too small, and whether that is all of them.
  std::vector<TokenId> SafeTokens() const;
};

class GoldenPrompts {
 public:
  // All prompts of a checkpoint.
  explicit GoldenPrompts(const std::string& checkpoint);

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const std::vector<GoldenPrompt>& prompts() const { return prompts_; }
  const GoldenPrompt& Find(const std::string& key) const;
  // First id that no text has; larger ones are padding rows of the embedding.
  int32_t vocab_size() const { return vocab_size_; }
  // A recorded tensor of a prompt, flat; empty when there is none.
  std::vector<float> Tensor(const GoldenPrompt& prompt, const std::string& name) const;
  // Five times the largest difference to float64 that the reference itself has (README).
  double Tolerance(const std::string& tensor) const;

 private:
  ImageInput LoadImage(const std::string& file);

  std::unique_ptr<Checkpoint> checkpoint_;
  std::shared_ptr<const SafetensorsFile> tensors_;
  std::map<std::string, nlohmann::json> images_;  // of images.jsonl, by file
  std::map<std::string, double> worst_;
  std::vector<GoldenPrompt> prompts_;
  int32_t vocab_size_ = 0;
};

}  // namespace parrot

#endif  // PARROT_TESTS_MODEL_GOLDEN_PROMPTS_GOLDEN_PROMPTS_H_
