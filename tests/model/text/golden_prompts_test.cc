// Every golden prompt: its formatted text, its ids as the reference parses it, and ours where user
// text holds control strings.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "model/api/token.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/model/text/test_tokenizers.h"

namespace parrot {
namespace {

Conversation ToConversation(const nlohmann::json& prompt) {
  Conversation conversation;
  conversation.placement = ImagePlacement::kLiteral;
  conversation.generation_prefix = prompt["generation_preface"].get<std::string>();
  for (const nlohmann::json& message : prompt["messages"]) {
    ChatMessage& out = conversation.messages.emplace_back();
    const absl::StatusOr<ChatRole> role = ParseChatRole(message["role"].get<std::string>());
    EXPECT_TRUE(role.ok());
    out.role = *role;
    for (const nlohmann::json& part : message["parts"]) {
      if (part["type"] == "image") {
        out.parts.emplace_back(ChatImage{});
      } else {
        out.parts.emplace_back(part["text"].get<std::string>());
      }
    }
  }
  return conversation;
}

bool HasLiteralControlStrings(const nlohmann::json& prompt) {
  return prompt["kind"].get<std::string>().starts_with("literal_");
}

const Tokenizer& TokenizerOf(const nlohmann::json& prompt) {
  return TestTokenizer(prompt["checkpoint"].get<std::string>());
}

constexpr char kPrompts[] = "prompts.jsonl";
constexpr size_t kNumPrompts = 91;

TEST(GoldenPromptsTest, EveryPromptPassesValidation) {
  const std::vector<nlohmann::json> prompts = ReadJsonLines(kPrompts);
  for (const nlohmann::json& prompt : prompts) {
    const absl::Status status = ValidateConversation(ToConversation(prompt));
    EXPECT_TRUE(status.ok()) << prompt["id"] << status.ToString();
  }
  EXPECT_EQ(prompts.size(), kNumPrompts);
}

TEST(GoldenPromptsTest, FormatsEveryPromptAsTheReference) {
  for (const nlohmann::json& prompt : ReadJsonLines(kPrompts)) {
    const ChatTemplate chat_template(TokenizerOf(prompt));
    EXPECT_EQ(chat_template.Format(ToConversation(prompt)), prompt["formatted"].get<std::string>())
        << prompt["id"];
  }
}

void ExpectPrompt(const RenderedPrompt& rendered, const nlohmann::json& prompt) {
  const auto expected = prompt["input_ids"].get<std::vector<TokenId>>();
  EXPECT_EQ(rendered.token_ids, expected) << prompt["id"];
  EXPECT_EQ(rendered.num_text_tokens, prompt["text_tokens"].get<int>()) << prompt["id"];
  EXPECT_EQ(rendered.num_image_slots, std::count(expected.begin(), expected.end(), kVisualToken));
  EXPECT_EQ(rendered.images.size(), prompt["images"].size()) << prompt["id"];
}

TEST(GoldenPromptsTest, RendersEveryPromptToTheReferencesIdsWhenParsingSpecials) {
  size_t num_prompts = 0;
  for (const nlohmann::json& prompt : ReadJsonLines(kPrompts)) {
    const ChatTemplate chat_template(TokenizerOf(prompt));
    const auto rendered = chat_template.Render(ToConversation(prompt), {.parse_special = true});
    ASSERT_TRUE(rendered.ok()) << rendered.status().ToString();
    ExpectPrompt(*rendered, prompt);
    ++num_prompts;
  }
  EXPECT_EQ(num_prompts, kNumPrompts);
}

TEST(GoldenPromptsTest, RendersEveryPromptWithoutLiteralSpecialsToTheReferencesIds) {
  size_t num_prompts = 0;
  for (const nlohmann::json& prompt : ReadJsonLines(kPrompts)) {
    if (HasLiteralControlStrings(prompt)) continue;
    const ChatTemplate chat_template(TokenizerOf(prompt));
    const auto rendered = chat_template.Render(ToConversation(prompt));
    ASSERT_TRUE(rendered.ok()) << rendered.status().ToString();
    ExpectPrompt(*rendered, prompt);
    ++num_prompts;
  }
  EXPECT_EQ(num_prompts, kNumPrompts - 6);
}

// Our documented deviation: control strings in a message are plain text.
TEST(GoldenPromptsTest, LiteralSpecialsInMessagesGiveNoControlTokens) {
  size_t num_prompts = 0;
  for (const nlohmann::json& prompt : ReadJsonLines(kPrompts)) {
    if (!HasLiteralControlStrings(prompt)) continue;
    ++num_prompts;
    const Tokenizer& tokenizer = TokenizerOf(prompt);
    const ChatTemplate chat_template(tokenizer);
    const Conversation conversation = ToConversation(prompt);
    const auto rendered = chat_template.Render(conversation);
    ASSERT_TRUE(rendered.ok());
    std::map<TokenId, int> specials;
    for (const TokenId id : rendered->token_ids) {
      if (tokenizer.IsSpecial(id)) ++specials[id];
    }
    // Default system turn, the messages, the assistant's open turn.
    const auto turns = static_cast<int>(conversation.messages.size()) + 1;
    const std::map<TokenId, int> expected = {{tokenizer.im_start_id(), turns + 1},
                                             {tokenizer.im_end_id(), turns}};
    EXPECT_EQ(specials, expected) << prompt["id"];
    EXPECT_EQ(rendered->num_image_slots, 1);
    std::string formatted = prompt["formatted"].get<std::string>();
    formatted.erase(formatted.find(kImageText), kImageText.size());
    EXPECT_EQ(tokenizer.Decode(rendered->token_ids, /*skip_special=*/false), formatted);
  }
  EXPECT_EQ(num_prompts, 6u);
}

}  // namespace
}  // namespace parrot
