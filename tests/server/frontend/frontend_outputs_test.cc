// Several answers to one request, answers that a stop string ends, and log-probabilities.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/frontend/frontend_bench.h"

namespace parrot {
namespace {

using Code = absl::StatusCode;

std::vector<TokenId> Encode(std::string_view text) {
  return NanoModel::Get().tokenizer->Encode(text).value();
}

GenerateSpec WithStop(std::string stop) {
  GenerateSpec spec = TextRequest();
  spec.stop.stop = {std::move(stop)};
  return spec;
}

GenerateSpec WithAnswers(int32_t n) {
  GenerateSpec spec = TextRequest();
  spec.n = n;
  return spec;
}

void ExpectNothingLeft(FrontendBench& bench) {
  EXPECT_TRUE(bench.frontend().WaitUntilIdle(absl::Seconds(10)));
  EXPECT_EQ(bench.frontend().live_requests(), 0);
}

TEST(FrontendStopStringTest, EndsTheAnswerAndTellsTheEngine) {
  FrontendBench bench;
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(WithStop("gree"), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  const std::vector<TokenId> answer = Encode("A very green parrot.");
  for (const TokenId token : answer) bench.engine().Token(key, token);
  ASSERT_TRUE(reader.WaitForEnd());

  EXPECT_TRUE(reader.status().ok()) << reader.status();
  EXPECT_EQ(reader.text(), "A very ");
  const OutputFinishedEvent finished = reader.finished();
  EXPECT_EQ(finished.reason, FinishReason::kStop);
  EXPECT_EQ(finished.stop_text, "gree");
  EXPECT_EQ(finished.stop_token, -1);
  EXPECT_EQ(finished.usage.completion_tokens, static_cast<int32_t>(reader.token_ids().size()));
  EXPECT_LT(reader.token_ids().size(), answer.size());
  EXPECT_EQ(finished.timings.decode, absl::Milliseconds(3));  // the engine's
  using Cancels = std::vector<std::pair<RequestKey, int32_t>>;
  EXPECT_EQ(bench.engine().sequence_cancels(), (Cancels{{key, 0}}));
  // The thread that added the request may find it ended, and cancel what is left of it: nothing.
  for (const RequestKey cancelled : bench.engine().cancels()) EXPECT_EQ(cancelled, key);
  ExpectNothingLeft(bench);
}

TEST(FrontendStopStringTest, CountsWhateverTheEngineSaysAfterwards) {
  for (const FinishReason reason : {FinishReason::kStop,
                                    FinishReason::kLength,
                                    FinishReason::kDeadline,
                                    FinishReason::kError}) {
    FrontendBench bench;
    bench.engine().SetAnswerCancels(false);
    StreamReader reader;
    const RequestKey key = bench.frontend().Submit(WithStop("b"), {}, reader.stream());
    ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
    for (const TokenId token : Encode("a b c")) bench.engine().Token(key, token);
    bench.engine().Finish(key, reason, absl::InternalError("too late to matter"));
    ASSERT_TRUE(reader.WaitForEnd());
    EXPECT_TRUE(reader.status().ok()) << reader.status();
    EXPECT_EQ(reader.text(), "a ");
    EXPECT_EQ(reader.finished().reason, FinishReason::kStop);
    EXPECT_EQ(reader.finished().stop_text, "b");
  }
}

TEST(FrontendStopStringTest, WhatWasHeldBackComesWithTheEnd) {
  FrontendBench bench;
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(WithStop("parrots!"), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  const std::vector<TokenId> answer = Encode("parrots");
  for (const TokenId token : answer) bench.engine().Token(key, token);
  bench.engine().Finish(key, FinishReason::kLength);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_EQ(reader.text(), "parrots");
  EXPECT_EQ(reader.token_ids(), answer);
  EXPECT_EQ(reader.finished().reason, FinishReason::kLength);
  EXPECT_TRUE(reader.finished().stop_text.empty());
  EXPECT_EQ(reader.finished().usage.completion_tokens, static_cast<int32_t>(answer.size()));
}

// The output thread is held in one stream's callback while the engine goes on.
TEST(FrontendOutputsTest, WhatWaitedForTheOutputThreadComesAsOnePieceOfEachAnswer) {
  absl::Notification held;
  absl::Notification released;
  FrontendBench bench;
  const auto holder =
      std::make_shared<ResponseStream>(ResponseStreamOptions{}, [&held, &released](ReadyReason) {
        if (held.HasBeenNotified()) return;
        held.Notify();
        released.WaitForNotification();
      });
  const RequestKey first = bench.frontend().Submit(TextRequest(), {}, holder);
  ASSERT_NE(bench.engine().WaitForRequest(1), nullptr);
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(WithAnswers(2), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(2), nullptr);
  const std::vector<TokenId> answer = Encode("A very green parrot sits on a branch.");
  bench.engine().Token(first, answer[0]);
  held.WaitForNotification();
  for (const int32_t output_idx : {0, 1}) {
    for (const TokenId token : answer) bench.engine().Token(key, token, output_idx);
  }
  bench.engine().Token(first, answer[1]);
  for (const int32_t output_idx : {1, 0}) {
    bench.engine().Finish(key, FinishReason::kLength, absl::OkStatus(), output_idx);
  }
  bench.engine().Finish(first, FinishReason::kLength);
  released.Notify();
  ASSERT_TRUE(reader.WaitForEnd());
  int num_deltas = 0;
  for (const AnswerEvent& event : reader.events()) {
    num_deltas += std::holds_alternative<DeltaEvent>(event) ? 1 : 0;
  }
  EXPECT_EQ(num_deltas, 2);
  for (const int32_t output_idx : {0, 1}) {
    EXPECT_EQ(reader.token_ids(output_idx), answer);
    EXPECT_EQ(reader.finished(output_idx).usage.completion_tokens,
              static_cast<int32_t>(answer.size()));
  }
  while (holder->Take().has_value()) {
  }
  ExpectNothingLeft(bench);
}

TEST(FrontendOutputsTest, EachAnswerHasItsTextItsUsageAndItsEnd) {
  FrontendBench bench;
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(WithAnswers(3), {}, reader.stream());
  const auto request = bench.engine().WaitForRequest();
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->num_sequences, 3);
  const std::vector<std::string> texts = {"one 鸟", "two parrots, green", ""};
  std::vector<std::vector<TokenId>> ids;
  for (const std::string& text : texts) ids.push_back(Encode(text));
  for (size_t i = 0; i < 20; ++i) {
    for (int32_t idx = 0; idx < 3; ++idx) {
      if (i < ids[idx].size()) bench.engine().Token(key, ids[idx][i], idx);
    }
  }
  bench.engine().Finish(key, FinishReason::kStop, {}, 2);
  bench.engine().Finish(key, FinishReason::kLength, {}, 0);
  EXPECT_EQ(bench.frontend().live_requests(), 1);
  bench.engine().Finish(key, FinishReason::kStop, {}, 1);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_TRUE(reader.status().ok()) << reader.status();
  EXPECT_EQ(reader.num_finished(), 3);
  EXPECT_EQ(reader.num_ends(), 1);
  for (int32_t idx = 0; idx < 3; ++idx) {
    EXPECT_EQ(reader.text(idx), texts[idx]);
    EXPECT_EQ(reader.token_ids(idx), ids[idx]);
    EXPECT_EQ(reader.finished(idx).reason, idx == 0 ? FinishReason::kLength : FinishReason::kStop);
    EXPECT_EQ(reader.finished(idx).usage.completion_tokens, static_cast<int32_t>(ids[idx].size()));
    EXPECT_EQ(reader.finished(idx).usage.prompt_tokens(), request->num_prompt_tokens());
  }
  ExpectNothingLeft(bench);
}

TEST(FrontendOutputsTest, AStopStringEndsOneAnswerAlone) {
  FrontendBench bench;
  StreamReader reader;
  GenerateSpec spec = WithAnswers(2);
  spec.stop.stop = {"!"};
  const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  for (const TokenId token : Encode("yes! no")) bench.engine().Token(key, token, 1);
  for (const TokenId token : Encode("yes no")) bench.engine().Token(key, token, 0);
  bench.engine().Finish(key, FinishReason::kStop, {}, 0);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_EQ(reader.text(0), "yes no");
  EXPECT_EQ(reader.text(1), "yes");
  EXPECT_EQ(reader.finished(1).stop_text, "!");
  using Cancels = std::vector<std::pair<RequestKey, int32_t>>;
  EXPECT_EQ(bench.engine().sequence_cancels(), (Cancels{{key, 1}}));
  ExpectNothingLeft(bench);
}

TEST(FrontendOutputsTest, OneThatFailsEndsTheCallAndCancelsTheOthers) {
  FrontendBench bench;
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(WithAnswers(3), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().Token(key, Encode("a")[0], 0);
  bench.engine().Token(key, Encode("b")[0], 1);
  bench.engine().Token(key, Encode("b")[0], 1);
  bench.engine().Finish(key, FinishReason::kStop, {}, 0);
  bench.engine().Finish(key, FinishReason::kError, absl::InternalError("device"), 1);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_EQ(reader.status().code(), Code::kInternal);
  EXPECT_EQ(reader.num_finished(), 3);
  EXPECT_EQ(reader.finished(0).reason, FinishReason::kStop);
  EXPECT_EQ(reader.finished(1).reason, FinishReason::kError);
  EXPECT_EQ(reader.finished(1).usage.completion_tokens, 2);
  EXPECT_EQ(reader.finished(2).usage.completion_tokens, 0);
  // Twice if the thread that added it was still about to look whether it has ended.
  EXPECT_FALSE(bench.engine().cancels().empty());
  EXPECT_THAT(bench.engine().cancels(), ::testing::Each(key));
  ExpectNothingLeft(bench);
}

TEST(FrontendOutputsTest, ACancelEndsAllOfThem) {
  FrontendBench bench;
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(WithAnswers(4), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().Finish(key, FinishReason::kStop, {}, 3);
  bench.frontend().Cancel(key);
  EXPECT_EQ(bench.engine().cancels(), (std::vector<RequestKey>{key}));
  ExpectNothingLeft(bench);
}

TEST(FrontendOutputsTest, AWholeAnswerHoldsOneDeltaOfEach) {
  FrontendBench bench;
  StreamReader reader(nullptr, StreamMode::kWhole);
  const RequestKey key = bench.frontend().Submit(WithAnswers(2), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  for (const int32_t idx : {1, 0, 1, 0}) bench.engine().Token(key, Encode("ab")[0], idx);
  bench.engine().Finish(key, FinishReason::kStop, {}, 1);
  bench.engine().Finish(key, FinishReason::kStop, {}, 0);
  ASSERT_TRUE(reader.WaitForEnd());
  ASSERT_EQ(reader.events().size(), 6u);  // accepted, two deltas, two ends, the end
  EXPECT_EQ(reader.token_ids(0).size(), 2u);
  EXPECT_EQ(reader.token_ids(1).size(), 2u);
}

TEST(FrontendLogprobsTest, TravelWithTheirTokens) {
  FrontendBench bench;
  StreamReader reader;
  GenerateSpec spec = TextRequest();
  spec.output.logprobs = 2;
  const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
  const auto request = bench.engine().WaitForRequest();
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->sampling.num_logprobs, 2);
  const std::vector<TokenId> answer = Encode("A 鸟.");
  for (const TokenId token : answer) {
    bench.engine().Token(TokenEvent{
        .key = key, .token = token, .logprob = -1.5f, .top = {{7, -0.5f}, {token, -1.5f}}});
  }
  bench.engine().Finish(key, FinishReason::kStop);
  ASSERT_TRUE(reader.WaitForEnd());
  const std::vector<TokenLogprobs> logprobs = reader.logprobs();
  ASSERT_EQ(logprobs.size(), answer.size());
  std::string bytes;
  for (size_t i = 0; i < answer.size(); ++i) {
    EXPECT_EQ(logprobs[i].chosen.token, answer[i]);
    EXPECT_EQ(logprobs[i].chosen.logprob, -1.5f);
    bytes += logprobs[i].chosen.bytes;
    ASSERT_EQ(logprobs[i].top.size(), 2u);
    EXPECT_EQ(logprobs[i].top[0].token, 7);
    EXPECT_EQ(logprobs[i].top[0].bytes, NanoModel::Get().tokenizer->TokenBytes(7));
    EXPECT_EQ(logprobs[i].top[1].bytes, logprobs[i].chosen.bytes);
  }
  EXPECT_EQ(bytes, "A 鸟.");
}

TEST(FrontendLanguageLockTest, ReachesTheEngineAndWhatItBlockedIsCounted) {
  FrontendBench bench;
  StreamReader reader;
  GenerateSpec spec = TextRequest();
  spec.n = 2;
  spec.sampling.language_lock = LanguageLockSpec{.language = "pt-BR"};
  const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
  const auto request = bench.engine().WaitForRequest();
  ASSERT_NE(request, nullptr);
  ASSERT_TRUE(request->sampling.language_lock.has_value());
  EXPECT_EQ(request->sampling.language_lock->script, Script::kLatin);
  EXPECT_TRUE(std::isinf(request->sampling.language_lock->blocked_bias));
  for (const TokenId token : Encode("A 鸟.")) {
    bench.engine().Token(TokenEvent{.key = key, .token = token, .is_blocked = true});
    bench.engine().Token(TokenEvent{.key = key, .sequence_idx = 1, .token = token});
  }
  bench.engine().Token(TokenEvent{.key = key, .sequence_idx = 1, .token = 7, .is_blocked = true});
  bench.engine().Finish(key, FinishReason::kStop, {}, 0);
  bench.engine().Finish(key, FinishReason::kDeadline, {}, 1);
  ASSERT_TRUE(reader.WaitForEnd());
  const auto num_tokens = static_cast<int32_t>(Encode("A 鸟.").size());
  EXPECT_EQ(reader.finished(0).usage.blocked_tokens, num_tokens);
  EXPECT_EQ(reader.finished(1).usage.blocked_tokens, 1);
  const std::string counted = absl::StrCat(
      "parrot_language_lock_blocked_tokens_total{language=\"pt\"} ", num_tokens + 1, "\n");
  EXPECT_NE(bench.frontend().metrics().Render().find(counted), std::string::npos);
}

TEST(FrontendLogprobsTest, OfThePromptTravelWithTheFirstEvent) {
  const std::string_view names[] = {"a", "b"};
  for (const StreamMode mode : {StreamMode::kDeltas, StreamMode::kWhole}) {
    for (const bool has_token : {true, false}) {
      FrontendBench bench;
      StreamReader reader(nullptr, mode);
      GenerateSpec spec = TextRequest();
      spec.output.prompt_logprobs = 1;
      const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
      const auto request = bench.engine().WaitForRequest();
      ASSERT_NE(request, nullptr);
      EXPECT_EQ(request->sampling.num_prompt_logprobs, 1);
      EXPECT_EQ(request->sampling.num_logprobs, -1);
      for (int32_t i = 0; i < 2; ++i) {
        bench.engine().PromptLogprob({.key = key,
                                      .position = 1 + 7 * i,
                                      .token = Encode(names[i])[0],
                                      .logprob = -1.0f - static_cast<float>(i),
                                      .top = {{Encode("a")[0], -0.5f}}});
      }
      if (has_token) bench.engine().Token(key, Encode("a")[0]);
      bench.engine().Finish(key, FinishReason::kStop);
      ASSERT_TRUE(reader.WaitForEnd());
      const std::vector<AnswerEvent> events = reader.events();
      const auto* accepted = std::get_if<AcceptedEvent>(&events.at(0));
      ASSERT_NE(accepted, nullptr);
      ASSERT_EQ(accepted->prompt_logprobs.size(), 2u);
      for (int32_t i = 0; i < 2; ++i) {
        const PromptTokenLogprobs& token = accepted->prompt_logprobs[i];
        EXPECT_EQ(token.position, 1 + 7 * i);
        EXPECT_EQ(token.logprobs.chosen.bytes, names[i]);
        EXPECT_EQ(token.logprobs.chosen.logprob, -1.0f - static_cast<float>(i));
        ASSERT_EQ(token.logprobs.top.size(), 1u);
        EXPECT_EQ(token.logprobs.top[0].bytes, "a");
      }
    }
  }
}

TEST(FrontendLogprobsTest, OfALongPromptAreLimitedInAll) {
  FrontendOptions options = NanoOptions();
  options.limits.max_prompt_logprobs = 100;
  FrontendBench bench(options);
  GenerateSpec spec = TextRequest();
  spec.output.prompt_logprobs = 20;
  const absl::Status status = bench.Run(std::move(spec));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorFacts(status).reason, "TOO_MANY_LOGPROBS");
  EXPECT_EQ(GetErrorFacts(status).field, "output.prompt_logprobs");
  EXPECT_EQ(GetErrorFacts(status).limit, "100");
}

TEST(FrontendLogprobsTest, AreAbsentUnlessAskedFor) {
  FrontendBench bench;
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().Token(key, Encode("a")[0]);
  bench.engine().Finish(key, FinishReason::kStop);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_EQ(reader.token_ids().size(), 1u);
  EXPECT_TRUE(reader.logprobs().empty());
}

// The engine is told what to say; what counts is how probable the model held it.
TEST(FrontendChoicesTest, TheMostProbableOneIsTheAnswer) {
  FrontendBench bench;
  StreamReader reader;
  GenerateSpec spec = TextRequest();
  spec.choices = {"yes", "a green parrot", "no"};
  const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
  const auto request = bench.engine().WaitForRequest();
  ASSERT_NE(request, nullptr);
  ASSERT_EQ(request->num_sequences, 3);
  ASSERT_EQ(request->forced_token_ids.size(), 3u);
  EXPECT_GE(request->sampling.num_logprobs, 0);
  const TokenId eos = NanoOptions().model.eos_token_id;
  const std::vector<std::string> texts = {"yes", "a green parrot", "no"};
  size_t longest = 0;
  for (size_t i = 0; i < 3; ++i) {
    std::vector<TokenId> tokens = Encode(texts[i]);
    tokens.push_back(eos);
    EXPECT_EQ(request->forced_token_ids[i], tokens);
    longest = std::max(longest, tokens.size());
  }
  EXPECT_EQ(request->max_tokens, static_cast<int32_t>(longest));
  // In the order 2, 0, 1, with logarithms -4, -3 and -2 in all.
  const std::vector<std::pair<int32_t, float>> totals = {{2, -4.0f}, {0, -3.0f}, {1, -2.0f}};
  for (const auto& [idx, total] : totals) {
    const std::vector<TokenId> tokens = Encode(texts[idx]);
    const float each = (total + 0.5f) / static_cast<float>(tokens.size());
    for (const TokenId token : tokens) {
      bench.engine().Token(
          TokenEvent{.key = key, .sequence_idx = idx, .token = token, .logprob = each});
    }
    EXPECT_TRUE(reader.events().empty());  // nothing is said before all is known
    bench.engine().FinishChoice(key, idx, eos, -0.5f);
  }
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_TRUE(reader.status().ok()) << reader.status();
  EXPECT_EQ(reader.text(), "a green parrot");
  EXPECT_EQ(reader.token_ids(), Encode("a green parrot"));
  ASSERT_EQ(reader.num_finished(), 1);
  const OutputFinishedEvent finished = reader.finished();
  EXPECT_EQ(finished.reason, FinishReason::kStop);
  EXPECT_EQ(finished.usage.completion_tokens, static_cast<int32_t>(reader.token_ids().size()));
  ASSERT_EQ(finished.choices.size(), 3u);
  const double total = std::exp(-4.0) + std::exp(-3.0) + std::exp(-2.0);
  const float logprobs[] = {-3.0f, -2.0f, -4.0f};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(finished.choices[i].text, texts[i]);
    EXPECT_NEAR(finished.choices[i].logprob, logprobs[i], 1e-5);
    EXPECT_NEAR(finished.choices[i].probability, std::exp(logprobs[i]) / total, 1e-5);
  }
  ExpectNothingLeft(bench);
}

TEST(FrontendChoicesTest, OneThatFailsLeavesABareStatus) {
  FrontendBench bench;
  StreamReader reader;
  GenerateSpec spec = TextRequest();
  spec.choices = {"yes", "no"};
  const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().FinishChoice(key, 0, 1, -0.5f);
  bench.engine().Finish(key, FinishReason::kDeadline, {}, 1);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_EQ(reader.status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(reader.events().size(), 1u);
  ExpectNothingLeft(bench);
}

}  // namespace
}  // namespace parrot
