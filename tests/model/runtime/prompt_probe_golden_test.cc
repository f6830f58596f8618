// Every recorded activation of every golden prompt, within five times the reference's own distance
// to float64 (routing weights 2e-4, logits 5e-3), on the device that PARROT_TEST_DEVICE names.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/runtime/prompt_probe.h"
#include "tests/model/golden_prompts/golden_prompts.h"

namespace parrot {
namespace {

class PromptProbeGoldenTest : public testing::TestWithParam<const char*> {
 protected:
  PromptProbeGoldenTest() : golden_(GetParam()) {}

  std::unique_ptr<PromptProbe> Load(ComputeDtype dtype) {
    absl::StatusOr<std::unique_ptr<PromptProbe>> probe =
        PromptProbe::Load(golden_.checkpoint(), {.device = TestDevice(), .dtype = dtype});
    EXPECT_TRUE(probe.ok()) << probe.status();
    return probe.ok() ? *std::move(probe) : nullptr;
  }

  PromptTrace Run(PromptProbe& probe, const GoldenPrompt& prompt, int32_t max_new_tokens) {
    PromptRequest request = {.ids = prompt.ids,
                             .zero_later_images = true,
                             .max_spliced_tokens = golden_.checkpoint().config().model_max_length,
                             .max_new_tokens = max_new_tokens,
                             .stop_ids = {golden_.checkpoint().config().eos_token_id},
                             .vocab_size = golden_.vocab_size()};
    for (const ImageInput& image : prompt.images) request.images.push_back(image.pixels);
    if (prompt.entry.contains("inputs_embeds_rows")) {
      request.embed_rows = prompt.entry["inputs_embeds_rows"].get<std::vector<int32_t>>();
    }
    request.logits_rows = prompt.entry["logits_positions"].get<std::vector<int32_t>>();
    absl::StatusOr<PromptTrace> trace = probe.Run(request);
    EXPECT_TRUE(trace.ok()) << trace.status();
    return trace.ok() ? *std::move(trace) : PromptTrace();
  }

  // Compares, and keeps the largest difference by name.
  void Compare(const GoldenPrompt& prompt,
               const std::string& name,
               const FloatTensor& actual,
               int64_t row_step) {
    const std::vector<float> expected = golden_.Tensor(prompt, name);
    if (expected.empty()) return;
    ASSERT_FALSE(actual.shape.empty()) << name;
    const int64_t columns = actual.shape.back();
    const int64_t stride = row_step * columns;
    double worst = 0.0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const int64_t row = static_cast<int64_t>(i) / columns;
      const int64_t index = row * stride + static_cast<int64_t>(i) % columns;
      ASSERT_LT(index, static_cast<int64_t>(actual.values.size())) << name;
      worst = std::max(worst, std::abs(double{actual.values[index]} - expected[i]));
      ASSERT_FALSE(std::isnan(actual.values[index])) << name;
    }
    const std::string bound = name == "attention" || name == "router_logits" ? "router" : name;
    EXPECT_LE(worst, golden_.Tolerance(bound == "moe" ? "moe" : bound)) << name;
    worst_[name] = std::max(worst_[name], worst);
    ++compared_[name];
  }

  GoldenPrompts golden_;
  std::map<std::string, double> worst_;
  std::map<std::string, int> compared_;
};

TEST_P(PromptProbeGoldenTest, ActivationsAreTheReferencesWithinTolerance) {
  const std::unique_ptr<PromptProbe> probe = Load(ComputeDtype::kFloat32);
  ASSERT_NE(probe, nullptr);
  for (const GoldenPrompt& prompt : golden_.prompts()) {
    SCOPED_TRACE(prompt.id);
    const PromptTrace trace = Run(*probe, prompt, 0);
    EXPECT_EQ(trace.num_prompt_tokens, prompt.entry["spliced_len"].get<int32_t>());
    const int64_t row_step = prompt.entry.value("row_step", 1);
    Compare(prompt, "vision", trace.vision, row_step);
    Compare(prompt, "projector", trace.projector, row_step);
    Compare(prompt, "moe", trace.moe, row_step);
    Compare(prompt, "attention", trace.attention, 1);
    Compare(prompt, "g", trace.attended, 1);
    Compare(prompt, "router_logits", trace.router_logits, 1);
    Compare(prompt, "router", trace.router, 1);
    Compare(prompt, "inputs_embeds", trace.inputs_embeds, 1);
    Compare(prompt, "hidden_last", trace.hidden_last, 1);
    Compare(prompt, "logits_last", trace.logits_last, 1);
    Compare(prompt, "logits_at", trace.logits_at, 1);
  }
  const int num_prompts = static_cast<int>(golden_.prompts().size());
  EXPECT_EQ(compared_["logits_last"], num_prompts);
  EXPECT_EQ(compared_["hidden_last"], num_prompts);
  EXPECT_EQ(compared_.size(), 11u);
  for (const auto& [name, worst] : worst_) {
    std::cout << GetParam() << " on " << TestDevice() << " float32 " << name << ": " << worst
              << " over " << compared_[name] << " prompts\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, PromptProbeGoldenTest, testing::ValuesIn(kGoldenCheckpoints));

}  // namespace
}  // namespace parrot
