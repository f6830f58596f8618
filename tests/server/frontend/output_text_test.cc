// What the tokens of an answer become when stop strings end it.
#include "server/frontend/output_text.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/text/utf8.h"
#include "tests/server/frontend/frontend_bench.h"

namespace parrot {
namespace {

const Tokenizer& NanoTokenizer() { return *NanoModel::Get().tokenizer; }

// The one-byte tokens, so that a test can cut a text where it wants.
TokenId ByteToken(char byte) {
  static const std::map<char, TokenId> tokens = [] {
    std::map<char, TokenId> made;
    for (TokenId id = 0; id < NanoTokenizer().num_tokens(); ++id) {
      const std::string_view bytes = NanoTokenizer().TokenBytes(id);
      if (bytes.size() == 1 && !NanoTokenizer().IsSpecial(id)) made.emplace(bytes[0], id);
    }
    return made;
  }();
  return tokens.at(byte);
}

std::vector<TokenId> Bytes(const std::string& text) {
  std::vector<TokenId> ids;
  for (const char byte : text) ids.push_back(ByteToken(byte));
  return ids;
}

struct Result {
  std::string text;
  std::vector<TokenId> token_ids;
  size_t num_taken = 0;  // tokens until it stopped
};

Result Feed(OutputText& output, const std::vector<TokenId>& tokens) {
  AnswerPiece all;
  Result result;
  for (const TokenId token : tokens) {
    if (output.stopped()) break;
    ++result.num_taken;
    AnswerPiece piece = output.Append(token, std::nullopt);
    EXPECT_TRUE(ValidateUtf8(piece.text).ok());
    all.Append(std::move(piece));
  }
  all.Append(output.Finish());
  EXPECT_EQ(output.num_tokens(), static_cast<int32_t>(all.token_ids.size()));
  result.text = all.text;
  result.token_ids = all.token_ids;
  return result;
}

TEST(OutputTextTest, WithoutStopStringsEveryTokenIsHandedOutAtOnce) {
  OutputText output(NanoTokenizer(), {});
  const std::string text = "ğ鸟";
  for (const TokenId token : Bytes(text)) {
    EXPECT_EQ(output.Append(token, std::nullopt).token_ids, (std::vector<TokenId>{token}));
  }
  EXPECT_TRUE(output.Finish().empty());
  EXPECT_FALSE(output.stopped());
}

TEST(OutputTextTest, EndsBeforeTheStopStringAndDropsItsTokens) {
  OutputText output(NanoTokenizer(), {.stop = {"END"}});
  const Result result = Feed(output, Bytes("one END two"));
  EXPECT_EQ(result.text, "one ");
  EXPECT_EQ(result.token_ids, Bytes("one "));
  EXPECT_EQ(result.num_taken, 7u);
  EXPECT_TRUE(output.stopped());
  EXPECT_EQ(output.stop_text(), "END");
  EXPECT_TRUE(output.Append(ByteToken('x'), std::nullopt).empty());
}

TEST(OutputTextTest, EndsAfterTheStopStringWhereThatIsAsked) {
  OutputText output(NanoTokenizer(), {.stop = {"END"}, .include_stop = true});
  const Result result = Feed(output, Bytes("one END two"));
  EXPECT_EQ(result.text, "one END");
  EXPECT_EQ(result.token_ids, Bytes("one END"));
}

TEST(OutputTextTest, ATokenCountsIfItsTextBeginsBeforeTheEnd) {
  // One token that holds the end of the answer and the beginning of the stop string.
  TokenId two = -1;
  std::string_view bytes;
  for (TokenId id = 0; id < NanoTokenizer().num_tokens() && two < 0; ++id) {
    bytes = NanoTokenizer().TokenBytes(id);
    const bool is_ascii = bytes.size() == 2 && bytes[0] > ' ' && bytes[1] > ' ';
    if (is_ascii && bytes[0] != bytes[1]) two = id;
  }
  ASSERT_GE(two, 0);
  const std::string stop = std::string(1, bytes[1]) + "!";
  OutputText output(NanoTokenizer(), {.stop = {stop}});
  const Result result = Feed(output, {two, ByteToken('!'), ByteToken('a')});
  EXPECT_EQ(result.text, std::string(1, bytes[0]));
  EXPECT_EQ(result.token_ids, (std::vector<TokenId>{two}));
}

TEST(OutputTextTest, HoldsTextBackUntilItIsDecided) {
  OutputText output(NanoTokenizer(), {.stop = {"abc"}});
  EXPECT_TRUE(output.Append(ByteToken('a'), std::nullopt).empty());
  EXPECT_TRUE(output.Append(ByteToken('b'), std::nullopt).empty());
  const AnswerPiece piece = output.Append(ByteToken('a'), std::nullopt);
  EXPECT_EQ(piece.text, "ab");
  EXPECT_EQ(piece.token_ids, Bytes("ab"));
  const AnswerPiece tail = output.Finish();
  EXPECT_EQ(tail.text, "a");
  EXPECT_EQ(tail.token_ids, Bytes("a"));
}

TEST(OutputTextTest, TheFirstMinTokensAreNeverPartOfAStopString) {
  OutputText output(NanoTokenizer(), {.stop = {"aa"}, .min_tokens = 3});
  const Result result = Feed(output, Bytes("aaaaab"));
  EXPECT_EQ(result.text, "aaa");
  EXPECT_EQ(result.token_ids.size(), 3u);
  EXPECT_EQ(result.num_taken, 5u);
}

TEST(OutputTextTest, AnUnfinishedCodePointAtTheEndIsOneReplacementCharacter) {
  OutputText output(NanoTokenizer(), {.stop = {"x"}});
  const Result result = Feed(output, {ByteToken('a'), ByteToken('\xE9'), ByteToken('\xB8')});
  EXPECT_EQ(result.text, "a\xEF\xBF\xBD");
  EXPECT_EQ(result.token_ids.size(), 3u);
}

TEST(OutputTextTest, BlockedTokensCountWhereTheirTokensDo) {
  OutputText output(NanoTokenizer(), {.stop = {"ab"}});
  AnswerPiece all;
  bool is_blocked = false;
  for (const TokenId token : Bytes("xaxaxab")) {
    is_blocked = !is_blocked;  // x, x, x, b
    all.Append(output.Append(token, std::nullopt, is_blocked));
  }
  EXPECT_TRUE(output.stopped());
  EXPECT_EQ(output.num_tokens(), 5);
  EXPECT_EQ(output.num_blocked(), 3);
  EXPECT_EQ(all.num_blocked, 3);
}

TEST(OutputTextTest, LogprobsStayWithTheirTokens) {
  OutputText output(NanoTokenizer(), {.stop = {"ab"}});
  AnswerPiece all;
  int32_t number = 0;
  for (const TokenId token : Bytes("xaxab")) {
    TokenLogprobs logprobs;
    logprobs.chosen = {.token = token, .logprob = -static_cast<float>(number++)};
    all.Append(output.Append(token, logprobs));
  }
  ASSERT_EQ(all.token_ids, Bytes("xax"));
  ASSERT_EQ(all.logprobs.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(all.logprobs[i].chosen.token, all.token_ids[i]);
    EXPECT_EQ(all.logprobs[i].chosen.logprob, -static_cast<float>(i));
  }
}

// Random tokens of the whole vocabulary, special ones and broken code points included.
TEST(OutputTextTest, TextIsThatOfAllTokensCutAtTheFirstStopString) {
  constexpr uint64_t kSeed = 7;
  int num_stopped = 0;
  for (int i = 0; i < 3000; ++i) {
    SCOPED_TRACE(i);
    std::mt19937_64 random(kSeed + static_cast<uint64_t>(i));
    std::vector<TokenId> tokens;
    for (size_t n = random() % 40; n > 0; --n) {
      tokens.push_back(static_cast<TokenId>(random() % NanoTokenizer().num_tokens()));
    }
    const std::string whole = NanoTokenizer().Decode(tokens);
    const bool include = random() % 2 == 0;
    std::vector<std::string> stops = {"e", " th", "\n"};
    if (i % 2 == 0) stops = {"q!", "zz"};
    size_t cut = whole.size();
    size_t end = whole.size();
    for (const std::string& stop : stops) {
      const size_t at = whole.find(stop);
      if (at == std::string::npos || at + stop.size() > end) continue;
      if (at + stop.size() == end && at >= cut) continue;
      end = at + stop.size();
      cut = at;
    }
    OutputText output(NanoTokenizer(), {.stop = stops, .include_stop = include});
    const Result result = Feed(output, tokens);
    EXPECT_EQ(result.text, whole.substr(0, include ? end : cut));
    num_stopped += output.stopped() ? 1 : 0;
    EXPECT_EQ(output.stopped(), cut < whole.size());
    // The tokens are the first ones, enough for the text and no more.
    ASSERT_LE(result.token_ids.size(), tokens.size());
    EXPECT_TRUE(std::equal(result.token_ids.begin(), result.token_ids.end(), tokens.begin()));
    if (!output.stopped()) {
      EXPECT_EQ(result.token_ids.size(), tokens.size());
    }
  }
  EXPECT_GT(num_stopped, 500);
}

}  // namespace
}  // namespace parrot
