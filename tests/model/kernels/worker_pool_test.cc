#include "model/kernels/worker_pool.h"

#include <atomic>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace parrot::kernels {
namespace {

TEST(WorkerPoolTest, RunsEachTaskOnceHoweverManyThereAre) {
  for (const int threads : {1, 2, 5}) {
    WorkerPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (const int count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(count);
      pool.Run(count, [&](int64_t i, int thread) {
        EXPECT_TRUE(thread >= 0 && thread < threads);
        ++runs[i];
      });
      for (const auto& n : runs) EXPECT_EQ(n, 1);
    }
  }
}

// Plain memory: a race is ThreadSanitizer's to find. Small jobs one after the other, so that
// workers come late, or find the next job open when they leave one.
TEST(WorkerPoolTest, ResultsOfOneRunAreSeenByTheNext) {
  constexpr int kSize = 7, kRuns = 3000;
  WorkerPool pool(3);
  std::vector<int> before(kSize, 0), after(kSize, 0);
  for (int run = 0; run < kRuns; ++run) {
    pool.Run(kSize, [&](int64_t i, int) { after[i] = before[(i + 1) % kSize] + 1; });
    before.swap(after);
  }
  EXPECT_EQ(before, std::vector<int>(kSize, kRuns));
}

// Two tasks that wait for each other are done only if two threads run them at once.
TEST(WorkerPoolTest, TasksRunAtTheSameTime) {
  WorkerPool pool(2);
  for (int run = 0; run < 20; ++run) {
    std::atomic<int> arrived = 0;
    std::vector<int> thread_of(2, -1);
    pool.Run(2, [&](int64_t i, int thread) {
      thread_of[i] = thread;
      ++arrived;
      arrived.notify_all();
      for (int seen = arrived; seen < 2; seen = arrived) arrived.wait(seen);
    });
    EXPECT_EQ(std::set<int>(thread_of.begin(), thread_of.end()), (std::set<int>{0, 1}));
  }
}

TEST(WorkerPoolTest, ServesOwnersOnSeveralThreadsWithAPoolEach) {
  std::vector<int64_t> sums(3, 0);
  std::vector<std::thread> owners;
  for (int owner = 0; owner < 3; ++owner) {
    owners.emplace_back([&sums, owner] {
      WorkerPool pool(2);
      for (int run = 0; run < 200; ++run) {
        std::atomic<int64_t> sum = 0;
        pool.Run(10, [&](int64_t i, int) { sum += i; });
        sums[owner] += sum;
      }
    });
  }
  for (std::thread& owner : owners) owner.join();
  EXPECT_EQ(sums, std::vector<int64_t>(3, 200 * 45));
}

TEST(WorkerPoolTest, DefaultIsAtLeastOneThread) { EXPECT_GE(DefaultNumThreads(), 1); }

}  // namespace
}  // namespace parrot::kernels
