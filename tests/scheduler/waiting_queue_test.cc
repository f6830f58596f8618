#include "scheduler/waiting_queue.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <random>

#include "gtest/gtest.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

std::unique_ptr<Sequence> Waiting(RequestKey key, int32_t num_tokens = 1) {
  return std::make_unique<Sequence>(
      RequestBuilder(key).Text(num_tokens).Build(), 0, absl::UnixEpoch());
}

TEST(WaitingQueueTest, IsFirstInFirstOut) {
  WaitingQueue queue;
  EXPECT_TRUE(queue.empty());
  queue.Push(Waiting(3));
  queue.Push(Waiting(1));
  EXPECT_EQ(queue.Front().key(), 3u);
  EXPECT_EQ(queue.Pop()->key(), 3u);
  EXPECT_EQ(queue.Pop()->key(), 1u);
  EXPECT_TRUE(queue.empty());
}

TEST(WaitingQueueTest, RemovesFromAnywhere) {
  WaitingQueue queue;
  for (RequestKey key = 1; key <= 3; ++key) queue.Push(Waiting(key));
  EXPECT_EQ(queue.Remove(2)->key(), 2u);
  EXPECT_EQ(queue.Remove(2), nullptr);
  EXPECT_EQ(queue.Pop()->key(), 1u);
  EXPECT_EQ(queue.Pop()->key(), 3u);
}

TEST(WaitingQueueDeathTest, RefusesAKeyThatIsQueued) {
  WaitingQueue queue;
  queue.Push(Waiting(1));
  EXPECT_DEATH(queue.Push(Waiting(1)), "queued twice");
}

TEST(WaitingQueueTest, AgreesWithANaiveTwin) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    WaitingQueue queue;
    std::deque<std::pair<RequestKey, int32_t>> twin;
    RequestKey next_key = 1;
    for (int step = 0; step < 2'000; ++step) {
      const uint32_t choice = random() % 4;
      if (choice < 2) {
        const auto num_tokens = static_cast<int32_t>(1 + random() % 9);
        queue.Push(Waiting(next_key, num_tokens));
        twin.emplace_back(next_key++, num_tokens);
      } else if (choice == 2 && !twin.empty()) {
        ASSERT_EQ(queue.Front().key(), twin.front().first);
        ASSERT_EQ(queue.Pop()->key(), twin.front().first);
        twin.pop_front();
      } else {
        const RequestKey key = 1 + random() % next_key;
        const auto it =
            std::find_if(twin.begin(), twin.end(), [&](auto& e) { return e.first == key; });
        const std::unique_ptr<Sequence> removed = queue.Remove(key);
        ASSERT_EQ(removed != nullptr, it != twin.end());
        if (it != twin.end()) twin.erase(it);
      }
      int64_t num_tokens = 0;
      for (const auto& entry : twin) num_tokens += entry.second;
      ASSERT_EQ(queue.size(), static_cast<int32_t>(twin.size()));
      ASSERT_EQ(queue.num_prompt_tokens(), num_tokens);
    }
  }
}

}  // namespace
}  // namespace parrot
