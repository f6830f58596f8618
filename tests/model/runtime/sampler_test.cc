// The sampler: which logits it changes, and with which numbers it draws.
#include "model/runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"
#include "model/backend/reference/reference_backend.h"
#include "model/runtime/counter_rng.h"

namespace parrot {
namespace {

// Latin allows the even tokens, Han the odd ones. After token 3 a code point is unfinished, which
// only token 1 ends, and for Han nothing.
class FakeScripts final : public TokenScripts {
 public:
  std::string UnfinishedCodePoint(std::span<const TokenId> answer) const override {
    return !answer.empty() && answer.back() == 3 ? "\xC3" : "";
  }
  bool FillAllowed(Script script,
                   std::string_view unfinished,
                   std::span<uint8_t> allowed) const override {
    for (size_t id = 0; id < allowed.size(); ++id) {
      const bool is_even = id % 2 == 0;
      allowed[id] = unfinished.empty() ? is_even == (script == Script::kLatin)
                                       : script == Script::kLatin && id == 1;
    }
    return unfinished.empty() || script == Script::kLatin;
  }
};

class SamplerTest : public testing::Test {
 protected:
  SamplerTest() : workspace_(backend_.MakeWorkspace({})) {}

  TokenId Draw(const std::vector<float>& logits, const SamplerRequest& request) {
    return Sample(logits, request).token;
  }
  RowResult Sample(const std::vector<float>& logits, const SamplerRequest& request) {
    Sampler sampler(backend_, vocab_size_, &scripts_);
    const at::Tensor rows = at::tensor(logits).view({1, -1});
    return sampler.Sample(rows, {&request, 1}, *workspace_).front();
  }
  // Every token that a hundred seeds draw.
  std::set<TokenId> DrawMany(const std::vector<float>& logits,
                             SamplingParams sampling,
                             int32_t next_position) {
    std::set<TokenId> drawn;
    for (uint64_t seed = 0; seed < 100; ++seed) {
      sampling.seed = seed;
      drawn.insert(Draw(logits,
                        {.next_position = next_position,
                         .sampling = &sampling,
                         .tokens = tokens_,
                         .num_prompt_tokens = num_prompt_tokens_}));
    }
    return drawn;
  }

  FakeScripts scripts_;
  ReferenceBackend backend_{{}};
  std::unique_ptr<Workspace> workspace_;
  int32_t vocab_size_ = 4;
  std::vector<TokenId> tokens_ = {0, kVisualToken, 1, 1};
  int32_t num_prompt_tokens_ = 2;
};

TEST_F(SamplerTest, PaddingRowsOfTheVocabularyAreNeverDrawn) {
  const std::vector<float> logits = {0.0f, 0.0f, 0.0f, 0.0f, 50.0f, 60.0f};
  EXPECT_EQ(DrawMany(logits, {.temperature = 2.0f}, 4), (std::set<TokenId>{0, 1, 2, 3}));
  EXPECT_EQ(DrawMany(logits, {}, 4), (std::set<TokenId>{0}));
  EXPECT_EQ(DrawMany(logits, {.logit_bias = {{5, 100.0f}, {2, 1.0f}}}, 4), (std::set<TokenId>{2}));
}

// The answer so far is 1, 1; the prompt holds 0 and a picture.
TEST_F(SamplerTest, PenaltiesAreThoseOfAPlainLoop) {
  const std::vector<float> logits = {1.0f, 2.0f, -1.0f, 0.5f};
  for (const float repetition : {0.5f, 1.0f, 2.0f}) {
    for (const float presence : {-1.0f, 0.0f, 0.7f}) {
      for (const float frequency : {-0.6f, 0.0f, 0.4f}) {
        for (const float bias : {-100.0f, 0.0f, 1.2f}) {
          SamplingParams sampling{.repetition_penalty = repetition,
                                  .presence_penalty = presence,
                                  .frequency_penalty = frequency,
                                  .logit_bias = {{1, bias}, {2, 0.25f}}};
          std::vector<float> expected = logits;
          for (const TokenId seen : {0, 1}) {
            expected[seen] =
                expected[seen] > 0 ? expected[seen] / repetition : expected[seen] * repetition;
          }
          expected[1] -= presence + 2 * frequency;
          expected[1] += bias;
          expected[2] += 0.25f;
          const auto best = std::max_element(expected.begin(), expected.end());
          EXPECT_EQ(Draw(logits,
                         {.next_position = 4,
                          .sampling = &sampling,
                          .tokens = tokens_,
                          .num_prompt_tokens = num_prompt_tokens_}),
                    best - expected.begin())
              << repetition << " " << presence << " " << frequency << " " << bias;
        }
      }
    }
  }
}

TEST_F(SamplerTest, WhatEndsTheAnswerCannotBeDrawnBeforeMinTokens) {
  const std::vector<float> logits = {3.0f, 9.0f, 1.0f, 8.0f};
  const SamplingParams greedy{
      .logit_bias = {{3, 100.0f}}, .min_tokens = 3, .late_token_ids = {1, 3}};
  const SamplingParams warm{.temperature = 2.0f, .min_tokens = 3, .late_token_ids = {1, 3}};
  for (const int32_t position : {2, 3, 4}) {  // of the answer: 0, 1, 2
    EXPECT_EQ(DrawMany(logits, greedy, position), (std::set<TokenId>{0}));
    EXPECT_EQ(DrawMany(logits, warm, position), (std::set<TokenId>{0, 2}));
  }
  EXPECT_EQ(DrawMany(logits, greedy, 5), (std::set<TokenId>{3}));
  EXPECT_TRUE(DrawMany(logits, warm, 5).contains(1));
}

TEST_F(SamplerTest, ForcedTokensComeFirstWithTheirOwnLogProbabilities) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, 3.0f};
  const SamplingParams sampling{.temperature = 1.0f, .forced_token_ids = {0, 1}, .num_logprobs = 0};
  const double total = 1.0 + std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  for (const int32_t answer_idx : {0, 1}) {
    const SamplerRequest request{.next_position = 2 + answer_idx,
                                 .sampling = &sampling,
                                 .tokens = tokens_,
                                 .num_prompt_tokens = num_prompt_tokens_};
    const RowResult result = Sample(logits, request);
    EXPECT_EQ(result.token, answer_idx);
    EXPECT_EQ(result.use, LogitsUse::kSample);
    EXPECT_NEAR(result.logprob, answer_idx - std::log(total), 1e-6);
  }
  EXPECT_TRUE(DrawMany(logits, sampling, 4).contains(3));  // free again
}

TEST_F(SamplerTest, AHardLockDrawsOnlyWhatTheScriptAllows) {
  const std::vector<float> logits = {0.0f, 9.0f, 1.0f, 8.0f, 50.0f};  // the last one is padding
  const SamplingParams latin{.temperature = 2.0f, .language_lock = LanguageLock{Script::kLatin}};
  const SamplingParams han{.temperature = 2.0f, .language_lock = LanguageLock{Script::kHan}};
  EXPECT_EQ(DrawMany(logits, latin, 4), (std::set<TokenId>{0, 2}));
  EXPECT_EQ(DrawMany(logits, han, 4), (std::set<TokenId>{1, 3}));
  // Biases do not help against it, and bans go along with it.
  SamplingParams biased = latin;
  biased.logit_bias = {{1, 100.0f}, {2, -100.0f}};
  EXPECT_EQ(DrawMany(logits, biased, 4), (std::set<TokenId>{0}));
  SamplingParams banned = latin;
  banned.min_tokens = 3;
  banned.late_token_ids = {2};
  EXPECT_EQ(DrawMany(logits, banned, 4), (std::set<TokenId>{0}));
  // What neither leaves a token: the lock gives way.
  banned.late_token_ids = {0, 2};
  EXPECT_EQ(DrawMany(logits, banned, 4), (std::set<TokenId>{1, 3}));
}

TEST_F(SamplerTest, InsideACodePointTheLockAllowsWhatFinishesIt) {
  tokens_ = {0, 1, 2, 3};
  const std::vector<float> logits = {5.0f, 4.0f, 6.0f, 7.0f};
  const SamplingParams latin{.language_lock = LanguageLock{Script::kLatin}};
  EXPECT_EQ(DrawMany(logits, latin, 4), (std::set<TokenId>{1}));
  // For Han nothing does: free, and not counted.
  const SamplingParams han{.language_lock = LanguageLock{Script::kHan}};
  const RowResult result = Sample(logits,
                                  {.next_position = 4,
                                   .sampling = &han,
                                   .tokens = tokens_,
                                   .num_prompt_tokens = num_prompt_tokens_});
  EXPECT_EQ(result.token, 3);
  EXPECT_FALSE(result.is_blocked);
  // The prompt is whole text, however its last token ends.
  num_prompt_tokens_ = 4;
  EXPECT_EQ(DrawMany(logits, latin, 4), (std::set<TokenId>{2}));
}

TEST_F(SamplerTest, ASoftLockAddsItsBiasAndCountsWhereItWasNeeded) {
  const std::vector<float> logits = {0.0f, 3.0f, 1.0f, 2.5f};
  const auto sample = [&](float bias, const std::vector<std::pair<TokenId, float>>& logit_bias) {
    const SamplingParams sampling{.logit_bias = logit_bias,
                                  .language_lock = LanguageLock{Script::kLatin, bias},
                                  .num_logprobs = 0};
    return Sample(logits,
                  {.next_position = 4,
                   .sampling = &sampling,
                   .tokens = tokens_,
                   .num_prompt_tokens = num_prompt_tokens_});
  };
  EXPECT_EQ(sample(-1.5f, {}).token, 1);
  EXPECT_TRUE(sample(-1.5f, {}).is_blocked);
  EXPECT_EQ(sample(-2.5f, {}).token, 2);
  EXPECT_TRUE(sample(-2.5f, {}).is_blocked);
  EXPECT_EQ(sample(-2.5f, {{2, 5.0f}}).token, 2);
  EXPECT_FALSE(sample(-2.5f, {{2, 5.0f}}).is_blocked);
  EXPECT_EQ(sample(-2.5f, {{1, 1.0f}}).token, 1);
  // The log-probability is the model's own.
  EXPECT_EQ(sample(-2.5f, {}).logprob, sample(-100.0f, {}).logprob);
}

// A lock changes nothing of its neighbours.
TEST_F(SamplerTest, OnlyTheRowsWithALockAreLocked) {
  const SamplingParams free{};
  const SamplingParams latin{.language_lock = LanguageLock{Script::kLatin}};
  const SamplingParams han{.language_lock = LanguageLock{Script::kHan}};
  const at::Tensor rows = at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).view({1, 4}).repeat({4, 1});
  std::vector<SamplerRequest> requests;
  for (const SamplingParams* sampling : {&free, &latin, &han, &free}) {
    requests.push_back({.next_position = 4,
                        .sampling = sampling,
                        .tokens = tokens_,
                        .num_prompt_tokens = num_prompt_tokens_});
  }
  requests[3].use = LogitsUse::kScore;
  requests[3].target = 0;
  Sampler sampler(backend_, vocab_size_, &scripts_);
  for (int step = 0; step < 2; ++step) {
    const std::vector<RowResult> results = sampler.Sample(rows, requests, *workspace_);
    EXPECT_EQ(results[0].token, 3);
    EXPECT_FALSE(results[0].is_blocked);
    EXPECT_EQ(results[1].token, 2);
    EXPECT_TRUE(results[1].is_blocked);
    EXPECT_EQ(results[2].token, 3);
    EXPECT_FALSE(results[2].is_blocked);
    EXPECT_EQ(results[3].token, 0);
    EXPECT_FALSE(results[3].is_blocked);
  }
}

TEST_F(SamplerTest, AnswerIDrawsLikeARequestWithTheSeedPlusI) {
  const std::vector<float> logits = {0.0f, 0.1f, 0.2f, 0.3f};
  std::map<TokenId, int> counts;
  for (int32_t i = 0; i < 200; ++i) {
    const SamplingParams one_of_many{
        .temperature = 1.0f, .seed = UINT64_MAX - 5, .sequence_idx = i};
    const SamplingParams alone{.temperature = 1.0f,
                               .seed = UINT64_MAX - 5 + static_cast<uint64_t>(i)};
    const TokenId token = Draw(logits, {.next_position = 7, .sampling = &one_of_many});
    EXPECT_EQ(token, Draw(logits, {.next_position = 7, .sampling = &alone}));
    ++counts[token];
  }
  for (TokenId token = 0; token < 4; ++token) EXPECT_GT(counts[token], 25) << token;
}

TEST(CounterRngTest, NeighbouringSeedsAndPositionsAreUnrelated) {
  double sum = 0.0;
  double product = 0.0;
  constexpr int kCount = 20000;
  for (int i = 0; i < kCount; ++i) {
    const double a = CounterUniform(7, i) - 0.5;
    const double b = CounterUniform(8, i) - 0.5;
    sum += a;
    product += a * b;
    ASSERT_GE(a, -0.5);
    ASSERT_LT(a, 0.5);
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.01);
  EXPECT_NEAR(product / kCount, 0.0, 0.003);
}

}  // namespace
}  // namespace parrot
