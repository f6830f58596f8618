// Who runs, who waits, who gives way: priority, aging, tenants, deadlines, preemption, and the n
// answers of one request.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_driver.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

SchedulerOptions OneAtATime() {
  SchedulerOptions options = WideOptions();
  options.max_num_seqs = 1;
  options.queue_timeout = absl::InfiniteDuration();
  return options;
}

// ---- Order of the queue ----

TEST(SchedulerPolicyTest, TheHigherPriorityStartsFirst) {
  Driver driver(SmallCapacity(), 0, OneAtATime());
  driver.Add(RequestBuilder(1).Text(2).Priority(0));
  driver.Add(RequestBuilder(2).Text(2).Priority(5));
  driver.Add(RequestBuilder(3).Text(2).Priority(9));
  driver.Add(RequestBuilder(4).Text(2).Priority(5));
  driver.RunAll();
  EXPECT_THAT(OrderOfFirstTokens(driver.sink()), ElementsAre(3, 2, 4, 1));
}

TEST(SchedulerPolicyTest, WhoWaitsLongEnoughIsOvertakenByNobody) {
  SchedulerOptions options = OneAtATime();
  options.priority_aging_interval = absl::Seconds(10);
  Driver driver(SmallCapacity(), 0, options);
  driver.Add(RequestBuilder(1).Text(2).Priority(0));
  // Ever new requests of a higher priority: after 90 s the first is level with 9.
  RequestKey key = 1;
  while (driver.sink().Finishes(1).empty()) {
    driver.Add(RequestBuilder(++key).Text(2).Priority(9));
    ASSERT_NE(driver.Submit(), nullptr);
    driver.clock().Advance(absl::Seconds(1));
    driver.Finish();
    ASSERT_LE(key, 200u) << "it starves";
  }
  EXPECT_GE(key, 90u);
  EXPECT_LE(key, 93u);
}

TEST(SchedulerPolicyTest, AmongEqualsTheEarliestDeadlineStartsFirst) {
  Driver driver(SmallCapacity(), 0, OneAtATime());
  const absl::Time start = driver.clock().Now();
  driver.Add(RequestBuilder(1).Text(2));
  driver.Add(RequestBuilder(2).Text(2).Deadline(start + absl::Seconds(60)));
  driver.Add(RequestBuilder(3).Text(2).Deadline(start + absl::Seconds(20)));
  driver.Add(RequestBuilder(4).Text(2).Deadline(start + absl::Seconds(40)).Priority(1));
  driver.RunAll();
  EXPECT_THAT(OrderOfFirstTokens(driver.sink()), ElementsAre(4, 3, 2, 1));
}

TEST(SchedulerPolicyTest, TenantsShareTokensEvenlyWhateverTheySend) {
  Driver driver(SmallCapacity(), 0, OneAtATime());
  // "many" sends small requests long before "few" sends larger ones.
  for (RequestKey key = 100; key < 160; ++key) {
    driver.Add(RequestBuilder(key).Text(3).MaxTokens(2).Tenant("many"));
  }
  for (int i = 0; i < 6; ++i) {
    driver.Submit();
    driver.Finish();
  }
  for (RequestKey key = 200; key < 210; ++key) {
    driver.Add(RequestBuilder(key).Text(9).MaxTokens(4).Tenant("few"));
  }
  std::map<std::string, int64_t> num_tokens;
  int64_t most_apart = 0;
  driver.set_on_step([&](StepInput* input) {
    for (const Span& span : input->spans) {
      const bool is_many = span.start_position + span.num_tokens <= 4;
      num_tokens[is_many ? "many" : "few"] += span.num_tokens;
    }
    most_apart = std::max(most_apart, std::abs(num_tokens["many"] - num_tokens["few"]));
  });
  while (driver.sink().Finishes(209).empty()) {
    ASSERT_NE(driver.Submit(), nullptr);
    driver.Finish();
  }
  EXPECT_EQ(num_tokens["few"], 120);
  EXPECT_GE(num_tokens["many"], 104);
  EXPECT_LE(most_apart, 16) << "one request of each";
}

// ---- Preemption ----

TEST(SchedulerPolicyTest, TheLessUrgentGivesWayFromItsTailAndGoesOnWhereItIsLeft) {
  Driver driver;                                                             // 16 blocks of 4
  const auto urgent = RequestBuilder(1).Text(20).MaxTokens(30).Priority(1);  // 13 blocks
  const auto other = RequestBuilder(2).Text(20).MaxTokens(20);               // 10 blocks
  std::map<uint64_t, int> num_starts;  // by seed, which is the key
  int32_t resumed_at = -1;
  int32_t num_tokens_at_resume = 0;
  driver.set_on_step([&](StepInput* input) {
    for (const SlotStart& start : input->new_slots) {
      if (++num_starts[start.sampling.seed] < 2) continue;
      num_tokens_at_resume = static_cast<int32_t>(start.token_ids.size());
      for (const Span& span : input->spans) {
        if (span.slot == start.slot) resumed_at = span.start_position;
      }
    }
  });
  driver.Add(urgent);
  driver.Add(other);
  driver.RunAll();
  EXPECT_EQ(driver.scheduler().totals().num_preemptions, 1);
  EXPECT_EQ(num_starts[1], 1);
  EXPECT_EQ(num_starts[2], 2);
  // It had 31 positions in 8 blocks when the urgent one needed a ninth, and lost 5 in the end.
  EXPECT_EQ(num_tokens_at_resume, 32);
  EXPECT_EQ(resumed_at, 12);
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*urgent.Build()));
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*other.Build()));
  EXPECT_EQ(driver.sink().Finish(2).num_cached_tokens, 0) << "its own blocks are no cache hit";
}

TEST(SchedulerPolicyTest, APreemptedImageIsRoutedAgainAndToldOnce) {
  Driver driver;
  const auto urgent = RequestBuilder(1).Text(20).MaxTokens(40).Priority(1);
  const auto other = RequestBuilder(2).Text(3).Image(7).Text(8).MaxTokens(30);
  driver.Add(urgent);
  driver.Add(other);
  driver.RunAll();
  EXPECT_GE(driver.scheduler().totals().num_preemptions, 1);
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*other.Build()));
  EXPECT_EQ(driver.sink().Routings(2).size(), 1u);
  EXPECT_EQ(driver.num_encodes(), 1) << "a sequence that waits holds on to its images";
  EXPECT_EQ(driver.model().num_features(), 0);
}

TEST(SchedulerPolicyTest, AVictimThatAStepNamesLeavesWhenTheStepIsDone) {
  Driver driver(TwoInFlight());
  const auto urgent = RequestBuilder(1).Text(20).MaxTokens(30).Priority(1);
  const auto other = RequestBuilder(2).Text(20).MaxTokens(20);
  driver.Add(urgent);
  driver.Add(other);
  int num_in_flight = 0;
  for (int i = 0; i < 1000; ++i) {
    while (num_in_flight < 2 && driver.Submit() != nullptr) ++num_in_flight;
    if (num_in_flight == 0) break;
    driver.Finish();
    --num_in_flight;
  }
  EXPECT_GE(driver.scheduler().totals().num_preemptions, 1);
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*urgent.Build()));
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*other.Build()));
}

TEST(SchedulerPolicyTest, APreemptedRequestMayBeCancelledAndMayExpire) {
  for (const bool expires : {false, true}) {
    Driver driver;
    driver.Add(RequestBuilder(1).Text(20).MaxTokens(30).Priority(1));
    driver.Add(RequestBuilder(2).Text(20).MaxTokens(20).Deadline(driver.clock().Now() +
                                                                 absl::Seconds(60)));
    while (driver.scheduler().totals().num_preemptions == 0) {
      ASSERT_NE(driver.Submit(), nullptr);
      driver.Finish();
    }
    EXPECT_EQ(driver.scheduler().num_waiting(), 1);
    driver.clock().Advance(absl::Seconds(59));
    driver.Expire();
    EXPECT_THAT(driver.sink().Finishes(2), IsEmpty())
        << "the queue timeout was for its first place";
    driver.clock().Advance(absl::Seconds(1));
    expires ? driver.Expire() : driver.Cancel(2);
    EXPECT_EQ(driver.sink().Finish(2).reason,
              expires ? FinishReason::kDeadline : FinishReason::kCancelled);
    EXPECT_GT(driver.sink().Finish(2).num_completion_tokens, 0);
    driver.RunAll();
    EXPECT_EQ(driver.sink().num_finished(), 2);
  }
}

// Random crowds in too little memory. The oldest of the most urgent class moves in every step, and
// is never preempted; everybody gets the answer that he would have got alone.
TEST(SchedulerPolicyTest, TheMostUrgentIsNeverPreemptedAndMovesInEveryStep) {
  int64_t num_preemptions = 0;
  for (uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    Driver driver;
    std::vector<RequestBuilder> requests;
    requests.push_back(RequestBuilder(1).Text(10).MaxTokens(40).Priority(9));
    for (RequestKey key = 2; key <= 8; ++key) {
      requests.push_back(RequestBuilder(key)
                             .Text(1 + static_cast<int32_t>(random() % 30))
                             .MaxTokens(1 + static_cast<int32_t>(random() % 30))
                             .Priority(static_cast<int32_t>(random() % 9)));
    }
    driver.Add(requests[4]);
    driver.Add(requests[5]);
    for (uint32_t i = random() % 9; i > 0; --i) {
      if (driver.Submit() != nullptr) driver.Finish();
    }
    for (const size_t i : {1, 0, 2, 3, 6, 7}) driver.Add(requests[i]);
    SlotId slot = -1;  // of the most urgent, once it has started
    bool is_over = false;
    driver.set_on_step([&](StepInput* input) {
      for (const SlotStart& start : input->new_slots) {
        if (start.sampling.seed != 1) continue;
        EXPECT_EQ(slot, -1) << "it started twice";
        slot = start.slot;
      }
      if (slot < 0 || is_over) return;
      EXPECT_TRUE(std::any_of(input->spans.begin(), input->spans.end(), [&](const Span& span) {
        return span.slot == slot;
      })) << "it stands still";
    });
    while (driver.Submit() != nullptr) {
      driver.Finish();
      is_over = !driver.sink().Finishes(1).empty();
    }
    for (RequestKey key = 1; key <= 8; ++key) {
      EXPECT_EQ(driver.sink().Tokens(key), ExpectedTokens(*requests[key - 1].Build()));
    }
    EXPECT_EQ(driver.scheduler().blocks().num_used(), 0);
    num_preemptions += driver.scheduler().totals().num_preemptions;
  }
  EXPECT_GE(num_preemptions, 100);
}

// Ever new requests of the highest priority in too little memory: aging must carry one of the
// lowest not only to a place, but to its end.
TEST(SchedulerPolicyTest, TheLeastUrgentEndsHoweverManyUrgentOnesCome) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    SchedulerOptions options = WideOptions();
    options.priority_aging_interval = absl::Seconds(10);
    options.queue_timeout = absl::InfiniteDuration();
    ExecutorCapacity capacity = SmallCapacity();
    capacity.max_step_tokens = 2 << random() % 6;
    Driver driver(capacity, 0, options);
    const auto patient = RequestBuilder(1).Text(30).MaxTokens(20).Priority(0);
    driver.Add(patient);
    RequestKey key = 1;
    int num_steps = 0;
    while (driver.sink().Finishes(1).empty()) {
      if (driver.scheduler().num_waiting() < 8) {
        driver.Add(RequestBuilder(++key)
                       .Text(1 + static_cast<int32_t>(random() % 20))
                       .MaxTokens(1 + static_cast<int32_t>(random() % 30))
                       .Priority(9));
      }
      ASSERT_NE(driver.Submit(), nullptr);
      driver.clock().Advance(absl::Seconds(1));
      driver.Finish();
      ASSERT_LE(++num_steps, 1000) << "it starves";
    }
    EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*patient.Build()));
  }
}

// ---- Several answers of one request ----

TEST(SchedulerPolicyTest, TheAnswersOfOneRequestShareTheBlocksOfItsPrompt) {
  Driver driver;
  const auto request = RequestBuilder(1).Text(9).MaxTokens(5).NumSequences(3);
  driver.Add(request);
  driver.Submit();
  EXPECT_EQ(driver.scheduler().num_running(), 1) << "the others wait for the prompt";
  driver.Finish();
  const StepInput* step = driver.Submit();
  ASSERT_EQ(step->new_slots.size(), 2u);
  EXPECT_EQ(step->new_slots[0].sampling.sequence_idx + step->new_slots[1].sampling.sequence_idx, 3);
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 2 + 3) << "two full ones, and one of each";
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.num_computed_tokens(), 9 + 2 * 1 + 3 * 4);
  ASSERT_EQ(driver.sink().Finishes(1).size(), 3u);
  for (int32_t idx = 0; idx < 3; ++idx) {
    EXPECT_EQ(driver.sink().Tokens(1, idx), ExpectedTokens(*request.Build()));
  }
  for (const FinishEvent& finish : driver.sink().Finishes(1)) {
    EXPECT_EQ(finish.num_cached_tokens, finish.sequence_idx == 0 ? 0 : 8);
  }
}

TEST(SchedulerPolicyTest, EachAnswerGetsItsCopyOfTheBlockThatIsNotFull) {
  Driver driver;
  const auto request = RequestBuilder(1).Text(11).MaxTokens(5).NumSequences(3);
  driver.Add(request);
  driver.Submit();
  driver.Finish();
  const StepInput* step = driver.Submit();
  ASSERT_EQ(step->block_copies.size(), 2u);
  EXPECT_EQ(step->block_copies[0].source, step->block_copies[1].source);
  EXPECT_NE(step->block_copies[0].destination, step->block_copies[1].destination);
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 2 + 3);
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.num_computed_tokens(), 11 + 2 * 1 + 3 * 4) << "its last token, for the logits";
  for (int32_t idx = 0; idx < 3; ++idx) {
    EXPECT_EQ(driver.sink().Tokens(1, idx), ExpectedTokens(*request.Build()));
  }
}

TEST(SchedulerPolicyTest, AnswersWhoseCopyWasLostWithItsStepStartAnew) {
  Driver driver;
  const auto request = RequestBuilder(1).Text(11).MaxTokens(5).NumSequences(3);
  driver.Add(request);
  driver.Submit();
  driver.Finish();
  driver.Submit();
  StepOutput output = driver.Fail(absl::InternalError("x"));
  driver.Update(&output);
  driver.RunAll();
  for (int32_t idx = 0; idx < 3; ++idx) {
    EXPECT_EQ(driver.sink().Tokens(1, idx), ExpectedTokens(*request.Build()));
  }
}

TEST(SchedulerPolicyTest, TheAnswersOfOneRequestShareItsImage) {
  Driver driver;
  const auto request = RequestBuilder(1).Text(3).Image(4).Text(3).MaxTokens(5).NumSequences(3);
  driver.Add(request);
  driver.RunAll();
  EXPECT_EQ(driver.num_encodes(), 1);
  EXPECT_EQ(driver.sink().Routings(1).size(), 1u) << "told once for each image";
  for (int32_t idx = 0; idx < 3; ++idx) {
    EXPECT_EQ(driver.sink().Tokens(1, idx), ExpectedTokens(*request.Build()));
  }
  EXPECT_EQ(driver.model().num_features(), 0);
}

TEST(SchedulerPolicyTest, OneAnswerMayBeCancelledAndTheOthersGoOn) {
  for (const int32_t cancelled : {0, 1, 2}) {
    for (const int num_steps : {0, 1, 2, 3}) {
      SCOPED_TRACE(testing::Message() << cancelled << " after " << num_steps);
      Driver driver;
      const auto request = RequestBuilder(1).Text(9).MaxTokens(6).NumSequences(3);
      driver.Add(request);
      for (int i = 0; i < num_steps; ++i) {
        driver.Submit();
        if (i + 1 < num_steps) driver.Finish();
      }
      driver.Cancel(1, cancelled);  // the last step is in flight
      driver.Cancel(1, cancelled);
      if (num_steps > 0) driver.Finish();
      driver.RunAll();
      ASSERT_EQ(driver.sink().Finishes(1).size(), 3u);
      for (const FinishEvent& finish : driver.sink().Finishes(1)) {
        const bool is_cancelled = finish.sequence_idx == cancelled;
        EXPECT_EQ(finish.reason, is_cancelled ? FinishReason::kCancelled : FinishReason::kLength);
        if (is_cancelled) continue;
        EXPECT_EQ(driver.sink().Tokens(1, finish.sequence_idx), ExpectedTokens(*request.Build()));
      }
      EXPECT_EQ(driver.scheduler().blocks().num_used(), 0);
    }
  }
}

TEST(SchedulerPolicyTest, ACancelOfTheRequestEndsAllItsAnswers) {
  Driver driver;
  driver.Add(RequestBuilder(1).Text(9).MaxTokens(6).NumSequences(6));
  driver.Submit();
  driver.Finish();
  driver.Submit();
  driver.Finish();
  driver.Cancel(1);
  EXPECT_EQ(driver.sink().Finishes(1).size(), 6u);
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 0);
  EXPECT_EQ(driver.scheduler().num_waiting(), 0);
  driver.RunAll();
  EXPECT_EQ(driver.model().num_live_slots(), 0);
}

TEST(SchedulerPolicyTest, SeveralAnswersDoNotNeedThePrefixCache) {
  Driver driver;
  const auto request = RequestBuilder(1).Text(9).MaxTokens(5).NumSequences(3).UsePrefixCache(false);
  driver.Add(request);
  driver.RunAll();
  EXPECT_EQ(driver.num_computed_tokens(), 9 + 2 * 1 + 3 * 4)
      << "they share its prompt all the same";
  EXPECT_EQ(driver.scheduler().blocks().num_cached(), 0);
  for (int32_t idx = 0; idx < 3; ++idx) {
    EXPECT_EQ(driver.sink().Tokens(1, idx), ExpectedTokens(*request.Build()));
  }
}

}  // namespace
}  // namespace parrot
