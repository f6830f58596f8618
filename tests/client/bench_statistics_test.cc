// What a benchmark measures and when it sends: definitions, percentiles, goodput, arrivals.
#include <cmath>
#include <limits>
#include <vector>

#include "bench_samples.h"
#include "client/bench/arrival_schedule.h"
#include "client/bench/bench_summary.h"
#include "client/bench/distribution.h"
#include "client/bench/request_sample.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Distribution, AgreesWithNumpy) {
  // numpy.mean, median, std, percentile of the list.
  const std::vector<double> percents = {0, 25, 90, 99, 100};
  const Distribution d = DistributionOf({7, 1, 2, 40, 3, 3.5}, percents);
  EXPECT_EQ(d.count, 6);
  EXPECT_DOUBLE_EQ(d.mean, 56.5 / 6);
  EXPECT_DOUBLE_EQ(d.median, 3.25);
  EXPECT_NEAR(d.std, 13.8034315379, 1e-9);
  EXPECT_EQ(d.min, 1);
  EXPECT_EQ(d.max, 40);
  ASSERT_EQ(d.percentiles.size(), 5u);
  EXPECT_DOUBLE_EQ(d.percentiles[0].second, 1);
  EXPECT_DOUBLE_EQ(d.percentiles[1].second, 2.25);
  EXPECT_DOUBLE_EQ(d.percentiles[2].second, 23.5);
  EXPECT_DOUBLE_EQ(d.percentiles[3].second, 38.35);
  EXPECT_DOUBLE_EQ(d.percentiles[4].second, 40);
}

TEST(Distribution, OfNothingIsZeroAndOfOneValueIsThatValue) {
  const std::vector<double> percents = {99};
  EXPECT_THAT(DistributionOf({}, percents).percentiles, ElementsAre(Pair(99, 0)));
  EXPECT_EQ(DistributionOf({}, percents).count, 0);
  EXPECT_THAT(DistributionOf({5}, percents).percentiles, ElementsAre(Pair(99, 5)));
  EXPECT_EQ(DistributionOf({5}, percents).std, 0);
}

TEST(RequestSample, LatenciesCountFromWhenTheRequestWasDue) {
  const RequestSample sample = CompletedSample("en", {{100, 1}, {150, 1}, {250, 1}});
  EXPECT_EQ(TimeToFirstToken(sample), absl::Milliseconds(100));
  EXPECT_EQ(TimePerOutputToken(sample), absl::Milliseconds(75));
  EXPECT_THAT(InterTokenLatencies(sample),
              ElementsAre(absl::Milliseconds(50), absl::Milliseconds(100)));
  EXPECT_EQ(EndToEndLatency(sample), absl::Milliseconds(260));
  EXPECT_EQ(OutputTokens(sample), 3);
}

// Three tokens at once and four more 200 ms later: 50 ms for each of the four, one gap for a
// reader.
TEST(RequestSample, TokensOfOneDeltaShareItsTime) {
  const RequestSample sample = CompletedSample("en", {{100, 3}, {300, 4}});
  EXPECT_EQ(TimePerOutputToken(sample), absl::Milliseconds(50));
  EXPECT_THAT(InterTokenLatencies(sample), ElementsAre(absl::Milliseconds(200)));
}

TEST(RequestSample, OneDeltaHasNoTimePerTokenAndNoneHasNoFirst) {
  const RequestSample one = CompletedSample("en", {{100, 5}});
  EXPECT_EQ(TimeToFirstToken(one), absl::Milliseconds(100));
  EXPECT_FALSE(TimePerOutputToken(one).has_value());
  EXPECT_THAT(InterTokenLatencies(one), IsEmpty());
  EXPECT_FALSE(TimeToFirstToken(CompletedSample("en", {})).has_value());
}

TEST(Goodput, EveryLevelMustBeKeptAndAbsentFiguresAre) {
  const RequestSample sample = CompletedSample("en", {{100, 1}, {150, 1}});
  const ServiceLevels kept = {.ttft = absl::Milliseconds(100),
                              .tpot = absl::Milliseconds(50),
                              .e2el = absl::Milliseconds(160)};
  EXPECT_TRUE(IsGood(sample, kept));
  EXPECT_TRUE(IsGood(sample, {}));
  EXPECT_FALSE(IsGood(sample, {.ttft = absl::Milliseconds(99)}));
  EXPECT_FALSE(IsGood(sample, {.tpot = absl::Milliseconds(49)}));
  EXPECT_FALSE(IsGood(sample, {.e2el = absl::Milliseconds(159)}));
  EXPECT_TRUE(IsGood(CompletedSample("en", {{9, 1}}), {.tpot = absl::Nanoseconds(1)}));
  EXPECT_FALSE(IsGood(FailedSample("en", "INTERNAL", "", ""), {}));
}

TEST(BenchSummary, CountsByOutcomeLanguageErrorAndCacheLevel) {
  LoadResult result{.duration = absl::Seconds(4)};
  result.samples = {CompletedSample("pt", {{100, 1}, {200, 2}}),
                    CompletedSample("en", {{300, 1}, {400, 1}}),
                    FailedSample("pt", "RESOURCE_EXHAUSTED", "QUEUE_FULL", "full"),
                    FailedSample("pt", "RESOURCE_EXHAUSTED", "QUEUE_FULL", "full"),
                    {.language = "en", .outcome = RequestOutcome::kInterrupted}};
  result.samples[0].cache_levels = {v1::CACHE_LEVEL_KV, v1::CACHE_LEVEL_NONE};
  const BenchDescription description = {.percentiles = {50},
                                        .levels = {.ttft = absl::Milliseconds(200)}};
  const BenchSummary summary = Summarize(result, description);
  EXPECT_EQ(summary.all.num_completed, 2);
  EXPECT_EQ(summary.all.num_failed, 2);
  EXPECT_EQ(summary.num_interrupted, 1);
  EXPECT_EQ(summary.all.num_good, 1);
  EXPECT_EQ(summary.all.num_input_tokens, 200);
  EXPECT_EQ(summary.all.num_cached_tokens, 64);
  EXPECT_EQ(summary.all.num_output_tokens, 5);
  EXPECT_EQ(summary.all.num_characters, 15);
  EXPECT_DOUBLE_EQ(summary.all.ttft_ms.mean, 200);
  EXPECT_EQ(summary.PerSecond(5), 1.25);
  ASSERT_EQ(summary.languages.size(), 2u);
  EXPECT_EQ(summary.languages[0].name, "en");
  EXPECT_EQ(summary.languages[0].num_failed, 0);
  EXPECT_EQ(summary.languages[1].name, "pt");
  EXPECT_EQ(summary.languages[1].num_failed, 2);
  EXPECT_THAT(summary.errors, ElementsAre(Pair(Pair("RESOURCE_EXHAUSTED", "QUEUE_FULL"), 2)));
  EXPECT_THAT(summary.cache_levels, ElementsAre(Pair("kv", 1), Pair("none", 1)));
  ASSERT_EQ(summary.stages_ms.size(), 2u);  // the others never ran
  EXPECT_EQ(summary.stages_ms[0].first, "queue");
  EXPECT_DOUBLE_EQ(summary.stages_ms[0].second.mean, 250);
  EXPECT_EQ(summary.peak_output_tokens_per_s, 5);
  EXPECT_THAT(TokensBySecond(result), ElementsAre(0, 5, 0, 0, 0));
}

TEST(BenchSummary, OfNothingIsZero) {
  const BenchSummary summary = Summarize({}, {});
  EXPECT_EQ(summary.all.num_completed, 0);
  EXPECT_EQ(summary.PerSecond(5), 0);
}

// Sum of n gaps and of their squares, in seconds.
struct Gaps {
  double mean = 0;
  double std = 0;
};

Gaps Measure(const ArrivalOptions& options, int num_gaps) {
  ArrivalSchedule schedule(options);
  double last = absl::ToDoubleSeconds(schedule.Next());
  EXPECT_EQ(last, 0);
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < num_gaps; ++i) {
    const double now = absl::ToDoubleSeconds(schedule.Next());
    EXPECT_GE(now, last);
    sum += now - last;
    squares += (now - last) * (now - last);
    last = now;
  }
  const double mean = sum / num_gaps;
  return {.mean = mean, .std = std::sqrt(squares / num_gaps - mean * mean)};
}

// The standard deviation of a gamma distribution of shape k is its mean over sqrt(k).
TEST(ArrivalSchedule, GapsHaveTheRateAndTheBurstinessAskedFor) {
  for (const double burstiness : {0.25, 1.0, 4.0}) {
    SCOPED_TRACE(burstiness);
    const Gaps gaps = Measure({.request_rate = 20, .burstiness = burstiness, .seed = 7}, 40000);
    EXPECT_NEAR(gaps.mean, 0.05, 0.002);
    EXPECT_NEAR(gaps.std, 0.05 / std::sqrt(burstiness), 0.005);
  }
}

TEST(ArrivalSchedule, InfiniteBurstinessIsConstantAndInfiniteRateIsAtOnce) {
  ArrivalSchedule constant({.request_rate = 4, .burstiness = kInfinity});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(constant.Next(), i * absl::Milliseconds(250));
  ArrivalSchedule at_once({.request_rate = kInfinity});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(at_once.Next(), absl::ZeroDuration());
}

TEST(ArrivalSchedule, TheSeedDecides) {
  const auto third = [](uint64_t seed) {
    ArrivalSchedule schedule({.request_rate = 1, .seed = seed});
    schedule.Next();
    schedule.Next();
    return schedule.Next();
  };
  EXPECT_EQ(third(1), third(1));
  EXPECT_NE(third(1), third(2));
}

}  // namespace
}  // namespace parrot
