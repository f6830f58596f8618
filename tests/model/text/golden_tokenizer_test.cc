// Every tokenizer case of the golden data, for all four vocabularies.
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "model/api/token.h"
#include "model/text/incremental_detokenizer.h"
#include "model/text/tokenizer.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/model/text/test_tokenizers.h"

namespace parrot {
namespace {

struct Vocabulary {
  std::string name;
  std::string file_prefix;
  int num_tokens;
  size_t num_cases;
  size_t num_special_cases;
  size_t num_decode_cases;
};

void PrintTo(const Vocabulary& vocabulary, std::ostream* os) { *os << vocabulary.name; }

class GoldenTokenizerTest : public testing::TestWithParam<Vocabulary> {
 protected:
  const Tokenizer& tokenizer() const { return TestTokenizer(GetParam().name); }
  std::vector<nlohmann::json> Cases(const std::string& file) const {
    return ReadJsonLines("tokenizer/" + GetParam().file_prefix + file);
  }
};

std::vector<TokenId> Ids(const nlohmann::json& list) { return list.get<std::vector<TokenId>>(); }

TEST_P(GoldenTokenizerTest, HasTheExpectedVocabulary) {
  EXPECT_EQ(tokenizer().num_tokens(), GetParam().num_tokens);
  EXPECT_EQ(tokenizer().end_of_text_id(), GetParam().num_tokens - 3);
  EXPECT_EQ(tokenizer().im_start_id(), GetParam().num_tokens - 2);
  EXPECT_EQ(tokenizer().im_end_id(), GetParam().num_tokens - 1);
}

TEST_P(GoldenTokenizerTest, EncodesEveryCase) {
  const std::vector<nlohmann::json> cases = Cases("cases.jsonl.xz");
  size_t num_special_cases = 0;
  for (const nlohmann::json& c : cases) {
    const auto text = c["text"].get<std::string>();
    const absl::StatusOr<std::vector<TokenId>> ids = tokenizer().Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status().ToString();
    EXPECT_EQ(*ids, Ids(c["ids"])) << c.dump();
    if (!c.contains("ids_special")) continue;
    ++num_special_cases;
    EXPECT_EQ(*tokenizer().Encode(text, {.parse_special = true}), Ids(c["ids_special"]))
        << c.dump();
  }
  EXPECT_EQ(cases.size(), GetParam().num_cases);
  EXPECT_EQ(num_special_cases, GetParam().num_special_cases);
}

TEST_P(GoldenTokenizerTest, DecodesEveryCase) {
  const std::vector<nlohmann::json> cases = Cases("decode_cases.jsonl.xz");
  for (const nlohmann::json& c : cases) {
    const std::vector<TokenId> ids = Ids(c["ids"]);
    EXPECT_EQ(tokenizer().Decode(ids), c["text"].get<std::string>()) << c.dump();
    EXPECT_EQ(tokenizer().Decode(ids, /*skip_special=*/false),
              c["text_with_specials"].get<std::string>())
        << c.dump();
  }
  EXPECT_EQ(cases.size(), GetParam().num_decode_cases);
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    hex += "0123456789abcdef"[static_cast<uint8_t>(c) >> 4];
    hex += "0123456789abcdef"[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

TEST_P(GoldenTokenizerTest, TokenBytesJoinToTheBytesOfEveryDecodeCase) {
  for (const nlohmann::json& c : Cases("decode_cases.jsonl.xz")) {
    std::string bytes;
    for (const TokenId id : Ids(c["ids"])) {
      if (!tokenizer().IsSpecial(id)) bytes += tokenizer().TokenBytes(id);
    }
    EXPECT_EQ(Hex(bytes), c["bytes_hex"].get<std::string>());
  }
}

// What one stream sees must be what two sees: a delta depends on the ids before it alone.
TEST_P(GoldenTokenizerTest, DeltasJoinToTheFullTextWhateverTheStopPoint) {
  size_t num_split_points = 0;
  for (const nlohmann::json& c : Cases("decode_cases.jsonl.xz")) {
    const std::vector<TokenId> ids = Ids(c["ids"]);
    IncrementalDetokenizer detokenizer(tokenizer());
    std::string joined;
    for (size_t split = 0; split < ids.size(); ++split, ++num_split_points) {
      // A stream that stops here: what was sent, plus U+FFFD if a character is cut.
      IncrementalDetokenizer stopped = detokenizer;
      const std::vector<TokenId> head(ids.begin(), ids.begin() + static_cast<long>(split));
      ASSERT_EQ(joined + stopped.Finish(), tokenizer().Decode(head)) << c.dump();
      joined += detokenizer.Append(ids[split]);
    }
    EXPECT_EQ(joined + detokenizer.Finish(), c["text"].get<std::string>()) << c.dump();
  }
  EXPECT_GT(num_split_points, 1000u);
}

INSTANTIATE_TEST_SUITE_P(All,
                         GoldenTokenizerTest,
                         testing::Values(Vocabulary{"qwen", "", 151646, 4150, 600, 716},
                                         Vocabulary{"nano-mha", "nano-mha.", 2003, 550, 230, 136},
                                         Vocabulary{"nano-gqa", "nano-gqa.", 2503, 550, 230, 136},
                                         Vocabulary{
                                             "nano-7bshape", "nano-7bshape.", 1203, 550, 230, 136}),
                         [](const testing::TestParamInfo<Vocabulary>& info) {
                           std::string name = info.param.name;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(GoldenUnicodeTest, EncodesEveryCaseOnWhichUnicodeVersionsDisagree) {
  const std::vector<nlohmann::json> cases = ReadJsonLines("tokenizer/unicode_cases.jsonl.xz");
  for (const nlohmann::json& c : cases) {
    const absl::StatusOr<std::vector<TokenId>> ids =
        TestTokenizer("qwen").Encode(c["text"].get<std::string>());
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(*ids, Ids(c["ids"])) << c.dump();
  }
  EXPECT_EQ(cases.size(), 170u);
}

}  // namespace
}  // namespace parrot
