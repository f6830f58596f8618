// Drawing tokens: cuts, probabilities and log-probabilities of the reference backend.
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"
#include "model/backend/reference/reference_backend.h"
#include "tests/model/backend/map_source.h"

namespace parrot {
namespace {

class SamplingTest : public testing::Test {
 protected:
  SamplingTest() : workspace_(backend_.MakeWorkspace({})) {}

  TokenId Draw(const std::vector<float>& logits, const SampleRow& row, int64_t vocab_size) {
    const at::Tensor tensor = at::tensor(logits).view({1, -1});
    return static_cast<TokenId>(
        backend_.Sample(tensor, {&row, 1}, vocab_size, *workspace_).tokens.item<int64_t>());
  }

  // How often each token comes out of `draws` evenly spaced uniform numbers.
  std::vector<double> Shares(const std::vector<float>& logits, SampleRow row, int draws = 2000) {
    std::vector<double> shares(logits.size());
    for (int i = 0; i < draws; ++i) {
      row.uniform = (i + 0.5) / draws;
      shares[Draw(logits, row, static_cast<int64_t>(logits.size()))] += 1.0 / draws;
    }
    return shares;
  }

  ReferenceBackend backend_{{}};
  std::unique_ptr<Workspace> workspace_;
};

TEST_F(SamplingTest, GreedyTakesTheLowestIdAmongEquals) {
  EXPECT_EQ(Draw({1, 3, 2, 3, 3}, {}, 5), 1);
  EXPECT_EQ(Draw({1, 2, 3, 9}, {}, 3), 2);
}

TEST_F(SamplingTest, DrawsInProportionToTheTemperedSoftmax) {
  const std::vector<float> logits = {0.0f, 1.0f, -1.0f, 2.0f};
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    double total = 0.0;
    for (const float logit : logits) total += std::exp(logit / temperature);
    const std::vector<double> shares = Shares(logits, {.temperature = temperature});
    for (size_t i = 0; i < logits.size(); ++i) {
      EXPECT_NEAR(shares[i], std::exp(logits[i] / temperature) / total, 1e-3) << temperature;
    }
  }
}

TEST_F(SamplingTest, CutsToTheLargestK) {
  const std::vector<double> shares =
      Shares({0.0f, 1.0f, 1.0f, 2.0f}, {.temperature = 1.0f, .top_k = 2});
  EXPECT_EQ(shares[0], 0.0);
  EXPECT_EQ(shares[2], 0.0);  // equal to 1, which has the lower id
  EXPECT_NEAR(shares[3], std::exp(2.0) / (std::exp(2.0) + std::exp(1.0)), 1e-3);
}

TEST_F(SamplingTest, CutsToTheSmallestSetThatReachesTopP) {
  // Probabilities 0.5, 0.3, 0.2.
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  const auto kept = [&](float top_p) {
    int count = 0;
    for (const double share : Shares(logits, {.temperature = 1.0f, .top_p = top_p}, 200)) {
      count += share > 0.0;
    }
    return count;
  };
  EXPECT_EQ(kept(0.01f), 1);
  EXPECT_EQ(kept(0.49f), 1);
  EXPECT_EQ(kept(0.51f), 2);
  EXPECT_EQ(kept(0.79f), 2);
  EXPECT_EQ(kept(0.81f), 3);
  EXPECT_EQ(kept(1.0f), 3);
}

TEST_F(SamplingTest, CutsBelowMinPOfTheLargest) {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  const std::vector<double> shares = Shares(logits, {.temperature = 1.0f, .min_p = 0.5f}, 200);
  EXPECT_EQ(shares[0], 0.0);
  EXPECT_NEAR(shares[1], 5.0 / 8.0, 0.01);
}

TEST_F(SamplingTest, StaysInsideTheKeptSetAtBothEndsOfTheInterval) {
  const std::vector<float> logits = {5.0f, 1.0f, 4.0f};
  for (const double uniform : {0.0, 1.0 - 0x1.0p-53}) {
    const SampleRow row = {.temperature = 1.0f, .top_k = 2, .uniform = uniform};
    EXPECT_NE(Draw(logits, row, 3), 1);
  }
}

TEST_F(SamplingTest, EditsLogitsBeforeItDraws) {
  const std::vector<float> logits = {2.0f, 3.0f, -1.0f, -2.0f};
  const std::vector<LogitEdit> halved = {{.token = 1, .repetition = 2.0f}};  // 3 -> 1.5
  EXPECT_EQ(Draw(logits, {.edits = halved}, 4), 0);
  // Negative logits move away from zero: -1 -> -2.2, below -2.
  const std::vector<LogitEdit> negative = {
      {.token = 0, .bias = -10.0f}, {.token = 1, .bias = -10.0f}, {.token = 2, .repetition = 2.2f}};
  EXPECT_EQ(Draw(logits, {.edits = negative}, 4), 3);
  const std::vector<double> shares =
      Shares(logits, {.temperature = 1.0f, .top_k = 2, .edits = halved});
  EXPECT_NEAR(shares[1], std::exp(1.5) / (std::exp(1.5) + std::exp(2.0)), 1e-3);
  // Log-probabilities stay those of the model.
  const SampleRow row = {.num_logprobs = 0, .edits = halved};
  const SampledRows out =
      backend_.Sample(at::tensor(logits).view({1, -1}), {&row, 1}, 4, *workspace_);
  const double total = std::exp(2.0) + std::exp(3.0) + std::exp(-1.0) + std::exp(-2.0);
  EXPECT_NEAR(out.logprobs.item<double>(), 2.0 - std::log(total), 1e-6);
}

TEST_F(SamplingTest, RowsAreDrawnIndependently) {
  const at::Tensor logits = RandomTensor(4, {3, 50}, at::kFloat, 3.0);
  const std::vector<SampleRow> rows = {{.temperature = 1.0f, .uniform = 0.3},
                                       {},
                                       {.temperature = 0.7f, .top_p = 0.9f, .uniform = 0.8}};
  const SampledRows together = backend_.Sample(logits, rows, 50, *workspace_);
  for (int64_t i = 0; i < 3; ++i) {
    const SampledRows alone = backend_.Sample(
        logits.narrow(0, i, 1), {&rows[static_cast<size_t>(i)], 1}, 50, *workspace_);
    EXPECT_EQ(alone.tokens.item<int64_t>(), together.tokens[i].item<int64_t>());
  }
}

TEST_F(SamplingTest, ReportsLogProbabilitiesOfTheWholeRealVocabulary) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, 50.0f};
  const SampleRow rows[] = {{.temperature = 0.5f, .top_k = 1, .num_logprobs = 2},
                            {.score_target = 0}};
  const at::Tensor two = at::tensor(logits).view({1, -1}).repeat({2, 1});
  const SampledRows out = backend_.Sample(two, rows, /*vocab_size=*/3, *workspace_);
  const double total = std::log(std::exp(0.0) + std::exp(1.0) + std::exp(2.0));
  EXPECT_EQ(out.tokens[0].item<int64_t>(), 2);
  EXPECT_NEAR(out.logprobs[0].item<double>(), 2.0 - total, 1e-6);
  EXPECT_NEAR(out.logprobs[1].item<double>(), 0.0 - total, 1e-6);
  EXPECT_EQ(out.top_tokens[0][1].item<int64_t>(), 1);
  EXPECT_NEAR(out.top_logprobs[0][1].item<double>(), 1.0 - total, 1e-6);
}

TEST_F(SamplingTest, SeesLogitsThatAreNotNumbers) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const at::Tensor logits =
      at::tensor(std::vector<float>{0, 1, nan, nan, 1, 2, inf, 1, 2, 1, 2, 3}).view({4, 3});
  const SampleRow rows[4] = {};
  const SampledRows out = backend_.Sample(logits, rows, 3, *workspace_);
  EXPECT_FALSE(out.finite[0].item<bool>());
  EXPECT_FALSE(out.finite[1].item<bool>());
  EXPECT_FALSE(out.finite[2].item<bool>());
  EXPECT_TRUE(out.finite[3].item<bool>());
}

}  // namespace
}  // namespace parrot
