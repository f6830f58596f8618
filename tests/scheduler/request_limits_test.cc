#include "scheduler/request_limits.h"

#include <functional>
#include <string>
#include <vector>

#include "base/error_status.h"
#include "gtest/gtest.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

RequestLimits Limits() {
  return {.max_model_len = 40,
          .num_blocks = 8,
          .block_size = 4,
          .image_tokens = kTestImageTokens,
          .num_experts = kTestExperts};
}

TEST(RequestLimitsTest, CountsBlocksOfPromptAndAnswerButTheLastToken) {
  EXPECT_EQ(NumBlocksNeeded(*RequestBuilder(1).Text(4).MaxTokens(1).Build(), 4), 1);
  EXPECT_EQ(NumBlocksNeeded(*RequestBuilder(1).Text(4).MaxTokens(2).Build(), 4), 2);
  EXPECT_EQ(NumBlocksNeeded(*RequestBuilder(1).Text(4).Image(1).Route().Build(), 4), 0);
}

TEST(RequestLimitsTest, AcceptsWhatJustFits) {
  EXPECT_EQ(CheckRequest(*RequestBuilder(1).Text(30).MaxTokens(3).Build(), Limits()),
            absl::OkStatus());
  EXPECT_EQ(
      CheckRequest(*RequestBuilder(1).Text(9).Image(1).Text(1).MaxTokens(2).Build(), Limits()),
      absl::OkStatus());
  // A route request takes no block, so only the context bounds it.
  EXPECT_EQ(CheckRequest(*RequestBuilder(1).Text(35).Image(1).Route().Build(), Limits()),
            absl::OkStatus());
}

struct Refusal {
  std::string name;
  std::function<void(Request&)> spoil;
  absl::StatusCode code;
  std::string reason;
  std::string value;
  std::string limit;
};

TEST(RequestLimitsTest, RefusesWithReasonValueAndLimit) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const auto internal = absl::StatusCode::kInternal;
  const std::vector<Refusal> refusals = {
      {"empty",
       [](Request& r) {
         r.token_ids.clear();
         r.images.clear();
       },
       invalid,
       "EMPTY_PROMPT",
       "0",
       "1"},
      {"no tokens",
       [](Request& r) { r.max_tokens = 0; },
       invalid,
       "MAX_TOKENS_OUT_OF_RANGE",
       "0",
       "1"},
      {"context",
       [](Request& r) { r.max_tokens = 34; },
       invalid,
       "CONTEXT_LENGTH_EXCEEDED",
       "41",
       "40"},
      {"context, hostile",
       [](Request& r) { r.max_tokens = 2147483647; },
       invalid,
       "CONTEXT_LENGTH_EXCEEDED",
       "2147483654",
       "40"},
      {"blocks", [](Request& r) { r.max_tokens = 27; }, invalid, "KV_CACHE_TOO_SMALL", "9", "8"},
      {"n of zero", [](Request& r) { r.num_sequences = 0; }, internal, "MALFORMED_REQUEST", "", ""},
      {"forced tokens of one answer of two",
       [](Request& r) {
         r.num_sequences = 2;
         r.forced_token_ids = {{1}};
       },
       internal,
       "MALFORMED_REQUEST",
       "",
       ""},
      {"route of two answers",
       [](Request& r) {
         r.kind = RequestKind::kRoute;
         r.num_sequences = 2;
       },
       internal,
       "MALFORMED_REQUEST",
       "",
       ""},
      {"route without image",
       [](Request& r) {
         r.kind = RequestKind::kRoute;
         r.images.clear();
         r.token_ids = {1};
       },
       invalid,
       "NO_IMAGE",
       "0",
       "1"},
      {"weights",
       [](Request& r) { r.images[0].routing = RoutingSource::kWeights; },
       invalid,
       "EXPERT_WEIGHTS_LENGTH",
       "0",
       "3"},
      {"image size",
       [](Request& r) { r.images[0].num_tokens = 4; },
       internal,
       "MALFORMED_REQUEST",
       "",
       ""},
      {"image outside",
       [](Request& r) { r.images[0].position = 3; },
       internal,
       "MALFORMED_REQUEST",
       "",
       ""},
      {"image over text",
       [](Request& r) { r.images[0].position = 0; },
       internal,
       "MALFORMED_REQUEST",
       "",
       ""},
      {"images overlap",
       [](Request& r) { r.images.push_back(r.images[0]); },
       internal,
       "MALFORMED_REQUEST",
       "",
       ""},
      {"visual token without image",
       [](Request& r) { r.token_ids[0] = kVisualToken; },
       internal,
       "MALFORMED_REQUEST",
       "",
       ""},
      {"no pixels",
       [](Request& r) { r.images[0].image.pixels = nullptr; },
       internal,
       "MALFORMED_REQUEST",
       "",
       ""},
      {"stop ids",
       [](Request& r) {
         r.stop_token_ids = {2, 1};
       },
       internal,
       "MALFORMED_REQUEST",
       "",
       ""},
  };
  for (const Refusal& refusal : refusals) {
    Request request = *RequestBuilder(1).Text(2).Image(1).MaxTokens(2).Build();
    ASSERT_EQ(CheckRequest(request, Limits()), absl::OkStatus());
    refusal.spoil(request);
    const absl::Status status = CheckRequest(request, Limits());
    EXPECT_EQ(status.code(), refusal.code) << refusal.name << ": " << status;
    const ErrorFacts facts = GetErrorFacts(status);
    EXPECT_EQ(facts.reason, refusal.reason) << refusal.name;
    EXPECT_EQ(facts.value, refusal.value) << refusal.name;
    EXPECT_EQ(facts.limit, refusal.limit) << refusal.name;
  }
  EXPECT_EQ(refusals.size(), 17u);
}

}  // namespace
}  // namespace parrot
