// The engine on its own thread, an executor on another, and clients on several more.
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "scheduler/engine.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

// Counts finishes and lets a thread wait for them. Thread-safe.
class WaitingSink final : public EventSink {
 public:
  void OnEvents(std::vector<EngineEvent>& events) override {
    absl::MutexLock lock(&mutex_);
    for (EngineEvent& event : events) {
      if (const auto* token = std::get_if<TokenEvent>(&event)) {
        tokens_[token->key].push_back(token->token);
      } else if (auto* finish = std::get_if<FinishEvent>(&event)) {
        ++num_finished_;
        finishes_[finish->key].push_back(std::move(*finish));
      }
    }
  }
  void WaitForFinishes(int64_t count) {
    absl::MutexLock lock(&mutex_);
    const auto reached = [this, count]()
                             ABSL_NO_THREAD_SAFETY_ANALYSIS { return num_finished_ >= count; };
    mutex_.Await(absl::Condition(&reached));
  }
  void WaitForToken(RequestKey key) {
    absl::MutexLock lock(&mutex_);
    const auto reached = [this, key]()
                             ABSL_NO_THREAD_SAFETY_ANALYSIS { return tokens_.contains(key); };
    mutex_.Await(absl::Condition(&reached));
  }
  std::vector<TokenId> Tokens(RequestKey key) {
    absl::MutexLock lock(&mutex_);
    return tokens_[key];
  }
  std::vector<FinishEvent> Finishes(RequestKey key) {
    absl::MutexLock lock(&mutex_);
    return finishes_[key];
  }
  int64_t num_finished() {
    absl::MutexLock lock(&mutex_);
    return num_finished_;
  }

 private:
  absl::Mutex mutex_;
  absl::flat_hash_map<RequestKey, std::vector<TokenId>> tokens_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<RequestKey, std::vector<FinishEvent>> finishes_ ABSL_GUARDED_BY(mutex_);
  int64_t num_finished_ ABSL_GUARDED_BY(mutex_) = 0;
};

FakeExecutorOptions ThreadedExecutor(int32_t max_steps_in_flight) {
  FakeExecutorOptions options;
  options.model = {.capacity = SmallCapacity(), .vocab_size = kTestVocabSize};
  options.model.capacity.max_steps_in_flight = max_steps_in_flight;
  options.own_thread = true;
  return options;
}

TEST(EngineThreadsTest, ServesManyClientsAtOnce) {
  for (const int32_t max_steps_in_flight : {1, 2}) {
    FakeModelExecutor executor(ThreadedExecutor(max_steps_in_flight));
    WaitingSink sink;
    Engine engine({.max_queue_size = 1000}, &executor, &sink, &Clock::Real());
    engine.Start();
    constexpr int kClients = 4;
    constexpr int kRequests = 60;
    std::atomic<int64_t> num_admitted = 0;
    std::vector<std::atomic<bool>> admitted(kClients * kRequests + 1);  // by key
    std::atomic<bool> reading = true;
    std::thread reader([&] {
      int64_t last_steps = 0;
      while (reading) {
        const EngineLoad load = engine.load();
        EXPECT_GE(load.num_steps, last_steps);
        last_steps = load.num_steps;
        EXPECT_LE(load.num_blocks_used, load.num_blocks_total);
        std::this_thread::yield();
      }
    });
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([&, client] {
        std::mt19937 random(client);
        for (int i = 0; i < kRequests; ++i) {
          const RequestKey key = 1 + client * kRequests + i;
          RequestBuilder request(key);
          request.Text(1 + static_cast<int32_t>(random() % 20)).MaxTokens(4);
          if (random() % 2 == 0) request.Image(static_cast<int>(random() % 3)).Text(1);
          const bool cancels = random() % 4 == 0;
          if (random() % 8 == 0) {
            request.Deadline(Clock::Real().Now() + absl::Milliseconds(random() % 5));
          }
          const absl::Status added = engine.Add(request.Build());
          admitted[key] = added.ok();
          if (added.ok()) {
            ++num_admitted;
          } else {
            // Once the engine knows how long steps take, some deadlines cannot be met.
            EXPECT_EQ(added.code(), absl::StatusCode::kDeadlineExceeded) << added;
          }
          if (cancels) engine.Cancel(key);
        }
      });
    }
    for (std::thread& client : clients) client.join();
    absl::Notification drained;
    engine.Drain([&] { drained.Notify(); });
    drained.WaitForNotification();
    EXPECT_EQ(sink.num_finished(), num_admitted);
    EXPECT_GT(num_admitted, kClients * kRequests / 2);
    reading = false;
    reader.join();
    engine.Stop();
    EXPECT_EQ(engine.load().num_blocks_used, 0);
    EXPECT_EQ(executor.violation(), absl::OkStatus());
    for (RequestKey key = 1; key <= kClients * kRequests; ++key) {
      EXPECT_EQ(sink.Finishes(key).size(), admitted[key] ? 1u : 0u);
    }
  }
}

TEST(EngineThreadsTest, ADeadlineWakesTheEngineWhileAStepHangs) {
  FakeModelExecutor executor(ThreadedExecutor(1));
  executor.SetPaused(true);
  WaitingSink sink;
  Engine engine({}, &executor, &sink, &Clock::Real());
  engine.Start();
  const absl::Time start = Clock::Real().Now();
  ASSERT_EQ(
      engine.Add(
          RequestBuilder(1).Text(3).MaxTokens(5).Deadline(start + absl::Milliseconds(20)).Build()),
      absl::OkStatus());
  sink.WaitForFinishes(1);
  EXPECT_GE(Clock::Real().Now(), start + absl::Milliseconds(20));
  EXPECT_EQ(sink.Finishes(1)[0].reason, FinishReason::kDeadline);
  EXPECT_TRUE(engine.load().step_in_flight);
  executor.SetPaused(false);
}

TEST(EngineThreadsTest, PausesResumesAndFlushesFromAnotherThread) {
  FakeModelExecutor executor(ThreadedExecutor(1));
  WaitingSink sink;
  Engine engine({}, &executor, &sink, &Clock::Real());
  engine.Start();
  for (RequestKey key = 1; key <= 50; ++key) {
    engine.Pause();
    ASSERT_EQ(
        engine.Add(RequestBuilder(key).Content(1).Text(6).Image(1).Text(2).MaxTokens(3).Build()),
        absl::OkStatus());
    engine.FlushCache();
    engine.Resume();
    sink.WaitForFinishes(static_cast<int64_t>(key));
  }
  engine.Stop();
  for (RequestKey key = 1; key <= 50; ++key) {
    EXPECT_EQ(sink.Tokens(key),
              ExpectedTokens(
                  *RequestBuilder(key).Content(1).Text(6).Image(1).Text(2).MaxTokens(3).Build()));
  }
  EXPECT_EQ(executor.violation(), absl::OkStatus());
}

TEST(EngineThreadsTest, StopWaitsForTheStepInFlightAndFailsTheRest) {
  for (int round = 0; round < 20; ++round) {
    FakeModelExecutor executor(ThreadedExecutor(2));
    WaitingSink sink;
    {
      Engine engine({}, &executor, &sink, &Clock::Real());
      engine.Start();
      for (RequestKey key = 1; key <= 6; ++key) {
        ASSERT_EQ(engine.Add(RequestBuilder(key).Text(3).MaxTokens(30).Build()), absl::OkStatus());
      }
      sink.WaitForToken(1);
    }
    EXPECT_EQ(sink.num_finished(), 6);
    EXPECT_EQ(executor.num_waiting_steps(), 0);
    EXPECT_EQ(executor.violation(), absl::OkStatus());
  }
}

TEST(EngineThreadsTest, ASinkMayCancelFromInside) {
  // What the output stage does when it finds a stop string.
  class CancellingSink final : public EventSink {
   public:
    void OnEvents(std::vector<EngineEvent>& events) override {
      for (const EngineEvent& event : events) {
        if (const auto* token = std::get_if<TokenEvent>(&event)) engine->Cancel(token->key);
        if (const auto* finish = std::get_if<FinishEvent>(&event)) {
          EXPECT_EQ(finish->reason, FinishReason::kCancelled);
          finished.Notify();
        }
      }
    }
    Engine* engine = nullptr;
    absl::Notification finished;
  };
  FakeModelExecutor executor(ThreadedExecutor(1));
  CancellingSink sink;
  Engine engine({}, &executor, &sink, &Clock::Real());
  sink.engine = &engine;
  engine.Start();
  ASSERT_EQ(engine.Add(RequestBuilder(1).Text(3).MaxTokens(50).Build()), absl::OkStatus());
  sink.finished.WaitForNotification();
}

TEST(EngineThreadsTest, AnIdleEngineDoesNothing) {
  FakeModelExecutor executor(ThreadedExecutor(1));
  WaitingSink sink;
  Engine engine({}, &executor, &sink, &Clock::Real());
  engine.Start();
  engine.Stop();
  EXPECT_EQ(executor.counts().num_steps, 0);
  EXPECT_EQ(sink.num_finished(), 0);
}

}  // namespace
}  // namespace parrot
