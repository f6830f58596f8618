#include "model/kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/isa.h"
#include "tests/model/kernels/guarded_rows.h"

namespace parrot::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The rules with a full sort, in the order in which model/backend/backend.h states them.
int32_t SortedDraw(const std::vector<float>& logits, const DrawRule& rule) {
  const size_t n = logits.size();
  std::vector<float> scaled(n);
  for (size_t i = 0; i < n; ++i) scaled[i] = logits[i] / rule.temperature;
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(
      order.begin(), order.end(), [&](int32_t a, int32_t b) { return scaled[a] > scaled[b]; });
  const double top = scaled[order[0]];
  std::vector<double> p;
  for (const int32_t id : order) p.push_back(std::exp(scaled[id] - top));
  const auto normalise = [&p] {
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
  };
  normalise();
  if (rule.top_k > 0 && rule.top_k < static_cast<int32_t>(n)) {
    p.resize(rule.top_k);
    normalise();
  }
  double cumulative = 0.0;
  for (double& x : p) {
    cumulative += x;
    if (rule.top_p < 1.0f && cumulative - x >= rule.top_p) x = 0.0;
  }
  for (double& x : p) {
    if (x < p[0] * rule.min_p) x = 0.0;
  }
  std::vector<double> by_id(n, 0.0);
  for (size_t i = 0; i < p.size(); ++i) by_id[order[i]] = p[i];
  const double total = std::accumulate(by_id.begin(), by_id.end(), 0.0);
  cumulative = 0.0;
  for (size_t i = 0; i < n; ++i) {
    cumulative += by_id[i];
    if (cumulative > total * rule.uniform || cumulative >= total) return static_cast<int32_t>(i);
  }
  return -1;
}

// Peaked, flat, with ties, with banned tokens.
std::vector<float> RandomLogits(std::mt19937& random) {
  const size_t n = 1 + random() % (random() % 8 == 0 ? 3000 : 60);
  const float scale = std::vector<float>{0.0f, 0.3f, 3.0f, 40.0f, 400.0f}[random() % 5];
  std::normal_distribution<float> values;
  const bool has_ties = random() % 3 == 0, has_bans = random() % 3 == 0;
  std::vector<float> logits(n);
  for (float& x : logits) {
    x = scale * values(random);
    if (has_ties) x = std::round(x);
    if (has_bans && random() % 3 == 0) x = -kInfinity;
  }
  if (*std::max_element(logits.begin(), logits.end()) == -kInfinity) logits.back() = 0.5f;
  return logits;
}

DrawRule RandomRule(std::mt19937& random, size_t n) {
  std::uniform_real_distribution<double> unit(0.0, 1.0);
  const auto one_in_two = [&] { return random() % 2 == 0; };
  DrawRule rule = {.temperature = std::vector<float>{0.05f, 0.7f, 1.0f, 2.0f}[random() % 4]};
  if (one_in_two()) rule.top_k = static_cast<int32_t>(1 + random() % (n + 2));
  if (one_in_two()) rule.top_p = std::max(1e-6f, static_cast<float>(unit(random)));
  if (one_in_two()) rule.min_p = static_cast<float>(unit(random));
  rule.uniform = random() % 16 == 0 ? std::nextafter(1.0, 0.0) : unit(random);
  return rule;
}

TEST(SamplingTest, DrawsAsTheRulesSayWithAFullSort) {
  for (const Isa isa : AllIsas()) {
    std::mt19937 random(5489);
    SamplingScratch scratch;
    for (int i = 0; i < 1500; ++i) {
      const std::vector<float> logits = RandomLogits(random);
      const DrawRule rule = RandomRule(random, logits.size());
      ASSERT_EQ(Draw(isa, logits, rule, scratch), SortedDraw(logits, rule))
          << IsaName(isa) << " case " << i << ": " << logits.size() << " logits, temperature "
          << rule.temperature << ", top_k " << rule.top_k << ", top_p " << rule.top_p << ", min_p "
          << rule.min_p << ", uniform " << rule.uniform;
    }
  }
}

TEST(SamplingTest, EqualLogitsAreKeptByIdAndDrawnById) {
  const std::vector<float> flat(10, 3.0f);
  SamplingScratch scratch;
  for (const Isa isa : AllIsas()) {
    for (int tenth = 0; tenth < 10; ++tenth) {
      const double uniform = (tenth + 0.5) / 10;
      EXPECT_EQ(Draw(isa, flat, {.uniform = uniform}, scratch), tenth);
      EXPECT_EQ(Draw(isa, flat, {.top_k = 5, .uniform = uniform}, scratch), tenth / 2);
      // The fifth reaches one half.
      EXPECT_EQ(Draw(isa, flat, {.top_p = 0.5f, .uniform = uniform}, scratch), tenth / 2);
      EXPECT_EQ(Draw(isa, flat, {.top_k = 1, .uniform = uniform}, scratch), 0);
      EXPECT_EQ(Draw(isa, flat, {.min_p = 1.0f, .uniform = uniform}, scratch), tenth);
    }
  }
}

TEST(SamplingTest, DrawsFollowTheProbabilities) {
  const std::vector<float> logits = {0.0f, std::log(3.0f), -kInfinity, std::log(4.0f)};
  SamplingScratch scratch;
  for (const Isa isa : AllIsas()) {
    std::vector<int> counts(logits.size());
    for (int i = 0; i < 800; ++i) {
      ++counts[Draw(isa, logits, {.uniform = (i + 0.5) / 800}, scratch)];
    }
    EXPECT_EQ(counts, (std::vector<int>{100, 300, 0, 400})) << IsaName(isa);
  }
}

TEST(SamplingTest, FindsTheLargestAndTheLowestIndexOfEquals) {
  std::mt19937 random(7);
  for (const Isa isa : AllIsas()) {
    for (const size_t n : {1, 2, 7, 8, 9, 16, 31, 33, 4095, 4097, 9001}) {
      GuardedRows<float> logits(n);
      logits.Fill(random);
      const size_t first = random() % n;
      logits[first] = logits[n - 1] = 2.0f;
      const Largest largest = FindLargest(isa, logits.span());
      EXPECT_EQ(largest.index, static_cast<int32_t>(first)) << IsaName(isa) << " " << n;
      EXPECT_EQ(largest.value, 2.0f);
      EXPECT_TRUE(largest.finite);
    }
  }
}

TEST(SamplingTest, BannedTokensLeaveALargestAndNanOrInfinityDoNot) {
  for (const Isa isa : AllIsas()) {
    for (const size_t n : {3, 16, 40, 5000}) {
      for (const size_t odd : {size_t{0}, n / 2, n - 2}) {
        std::vector<float> logits(n, -1.0f);
        logits[odd] = -kInfinity;
        Largest largest = FindLargest(isa, logits);
        EXPECT_EQ(largest.index, odd == 0 ? 1 : 0);
        EXPECT_FALSE(largest.finite);
        for (const float x : {kNan, kInfinity}) {
          logits[odd] = x;
          largest = FindLargest(isa, logits);
          EXPECT_EQ(largest.index, -1);
          EXPECT_FALSE(largest.finite);
        }
      }
      EXPECT_EQ(FindLargest(isa, std::vector<float>(n, -kInfinity)).index, -1);
    }
  }
}

TEST(SamplingTest, LogSumExpIsThatOfDoubles) {
  std::mt19937 random(11);
  for (const Isa isa : AllIsas()) {
    for (const size_t n : {1, 9, 511, 513, 2000}) {
      GuardedRows<float> logits(n);
      logits.Fill(random, 30.0f);
      const float largest = FindLargest(isa, logits.span()).value;
      double sum = 0.0;
      for (const float x : logits.span()) sum += std::exp(double{x} - largest);
      EXPECT_NEAR(LogSumExp(isa, logits.span(), largest), largest + std::log(sum), 1e-13);
    }
  }
}

TEST(SamplingTest, TopIsTheSortedBeginning) {
  std::mt19937 random(13);
  std::vector<ScoredToken> top;
  for (int i = 0; i < 300; ++i) {
    const std::vector<float> logits = RandomLogits(random);
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(
        order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    const int32_t k = static_cast<int32_t>(random() % 80);
    FindTop(logits, k, top);
    ASSERT_EQ(top.size(), std::min<size_t>(k, logits.size()));
    for (size_t rank = 0; rank < top.size(); ++rank) {
      ASSERT_EQ(top[rank].token, order[rank]);
      ASSERT_EQ(top[rank].logit, logits[order[rank]]);
    }
  }
}

}  // namespace
}  // namespace parrot::kernels
