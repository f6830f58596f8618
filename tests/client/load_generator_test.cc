// The load generator against a scripted server.
#include "client/bench/load_generator.h"

#include <limits>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/conversation.h"
#include "fake_parrot_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using ::testing::Each;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Questions that say their ordinal.
class Numbered final : public Workload {
 public:
  BenchRequest Make(int64_t ordinal) const override {
    BenchRequest made{.language = ordinal % 2 == 0 ? "en" : "pt"};
    AddMessage(UserMessage(std::to_string(ordinal)), made.request.mutable_messages());
    return made;
  }
};

// Too large to be sent.
class Oversized final : public Workload {
 public:
  BenchRequest Make(int64_t /*ordinal*/) const override {
    BenchRequest made;
    AddMessage(UserMessage("", {std::string(17 << 20, 'x')}), made.request.mutable_messages());
    return made;
  }
};

class LoadGeneratorTest : public testing::Test {
 protected:
  ClientOptions Client() const { return {.target = server_.target(), .max_attempts = 1}; }

  FakeParrotServer server_;
  Numbered numbered_;
  Cancellation cancellation_;
};

TEST_F(LoadGeneratorTest, MeasuresEachAnswerAndKeepsWhatTheServerReports) {
  LoadGenerator generator(Client(), numbered_);
  const LoadResult result = generator.Run({.num_requests = 6, .max_concurrency = 2}, cancellation_);
  EXPECT_FALSE(result.interrupted);
  EXPECT_GT(result.duration, absl::ZeroDuration());
  EXPECT_GT(result.client_cpu, absl::ZeroDuration());
  EXPECT_LE(result.peak_running, 2);
  EXPECT_EQ(result.num_connections, 1);
  ASSERT_THAT(result.samples, SizeIs(6));
  for (const RequestSample& sample : result.samples) {
    EXPECT_EQ(sample.outcome, RequestOutcome::kCompleted);
    EXPECT_EQ(sample.language, sample.ordinal % 2 == 0 ? "en" : "pt");
    EXPECT_EQ(sample.request_id, "req-1");
    EXPECT_EQ(sample.usage.prompt_tokens(), 600);
    EXPECT_EQ(OutputTokens(sample), 3);
    EXPECT_EQ(sample.num_characters, 12);  // "A blue bird."
    EXPECT_EQ(sample.timings.clip(), 0.125);
    EXPECT_THAT(sample.cache_levels, SizeIs(1));
    ASSERT_THAT(sample.arrivals, SizeIs(3));
    EXPECT_LE(sample.scheduled, sample.sent);
    EXPECT_LE(sample.sent, sample.arrivals.front().at);
    EXPECT_LE(sample.arrivals.front().at, sample.arrivals.back().at);
    EXPECT_LE(sample.arrivals.back().at, sample.end);
    EXPECT_LE(sample.end, result.duration);
  }
}

TEST_F(LoadGeneratorTest, AWarmUpComesBeforeWithOrdinalsOfItsOwn) {
  LoadGenerator generator(Client(), numbered_);
  EXPECT_THAT(generator.Run({.num_requests = 2, .max_concurrency = 1}, cancellation_).samples,
              SizeIs(2));
  const LoadResult result = generator.Run({.num_requests = 3, .max_concurrency = 1}, cancellation_);
  std::set<std::string> questions;
  for (const FakeParrotServer::Seen& seen : server_.seen()) {
    questions.insert(seen.request.messages(0).parts(0).text());
  }
  EXPECT_EQ(questions, (std::set<std::string>{"0", "1", "2", "3", "4"}));
  EXPECT_EQ(result.samples[0].ordinal, 2);
}

TEST_F(LoadGeneratorTest, AnOpenLoopKeepsItsScheduleWhileNothingIsAnswered) {
  server_.SetScripts({{.hang = true}});
  LoadGenerator generator(Client(), numbered_, /*streams_per_connection=*/4);
  std::thread stop([this] {
    EXPECT_TRUE(server_.WaitForCalls(10));
    cancellation_.Cancel();
  });
  const LoadResult result = generator.Run(
      {.num_requests = 1000, .arrivals = {.request_rate = 100, .burstiness = 1}}, cancellation_);
  stop.join();
  EXPECT_TRUE(result.interrupted);
  EXPECT_GE(result.samples.size(), 10u);
  EXPECT_EQ(result.peak_running, static_cast<int64_t>(result.samples.size()));
  EXPECT_GE(result.num_connections, 3);  // of four streams each
  EXPECT_THAT(result.samples, Each(Field(&RequestSample::outcome, RequestOutcome::kInterrupted)));
}

TEST_F(LoadGeneratorTest, FailuresAreCountedByCodeAndReasonAndNotRetried) {
  std::vector<v1::GenerateResponse> cut = AnswerEvents({"A"});
  cut.back().mutable_finish()->set_finish_reason(v1::FINISH_REASON_DEADLINE);
  std::vector<v1::GenerateResponse> endless = AnswerEvents({"A"});
  endless.pop_back();
  server_.SetScripts({{.status = DetailedStatus(grpc::StatusCode::RESOURCE_EXHAUSTED,
                                                "the queue is full",
                                                {.reason = "QUEUE_FULL"},
                                                "req-7")},
                      {.events = cut},
                      {.events = endless},
                      {.events = AnswerEvents({"A"})}});
  LoadGenerator generator(Client(), numbered_);
  const LoadResult result = generator.Run({.num_requests = 4, .max_concurrency = 1}, cancellation_);
  ASSERT_THAT(result.samples, SizeIs(4));
  EXPECT_EQ(result.samples[0].outcome, RequestOutcome::kFailed);
  EXPECT_EQ(result.samples[0].error_code, "RESOURCE_EXHAUSTED");
  EXPECT_EQ(result.samples[0].error_reason, "QUEUE_FULL");
  EXPECT_EQ(result.samples[0].error_message, "the queue is full");
  EXPECT_EQ(result.samples[0].request_id, "req-7");
  EXPECT_EQ(result.samples[1].outcome, RequestOutcome::kFailed);
  EXPECT_EQ(result.samples[1].error_code, "OK");
  EXPECT_EQ(result.samples[1].error_reason, "FINISH_REASON_DEADLINE");
  EXPECT_EQ(result.samples[2].outcome, RequestOutcome::kFailed);
  EXPECT_EQ(result.samples[2].error_reason, "STREAM_INCOMPLETE");
  EXPECT_EQ(result.samples[3].outcome, RequestOutcome::kCompleted);
  EXPECT_THAT(server_.seen(), SizeIs(4));
}

TEST_F(LoadGeneratorTest, WhatCannotBeSentFailsOnThisSide) {
  const Oversized oversized;
  LoadGenerator generator(Client(), oversized);
  const LoadResult result = generator.Run({.num_requests = 2}, cancellation_);
  ASSERT_THAT(result.samples, SizeIs(2));
  EXPECT_EQ(result.samples[0].error_reason, "MESSAGE_TOO_LARGE");
  EXPECT_THAT(server_.seen(), IsEmpty());
}

TEST_F(LoadGeneratorTest, SendingEndsWithTheDuration) {
  LoadGenerator generator(Client(), numbered_);
  const LoadResult result = generator.Run(
      {.duration = absl::Milliseconds(100),
       .arrivals = {.request_rate = 50, .burstiness = std::numeric_limits<double>::infinity()}},
      cancellation_);
  EXPECT_GE(result.samples.size(), 1u);
  EXPECT_LE(result.samples.size(), 5u);  // due at 0, 20, 40, 60, 80 ms
}

TEST_F(LoadGeneratorTest, TheLastProgressIsTheWholeRun) {
  LoadGenerator generator(Client(), numbered_);
  LoadProgress last;
  generator.Run(
      {.num_requests = 5}, cancellation_, [&](const LoadProgress& progress) { last = progress; });
  EXPECT_EQ(last.num_sent, 5);
  EXPECT_EQ(last.num_running, 0);
  EXPECT_EQ(last.num_completed, 5);
  EXPECT_EQ(last.num_failed, 0);
  EXPECT_EQ(last.num_output_tokens, 15);
}

}  // namespace
}  // namespace parrot
