// Language locks against a plain definition: the text so far, token by token, is the beginning of
// valid UTF-8 whose code points the script allows.
#include "model/text/tokenizer_scripts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "model/text/letter_scripts.h"
#include "model/text/utf8.h"
#include "tests/model/text/test_tokenizers.h"

namespace parrot {
namespace {

constexpr std::array<Script, kNumScripts> kScripts = {
    Script::kLatin, Script::kHan, Script::kArabic, Script::kCyrillic};

// Every way to begin a code point that the script allows, without its last byte; found by writing
// out all of them. "" is among them.
std::unordered_set<std::string> Beginnings(const std::function<bool(char32_t)>& allows) {
  std::unordered_set<std::string> beginnings;
  std::string last;
  for (char32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    if (!allows(code_point)) continue;
    std::string bytes;
    AppendUtf8(code_point, &bytes);
    bytes.pop_back();
    if (bytes == last) continue;
    last = bytes;
    for (;; bytes.pop_back()) {
      beginnings.insert(bytes);
      if (bytes.empty()) break;
    }
  }
  return beginnings;
}

const std::unordered_set<std::string>& BeginningsOf(Script script) {
  static auto* const all = new std::array<std::unordered_set<std::string>, kNumScripts>();
  std::unordered_set<std::string>& beginnings = (*all)[static_cast<size_t>(script)];
  if (beginnings.empty()) {
    beginnings = Beginnings([script](char32_t c) { return ScriptAllows(script, c); });
  }
  return beginnings;
}

// The definition.
bool KeepsTo(Script script, std::string_view text) {
  for (size_t position = 0; position < text.size();) {
    const Utf8Step step = DecodeUtf8(text, position);
    if (step.kind == Utf8Kind::kIncomplete) {
      return BeginningsOf(script).contains(std::string(text.substr(position)));
    }
    if (step.kind == Utf8Kind::kInvalid || !ScriptAllows(script, step.code_point)) return false;
    position += static_cast<size_t>(step.length);
  }
  return true;
}

std::vector<uint8_t> Allowed(const TokenizerScripts& scripts,
                             const Tokenizer& tokenizer,
                             Script script,
                             std::string_view unfinished) {
  std::vector<uint8_t> allowed(static_cast<size_t>(tokenizer.num_tokens()));
  const bool is_any = scripts.FillAllowed(script, unfinished, allowed);
  EXPECT_EQ(is_any, std::count(allowed.begin(), allowed.end(), 1) > 0);
  return allowed;
}

TEST(TokenizerScriptsTest, AllowsTheLettersOfTheLanguagesAndWhatAllScriptsShare) {
  const std::array<std::u32string, kNumScripts> letters = {
      U"Türkçe: Iğdır'da şöyle? Não, coração. naïve",
      U"鹦鹉是绿色的Ａｂ々",
      U"الببغاء أخضرُ",
      U"Ёжик, подъезд"};
  const std::u32string shared =
      U" 0123456789.,;:!?()[]\"'-–—…«»€$%+=<>|~"
      U"№。、，！？「」《》،؛؟\n\t🦜😀→√";
  for (size_t i = 0; i < letters.size(); ++i) {
    for (const char32_t c : letters[i] + shared) {
      EXPECT_TRUE(ScriptAllows(kScripts[i], c)) << i << " " << std::hex << static_cast<uint32_t>(c);
    }
    for (size_t other = 0; other < letters.size(); ++other) {
      if (other == i) continue;
      for (const char32_t c : letters[other]) {
        const LetterScript script = LetterScriptOf(c);
        const bool is_free =
            script == LetterScript::kNone ||
            (script == LetterScript::kFullwidthLatin && kScripts[i] == Script::kLatin);
        EXPECT_EQ(ScriptAllows(kScripts[i], c), is_free);
      }
    }
    for (const char32_t c : U"αЖ中aابあ가अ\U00031350") {
      EXPECT_LE(ScriptAllows(kScripts[i], c), c == 0 || LetterScriptOf(c) != LetterScript::kOther);
    }
  }
}

// Every place where tokens may divide any code point, and every byte that may follow.
TEST(TokenizerScriptsTest, InsideACodePointOnlyWhatCanBecomeAnAllowedOneMayFollow) {
  const Tokenizer& tokenizer = TestTokenizer("nano-7bshape");
  const TokenizerScripts scripts(tokenizer);
  std::array<TokenId, 256> byte_tokens{};
  byte_tokens.fill(-1);
  for (TokenId id = 0; id < tokenizer.num_tokens(); ++id) {
    const std::string_view bytes = tokenizer.TokenBytes(id);
    if (bytes.size() == 1) byte_tokens[static_cast<uint8_t>(bytes[0])] = id;
  }
  const std::unordered_set<std::string> all = Beginnings([](char32_t) { return true; });
  EXPECT_EQ(all.size(), 1u + 30 + 16 + 5 + (15 * 64 + 32 - 32) + (3 * 64 + 48 + 16) * 65);
  for (const Script script : kScripts) {
    const std::unordered_set<std::string>& own = BeginningsOf(script);
    for (const std::string& beginning : all) {
      const std::vector<uint8_t> allowed = Allowed(scripts, tokenizer, script, beginning);
      for (int byte = 0; byte < 256; ++byte) {
        std::string text = beginning + static_cast<char>(byte);
        const Utf8Step step = DecodeUtf8(text, 0);
        const bool is_right = step.kind == Utf8Kind::kValid
                                  ? ScriptAllows(script, step.code_point)
                                  : step.kind == Utf8Kind::kIncomplete && own.contains(text);
        ASSERT_EQ(allowed[static_cast<size_t>(byte_tokens[static_cast<size_t>(byte)])] == 1,
                  is_right)
            << static_cast<int>(script) << " " << testing::PrintToString(beginning) << " " << byte;
      }
      // Special tokens end or structure a text: not in the middle of a character.
      ASSERT_EQ(allowed[static_cast<size_t>(tokenizer.im_end_id())] == 1, beginning.empty());
    }
  }
}

class TokenizerScriptsWalkTest : public testing::TestWithParam<const char*> {
 protected:
  const Tokenizer& tokenizer_ = TestTokenizer(GetParam());
  const TokenizerScripts scripts_{tokenizer_};
  std::mt19937_64 random_{17};

  TokenId AnyToken() {
    return static_cast<TokenId>(random_() % static_cast<uint64_t>(tokenizer_.num_tokens()));
  }
  std::string_view BytesOf(TokenId id) const {
    return tokenizer_.IsSpecial(id) ? std::string_view() : tokenizer_.TokenBytes(id);
  }
};

TEST_P(TokenizerScriptsWalkTest, AnyWalkOverAllowedTokensIsTextOfTheScriptAndNoOtherWalkIs) {
  for (const Script script : kScripts) {
    int num_inside = 0;
    std::set<char32_t> seen;
    for (int walk = 0; walk < 30; ++walk) {
      std::vector<TokenId> ids;
      std::string text;
      for (int step = 0; step < 40; ++step) {
        const std::string unfinished = scripts_.UnfinishedCodePoint(ids);
        num_inside += unfinished.empty() ? 0 : 1;
        ASSERT_TRUE(text.ends_with(unfinished));
        const std::vector<uint8_t> allowed = Allowed(scripts_, tokenizer_, script, unfinished);
        for (int i = 0; i < 20; ++i) {
          const TokenId id = AnyToken();
          if (tokenizer_.IsSpecial(id)) continue;
          ASSERT_EQ(allowed[static_cast<size_t>(id)] == 1,
                    KeepsTo(script, text + std::string(BytesOf(id))))
              << testing::PrintToString(text) << " + "
              << testing::PrintToString(std::string(BytesOf(id)));
        }
        // Half of the steps prefer to stop inside a code point, where there are few ways on.
        std::vector<TokenId> next;
        std::vector<TokenId> next_inside;
        for (TokenId id = 0; id < tokenizer_.num_tokens(); ++id) {
          if (allowed[static_cast<size_t>(id)] == 0) continue;
          next.push_back(id);
          const std::string_view bytes = BytesOf(id);
          if (!bytes.empty() && static_cast<uint8_t>(bytes.back()) >= 0xC2)
            next_inside.push_back(id);
        }
        ASSERT_FALSE(next.empty());
        const std::vector<TokenId>& from =
            step % 2 == 0 || next_inside.empty() ? next : next_inside;
        ids.push_back(from[random_() % from.size()]);
        text += BytesOf(ids.back());
        ASSERT_TRUE(KeepsTo(script, text)) << testing::PrintToString(text);
      }
      const std::string unfinished = scripts_.UnfinishedCodePoint(ids);
      const std::string decoded = tokenizer_.Decode(ids);
      EXPECT_EQ(decoded,
                text.substr(0, text.size() - unfinished.size()) +
                    (unfinished.empty() ? "" : "\xEF\xBF\xBD"));
      for (size_t position = 0; position < decoded.size();) {
        const Utf8Step step = DecodeUtf8(decoded, position);
        ASSERT_TRUE(ScriptAllows(script, step.code_point));
        seen.insert(step.code_point);
        position += static_cast<size_t>(step.length);
      }
    }
    EXPECT_GT(num_inside, 300);
    EXPECT_GT(seen.size(), 100u);
  }
}

TEST_P(TokenizerScriptsWalkTest, TheUnfinishedCodePointIsWhatAWholeDecodeLeaves) {
  int num_unfinished = 0;
  std::vector<TokenId> endings;  // tokens that end inside a code point, and those that go on
  for (TokenId id = 0; id < tokenizer_.num_tokens(); ++id) {
    const std::string_view bytes = BytesOf(id);
    if (!bytes.empty() && (static_cast<uint8_t>(bytes.back()) & 0x80) != 0 && bytes.size() < 3) {
      endings.push_back(id);
    }
  }
  for (int walk = 0; walk < 20'000; ++walk) {
    std::vector<TokenId> ids = {AnyToken()};
    for (int i = 0; i < 4; ++i) ids.push_back(endings[random_() % endings.size()]);
    if (walk % 3 == 0) ids.insert(ids.begin() + 3, tokenizer_.im_end_id());
    if (walk % 5 == 0) ids.insert(ids.begin() + 4, tokenizer_.num_tokens() + 1);  // a padding row
    std::string text;
    for (const TokenId id : ids) text += BytesOf(id);
    std::string expected;
    for (size_t position = 0; position < text.size();) {
      const Utf8Step step = DecodeUtf8(text, position);
      if (step.kind == Utf8Kind::kIncomplete) expected = text.substr(position);
      position += static_cast<size_t>(step.length);
    }
    ASSERT_EQ(scripts_.UnfinishedCodePoint(ids), expected) << testing::PrintToString(text);
    num_unfinished += expected.empty() ? 0 : 1;
  }
  EXPECT_GT(num_unfinished, 1000);
}

INSTANTIATE_TEST_SUITE_P(Tokenizers,
                         TokenizerScriptsWalkTest,
                         testing::Values("qwen", "nano-gqa"),
                         [](const auto& info) { return std::string(info.param).substr(0, 4); });

}  // namespace
}  // namespace parrot
