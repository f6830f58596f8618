// Who weighs the experts: all text of the prompt, the first turn of the dialogue, or the client.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"
#include "tests/server/frontend/frontend_bench.h"

namespace parrot {
namespace {

MessageSpec TextMessage(RoleSpec role, const std::string& text) {
  MessageSpec message{.role = role};
  message.parts.emplace_back(TextSpec{text});
  return message;
}

RoleSpec RoleOf(const std::string& name) {
  if (name == "system") return RoleSpec::kSystem;
  return name == "assistant" ? RoleSpec::kAssistant : RoleSpec::kUser;
}

std::vector<MessageSpec> MessagesOf(const nlohmann::json& prompt) {
  std::vector<MessageSpec> messages;
  for (const nlohmann::json& message : prompt["messages"]) {
    MessageSpec& target = messages.emplace_back();
    target.role = RoleOf(message["role"]);
    for (const nlohmann::json& part : message["parts"]) {
      if (part["type"] == "text") {
        target.parts.emplace_back(TextSpec{part["text"].get<std::string>()});
      } else {
        target.parts.emplace_back(
            ImageSpec{.source = ImageSpec::Source::kBytes, .data = SmallJpeg()});
      }
    }
  }
  return messages;
}

// The first message of the user with an image; messages.size() if there is none.
size_t FirstQuestion(const std::vector<MessageSpec>& messages) {
  for (size_t i = 0; i < messages.size(); ++i) {
    for (const PartSpec& part : messages[i].parts) {
      if (std::holds_alternative<ImageSpec>(part)) return i;
    }
  }
  return messages.size();
}

class FrontendRoutingTest : public ::testing::Test {
 protected:
  static FrontendOptions Options() {
    FrontendOptions options = NanoOptions();
    options.limits.max_images = 2;
    return options;
  }

  // What the engine gets.
  std::shared_ptr<const Request> RequestOf(std::vector<MessageSpec> messages,
                                           RoutingSpec routing,
                                           const std::string& generation_prefix = "") {
    GenerateSpec spec;
    spec.messages = std::move(messages);
    spec.placement = PlacementSpec::kLiteral;
    spec.routing = routing;
    spec.generation_prefix = generation_prefix;
    StreamReader reader;
    const RequestKey key = bench_.frontend().Submit(std::move(spec), {}, reader.stream());
    std::shared_ptr<const Request> request = bench_.engine().WaitForRequest(++num_added_);
    bench_.engine().Finish(key, FinishReason::kStop);
    EXPECT_TRUE(reader.WaitForEnd());
    EXPECT_TRUE(reader.status().ok()) << reader.status();
    if (request != nullptr) {
      // Counted are all tokens of the prompt, whatever the router reads.
      EXPECT_EQ(reader.finished().usage.prompt_tokens(), request->num_prompt_tokens());
    }
    return request;
  }

  FrontendBench bench_{Options()};
  int num_added_ = 0;
};

// The golden prompts as first turns: the text of their tokens is the reference's, so the pinned
// text of any later turn is proved against it.
TEST_F(FrontendRoutingTest, ThePinnedTextOfLaterTurnsIsThatOfTheFirstTurn) {
  int num_prompts = 0;
  int num_dialogues = 0;
  for (const nlohmann::json& prompt : ReadJsonLines("prompts.jsonl")) {
    if (prompt["checkpoint"] != "nano-gqa") continue;
    const std::vector<MessageSpec> messages = MessagesOf(prompt);
    const size_t question = FirstQuestion(messages);
    if (question == messages.size()) continue;
    SCOPED_TRACE(prompt["id"].get<std::string>());
    ++num_prompts;
    const std::vector<MessageSpec> first(messages.begin(),
                                         messages.begin() + static_cast<ptrdiff_t>(question) + 1);
    const auto first_turn = RequestOf(first, RoutingSpec::kExact);
    ASSERT_NE(first_turn, nullptr);
    EXPECT_EQ(RequestOf(first, RoutingSpec::kPinFirstTurn)->text_ids, first_turn->text_ids);
    // The prefix opens the answer; it is none of the question's.
    EXPECT_EQ(RequestOf(first, RoutingSpec::kPinFirstTurn, "It is")->text_ids,
              first_turn->text_ids);

    if (first.size() < messages.size()) {
      ++num_dialogues;
      const auto exact = RequestOf(messages, RoutingSpec::kExact);
      const auto pinned = RequestOf(messages, RoutingSpec::kPinFirstTurn);
      EXPECT_EQ(pinned->text_ids, first_turn->text_ids);
      EXPECT_NE(exact->text_ids, first_turn->text_ids);
      EXPECT_EQ(pinned->token_ids, exact->token_ids);
    }
    // An answer that begins with line feeds: other tokens at the joint, the same pinned text.
    std::vector<MessageSpec> more = first;
    more.push_back(TextMessage(RoleSpec::kAssistant, "\n\nA parrot."));
    more.push_back(TextMessage(RoleSpec::kUser, "Sure?"));
    EXPECT_EQ(RequestOf(more, RoutingSpec::kPinFirstTurn)->text_ids, first_turn->text_ids);
    more.push_back(TextMessage(RoleSpec::kUser, "Really?"));
    more.push_back(TextMessage(RoleSpec::kAssistant, "Yes."));
    MessageSpec other_image = TextMessage(RoleSpec::kUser, "And this?");
    if (prompt["images"].size() < 2) {
      other_image.parts.emplace_back(
          ImageSpec{.source = ImageSpec::Source::kBytes, .data = SmallJpeg()});
    }
    more.push_back(other_image);
    EXPECT_EQ(RequestOf(more, RoutingSpec::kPinFirstTurn)->text_ids, first_turn->text_ids);
  }
  EXPECT_EQ(num_prompts, 26);
  EXPECT_EQ(num_dialogues, 2);
}

TEST_F(FrontendRoutingTest, WithoutAnImageNothingIsPinned) {
  const std::vector<MessageSpec> messages = {TextMessage(RoleSpec::kUser, "Hello"),
                                             TextMessage(RoleSpec::kAssistant, "Hello"),
                                             TextMessage(RoleSpec::kUser, "Who are you?")};
  const auto pinned = RequestOf(messages, RoutingSpec::kPinFirstTurn);
  EXPECT_EQ(pinned->text_ids, pinned->token_ids);
}

// Several messages of the user are one turn: the header that answers comes after them.
TEST_F(FrontendRoutingTest, TheFirstTurnGoesToTheFirstAnswer) {
  std::vector<MessageSpec> messages = ImageRequest(SmallJpeg(), "Look.").messages;
  messages.push_back(TextMessage(RoleSpec::kUser, "What is it?"));
  const auto first = RequestOf(messages, RoutingSpec::kExact);
  messages.push_back(TextMessage(RoleSpec::kAssistant, "A parrot."));
  messages.push_back(TextMessage(RoleSpec::kUser, "Sure?"));
  EXPECT_EQ(RequestOf(messages, RoutingSpec::kPinFirstTurn)->text_ids, first->text_ids);
}

TEST_F(FrontendRoutingTest, AnswersSayWhatWeighedEachImageAndFromWhichCache) {
  const std::vector<float> given = {0.5f, 0.25f, 0.25f, 0.0f, 0.0f, 0.0f};
  for (const auto& [routing, mode] :
       {std::pair(RoutingSpec::kUnspecified, RoutingMode::kExact),
        std::pair(RoutingSpec::kPinFirstTurn, RoutingMode::kPinFirstTurn)}) {
    GenerateSpec spec = ImageRequest(SmallJpeg());
    ImageSpec weighted{.source = ImageSpec::Source::kBytes, .data = SmallJpeg()};
    weighted.expert_weights = given;
    spec.messages[0].parts.emplace_back(weighted);
    spec.routing = routing;
    StreamReader reader;
    const RequestKey key = bench_.frontend().Submit(std::move(spec), {}, reader.stream());
    const auto request = bench_.engine().WaitForRequest(++num_added_);
    ASSERT_NE(request, nullptr) << reader.status();
    ASSERT_EQ(request->images.size(), 2u);
    EXPECT_EQ(request->images[0].routing, RoutingSource::kText);
    EXPECT_TRUE(request->images[0].weights.empty());
    EXPECT_EQ(request->images[1].routing, RoutingSource::kWeights);
    EXPECT_EQ(request->images[1].weights, given);
    bench_.engine().Routing(key, 0, {1.0f, 0, 0, 0, 0, 0}, CacheLevel::kFeatures);
    bench_.engine().Routing(key, 1, given, CacheLevel::kKv);
    bench_.engine().Finish(key, FinishReason::kStop);
    ASSERT_TRUE(reader.WaitForEnd());
    const std::vector<ImageRouting> answer = reader.finished().routing;
    ASSERT_EQ(answer.size(), 2u);
    EXPECT_EQ(answer[0].mode, mode);
    EXPECT_EQ(answer[0].cache_level, CacheLevel::kFeatures);
    EXPECT_EQ(answer[1].mode, RoutingMode::kWeights);
    EXPECT_EQ(answer[1].cache_level, CacheLevel::kKv);
  }
}

}  // namespace
}  // namespace parrot
