#include "model/text/incremental_detokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "model/text/tokenizer.h"
#include "model/text/utf8.h"
#include "tests/model/text/test_tokenizers.h"

namespace parrot {
namespace {

const Tokenizer& Nano() { return TestTokenizer("nano-7bshape"); }

// One token per byte, so that every place inside a character is a joint.
TokenId ByteToken(uint8_t byte) {
  for (TokenId id = 0; id < Nano().num_tokens(); ++id) {
    if (Nano().TokenBytes(id) == std::string(1, static_cast<char>(byte))) return id;
  }
  return -1;
}

std::vector<std::string> Deltas(std::string_view bytes) {
  IncrementalDetokenizer detokenizer(Nano());
  std::vector<std::string> deltas;
  for (const char c : bytes) {
    deltas.push_back(detokenizer.Append(ByteToken(static_cast<uint8_t>(c))));
  }
  deltas.push_back(detokenizer.Finish());
  return deltas;
}

using Strings = std::vector<std::string>;

TEST(IncrementalDetokenizerTest, HoldsBackACharacterUntilItIsComplete) {
  EXPECT_EQ(Deltas("a\xF0\x9F\xA6\x9C"), (Strings{"a", "", "", "", "\xF0\x9F\xA6\x9C", ""}));
}

TEST(IncrementalDetokenizerTest, GivesOneReplacementForAnIncompleteTail) {
  EXPECT_EQ(Deltas("\xF0\x9F\xA6"), (Strings{"", "", "", "\xEF\xBF\xBD"}));
}

TEST(IncrementalDetokenizerTest, ReplacesAnInvalidPartAsSoonAsItIsKnown) {
  EXPECT_EQ(Deltas("\xE4\xBD"
                   "a"),
            (Strings{"",
                     "",
                     "\xEF\xBF\xBD"
                     "a",
                     ""}));
  EXPECT_EQ(Deltas("\xFF"), (Strings{"\xEF\xBF\xBD", ""}));
  // A surrogate is three invalid parts, known after the second byte.
  EXPECT_EQ(Deltas("\xED\xA0\x80"), (Strings{"", "\xEF\xBF\xBD\xEF\xBF\xBD", "\xEF\xBF\xBD", ""}));
}

TEST(IncrementalDetokenizerTest, SkipsSpecialTokensInsideACharacter) {
  IncrementalDetokenizer detokenizer(Nano());
  EXPECT_EQ(detokenizer.Append(ByteToken(0xC3)), "");
  EXPECT_EQ(detokenizer.Append(Nano().im_start_id()), "");
  EXPECT_EQ(detokenizer.Append(ByteToken(0xA9)), "\xC3\xA9");
}

TEST(IncrementalDetokenizerTest, ShowsSpecialTokensWhenAsked) {
  IncrementalDetokenizer detokenizer(Nano(), /*skip_special=*/false);
  EXPECT_EQ(detokenizer.Append(Nano().im_end_id()), "<|im_end|>");
}

TEST(IncrementalDetokenizerTest, IgnoresIdsOutsideTheVocabulary) {
  IncrementalDetokenizer detokenizer(Nano());
  for (const TokenId id : {-1, -200, Nano().num_tokens(), 1 << 30}) {
    EXPECT_EQ(detokenizer.Append(id), "");
  }
  EXPECT_EQ(detokenizer.Finish(), "");
}

TEST(IncrementalDetokenizerTest, IsAsNewAfterFinish) {
  IncrementalDetokenizer detokenizer(Nano());
  EXPECT_EQ(detokenizer.Append(ByteToken(0xE4)), "");
  EXPECT_EQ(detokenizer.Finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(detokenizer.Append(ByteToken('a')), "a");
  EXPECT_EQ(detokenizer.Finish(), "");
}

TEST(IncrementalDetokenizerTest, EveryDeltaOfRandomIdsIsValidUtf8AndTheyJoinToTheFullDecode) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    std::vector<TokenId> ids(random() % 50);
    for (TokenId& id : ids) id = static_cast<TokenId>(random() % 256);  // byte tokens: mostly torn
    IncrementalDetokenizer detokenizer(Nano());
    std::string joined;
    for (const TokenId id : ids) {
      const std::string delta = detokenizer.Append(id);
      ASSERT_TRUE(ValidateUtf8(delta).ok()) << "seed " << seed;
      joined += delta;
    }
    ASSERT_EQ(joined + detokenizer.Finish(), Nano().Decode(ids)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace parrot
