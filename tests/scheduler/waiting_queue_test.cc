#include "scheduler/waiting_queue.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'000'000'000);

bool Anybody(const Sequence& /*sequence*/) { return true; }
bool Nobody(const Sequence& /*sequence*/) { return false; }

std::unique_ptr<Sequence> Waiting(const RequestBuilder& request, absl::Time queued_at = kStart) {
  return std::make_unique<Sequence>(request.Build(), 0, queued_at);
}

struct WaitingQueueTest : public testing::Test {
  // Key of the next to start; 0 when there is none.
  RequestKey Next(absl::Time now = kStart) const {
    const Sequence* next = queue.Next(
        now, Anybody, [this](const Sequence& sequence) { return late.contains(sequence.key()); });
    return next == nullptr ? 0 : next->key();
  }
  // Takes out everybody in order.
  std::vector<RequestKey> Order(absl::Time now = kStart) {
    std::vector<RequestKey> keys;
    while (!queue.empty()) {
      keys.push_back(Next(now));
      queue.Remove({keys.back(), 0});
    }
    return keys;
  }

  std::set<RequestKey> late;
  TenantShares shares;
  WaitingQueue queue{absl::Seconds(10), &shares};
};

using Keys = std::vector<RequestKey>;

TEST_F(WaitingQueueTest, AmongEqualsTheEarliestArrivalIsFirst) {
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.Any(), nullptr);
  queue.Push(Waiting(RequestBuilder(3).Text(1)));
  queue.Push(Waiting(RequestBuilder(1).Text(1), kStart + absl::Seconds(1)));
  queue.Push(Waiting(RequestBuilder(2).Text(1), kStart + absl::Seconds(1)));
  EXPECT_EQ(Order(kStart + absl::Seconds(1)), (Keys{3, 1, 2}));
}

TEST_F(WaitingQueueTest, TheHigherPriorityIsFirst) {
  queue.Push(Waiting(RequestBuilder(1).Text(1).Priority(0)));
  queue.Push(Waiting(RequestBuilder(2).Text(1).Priority(9)));
  queue.Push(Waiting(RequestBuilder(3).Text(1).Priority(4)));
  EXPECT_EQ(Order(), (Keys{2, 3, 1}));
}

TEST_F(WaitingQueueTest, WaitingRaisesThePriorityByOneForEachInterval) {
  queue.Push(Waiting(RequestBuilder(1).Text(1).Priority(0)));
  const absl::Time later = kStart + absl::Seconds(20);
  queue.Push(Waiting(RequestBuilder(2).Text(1).Priority(1), later));
  queue.Push(Waiting(RequestBuilder(3).Text(1).Priority(2), later));
  queue.Push(Waiting(RequestBuilder(4).Text(1).Priority(3), later));
  EXPECT_EQ(Next(later - absl::Seconds(1)), 4u);
  // Two intervals: 1 is level with 3 and came first.
  EXPECT_EQ(Order(later), (Keys{4, 1, 3, 2}));
}

TEST_F(WaitingQueueTest, TheTenantThatWasServedLeastIsFirst) {
  for (const char* tenant : {"a", "b"}) shares.Enter(tenant);
  shares.Charge("a", 5);
  shares.Charge("b", 4);
  queue.Push(Waiting(RequestBuilder(1).Text(1).Tenant("a")));
  queue.Push(Waiting(RequestBuilder(2).Text(1).Tenant("b"), kStart + absl::Seconds(1)));
  EXPECT_EQ(Next(kStart + absl::Seconds(1)), 2u);
  shares.Charge("b", 2);
  EXPECT_EQ(Next(kStart + absl::Seconds(1)), 1u);
}

TEST_F(WaitingQueueTest, TheEarliestDeadlineIsFirstWithinATenant) {
  queue.Push(Waiting(RequestBuilder(1).Text(1)));
  queue.Push(Waiting(RequestBuilder(2).Text(1).Deadline(kStart + absl::Seconds(9))));
  queue.Push(Waiting(RequestBuilder(3).Text(1).Deadline(kStart + absl::Seconds(5))));
  EXPECT_EQ(Order(), (Keys{3, 2, 1}));
}

TEST_F(WaitingQueueTest, WhoIsLateComesAfterItsEqualsAndDoesNotAge) {
  for (const char* tenant : {"a", "b"}) shares.Enter(tenant);
  shares.Charge("b", 4);
  const absl::Time deadline = kStart + absl::Seconds(30);
  queue.Push(Waiting(RequestBuilder(1).Text(1).Tenant("a").Deadline(deadline)));
  queue.Push(
      Waiting(RequestBuilder(2).Text(1).Tenant("b").Deadline(2 * absl::Seconds(30) + kStart)));
  queue.Push(Waiting(RequestBuilder(3).Text(1).Tenant("b").Priority(1).Deadline(deadline)));
  EXPECT_EQ(Next(), 3u);
  late = {1, 3};
  EXPECT_EQ(Next(), 3u) << "its own priority stays";
  EXPECT_EQ(Next(kStart + absl::Seconds(10)), 2u) << "who can make it has gained one";
  EXPECT_EQ(Order(kStart + absl::Seconds(20)), (Keys{2, 3, 1}));
}

TEST_F(WaitingQueueTest, NamesTheFirstOfThoseThatMayStart) {
  for (RequestKey key = 1; key <= 4; ++key) queue.Push(Waiting(RequestBuilder(key).Text(1)));
  const auto is_even = [](const Sequence& sequence) { return sequence.key() % 2 == 0; };
  EXPECT_EQ(queue.Next(kStart, is_even, Nobody)->key(), 2u);
  EXPECT_EQ(queue.Next(kStart, Nobody, Nobody), nullptr);
}

TEST_F(WaitingQueueTest, RemovesFromAnywhere) {
  for (RequestKey key = 1; key <= 3; ++key) queue.Push(Waiting(RequestBuilder(key).Text(4)));
  EXPECT_EQ(queue.num_prompt_tokens(), 12);
  EXPECT_EQ(queue.Remove({2, 0})->key(), 2u);
  EXPECT_EQ(queue.Remove({2, 0}), nullptr);
  EXPECT_EQ(queue.Remove({1, 1}), nullptr) << "another sequence of a request that is here";
  EXPECT_EQ(queue.num_prompt_tokens(), 8);
  EXPECT_EQ(Order(), (Keys{1, 3}));
}

TEST_F(WaitingQueueTest, TheSequencesOfOneRequestAreTold) {
  const auto request = RequestBuilder(1).Text(2).NumSequences(2).Build();
  for (const int32_t idx : {1, 0}) {
    queue.Push(std::make_unique<Sequence>(request, idx, kStart));
  }
  EXPECT_EQ(queue.Next(kStart, Anybody, Nobody)->sequence_idx(), 0);
  EXPECT_EQ(queue.Remove({1, 1})->sequence_idx(), 1);
  EXPECT_EQ(queue.size(), 1);
}

TEST(WaitingQueueDeathTest, RefusesAKeyThatIsQueued) {
  TenantShares shares;
  WaitingQueue queue(absl::Seconds(1), &shares);
  queue.Push(Waiting(RequestBuilder(1).Text(1)));
  EXPECT_DEATH(queue.Push(Waiting(RequestBuilder(1).Text(1))), "queued twice");
}

// The plainest possible queue: a list of facts, sorted each time.
class TwinQueues {
 public:
  explicit TwinQueues(uint32_t seed) : random_(seed) {
    for (const std::string& tenant : kTenants) shares_.Enter(tenant);
  }

  void OneOperation() {
    switch (Pick(0, 9)) {
      case 0:
      case 1:
      case 2:
        if (twin_.size() < 30) Push();
        break;
      case 3:
        ASSERT_NO_FATAL_FAILURE(Remove({Pick(1, static_cast<int32_t>(next_key_)), Pick(0, 1)}));
        break;
      case 4:
        now_ += absl::Seconds(Pick(0, 3));
        break;
      case 5: {
        const int32_t tenant = Pick(0, 2);
        const int32_t tokens = Pick(1, 3);
        shares_.Charge(kTenants[tenant], tokens);
        served_[tenant] += tokens;
        break;
      }
      default:
        ASSERT_NO_FATAL_FAILURE(TakeNext());
    }
    int64_t num_tokens = 0;
    for (const Facts& facts : twin_) num_tokens += facts.num_tokens;
    ASSERT_EQ(queue_.size(), static_cast<int32_t>(twin_.size()));
    ASSERT_EQ(queue_.num_prompt_tokens(), num_tokens);
    ASSERT_EQ(queue_.Any() == nullptr, twin_.empty());
  }

 private:
  inline static const std::vector<std::string> kTenants = {"a", "b", "c"};
  struct Facts {
    SequenceKey key;
    int32_t num_tokens = 0;
    int32_t priority = 0;
    int32_t tenant = 0;
    absl::Time deadline;
    absl::Time queued_at;
  };
  int32_t Pick(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random_() % static_cast<uint32_t>(high - low + 1));
  }

  void Push() {
    Facts facts;
    facts.num_tokens = Pick(1, 9);
    facts.priority = Pick(0, 2);
    facts.tenant = Pick(0, 2);
    facts.deadline = Pick(0, 1) == 0 ? absl::InfiniteFuture() : now_ + absl::Seconds(Pick(0, 4));
    // One that was preempted joins again, with the time it was first queued at.
    facts.queued_at = now_ - absl::Seconds(Pick(0, 12) == 0 ? Pick(0, 40) : 0);
    const auto request = RequestBuilder(next_key_)
                             .Text(facts.num_tokens)
                             .Priority(facts.priority)
                             .Tenant(kTenants[facts.tenant])
                             .Deadline(facts.deadline)
                             .Build();
    const int32_t num_sequences = Pick(0, 5) == 0 ? 2 : 1;
    for (int32_t idx = 0; idx < num_sequences; ++idx) {
      facts.key = {next_key_, idx};
      queue_.Push(std::make_unique<Sequence>(request, idx, facts.queued_at));
      twin_.push_back(facts);
    }
    ++next_key_;
  }

  void Remove(SequenceKey key) {
    const auto it = std::find_if(
        twin_.begin(), twin_.end(), [&](const Facts& facts) { return facts.key == key; });
    const std::unique_ptr<Sequence> removed = queue_.Remove(key);
    ASSERT_EQ(removed != nullptr, it != twin_.end());
    if (removed == nullptr) return;
    ASSERT_EQ(removed->sequence_key(), key);
    twin_.erase(it);
  }

  // Smaller comes first.
  auto Rank(const Facts& facts) const {
    const bool is_late = facts.key.first % 5 == 0;
    const int64_t num_intervals = absl::ToInt64Seconds(now_ - facts.queued_at) / 5;
    return std::tuple(-(facts.priority + (is_late ? 0 : num_intervals)),
                      is_late,
                      served_[facts.tenant],
                      facts.deadline,
                      facts.queued_at,
                      facts.key);
  }

  void TakeNext() {
    const int32_t filter = Pick(0, 3);  // some may not start
    const auto may_start = [filter](const SequenceKey& key) {
      return filter == 0 || static_cast<int32_t>(key.first % 4) != filter;
    };
    const Facts* expected = nullptr;
    for (const Facts& facts : twin_) {
      if (!may_start(facts.key)) continue;
      if (expected == nullptr || Rank(facts) < Rank(*expected)) expected = &facts;
    }
    const Sequence* next = queue_.Next(
        now_,
        [&](const Sequence& sequence) { return may_start(sequence.sequence_key()); },
        [](const Sequence& sequence) { return sequence.key() % 5 == 0; });
    ASSERT_EQ(next == nullptr, expected == nullptr);
    if (next == nullptr) return;
    ASSERT_EQ(next->sequence_key(), expected->key);
    Remove(expected->key);
  }

  std::mt19937 random_;
  TenantShares shares_;
  WaitingQueue queue_{absl::Seconds(5), &shares_};
  std::vector<Facts> twin_;
  std::vector<int64_t> served_ = {0, 0, 0};
  absl::Time now_ = kStart;
  RequestKey next_key_ = 1;
};

TEST_F(WaitingQueueTest, AgreesWithANaiveTwinForAMillionOperations) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    TwinQueues queues(seed);
    for (int i = 0; i < 10'000; ++i) {
      ASSERT_NO_FATAL_FAILURE(queues.OneOperation()) << "operation " << i;
    }
  }
}

}  // namespace
}  // namespace parrot
