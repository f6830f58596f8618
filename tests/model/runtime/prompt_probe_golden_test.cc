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

class PromptProbeGoldenTest : public testing::TestWithParam<GoldenCase> {
 protected:
  PromptProbeGoldenTest() : golden_(GetParam().checkpoint) {
    options_.backend = GetParam().backend;
    options_.isa = GetParam().isa;
  }

  std::unique_ptr<PromptProbe> Load(ComputeDtype dtype) {
    absl::StatusOr<std::unique_ptr<PromptProbe>> probe = PromptProbe::Load(
        golden_.checkpoint(), {.device = TestDevice(), .dtype = dtype, .cpu = options_});
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
    const bool is_routing = name == "attention" || name == "router_logits";
    EXPECT_LE(worst, golden_.Tolerance(is_routing ? "router" : name)) << name;
    worst_[name] = std::max(worst_[name], worst);
    ++compared_[name];
  }

  GoldenPrompts golden_;
  CpuOptions options_;
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
    std::cout << GetParam() << " float32 " << name << ": " << worst << " over " << compared_[name]
              << " prompts\n";
  }
}

// Root mean square of a - b.
double RmsDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

// bfloat16 arithmetic moves logits by worst_rms (the reference against its own float32 run), and
// two implementations of it round apart. Ours must be no further from float32 than twice that, and
// no further from the reference's bfloat16 run than the two of them together.
TEST_P(PromptProbeGoldenTest, Bfloat16StaysNearTheReferencesBfloat16) {
  const std::map<std::string, double> worst_rms = {{"nano-gqa", 0.283}, {"nano-7bshape", 0.101}};
  // Our own kernels keep activations in float32; recorded for checkpoints stored in bfloat16 only.
  if (!GetParam().is_reference()) return;
  if (worst_rms.count(GetParam().checkpoint) == 0) {
    for (const GoldenPrompt& prompt : golden_.prompts()) {
      EXPECT_TRUE(golden_.Tensor(prompt, "bf16_logits_last").empty());
    }
    return;
  }
  const std::unique_ptr<PromptProbe> probe = Load(ComputeDtype::kBFloat16);
  ASSERT_NE(probe, nullptr);
  const double reference_rms = worst_rms.at(GetParam().checkpoint);
  std::vector<double> to_bf16, to_fp32;
  for (const GoldenPrompt& prompt : golden_.prompts()) {
    SCOPED_TRACE(prompt.id);
    const std::vector<float> bf16 = golden_.Tensor(prompt, "bf16_logits_last");
    const PromptTrace trace = Run(*probe, prompt, 0);
    ASSERT_EQ(trace.logits_last.values.size(), bf16.size());
    to_bf16.push_back(RmsDifference(trace.logits_last.values, bf16));
    to_fp32.push_back(
        RmsDifference(trace.logits_last.values, golden_.Tensor(prompt, "logits_last")));
    EXPECT_LE(to_fp32.back(), 2 * reference_rms);
    EXPECT_LE(to_bf16.back(), 3 * reference_rms);
  }
  std::sort(to_bf16.begin(), to_bf16.end());
  std::sort(to_fp32.begin(), to_fp32.end());
  const size_t middle = to_bf16.size() / 2;
  std::cout << GetParam() << " bfloat16, rms of logits_last, median and "
            << "worst of " << to_bf16.size() << " prompts: to float32 " << to_fp32[middle] << ", "
            << to_fp32.back() << "; to the reference's bfloat16 " << to_bf16[middle] << ", "
            << to_bf16.back() << "\n";
}

// Formats of weights in our own kernels: how far they move the last position's logits from the
// reference's float32 (bounds: 1.3 times what was measured, see docs/numerics.md; activations stay
// float32, or are rounded to bfloat16 where products are of pairs), and that the greedy tokens are
// the reference's up to the first step whose margin is below twice the largest move of any logit of
// the prompt.
TEST_P(PromptProbeGoldenTest, FormatsOfWeightsMoveLogitsAsFarAsMeasured) {
  if (GetParam().is_reference()) return;
  using Format = std::pair<std::string, double>;
  const bool are_pairs = GetParam().isa == "avx512_bf16" || GetParam().isa == "amx";
  const std::map<std::string, std::vector<Format>> max_rms = {
      {"nano-mha",  // stored in float32: bfloat16 rounds
       {{"none", are_pairs ? 0.40 : 0.32},
        {"int8", are_pairs ? 0.42 : 0.35},
        {"int8-g32", are_pairs ? 0.72 : 0.66},
        {"int4-g32", 4.3},
        {"int4-g128", 3.5}}},
      {"nano-gqa",  // stored in bfloat16, as the next
       {{"none", are_pairs ? 0.16 : 5e-5},
        {"int8", 0.77},
        {"int8-g32", are_pairs ? 0.87 : 0.79},
        {"int4-g32", 4.0},
        {"int4-g128", 4.8}}},
      {"nano-7bshape",
       {{"none", are_pairs ? 0.066 : 2e-5},
        {"int8", 0.31},
        {"int8-g32", are_pairs ? 0.25 : 0.23},
        {"int4-g32", 2.3},
        {"int4-g128", 3.9}}}};
  for (const auto& [format, bound] : max_rms.at(GetParam().checkpoint)) {
    SCOPED_TRACE(format);
    options_.quantization = format;
    options_.vision_quantization = format;
    const std::unique_ptr<PromptProbe> probe = Load(ComputeDtype::kBFloat16);
    ASSERT_NE(probe, nullptr);
    std::vector<double> rms;
    size_t num_same = 0, num_tokens = 0, num_safe = 0;
    for (size_t i = 0; i < golden_.prompts().size(); i += 3) {
      const GoldenPrompt& prompt = golden_.prompts()[i];
      SCOPED_TRACE(prompt.id);
      const PromptTrace trace = Run(*probe, prompt, 16);
      const std::vector<float> expected = golden_.Tensor(prompt, "logits_last");
      ASSERT_EQ(trace.logits_last.values.size(), expected.size());
      rms.push_back(RmsDifference(trace.logits_last.values, expected));
      double largest = 0.0;
      for (size_t k = 0; k < expected.size(); ++k) {
        largest = std::max(largest, std::abs(double{trace.logits_last.values[k]} - expected[k]));
      }
      const auto& steps = prompt.entry["greedy"]["steps"];
      bool safe = true;
      for (size_t k = 0; k < std::min(steps.size(), trace.tokens.size()); ++k) {
        safe = safe && steps[k]["margin"].get<double>() > 2 * largest;
        const bool same = trace.tokens[k] == steps[k]["token"].get<TokenId>();
        EXPECT_TRUE(same || !safe) << "step " << k;
        num_safe += safe ? 1 : 0;
        num_tokens += 1;
        if (!same) break;  // from here on another text
        ++num_same;
      }
    }
    std::sort(rms.begin(), rms.end());
    EXPECT_LE(rms.back(), bound);
    std::cout << GetParam() << ", weights bfloat16, quantization " << format
              << ": rms of logits_last to float32, median and worst of " << rms.size()
              << " prompts: " << rms[rms.size() / 2] << ", " << rms.back() << "; greedy tokens "
              << num_same << " of " << num_tokens << " the reference's, " << num_safe
              << " of them with a margin that no move of a logit seen could turn\n";
  }
}

TEST_P(PromptProbeGoldenTest, ContinuesGreedilyAsTheReference) {
  const std::unique_ptr<PromptProbe> probe = Load(ComputeDtype::kFloat32);
  ASSERT_NE(probe, nullptr);
  for (size_t i = 0; i < golden_.prompts().size(); i += 4) {
    const GoldenPrompt& prompt = golden_.prompts()[i];
    SCOPED_TRACE(prompt.id);
    const std::vector<TokenId> expected = prompt.SafeTokens();
    const PromptTrace trace = Run(*probe, prompt, prompt.entry["greedy"]["max_new_tokens"]);
    ASSERT_GE(trace.tokens.size(), expected.size());
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), trace.tokens.begin()));
    if (expected.size() == prompt.entry["greedy"]["tokens"].size()) {
      EXPECT_EQ(trace.stopped, prompt.entry["greedy"]["finish"] == "stop");
    }
  }
}

TEST_P(PromptProbeGoldenTest, RefusesWhatIsNotAPrompt) {
  const std::unique_ptr<PromptProbe> probe = Load(ComputeDtype::kFloat32);
  ASSERT_NE(probe, nullptr);
  const auto code = [&](const PromptRequest& request) {
    return probe->Run(request).status().code();
  };
  const auto tiny = std::make_shared<const ImagePixels>(3);
  EXPECT_EQ(code({}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.ids = {1, kVisualToken, 2}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.ids = {1, 1 << 20}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.ids = {-1}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.ids = {1, kVisualToken}, .images = {tiny}}), absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Golden,
                         PromptProbeGoldenTest,
                         testing::ValuesIn(AllGoldenCases()),
                         GoldenCaseName);

}  // namespace
}  // namespace parrot
