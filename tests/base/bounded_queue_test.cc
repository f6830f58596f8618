#include "base/bounded_queue.h"

#include <memory>
#include <numeric>
#include <optional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace parrot {
namespace {

TEST(BoundedQueueTest, KeepsOrderAndRefusesBeyondCapacity) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_TRUE(queue.TryPush(4));
  EXPECT_EQ(queue.Pop(), 2);
  EXPECT_EQ(queue.Pop(), 4);
}

TEST(BoundedQueueTest, RefusedItemIsUntouched) {
  BoundedQueue<std::unique_ptr<int>> queue(0);
  auto item = std::make_unique<int>(7);
  EXPECT_FALSE(queue.TryPush(std::move(item)));
  ASSERT_NE(item, nullptr);
  EXPECT_EQ(*item, 7);
}

TEST(BoundedQueueTest, ClosedQueueDrainsThenEnds) {
  BoundedQueue<int> queue(4);
  ASSERT_TRUE(queue.TryPush(1));
  queue.Close();
  EXPECT_FALSE(queue.TryPush(2));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueueTest, CloseWakesEveryWaitingConsumer) {
  BoundedQueue<int> queue(1);
  std::vector<std::thread> consumers;
  for (int i = 0; i < 3; ++i) {
    consumers.emplace_back([&queue] { EXPECT_EQ(queue.Pop(), std::nullopt); });
  }
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();
}

TEST(BoundedQueueTest, EveryItemIsTakenOnceWithManyThreads) {
  constexpr int kItemsPerProducer = 2000;
  constexpr int kProducers = 4;
  BoundedQueue<int> queue(16);
  std::vector<std::vector<int>> taken(3);
  std::vector<std::thread> consumers;
  for (std::vector<int>& mine : taken) {
    consumers.emplace_back([&queue, &mine] {
      while (std::optional<int> item = queue.Pop()) mine.push_back(*item);
    });
  }
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&queue, p] {
      for (int i = 0; i < kItemsPerProducer; ++i) {
        int item = p * kItemsPerProducer + i;
        while (!queue.TryPush(std::move(item))) std::this_thread::yield();
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();

  std::vector<int> counts(kProducers * kItemsPerProducer, 0);
  for (const std::vector<int>& mine : taken) {
    for (const int item : mine) ++counts[item];
  }
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), kProducers * kItemsPerProducer);
  for (const int count : counts) EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace parrot
