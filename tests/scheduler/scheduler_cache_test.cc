// What the caches save, and that they never change an answer: shared prefixes, kept features, what
// requests are told of both.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_driver.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kImageBytes = 100;

ExecutorCapacity Roomy(bool caches_experts = false) {
  ExecutorCapacity capacity = SmallCapacity();
  capacity.num_blocks = 400;
  capacity.image_bytes = kImageBytes;
  capacity.caches_experts = caches_experts;
  return capacity;
}

SchedulerOptions KeepImages(int64_t count) {
  SchedulerOptions options = WideOptions();
  options.vision_cache_memory_bytes = count * kImageBytes + kImageBytes / 2;
  return options;
}

// Text before the image, the image, and a text that depends on `content`.
RequestBuilder Question(RequestKey key, uint64_t content, int image = 1) {
  RequestBuilder request(key);
  return request.Content(1).Text(6).Image(image).Content(content).Text(4).MaxTokens(3);
}

std::vector<CacheLevel> Levels(const RecordingSink& sink, RequestKey key) {
  std::vector<CacheLevel> levels;
  for (const RoutingEvent& routing : sink.Routings(key)) levels.push_back(routing.cache_level);
  return levels;
}

// ---- Approximations ----

TEST(SchedulerCacheTest, AnApproximationIsToldWithItsBoundAsLongAsTheImageIsThere) {
  for (const bool keeps_images : {true, false}) {
    Driver driver(Roomy(), 0, KeepImages(keeps_images ? 4 : 0));
    driver.Answer(Question(1, 7).Approximate());
    EXPECT_EQ(driver.sink().Routings(1).at(0).error_bound, 0.5f);
    driver.Answer(Question(2, 7).Approximate());
    ASSERT_THAT(Levels(driver.sink(), 2), ElementsAre(CacheLevel::kKv));
    EXPECT_EQ(driver.sink().Routings(2)[0].error_bound.has_value(), keeps_images);
    EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*Question(2, 7).Build()));
    EXPECT_EQ(driver.num_encodes(), 1);
    EXPECT_EQ(driver.model().num_features(), keeps_images ? 1 : 0);
    driver.Answer(Question(3, 7));
    EXPECT_FALSE(driver.sink().Routings(3).at(0).error_bound.has_value()) << "nobody asked";
  }
}

TEST(SchedulerCacheTest, TheBoundThatComesTooLateIsLeftOut) {
  Driver driver(Roomy(), /*job_delay_steps=*/2, KeepImages(4));
  driver.Answer(Question(1, 7).Approximate());
  driver.Answer(Question(2, 7).Approximate());
  ASSERT_THAT(Levels(driver.sink(), 2), ElementsAre(CacheLevel::kKv));
  EXPECT_FALSE(driver.sink().Routings(2)[0].error_bound.has_value()) << "the token did not wait";
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*Question(2, 7).Build()));
}

// ---- Prefixes ----

TEST(SchedulerCacheTest, ARepeatedPromptComputesOnlyItsLastBlock) {
  Driver driver(Roomy());
  const auto first = RequestBuilder(1).Content(5).Text(12).MaxTokens(3);
  const auto second = RequestBuilder(2).Content(5).Text(12).MaxTokens(3);
  driver.Answer(first);
  EXPECT_EQ(driver.sink().Finish(1).num_cached_tokens, 0);
  const int64_t num_cold = driver.num_computed_tokens();
  EXPECT_EQ(num_cold, 14);
  driver.Answer(second);
  // The last token's logits are wanted: of three full blocks two are taken.
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 8);
  EXPECT_EQ(driver.num_computed_tokens() - num_cold, num_cold - 8);
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*second.Build()));
  EXPECT_EQ(driver.scheduler().kv_cache().num_query_tokens(), 24);
  EXPECT_EQ(driver.scheduler().kv_cache().num_hit_tokens(), 8);
}

TEST(SchedulerCacheTest, ADialogueReusesItsAnswersToo) {
  Driver driver(Roomy());
  const auto first = RequestBuilder(1).Text(10).MaxTokens(9);
  driver.Answer(first);
  Request next = *first.Build();
  for (const TokenId token : ExpectedTokens(next)) next.token_ids.push_back(token);
  next.token_ids.push_back(3);
  next.text_ids = next.token_ids;
  next.key = 2;
  driver.Add(std::make_shared<const Request>(next));
  driver.RunAll();
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 16) << "of 18 positions that were computed";
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(next));
}

TEST(SchedulerCacheTest, SharedBlocksAreCountedOnceWhileBothRun) {
  Driver driver(Roomy());
  driver.Add(RequestBuilder(1).Content(5).Text(13).MaxTokens(8));
  driver.Submit();
  driver.Finish();
  driver.Add(RequestBuilder(2).Content(5).Text(13).MaxTokens(8));
  const StepInput* step = driver.Submit();
  ASSERT_EQ(step->new_slots.size(), 1u);
  EXPECT_THAT(Spans(*step), ElementsAre(ElementsAre(0, 13, 1), ElementsAre(1, 12, 1)));
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 3 + 2);
  driver.Finish();
  driver.RunAll();
  for (const RequestKey key : {1, 2}) {
    EXPECT_EQ(driver.sink().Tokens(key),
              ExpectedTokens(*RequestBuilder(key).Content(5).Text(13).MaxTokens(8).Build()));
  }
}

TEST(SchedulerCacheTest, AnotherTenantFindsNothing) {
  Driver driver(Roomy());
  driver.Answer(RequestBuilder(1).Content(5).Text(12).Tenant("a"));
  driver.Answer(RequestBuilder(2).Content(5).Text(12).Tenant("b"));
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 0);
}

TEST(SchedulerCacheTest, ARequestMayRefuseToReadAndToLeaveBlocks) {
  Driver driver(Roomy());
  driver.Answer(RequestBuilder(1).Content(5).Text(12).UsePrefixCache(false));
  EXPECT_EQ(driver.scheduler().blocks().num_cached(), 0);
  driver.Answer(RequestBuilder(2).Content(5).Text(12));
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 0);
  driver.Answer(RequestBuilder(3).Content(5).Text(12).UsePrefixCache(false));
  EXPECT_EQ(driver.sink().Finish(3).num_cached_tokens, 0);
  EXPECT_EQ(driver.scheduler().kv_cache().num_query_tokens(), 12);
}

TEST(SchedulerCacheTest, TheServerMayTurnItOff) {
  SchedulerOptions options = WideOptions();
  options.enable_prefix_caching = false;
  Driver driver(Roomy(), 0, options);
  driver.Answer(RequestBuilder(1).Content(5).Text(12));
  driver.Answer(RequestBuilder(2).Content(5).Text(12));
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 0);
  EXPECT_EQ(driver.scheduler().blocks().num_cached(), 0);
}

TEST(SchedulerCacheTest, AFailedStepLeavesNothingBehind) {
  Driver driver(Roomy());
  driver.Add(RequestBuilder(1).Content(5).Text(12));
  driver.Submit();
  StepOutput output = driver.Fail(absl::InternalError("x"));
  driver.Update(&output);
  EXPECT_EQ(driver.scheduler().blocks().num_cached(), 0);
  const auto second = RequestBuilder(2).Content(5).Text(12);
  driver.Answer(second);
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 0);
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*second.Build()));
}

TEST(SchedulerCacheTest, AFlushForgetsPrefixesAndImagesAndHarmsNobodyWhoRuns) {
  Driver driver(Roomy(), 0, KeepImages(4));
  driver.Answer(Question(1, 7));
  EXPECT_EQ(driver.model().num_features(), 1);
  EXPECT_GT(driver.scheduler().blocks().num_cached(), 0);
  driver.Add(Question(2, 8));
  driver.Submit();
  driver.Finish();
  driver.Answer(Question(9, 7, /*image=*/2));
  driver.scheduler().FlushCache();
  driver.RunAll();
  EXPECT_EQ(driver.scheduler().CheckIntegrity(), absl::OkStatus());
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*Question(2, 8).Build()));
  driver.scheduler().FlushCache();
  EXPECT_EQ(driver.scheduler().blocks().num_cached(), 0);
  EXPECT_EQ(driver.scheduler().vision().num_present(), 0);
  driver.RunAll();
  EXPECT_EQ(driver.model().num_features(), 0) << "the worker heard of it";
  driver.Answer(Question(3, 7));
  EXPECT_EQ(driver.sink().Finish(3).num_cached_tokens, 0);
  EXPECT_THAT(Levels(driver.sink(), 3), ElementsAre(CacheLevel::kNone));
}

// ---- Prefixes with images ----

TEST(SchedulerCacheTest, TheSameImageWithTheSameTextNeedsNeitherEncodeNorRoute) {
  Driver driver(Roomy());
  driver.Answer(Question(1, 7));
  driver.Add(Question(2, 7));
  const StepInput* step = driver.Submit();
  EXPECT_THAT(step->encode_jobs, IsEmpty());
  EXPECT_THAT(step->route_jobs, IsEmpty());
  EXPECT_THAT(Spans(*step), ElementsAre(ElementsAre(testing::_, 12, 3)));
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 12);
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*Question(2, 7).Build()));
  EXPECT_THAT(Levels(driver.sink(), 2), ElementsAre(CacheLevel::kKv));
  EXPECT_EQ(driver.sink().Routings(2)[0].weights, driver.sink().Routings(1)[0].weights)
      << "what the router said is told again";
}

TEST(SchedulerCacheTest, TheSameQuestionAboutAnotherImageMissesFromItsFirstRowOn) {
  Driver driver(Roomy());
  driver.Answer(Question(1, 7, /*image=*/1));
  driver.Answer(Question(2, 7, /*image=*/2));
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 4);
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*Question(2, 7, /*image=*/2).Build()));
}

TEST(SchedulerCacheTest, EachImageOfAPromptIsFoundOrComputedByItself) {
  Driver driver(Roomy(), 0, KeepImages(4));
  const auto prompt = [](RequestKey key, int32_t tail) {
    RequestBuilder request(key);
    // With weights of its own no image depends on the text after it.
    request.Content(1).Text(2).Image(1, RoutingSource::kWeights).Text(5);
    return request.Image(2, RoutingSource::kWeights).Content(tail).Text(2).MaxTokens(2);
  };
  driver.Answer(prompt(1, 1));
  driver.Answer(RequestBuilder(2).Content(1).Text(2).Image(1, RoutingSource::kWeights).Text(6));
  EXPECT_THAT(Levels(driver.sink(), 2), ElementsAre(CacheLevel::kKv));
  driver.Answer(prompt(3, 3));
  EXPECT_EQ(driver.sink().Finish(3).num_cached_tokens, 16);
  EXPECT_THAT(Levels(driver.sink(), 3), ElementsAre(CacheLevel::kKv, CacheLevel::kFeatures))
      << "the second image ends in a block that is not full";
  EXPECT_EQ(driver.sink().Tokens(3), ExpectedTokens(*prompt(3, 3).Build()));
}

// Fifty questions about one image, each asked twice, four at a time. Returns how many answers
// differ from those of an empty server.
int NumWrongAnswers(Driver* driver,
                    const std::function<std::shared_ptr<const Request>(const Request&)>& as_seen) {
  constexpr int kNumQuestions = 50;
  std::vector<RequestKey> keys(2 * kNumQuestions);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = i;
  std::mt19937 random(7);
  std::shuffle(keys.begin(), keys.end(), random);
  for (const RequestKey key : keys) {
    driver->Add(as_seen(*Question(key, 100 + key % kNumQuestions).Build()));
    for (uint32_t steps = random() % 4; steps > 0; --steps) {
      if (driver->Submit() != nullptr) driver->Finish();
    }
  }
  driver->RunAll();
  EXPECT_EQ(driver->sink().num_finished(), 2 * kNumQuestions);
  int num_wrong = 0;
  for (const RequestKey key : keys) {
    const auto question = Question(key, 100 + key % kNumQuestions).Build();
    if (driver->sink().Tokens(key) != ExpectedTokens(*question)) ++num_wrong;
  }
  return num_wrong;
}

TEST(SchedulerCacheTest, AnotherQuestionAboutAKnownImageNeverTakesItsKeysAndValues) {
  Driver driver(Roomy(), 0, KeepImages(4));
  const auto honest = [](const Request& request) {
    return std::make_shared<const Request>(request);
  };
  EXPECT_EQ(NumWrongAnswers(&driver, honest), 0);
  EXPECT_EQ(driver.num_encodes(), 1);
  std::map<uint64_t, int> num_deep_hits;  // by question
  for (RequestKey key = 0; key < 100; ++key) {
    const int32_t num_cached = driver.sink().Finish(key).num_cached_tokens;
    EXPECT_TRUE(num_cached == 0 || num_cached == 4 || num_cached == 12) << num_cached;
    if (num_cached > 4) ++num_deep_hits[key % 50];
  }
  EXPECT_GE(num_deep_hits.size(), 40u) << "the second time it is a hit";
  for (const auto& [question, count] : num_deep_hits) {
    EXPECT_EQ(count, 1) << "but never the first time";
  }
}

// What a general server does: its cache knows of images and of the tokens of each block, but not
// that the visual tokens depend on the text of the whole prompt. Here the scheduler gets requests
// whose routing text is hidden, and the worker the true text.
TEST(SchedulerCacheTest, ACacheKeyedByTheImageAloneWouldGiveWrongAnswers) {
  Driver driver(Roomy(), 0, KeepImages(4));
  std::map<SlotId, std::vector<TokenId>> texts;
  driver.set_on_step([&texts](StepInput* input) {
    for (const SlotStart& start : input->new_slots) {
      std::vector<TokenId>& text = texts[start.slot];
      text.clear();
      for (int32_t i = 0; i < start.num_prompt_tokens; ++i) {
        if (start.token_ids[i] != kVisualToken) text.push_back(start.token_ids[i]);
      }
    }
    for (RouteJob& job : input->route_jobs) job.text_ids = texts.at(job.slot);
  });
  const auto without_routing_text = [](const Request& request) {
    auto hidden = std::make_shared<Request>(request);
    hidden->text_ids.clear();
    return hidden;
  };
  EXPECT_GE(NumWrongAnswers(&driver, without_routing_text), 50);
}

// ---- Features ----

TEST(SchedulerCacheTest, AnotherQuestionAboutAKnownImageRunsNoTower) {
  for (const bool caches_experts : {false, true}) {
    Driver driver(Roomy(caches_experts), 0, KeepImages(1));
    driver.Answer(Question(1, 7));
    EXPECT_EQ(driver.model().num_features(), 1);
    driver.Answer(Question(2, 8));
    EXPECT_EQ(driver.num_encodes(), 1);
    EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 4) << "the text before the image";
    EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*Question(2, 8).Build()));
    EXPECT_THAT(Levels(driver.sink(), 1), ElementsAre(CacheLevel::kNone));
    EXPECT_THAT(Levels(driver.sink(), 2),
                ElementsAre(caches_experts ? CacheLevel::kExperts : CacheLevel::kFeatures));
    EXPECT_EQ(driver.scheduler().totals().num_vision_queries, 2);
    EXPECT_EQ(driver.scheduler().totals().num_vision_hits, 1);
  }
}

TEST(SchedulerCacheTest, ThoseWhoWaitTogetherShareOneEncodeAndCallItComputed) {
  Driver driver(Roomy(), 0, KeepImages(1));
  driver.Add(Question(1, 7));
  driver.Add(Question(2, 8));
  driver.RunAll();
  EXPECT_EQ(driver.num_encodes(), 1);
  EXPECT_THAT(Levels(driver.sink(), 1), ElementsAre(CacheLevel::kNone));
  EXPECT_THAT(Levels(driver.sink(), 2), ElementsAre(CacheLevel::kNone));
}

TEST(SchedulerCacheTest, KeepsTheImagesNeededLastWithinTheBudgetOfBytes) {
  Driver driver(Roomy(), 0, KeepImages(2));
  RequestKey key = 0;
  std::vector<int64_t> num_encodes;
  for (const int image : {1, 2, 1, 3, 1, 2, 3}) {
    ++key;
    driver.Answer(Question(key, key, image));
    num_encodes.push_back(driver.num_encodes());
    EXPECT_LE(driver.model().num_features(), 2);
    EXPECT_EQ(driver.model().num_features(), driver.scheduler().vision().num_present());
  }
  // 3 took the place of 2, then 2 that of 3, then 3 that of 1.
  EXPECT_THAT(num_encodes, ElementsAre(1, 2, 2, 3, 3, 4, 5));
}

TEST(SchedulerCacheTest, WithoutABudgetFeaturesGoWithTheirLastUser) {
  SchedulerOptions options = WideOptions();
  options.vision_cache_memory_bytes = kImageBytes - 1;  // not one image
  Driver driver(Roomy(), 0, options);
  driver.Answer(Question(1, 7));
  EXPECT_EQ(driver.model().num_features(), 0);
  driver.Answer(Question(2, 8));
  EXPECT_EQ(driver.num_encodes(), 2);
}

TEST(SchedulerCacheTest, ImagesInUseMayExceedTheBudget) {
  Driver driver(Roomy(), 0, KeepImages(1));
  for (RequestKey key = 1; key <= 4; ++key) driver.Add(Question(key, key, static_cast<int>(key)));
  for (int i = 0; i < 2; ++i) {
    driver.Submit();
    driver.Finish();
  }
  EXPECT_EQ(driver.model().num_features(), 4);
  driver.RunAll();
  for (RequestKey key = 1; key <= 4; ++key) {
    EXPECT_EQ(driver.sink().Tokens(key),
              ExpectedTokens(*Question(key, key, static_cast<int>(key)).Build()));
  }
  EXPECT_EQ(driver.model().num_features(), 1);
}

}  // namespace
}  // namespace parrot
