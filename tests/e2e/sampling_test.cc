// Sampling options through a real channel, on the fake executor: what ends an answer, several
// answers, log-probabilities.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

struct Output {
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<v1::TokenLogprobs> logprobs;
  std::vector<v1::Finish> finishes;
};

// The answers of one stream by index.
std::map<int32_t, Output> GenerateAll(v1::ParrotService::Stub& stub,
                                      const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  SetDeadline(context);
  const auto reader = stub.Generate(&context, request);
  std::map<int32_t, Output> outputs;
  v1::GenerateResponse event;
  while (reader->Read(&event)) {
    if (event.has_delta()) {
      const v1::Delta& delta = event.delta();
      Output& output = outputs[delta.output_index()];
      EXPECT_TRUE(output.finishes.empty());
      output.text += delta.text();
      output.token_ids.insert(
          output.token_ids.end(), delta.token_ids().begin(), delta.token_ids().end());
      output.logprobs.insert(
          output.logprobs.end(), delta.logprobs().begin(), delta.logprobs().end());
    } else if (event.has_finish()) {
      outputs[event.finish().output_index()].finishes.push_back(event.finish());
    }
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return outputs;
}

v1::GenerateUnaryResponse GenerateWhole(v1::ParrotService::Stub& stub,
                                        const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::GenerateUnaryResponse response;
  const grpc::Status status = stub.GenerateUnary(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

TEST(SamplingTest, AStopStringEndsTheStreamWhereverItsTokensAreCut) {
  TestServer server;
  const Answer whole = Generate(server.stub(), TextRequest("hello", 40));
  ASSERT_TRUE(whole.status.ok());
  ASSERT_EQ(whole.token_ids.size(), 40u);
  int num_cases = 0;
  for (size_t begin = 1; begin + 4 < whole.text.size(); begin += 7) {
    // Whole code points: anything else is no text.
    const auto is_border = [&](size_t at) { return (whole.text[at] & 0xC0) != 0x80; };
    size_t end = begin + 4;
    if (!is_border(begin)) continue;
    while (end < whole.text.size() && !is_border(end)) ++end;
    const std::string stop = whole.text.substr(begin, end - begin);
    SCOPED_TRACE(stop);
    const size_t found = whole.text.find(stop);
    for (const bool include : {false, true}) {
      v1::GenerateRequest request = TextRequest("hello", 40);
      request.mutable_stop()->add_stop(stop);
      request.mutable_stop()->set_include_stop(include);
      const Answer answer = Generate(server.stub(), request);
      ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
      EXPECT_EQ(answer.text, whole.text.substr(0, found + (include ? stop.size() : 0)));
      EXPECT_EQ(answer.finish->finish_reason(), v1::FINISH_REASON_STOP);
      EXPECT_EQ(answer.finish->stop_text(), stop);
      EXPECT_EQ(answer.finish->usage().completion_tokens(),
                static_cast<int>(answer.token_ids.size()));
      ASSERT_LE(answer.token_ids.size(), whole.token_ids.size());
      EXPECT_TRUE(
          std::equal(answer.token_ids.begin(), answer.token_ids.end(), whole.token_ids.begin()));
      ++num_cases;
    }
  }
  EXPECT_GE(num_cases, 10);
  server.ExpectIdle();
}

TEST(SamplingTest, StopTokensWaitForMinTokensAndEosCanBeIgnored) {
  TestServerConfig config;
  const TokenId eos = GoldenModel(nullptr).config.eos_token_id;
  config.executor.model.next_token = [eos](const std::vector<TokenId>&) -> TokenId { return eos; };
  TestServer server(config);
  v1::GenerateRequest request = TextRequest("hello", 9);
  EXPECT_TRUE(Generate(server.stub(), request).token_ids.empty());
  request.mutable_stop()->set_min_tokens(4);
  const Answer late = Generate(server.stub(), request);
  EXPECT_EQ(late.token_ids.size(), 4u);
  EXPECT_EQ(late.finish->stop_token_id(), eos);
  EXPECT_EQ(std::count(late.token_ids.begin(), late.token_ids.end(), eos), 0);
  request.mutable_stop()->set_ignore_eos(true);
  const Answer endless = Generate(server.stub(), request);
  EXPECT_EQ(endless.token_ids, std::vector<int32_t>(9, eos));
  EXPECT_EQ(endless.finish->finish_reason(), v1::FINISH_REASON_LENGTH);
  server.ExpectIdle();
}

TEST(SamplingTest, EveryAnswerHasItsDeltasAndOneFinish) {
  TestServer server;
  const Answer alone = Generate(server.stub(), ImageRequest("what is it?", 12));
  for (const int n : {2, 5, 16}) {
    v1::GenerateRequest request = ImageRequest("what is it?", 12);
    request.set_n(n);
    const std::map<int32_t, Output> outputs = GenerateAll(server.stub(), request);
    ASSERT_EQ(outputs.size(), static_cast<size_t>(n));
    for (const auto& [index, output] : outputs) {
      EXPECT_LT(index, n);
      EXPECT_THAT(output.token_ids, ElementsAreArray(alone.token_ids));  // the fake is greedy
      EXPECT_EQ(output.text, alone.text);
      ASSERT_EQ(output.finishes.size(), 1u);
      EXPECT_EQ(output.finishes[0].usage().completion_tokens(), 12);
      EXPECT_EQ(output.finishes[0].usage().prompt_tokens(), alone.finish->usage().prompt_tokens());
      EXPECT_EQ(output.finishes[0].routing_size(), 1);
    }
    const v1::GenerateUnaryResponse whole = GenerateWhole(server.stub(), request);
    ASSERT_EQ(whole.outputs_size(), n);
    for (int i = 0; i < n; ++i) {
      EXPECT_EQ(whole.outputs(i).output_index(), i);
      EXPECT_EQ(whole.outputs(i).text(), alone.text);
      EXPECT_EQ(whole.outputs(i).finish().output_index(), i);
    }
  }
  server.ExpectIdle();
}

TEST(SamplingTest, LogprobsComeWithTheirTokensInStreamsAndWholeAnswers) {
  TestServer server;
  v1::GenerateRequest request = TextRequest("hello", 10);
  request.mutable_output()->set_logprobs(3);
  request.set_n(2);
  const std::map<int32_t, Output> outputs = GenerateAll(server.stub(), request);
  const v1::GenerateUnaryResponse whole = GenerateWhole(server.stub(), request);
  ASSERT_EQ(outputs.size(), 2u);
  for (const auto& [index, output] : outputs) {
    ASSERT_EQ(output.token_ids.size(), 10u);
    ASSERT_EQ(output.logprobs.size(), 10u);
    ASSERT_EQ(whole.outputs(index).logprobs_size(), 10);
    std::string bytes;
    for (size_t i = 0; i < output.logprobs.size(); ++i) {
      const v1::TokenLogprobs& logprobs = output.logprobs[i];
      EXPECT_EQ(logprobs.chosen().token_id(), output.token_ids[i]);
      EXPECT_EQ(logprobs.chosen().logprob(), -1.0f);
      ASSERT_EQ(logprobs.top_size(), 3);
      EXPECT_EQ(logprobs.top(2).logprob(), -3.0f);
      EXPECT_EQ(whole.outputs(index).logprobs(static_cast<int>(i)).SerializeAsString(),
                logprobs.SerializeAsString());
    }
  }
  request.mutable_output()->set_logprobs(0);
  for (const auto& [index, output] : GenerateAll(server.stub(), request)) {
    ASSERT_EQ(output.logprobs.size(), 10u);
    EXPECT_EQ(output.logprobs[0].top_size(), 0);
  }
  request.clear_output();
  for (const auto& [index, output] : GenerateAll(server.stub(), request)) {
    EXPECT_TRUE(output.logprobs.empty());
  }
  server.ExpectIdle();
}

TEST(SamplingTest, AStopStringInOneAnswerFreesItsPlace) {
  TestServer server;
  const Answer whole = Generate(server.stub(), TextRequest("hello", 12));
  size_t first = 1;  // code point
  while ((whole.text[first] & 0xC0) == 0x80) ++first;
  v1::GenerateRequest request = TextRequest("hello", 1500);
  request.mutable_stop()->add_stop(whole.text.substr(0, first));
  for (int i = 0; i < 20; ++i) {
    const Answer answer = Generate(server.stub(), request);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_TRUE(answer.text.empty());
    EXPECT_EQ(answer.finish->usage().completion_tokens(), 0);
  }
  EXPECT_LT(server.executor().counts().num_steps, 12 + 20 * 200);
  server.ExpectIdle();
}

// The fake model holds every token for e^-1 probable: the shortest choice wins.
TEST(SamplingTest, ChoicesComeWithTheirProbabilities) {
  TestServer server;
  for (const bool has_image : {false, true}) {
    v1::GenerateRequest request = has_image ? ImageRequest("is it?") : TextRequest("is it?");
    request.clear_stop();
    request.add_choices("a very green parrot");
    request.add_choices("a");
    request.add_choices("a parrot");
    const Answer answer = Generate(server.stub(), request);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.text, "a");
    EXPECT_EQ(answer.finish->finish_reason(), v1::FINISH_REASON_STOP);
    EXPECT_EQ(answer.finish->routing_size(), has_image ? 1 : 0);
    ASSERT_EQ(answer.finish->choices_size(), 3);
    double total = 0.0;
    for (const v1::ChoiceProbability& choice : answer.finish->choices()) {
      total += choice.probability();
    }
    EXPECT_NEAR(total, 1.0, 1e-5);
    EXPECT_EQ(answer.finish->choices(1).logprob(), -2.0f);  // the token and the end of the turn
    const v1::GenerateUnaryResponse whole = GenerateWhole(server.stub(), request);
    ASSERT_EQ(whole.outputs_size(), 1);
    EXPECT_EQ(whole.outputs(0).text(), "a");
    EXPECT_EQ(whole.outputs(0).finish().choices_size(), 3);
  }
  server.ExpectIdle();
}

// The fake executor calls odd tokens blocked.
TEST(SamplingTest, WhatALanguageLockBlockedIsInTheUsageOfEachAnswer) {
  TestServer server;
  v1::GenerateRequest request = TextRequest("hello", 20);
  request.set_n(2);
  request.mutable_stop()->set_ignore_eos(true);
  const auto num_odd = [](const auto& ids) {
    return static_cast<int32_t>(
        std::count_if(ids.begin(), ids.end(), [](int32_t id) { return id % 2 == 1; }));
  };
  for (const bool is_locked : {true, false}) {
    if (is_locked) request.mutable_sampling()->mutable_language_lock()->set_language("ru");
    if (!is_locked) request.clear_sampling();
    int32_t total = 0;
    for (const auto& [index, output] : GenerateAll(server.stub(), request)) {
      ASSERT_EQ(output.finishes.size(), 1u);
      const int32_t num_blocked = output.finishes[0].usage().blocked_tokens();
      EXPECT_EQ(num_blocked, is_locked ? num_odd(output.token_ids) : 0);
      total += num_blocked;
    }
    EXPECT_EQ(total > 0, is_locked);
    const v1::GenerateUnaryResponse whole = GenerateWhole(server.stub(), request);
    for (const v1::Output& output : whole.outputs()) {
      EXPECT_EQ(output.finish().usage().blocked_tokens(),
                is_locked ? num_odd(output.token_ids()) : 0);
    }
  }
  server.ExpectIdle();
}

TEST(SamplingTest, LogprobsOfThePromptComeWithTheFirstMessage) {
  TestServer server;
  for (const bool has_image : {false, true}) {
    v1::GenerateRequest request = has_image ? ImageRequest("what?") : TextRequest("hello");
    request.mutable_output()->set_prompt_logprobs(3);
    // The second time the prompt's blocks are in the prefix cache, and nothing of them is used.
    std::vector<std::string> seen;
    for (int i = 0; i < 2; ++i) {
      const Answer answer = Generate(server.stub(), request);
      ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
      const v1::Usage& usage = answer.accepted->usage();
      const auto& logprobs = answer.accepted->prompt_logprobs();
      ASSERT_EQ(logprobs.size(), usage.text_tokens() - 1);
      EXPECT_EQ(logprobs[logprobs.size() - 1].position(), usage.prompt_tokens() - 1);
      int32_t last = 0;
      for (const v1::PromptTokenLogprobs& token : logprobs) {
        EXPECT_GT(token.position(), last);
        last = token.position();
        EXPECT_FALSE(token.token().token().empty());
        EXPECT_EQ(token.top_size(), 3);
      }
      EXPECT_EQ(answer.finish->usage().cached_tokens(), 0);
      seen.push_back(answer.accepted->DebugString());
      const v1::GenerateUnaryResponse whole = GenerateWhole(server.stub(), request);
      ASSERT_EQ(whole.prompt_logprobs_size(), logprobs.size());
      EXPECT_EQ(whole.prompt_logprobs(1).DebugString(), logprobs[1].DebugString());
    }
    request.clear_output();
    const Answer plain = Generate(server.stub(), request);
    EXPECT_EQ(plain.accepted->prompt_logprobs_size(), 0);
    if (has_image) {
      EXPECT_GT(plain.finish->usage().cached_tokens(), 0);
    }
  }
  server.ExpectIdle();
}

}  // namespace
}  // namespace parrot
