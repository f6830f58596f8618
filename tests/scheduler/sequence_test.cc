#include "scheduler/sequence.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

constexpr SequenceState kStates[] = {SequenceState::kWaiting,
                                     SequenceState::kRunning,
                                     SequenceState::kRetiring,
                                     SequenceState::kReleased};

const absl::Time kStart = absl::FromUnixSeconds(1'000'000'000);

TEST(SequenceTest, MovesForwardAndBackToTheQueueWhenPreempted) {
  using S = SequenceState;
  const std::vector<std::pair<S, S>> legal = {{S::kWaiting, S::kRunning},
                                              {S::kWaiting, S::kReleased},
                                              {S::kRunning, S::kRetiring},
                                              {S::kRunning, S::kWaiting},
                                              {S::kRetiring, S::kReleased}};
  for (const S from : kStates) {
    for (const S to : kStates) {
      const bool expected =
          std::find(legal.begin(), legal.end(), std::pair(from, to)) != legal.end();
      EXPECT_EQ(Sequence::CanMove(from, to), expected)
          << SequenceStateName(from) << " to " << SequenceStateName(to);
    }
  }
}

TEST(SequenceDeathTest, RejectsAnIllegalTransition) {
  Sequence sequence(RequestBuilder(1).Text(3).Build(), 0, kStart);
  EXPECT_DEATH(sequence.MoveTo(SequenceState::kRetiring), "waiting to retiring");
  sequence.MoveTo(SequenceState::kReleased);
  EXPECT_DEATH(sequence.MoveTo(SequenceState::kRunning), "released to running");
}

TEST(SequenceTest, ComputedTokensChaseTokens) {
  Sequence sequence(RequestBuilder(1).Text(5).MaxTokens(3).Build(), 0, kStart);
  EXPECT_EQ(sequence.max_positions(), 7);  // the third sampled token is never computed
  sequence.SubmitTokens(3, /*samples=*/false);
  EXPECT_EQ(sequence.next_position(), 3);
  sequence.SubmitTokens(2, /*samples=*/true);
  EXPECT_TRUE(sequence.in_decode());
  EXPECT_EQ(sequence.num_device_tokens(), 6);
  EXPECT_EQ(sequence.num_tokens(), 5);
  sequence.SubmitTokens(1, /*samples=*/true);  // the token that the step in flight draws
  EXPECT_EQ(sequence.num_inflight_tokens(), 6);
  sequence.CommitTokens(3);
  sequence.CommitTokens(2);
  sequence.AppendSample(42);
  EXPECT_EQ(sequence.num_computed_tokens(), 5);
  EXPECT_EQ(sequence.num_tokens(), 6);
  EXPECT_EQ(sequence.token(5), 42);
  EXPECT_EQ(sequence.num_device_tokens(), 7);
  sequence.CommitTokens(1);
  EXPECT_EQ(sequence.num_inflight_tokens(), 0);
}

TEST(SequenceDeathTest, RefusesPositionsWithoutTokens) {
  Sequence sequence(RequestBuilder(1).Text(2).Build(), 0, kStart);
  EXPECT_DEATH(sequence.SubmitTokens(3, false), "3 at 0 of 2");
  EXPECT_DEATH(sequence.CommitTokens(1), "in flight");
  EXPECT_DEATH(sequence.AppendSample(1), "");
}

TEST(SequenceTest, APreemptedOneKeepsItsTokensAndComputesThemAgain) {
  Sequence sequence(RequestBuilder(1).Text(2).Image(1).Text(1).MaxTokens(4).Build(), 0, kStart);
  EXPECT_FALSE(sequence.was_admitted());
  sequence.TakeCachedTokens(2);
  sequence.MoveTo(SequenceState::kRunning);
  sequence.set_slot(3);
  sequence.set_started();
  sequence.set_leaving();
  sequence.visuals()[0].state = VisualState::kConsumed;
  sequence.visuals()[0].reported = true;
  sequence.SubmitTokens(6, /*samples=*/true);
  EXPECT_DEATH(sequence.Preempt(), "") << "a step in flight names it";
  sequence.CommitTokens(6);
  sequence.AppendSample(42);
  sequence.Preempt();
  EXPECT_EQ(sequence.state(), SequenceState::kWaiting);
  EXPECT_TRUE(sequence.was_admitted());
  EXPECT_FALSE(sequence.is_leaving());
  EXPECT_FALSE(sequence.started());
  EXPECT_EQ(sequence.slot(), -1);
  EXPECT_EQ(sequence.num_tokens(), 9);
  EXPECT_EQ(sequence.token(8), 42);
  EXPECT_EQ(sequence.next_position(), 0);
  EXPECT_EQ(sequence.visuals()[0].state, VisualState::kAbsent);
  EXPECT_TRUE(sequence.visuals()[0].reported) << "its routing is told once";
  sequence.TakeCachedTokens(8);
  EXPECT_EQ(sequence.num_cached_tokens(), 2) << "of the first admission";
  EXPECT_EQ(sequence.next_position(), 8);
}

TEST(SequenceTest, CopiesTokensAcrossPromptAndAnswer) {
  const auto request = RequestBuilder(9).Text(4).MaxTokens(4).Build();
  Sequence sequence(request, 0, kStart);
  sequence.SubmitTokens(4, true);
  sequence.CommitTokens(4);
  sequence.AppendSample(100);
  sequence.SubmitTokens(1, true);
  sequence.CommitTokens(1);
  sequence.AppendSample(101);
  std::vector<TokenId> all = request->token_ids;
  all.insert(all.end(), {100, 101});
  for (int32_t begin = 0; begin <= 6; ++begin) {
    for (int32_t count = 0; begin + count <= 6; ++count) {
      std::vector<TokenId> ids = {-1};
      sequence.CopyTokens(begin, count, &ids);
      std::vector<TokenId> expected = {-1};
      expected.insert(expected.end(), all.begin() + begin, all.begin() + begin + count);
      EXPECT_EQ(ids, expected) << begin << " + " << count;
    }
  }
}

TEST(SequenceTest, StopsBeforeTheFirstImageThatIsNotRouted) {
  Sequence sequence(RequestBuilder(1).Text(3).Image(1).Text(2).Image(2).Text(1).Build(), 0, kStart);
  EXPECT_EQ(sequence.visual_limit(), 3);
  sequence.visuals()[0].state = VisualState::kRouting;
  EXPECT_EQ(sequence.visual_limit(), 3);
  sequence.visuals()[0].state = VisualState::kReady;
  EXPECT_EQ(sequence.visual_limit(), 10);
  EXPECT_FALSE(sequence.all_visuals_routed());
  sequence.visuals()[0].state = VisualState::kConsumed;
  sequence.visuals()[1].state = VisualState::kReady;
  EXPECT_EQ(sequence.visual_limit(), sequence.num_prompt_tokens());
  EXPECT_TRUE(sequence.all_visuals_routed());
}

TEST(SequenceTest, SplitsItsTimeIntoQueuePrefillAndDecode) {
  Sequence sequence(RequestBuilder(1).Text(3).Arrival(kStart).MaxTokens(9).Build(), 0, kStart);
  EXPECT_EQ(sequence.Times(kStart + absl::Seconds(4)).queue, absl::Seconds(4));
  sequence.MarkFirstStep(kStart + absl::Seconds(1));
  sequence.MarkFirstStep(kStart + absl::Seconds(2));
  EXPECT_EQ(sequence.Times(kStart + absl::Seconds(2)).prefill, absl::Seconds(1));
  sequence.MarkToken(kStart + absl::Seconds(3));
  sequence.MarkToken(kStart + absl::Seconds(8));
  const RequestTimes times = sequence.Times(kStart + absl::Seconds(9));
  EXPECT_EQ(times.queue, absl::Seconds(1));
  EXPECT_EQ(times.prefill, absl::Seconds(2));
  EXPECT_EQ(times.decode, absl::Seconds(5));
}

}  // namespace
}  // namespace parrot
