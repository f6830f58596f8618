// Training a tokenizer and writing its files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "model/text/tokenizer.h"
#include "tests/golden_reader/golden_reader.h"
#include "train/world/byte_pair_trainer.h"
#include "train/world/dialog.h"
#include "train/world/tokenizer_files.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::vector<LearnedMerge> GoldenMerges(const std::string& checkpoint) {
  // Byte-level text to bytes, through the reader that the server uses.
  const auto tokenizer =
      Tokenizer::FromJson(ReadGoldenFile("checkpoints/" + checkpoint + "/tokenizer.json"));
  const auto vocabulary =
      nlohmann::json::parse(ReadGoldenFile("checkpoints/" + checkpoint + "/vocab.json"));
  std::istringstream lines(ReadGoldenFile("checkpoints/" + checkpoint + "/merges.txt"));
  std::vector<LearnedMerge> merges;
  std::string line;
  std::getline(lines, line);  // the version
  while (std::getline(lines, line)) {
    const size_t space = line.find(' ');
    const auto bytes = [&](const std::string& token) {
      return std::string((*tokenizer)->TokenBytes(vocabulary.at(token).get<TokenId>()));
    };
    merges.emplace_back(bytes(line.substr(0, space)), bytes(line.substr(space + 1)));
  }
  return merges;
}

TEST(TokenizerFilesTest, AreByteForByteThoseOfTransformers) {
  for (const std::string checkpoint : {"nano-mha", "nano-gqa", "nano-7bshape"}) {
    const auto files = TokenizerFiles(GoldenMerges(checkpoint), 2048);
    EXPECT_EQ(files.size(), 6U);
    for (const auto& [name, text] : files) {
      EXPECT_TRUE(text == ReadGoldenFile("checkpoints/" + checkpoint + "/" + name))
          << checkpoint << "/" << name;
    }
  }
}

TEST(CountWordsTest, CutsAtThePiecesOfTheQwenSplit) {
  WordCounts counts;
  ASSERT_TRUE(CountWords("The star? The ring?", {}, &counts).ok());
  EXPECT_THAT(
      counts,
      ElementsAre(
          Pair(" The", 1), Pair(" ring", 1), Pair(" star", 1), Pair("?", 2), Pair("The", 1)));
}

TEST(CountWordsTest, CutsChineseAtTheLongestSegmentElseAfterACharacter) {
  WordCounts counts;
  ASSERT_TRUE(CountWords("星形是什么颜色", {"什么", "星形", "颜色", "颜"}, &counts).ok());
  EXPECT_THAT(counts,
              ElementsAre(Pair("什么", 1), Pair("星形", 1), Pair("是", 1), Pair("颜色", 1)));
}

TEST(CountWordsTest, RefusesWhatIsNotUtf8) {
  WordCounts counts;
  EXPECT_FALSE(CountWords("a\xff", {}, &counts).ok());
}

TEST(LearnMergesTest, JoinsTheMostFrequentPairAgainAndAgain) {
  EXPECT_THAT(LearnMerges({{"abab", 3}, {"abc", 2}, {"cd", 1}}, 10),
              ElementsAre(Pair("a", "b"), Pair("ab", "ab"), Pair("ab", "c")));
}

TEST(LearnMergesTest, StopsAtTheWantedNumberOfTokens) {
  EXPECT_THAT(LearnMerges({{"abab", 3}, {"abc", 2}}, 1), ElementsAre(Pair("a", "b")));
}

TEST(LearnMergesTest, CountsOverlappingPairsAsTheyAreJoined) {
  EXPECT_THAT(LearnMerges({{"aaaa", 2}}, 10), ElementsAre(Pair("a", "a"), Pair("aa", "aa")));
}

TEST(LearnedTokenizerTest, EncodesWhatItLearnedAndDecodesEverything) {
  const std::vector<Phrasebook> books = BuiltInPhrasebooks();
  std::vector<std::string> texts;
  std::string corpus;
  for (uint64_t i = 0; i < 300; ++i) {
    CounterRng rng(1, RandomStream::kDialog, i);
    const Scene scene = MakeScene({}, Split::kTrain, 1, i);
    for (const Turn& turn : MakeDialog(scene, books, {}, {}, rng).turns) {
      texts.push_back(turn.human);
      texts.push_back(turn.gpt);
      corpus += turn.human + "\n" + turn.gpt + "\n";
    }
  }
  WordCounts counts;
  ASSERT_TRUE(CountWords(corpus, books[1].segments(), &counts).ok());
  const std::vector<LearnedMerge> merges = LearnMerges(counts, 1000);
  ASSERT_GE(merges.size(), 1000U);
  const auto tokenizer = Tokenizer::FromJson(TokenizerFiles(merges, 2048).at("tokenizer.json"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->num_tokens(), 256 + 1000 + 3);
  EXPECT_EQ((*tokenizer)->end_of_text_id(), 1256);
  EXPECT_EQ((*tokenizer)->im_start_id(), 1257);
  EXPECT_EQ((*tokenizer)->im_end_id(), 1258);
  texts.emplace_back("Something else: \xF0\x9F\xA6\x9C, \n\n naïve — 鹦鹉");
  size_t num_tokens = 0;
  size_t num_bytes = 0;
  for (const std::string& text : texts) {
    const auto ids = (*tokenizer)->Encode(text);
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ((*tokenizer)->Decode(*ids), text);
    num_tokens += ids->size();
    num_bytes += text.size();
  }
  EXPECT_LT(num_tokens * 3, num_bytes) << "the merges are used";
}

}  // namespace
}  // namespace parrot
