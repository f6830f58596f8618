#include "server/grpc/request_conversion.h"

#include <string>
#include <variant>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

GenerateSpec FromText(const std::string& text) {
  v1::GenerateRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
  return SpecFromGenerate(request);
}

TEST(RequestConversionTest, WhatIsAbsentStaysAbsent) {
  const GenerateSpec spec = FromText("");
  EXPECT_EQ(spec.kind, RequestKind::kGenerate);
  EXPECT_FALSE(spec.model || spec.generation_prefix || spec.placement || spec.n || spec.priority);
  EXPECT_FALSE(spec.timeout_ms || spec.language || spec.request_id || spec.json_schema);
  EXPECT_FALSE(spec.sampling.temperature || spec.sampling.top_k || spec.sampling.top_p);
  EXPECT_FALSE(spec.sampling.min_p || spec.sampling.seed || spec.sampling.repetition_penalty);
  EXPECT_FALSE(spec.stop.max_tokens || spec.stop.min_tokens || spec.stop.ignore_eos);
  EXPECT_FALSE(spec.output.logprobs || spec.output.prompt_logprobs);
  EXPECT_TRUE(spec.messages.empty() && spec.choices.empty() && spec.stop.stop.empty());
}

TEST(RequestConversionTest, ZeroIsAValueAndNotAbsence) {
  const GenerateSpec spec = FromText(
      "model: '' generation_prefix: '' image_placement: 0 n: 0 priority: 0 timeout_ms: 0 language: "
      "'' sampling { temperature: 0 top_k: 0 top_p: 0 min_p: 0 seed: 0 repetition_penalty: 0 "
      "presence_penalty: 0 frequency_penalty: 0 } stop { max_tokens: 0 min_tokens: 0 ignore_eos: "
      "false include_stop: false } output { logprobs: 0 prompt_logprobs: 0 }");
  EXPECT_EQ(spec.model, "");
  EXPECT_EQ(spec.placement, PlacementSpec::kUnspecified);
  EXPECT_EQ(spec.n, 0);
  EXPECT_EQ(spec.priority, 0);
  EXPECT_EQ(spec.timeout_ms, 0);
  EXPECT_EQ(spec.sampling.temperature, 0.0f);
  EXPECT_EQ(spec.sampling.top_k, 0);
  EXPECT_EQ(spec.sampling.seed, 0u);
  EXPECT_EQ(spec.sampling.frequency_penalty, 0.0f);
  EXPECT_EQ(spec.stop.max_tokens, 0);
  EXPECT_EQ(spec.stop.include_stop, false);
  EXPECT_EQ(spec.output.prompt_logprobs, 0);
}

TEST(RequestConversionTest, PartsKeepTheirOrderAndKind) {
  const GenerateSpec spec = FromText(R"(
      messages { role: ROLE_SYSTEM parts { text: "s" } }
      messages { role: ROLE_USER
        parts { text: "a" } parts { image { data: "JPEG" mime_type: "image/jpeg" } } parts {}
        parts { image { data_uri: "data:x" expert_weights: 0.5 expert_weights: 0.25 } }
        parts { image { digest_sha256: "d" } } parts { image {} } }
      messages { role: 42 })");
  ASSERT_EQ(spec.messages.size(), 3u);
  EXPECT_EQ(spec.messages[0].role, RoleSpec::kSystem);
  EXPECT_EQ(static_cast<int>(spec.messages[2].role), 42);
  const auto& parts = spec.messages[1].parts;
  ASSERT_EQ(parts.size(), 6u);
  EXPECT_EQ(std::get<TextSpec>(parts[0]).text, "a");
  EXPECT_EQ(std::get<ImageSpec>(parts[1]).source, ImageSpec::Source::kBytes);
  EXPECT_EQ(std::get<ImageSpec>(parts[1]).data, "JPEG");
  EXPECT_EQ(std::get<ImageSpec>(parts[1]).mime_type, "image/jpeg");
  EXPECT_TRUE(std::holds_alternative<std::monostate>(parts[2]));
  EXPECT_EQ(std::get<ImageSpec>(parts[3]).source, ImageSpec::Source::kDataUri);
  EXPECT_EQ(std::get<ImageSpec>(parts[3]).expert_weights.size(), 2u);
  EXPECT_EQ(std::get<ImageSpec>(parts[4]).source, ImageSpec::Source::kDigest);
  EXPECT_EQ(std::get<ImageSpec>(parts[5]).source, ImageSpec::Source::kNone);
}

TEST(RequestConversionTest, UnsupportedOptionsArriveToBeRefused) {
  const GenerateSpec spec = FromText(R"(
      choices: "a" choices: "b" json_schema: "{}" request_id: "r"
      stop { stop: "x" stop_token_ids: 3 stop_token_ids: -1 }
      sampling { logit_bias { key: 9 value: 1 } logit_bias { key: 4 value: 2 } })");
  EXPECT_EQ(spec.choices.size(), 2u);
  EXPECT_EQ(spec.json_schema, "{}");
  EXPECT_EQ(spec.request_id, "r");
  EXPECT_EQ(spec.stop.stop.size(), 1u);
  EXPECT_EQ(spec.stop.stop_token_ids.back(), -1);
  ASSERT_EQ(spec.sampling.logit_bias.size(), 2u);
  EXPECT_EQ(spec.sampling.logit_bias[0].first, 4u);
  EXPECT_FALSE(spec.sampling.language_lock.has_value());
}

TEST(RequestConversionTest, ALockIsTakenAsItIs) {
  EXPECT_EQ(FromText("sampling { language_lock {} }").sampling.language_lock, LanguageLockSpec{});
  EXPECT_EQ(FromText("sampling { language_lock { language: '' mode: 0 bias: 0 } }")
                .sampling.language_lock,
            (LanguageLockSpec{"", LockModeSpec::kUnspecified, 0.0f}));
}

TEST(RequestConversionTest, RouteAndCountShareTheConversation) {
  v1::RouteRequest route;
  route.add_messages()->add_parts()->set_text("a");
  route.set_generation_prefix("p");
  route.set_language("zh");
  const GenerateSpec spec = SpecFromRoute(route);
  EXPECT_EQ(spec.kind, RequestKind::kRoute);
  EXPECT_EQ(spec.generation_prefix, "p");
  EXPECT_EQ(spec.language, "zh");
  v1::CountTokensRequest count;
  count.add_messages()->add_parts()->set_text("a");
  EXPECT_EQ(SpecFromCountTokens(count).messages.size(), 1u);
}

}  // namespace
}  // namespace parrot
