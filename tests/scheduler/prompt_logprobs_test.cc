// Log-probabilities of prompts: each text position once, in order, before the first token, and the
// same values however the prompt comes to be computed.
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_driver.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

constexpr int32_t kTop = 2;

// Text, an image, text: 19 positions of which 14 hold text.
RequestBuilder Prompt(RequestKey key) {
  RequestBuilder request(key);
  return request.Content(3).Text(6).Image(1).Text(8).MaxTokens(4).PromptLogprobs(kTop);
}

ExecutorCapacity Roomy() {
  ExecutorCapacity capacity = TwoInFlight();
  capacity.num_blocks = 400;
  capacity.max_slots = 8;
  return capacity;
}

void ExpectAll(const Driver& driver, const RequestBuilder& asked) {
  const std::shared_ptr<const Request> request = asked.Build();
  const std::map<int32_t, float> expected = ExpectedPromptLogprobs(*request);
  const std::vector<PromptLogprobEvent> logprobs = driver.sink().PromptLogprobs(request->key);
  ASSERT_EQ(logprobs.size(), expected.size());
  auto it = expected.begin();
  for (const PromptLogprobEvent& event : logprobs) {
    EXPECT_EQ(event.position, it->first);
    EXPECT_EQ(event.logprob, it->second);
    EXPECT_EQ(event.token, request->token_ids[event.position]);
    EXPECT_EQ(event.top.size(), static_cast<size_t>(kTop));
    ++it;
  }
  bool has_token = false;
  for (const EngineEvent& event : driver.sink().events()) {
    const auto* token = std::get_if<TokenEvent>(&event);
    has_token = has_token || (token != nullptr && token->key == request->key);
    const auto* logprob = std::get_if<PromptLogprobEvent>(&event);
    EXPECT_FALSE(has_token && logprob != nullptr && logprob->key == request->key);
  }
  EXPECT_EQ(driver.sink().Tokens(request->key, 0), ExpectedTokens(*request));
}

TEST(PromptLogprobsTest, AreThoseOfTheTextTokensButTheFirst) {
  Driver driver(Roomy());
  driver.Answer(Prompt(1));
  ExpectAll(driver, Prompt(1));
  const std::vector<PromptLogprobEvent> logprobs = driver.sink().PromptLogprobs(1);
  ASSERT_EQ(logprobs.size(), 13u);
  EXPECT_EQ(logprobs.front().position, 1);
  EXPECT_EQ(logprobs[4].position, 5);
  EXPECT_EQ(logprobs[5].position, 6 + kTestImageTokens);  // given the image
  EXPECT_EQ(logprobs.back().position, 18);
  RequestBuilder plain(2);
  driver.Answer(plain.Content(3).Text(6).MaxTokens(2));
  EXPECT_TRUE(driver.sink().PromptLogprobs(2).empty());
}

TEST(PromptLogprobsTest, AreTheSameInChunksOfAnySize) {
  for (int32_t chunk = 1; chunk <= 19; ++chunk) {
    SCOPED_TRACE(chunk);
    SchedulerOptions options = WideOptions();
    options.max_num_batched_tokens = chunk;
    Driver driver(Roomy(), /*job_delay_steps=*/chunk % 3, options);
    driver.Add(Prompt(1));
    driver.Add(Prompt(2));
    driver.RunAll();
    ExpectAll(driver, Prompt(1));
    ExpectAll(driver, Prompt(2));
  }
}

// Positions in the cache have no logits, so they are computed; and kept for others all the same.
TEST(PromptLogprobsTest, ReadNothingFromThePrefixCacheAndFillIt) {
  Driver driver(Roomy());
  RequestBuilder plain = Prompt(1);
  driver.Answer(plain.PromptLogprobs(-1));
  driver.Answer(Prompt(2));
  ExpectAll(driver, Prompt(2));
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 0);

  driver.scheduler().FlushCache();
  driver.Answer(Prompt(3));
  RequestBuilder later = Prompt(4);
  driver.Answer(later.PromptLogprobs(-1));
  EXPECT_EQ(driver.sink().Finish(4).num_cached_tokens, 16);
}

TEST(PromptLogprobsTest, OfSeveralSamplesComeOnce) {
  Driver driver(Roomy());
  RequestBuilder request = Prompt(1);
  driver.Answer(request.NumSequences(3));
  ExpectAll(driver, request);
  EXPECT_EQ(driver.sink().Finishes(1).size(), 3u);
  // The other samples share the prompt of the first.
  EXPECT_EQ(driver.sink().Finishes(1).back().num_cached_tokens, 18);
}

// The answer of the first takes the blocks of the second, whose long prompt is half done.
TEST(PromptLogprobsTest, ComeOnceEvenIfThePromptIsPreempted) {
  for (const int32_t chunk : {2, 3}) {
    SCOPED_TRACE(chunk);
    ExecutorCapacity capacity = Roomy();
    capacity.num_blocks = 16;
    SchedulerOptions options = WideOptions();
    options.max_num_batched_tokens = chunk;
    Driver driver(capacity, 0, options);
    RequestBuilder urgent = Prompt(1);
    urgent.MaxTokens(24).Priority(9);
    RequestBuilder late = Prompt(2);
    late.Text(20);
    driver.Add(urgent);
    driver.Add(late);
    size_t num_before = 0;  // of the late one, when it was preempted
    while (driver.Submit() != nullptr) {
      driver.Finish();
      if (driver.scheduler().totals().num_preemptions > 0 && num_before == 0) {
        num_before = driver.sink().PromptLogprobs(2).size();
      }
    }
    EXPECT_GT(num_before, 0u);
    EXPECT_LT(num_before, driver.sink().PromptLogprobs(2).size());
    ExpectAll(driver, urgent);
    ExpectAll(driver, late);
  }
}

TEST(PromptLogprobsTest, OfALostStepAreMadeAgain) {
  SchedulerOptions options = WideOptions();
  options.max_num_batched_tokens = 8;
  Driver driver(Roomy(), 0, options);
  driver.Add(Prompt(1));
  driver.Add(Prompt(2));
  for (int i = 0; i < 3; ++i) {
    ASSERT_NE(driver.Submit(), nullptr);
    driver.Finish();
  }
  ASSERT_NE(driver.Submit(), nullptr);
  StepOutput lost = driver.Fail(absl::InternalError("lost"));
  driver.Update(&lost);
  driver.RunAll();
  ExpectAll(driver, Prompt(1));
  ExpectAll(driver, Prompt(2));
}

}  // namespace
}  // namespace parrot
