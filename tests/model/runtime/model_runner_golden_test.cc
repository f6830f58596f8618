// Greedy continuations through the whole runtime (paged cache, slots, routing jobs), every prompt
// of every golden checkpoint, on the device that PARROT_TEST_DEVICE names.
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/runtime/model_runner_factory.h"
#include "tests/model/golden_prompts/golden_prompts.h"
#include "tests/model/step_driver/step_driver.h"

namespace parrot {
namespace {

std::unique_ptr<ModelExecutor> MakeRunner(const GoldenPrompts& golden, const GoldenCase& how) {
  ModelRunnerOptions options;
  options.device = TestDevice();
  options.dtype = ComputeDtype::kFloat32;
  options.cpu = {.backend = how.backend, .isa = how.isa};
  options.max_num_seqs = 32;
  options.kv_cache_memory_bytes = int64_t{256} << 20;
  options.vocab_size = golden.vocab_size();
  absl::StatusOr<std::unique_ptr<ModelExecutor>> runner =
      CreateModelRunner(golden.checkpoint(), options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  return runner.ok() ? *std::move(runner) : nullptr;
}

DriverRequest MakeRequest(const GoldenPrompt& prompt, const GoldenPrompts& golden) {
  return {.ids = prompt.ids,
          .images = prompt.images,
          .zero_later_images = true,
          .max_spliced_tokens = golden.checkpoint().config().model_max_length,
          .max_new_tokens = prompt.entry["greedy"]["max_new_tokens"],
          .stop_ids = {golden.checkpoint().config().eos_token_id}};
}

class ModelRunnerGoldenTest : public testing::TestWithParam<GoldenCase> {};

TEST_P(ModelRunnerGoldenTest, GivesTheReferencesGreedyTokens) {
  const GoldenPrompts golden(GetParam().checkpoint);
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(golden, GetParam());
  ASSERT_NE(runner, nullptr);
  StepDriver driver(*runner);
  size_t num_tokens = 0, num_safe = 0;
  for (const GoldenPrompt& prompt : golden.prompts()) {
    SCOPED_TRACE(prompt.id);
    const std::vector<DriverResult> results = driver.Run({MakeRequest(prompt, golden)});
    ASSERT_TRUE(results[0].status.ok()) << results[0].status;
    const std::vector<TokenId> expected = prompt.SafeTokens();
    ASSERT_GE(results[0].tokens.size(), expected.size());
    EXPECT_EQ(std::vector<TokenId>(results[0].tokens.begin(),
                                   results[0].tokens.begin() + expected.size()),
              expected);
    num_tokens += prompt.entry["greedy"]["tokens"].size();
    num_safe += expected.size();
  }
  std::cout << GetParam() << ": " << golden.prompts().size() << " prompts, " << num_safe << " of "
            << num_tokens << " tokens compared\n";
}

// All prompts of a checkpoint as batch mates, and cut into chunks that end inside images.
TEST_P(ModelRunnerGoldenTest, GivesTheSameTokensAmongAllPromptsAndInChunks) {
  const GoldenPrompts golden(GetParam().checkpoint);
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(golden, GetParam());
  ASSERT_NE(runner, nullptr);
  std::vector<DriverRequest> requests;
  for (const GoldenPrompt& prompt : golden.prompts()) {
    requests.push_back(MakeRequest(prompt, golden));
    requests.back().max_new_tokens = 8;
    requests.back().sampling.num_logprobs = 0;
  }
  StepDriver driver(*runner);
  const std::vector<DriverResult> together = driver.Run(requests);
  const std::vector<DriverResult> chunked = driver.Run(requests, {.chunk_tokens = 100});
  size_t num_compared = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(golden.prompts()[i].id);
    ASSERT_TRUE(together[i].status.ok()) << together[i].status;
    std::vector<TokenId> expected = golden.prompts()[i].SafeTokens();
    expected.resize(std::min(expected.size(), together[i].tokens.size()));
    const auto head = [&](const DriverResult& result) {
      return std::vector<TokenId>(result.tokens.begin(), result.tokens.begin() + expected.size());
    };
    EXPECT_EQ(head(together[i]), expected);
    ASSERT_GE(chunked[i].tokens.size(), expected.size());
    EXPECT_EQ(head(chunked[i]), expected);
    for (size_t k = 0; k < expected.size(); ++k) {
      // Our own kernels do not round by the shape of a call.
      EXPECT_NEAR(together[i].rows[k].logprob,
                  chunked[i].rows[k].logprob,
                  GetParam().is_reference() ? 5e-3 : 0.0);
    }
    num_compared += expected.size();
    if (TestDevice() != "cpu" || i % 5 != 0) continue;
    // On the CPU, bit by bit.
    const DriverResult alone = driver.Run({requests[i]})[0];
    EXPECT_EQ(alone.tokens, together[i].tokens);
    for (size_t k = 0; k < alone.rows.size(); ++k) {
      EXPECT_EQ(alone.rows[k].logprob, together[i].rows[k].logprob);
    }
  }
  std::cout << GetParam() << ": " << requests.size() << " prompts together and in chunks, "
            << num_compared << " tokens compared\n";
}

INSTANTIATE_TEST_SUITE_P(Golden,
                         ModelRunnerGoldenTest,
                         testing::ValuesIn(AllGoldenCases()),
                         GoldenCaseName);

}  // namespace
}  // namespace parrot
