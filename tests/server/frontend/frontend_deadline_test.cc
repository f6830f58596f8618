// When the work on a request must stop, and what its client is told then.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/server/frontend/frontend_bench.h"

namespace parrot {
namespace {

using ::testing::IsSupersetOf;
using Code = absl::StatusCode;

TokenId FirstTokenOf(std::string_view text) {
  return NanoModel::Get().tokenizer->Encode(text).value()[0];
}

TEST(FrontendDeadlineTest, IsTheEarlierOfTheTimeoutAndTheTransportsLessTheMargin) {
  const std::optional<absl::Duration> none;
  const struct {
    std::optional<absl::Duration> timeout;
    std::optional<absl::Duration> transport;
    absl::Duration deadline;
  } cases[] = {
      {none, none, absl::Seconds(60)},
      {absl::Seconds(5), none, absl::Seconds(5)},
      {absl::Seconds(300), none, absl::Seconds(300)},  // longer than the default
      {none, absl::Seconds(5), absl::Milliseconds(4900)},
      {none, absl::Seconds(300), absl::Milliseconds(299900)},
      {none, absl::Hours(1), absl::Seconds(600)},
      {absl::Seconds(5), absl::Seconds(5), absl::Milliseconds(4900)},
      {absl::Milliseconds(4800), absl::Seconds(5), absl::Milliseconds(4800)},
      {absl::Seconds(600), absl::Hours(1), absl::Seconds(600)},
  };
  FakeClock clock;
  FrontendOptions options = NanoOptions();
  options.limits.deadline_margin = absl::Milliseconds(100);
  FrontendBench bench(options, &clock);
  int num_added = 0;
  for (const auto& test : cases) {
    SCOPED_TRACE(num_added);
    StreamReader reader(&clock);
    GenerateSpec spec = TextRequest();
    spec.priority = num_added;
    if (test.timeout.has_value()) spec.timeout_ms = absl::ToInt64Milliseconds(*test.timeout);
    if (test.transport.has_value()) spec.deadline = clock.Now() + *test.transport;
    const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
    const auto request = bench.engine().WaitForRequest(++num_added);
    ASSERT_NE(request, nullptr);
    EXPECT_EQ(request->deadline - request->arrival, test.deadline);
    EXPECT_EQ(request->priority, num_added - 1);
    bench.engine().Finish(key, FinishReason::kStop);
    ASSERT_TRUE(reader.WaitForEnd());
  }
  EXPECT_EQ(num_added, 9);
}

TEST(FrontendDeadlineTest, NoTimeForTheWayBackIsNoTimeAtAll) {
  FakeClock clock;
  FrontendBench bench(NanoOptions(), &clock);
  GenerateSpec spec = TextRequest();
  spec.deadline = clock.Now() + absl::Milliseconds(40);
  const absl::Status status = bench.Run(std::move(spec));
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_EQ(bench.engine().num_added(), 0);
}

TEST(FrontendDeadlineTest, AWholeAnswerIsWhatWasThereInTime) {
  FrontendBench bench;
  StreamReader reader(nullptr, StreamMode::kWhole);
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().Token(key, FirstTokenOf("a"));
  bench.engine().Finish(key, FinishReason::kDeadline);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_TRUE(reader.status().ok()) << reader.status();
  EXPECT_EQ(reader.text(), "a");
  EXPECT_EQ(reader.finished().reason, FinishReason::kDeadline);
  EXPECT_EQ(reader.finished().usage.completion_tokens, 1);
  const std::string metrics = bench.frontend().metrics().Render();
  EXPECT_NE(metrics.find("parrot_requests_finished_total{reason=\"deadline\"} 1"),
            std::string::npos);
  EXPECT_EQ(metrics.find("parrot_rejected_total{"), std::string::npos);
}

TEST(FrontendDeadlineTest, OneAnswerWithTextIsEnoughOfSeveral) {
  for (const bool with_text : {false, true}) {
    FrontendBench bench;
    StreamReader reader;
    GenerateSpec spec = TextRequest();
    spec.n = 2;
    const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
    ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
    if (with_text) bench.engine().Token(key, FirstTokenOf("a"), 1);
    for (const int32_t i : {0, 1}) bench.engine().Finish(key, FinishReason::kDeadline, {}, i);
    ASSERT_TRUE(reader.WaitForEnd());
    EXPECT_EQ(reader.status().code(), with_text ? Code::kOk : Code::kDeadlineExceeded);
    EXPECT_EQ(reader.num_finished(), with_text ? 2 : 0);
    if (!with_text) continue;
    for (const int32_t i : {0, 1}) {
      EXPECT_EQ(reader.finished(i).reason, FinishReason::kDeadline);
      EXPECT_EQ(reader.finished(i).usage.completion_tokens, i);
    }
  }
}

// The engine says nothing any more: the front end's timer ends the streams in its place.
TEST(FrontendDeadlineTest, TextThatWasSentIsAnAnswerEvenIfTheEngineHangs) {
  FakeClock clock;
  FrontendBench bench(NanoOptions(), &clock);
  bench.engine().SetAnswerCancels(false);
  StreamReader with_text(&clock);
  StreamReader without(&clock);
  GenerateSpec spec = TextRequest();
  spec.timeout_ms = 5000;  // sooner than a reader counts as stalled
  const RequestKey key = bench.frontend().Submit(GenerateSpec(spec), {}, with_text.stream());
  const RequestKey other = bench.frontend().Submit(std::move(spec), {}, without.stream());
  ASSERT_NE(bench.engine().WaitForRequest(2), nullptr);
  bench.engine().Token(key, FirstTokenOf("a"));
  ASSERT_TRUE(with_text.WaitForText(1));
  clock.Advance(absl::Seconds(6));
  bench.frontend().CheckTimers();
  ASSERT_TRUE(with_text.WaitForEnd());
  ASSERT_TRUE(without.WaitForEnd());
  EXPECT_TRUE(with_text.status().ok()) << with_text.status();
  EXPECT_EQ(with_text.finished().reason, FinishReason::kDeadline);
  EXPECT_EQ(with_text.finished().usage.completion_tokens, 1);
  EXPECT_GT(with_text.finished().usage.text_tokens, 0);
  EXPECT_EQ(without.status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(GetErrorFacts(without.status()).reason, "DEADLINE_EXCEEDED");
  EXPECT_EQ(without.num_finished(), 0);
  EXPECT_THAT(bench.engine().cancels(), IsSupersetOf({key, other}));
  bench.engine().Finish(key, FinishReason::kDeadline);
  bench.engine().Finish(other, FinishReason::kDeadline);
  EXPECT_TRUE(bench.frontend().WaitUntilIdle(absl::Seconds(10)));
}

}  // namespace
}  // namespace parrot
