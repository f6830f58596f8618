#include "train/world/dialog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

namespace parrot {
namespace {

using ::testing::EndsWith;
using ::testing::StartsWith;

class DialogTest : public ::testing::Test {
 protected:
  Sample Make(uint64_t index) const {
    CounterRng rng(1, RandomStream::kDialog, index);
    return MakeDialog(SceneOf(index), books_, {}, options_, rng);
  }
  static Scene SceneOf(uint64_t index) { return MakeScene({}, Split::kTrain, 1, index); }
  const Phrasebook& BookOf(const Sample& sample) const {
    return books_[static_cast<size_t>(sample.language)];
  }

  const std::vector<Phrasebook> books_ = BuiltInPhrasebooks();
  DialogOptions options_;
};

TEST_F(DialogTest, AsksNothingTwice) {
  for (uint64_t i = 0; i < 1000; ++i) {
    std::set<std::string> answers;
    const Sample sample = Make(i);
    EXPECT_GE(sample.turns.size(), 1U);
    EXPECT_LE(sample.turns.size(), 7U);
    for (const Turn& turn : sample.turns) {
      EXPECT_TRUE(answers.insert(turn.human).second) << turn.human;
      EXPECT_FALSE(turn.gpt.empty());
    }
  }
}

TEST_F(DialogTest, DescriptionComesLast) {
  options_.caption_percent = 100;
  for (uint64_t i = 0; i < 300; ++i) {
    const Sample sample = Make(i);
    const std::string caption = BookOf(sample).Caption(SceneOf(i));
    for (size_t k = 0; k < sample.turns.size(); ++k) {
      EXPECT_EQ(sample.turns[k].gpt == caption, k + 1 == sample.turns.size());
    }
  }
}

TEST_F(DialogTest, ChoiceQuestionsEndAsTheEvaluatorPutsThem) {
  options_.choice_percent = 100;
  options_.caption_percent = 0;
  for (uint64_t i = 0; i < 300; ++i) {
    const Sample sample = Make(i);
    for (const Turn& turn : sample.turns) {
      EXPECT_THAT(turn.human, EndsWith("\n" + BookOf(sample).choice_suffix()));
      EXPECT_THAT(turn.human, ::testing::HasSubstr("\nA. "));
      EXPECT_THAT(turn.gpt, ::testing::MatchesRegex("[A-D]"));
    }
  }
}

TEST_F(DialogTest, ShortAnswersAreAskedForAsTheEvaluatorDoesOrInTheLanguage) {
  options_.choice_percent = 0;
  options_.caption_percent = 0;
  options_.suffix_percent = 100;
  options_.languages = {0, 0, 1, 0, 0, 0};
  int english = 0;
  int turns = 0;
  for (uint64_t i = 0; i < 300; ++i) {
    for (const Turn& turn : Make(i).turns) {
      ++turns;
      if (turn.human.ends_with("\nAnswer the question using a single word or phrase.")) {
        ++english;
      } else {
        EXPECT_THAT(turn.human,
                    EndsWith("\nResponda à pergunta usando uma única palavra ou frase."));
      }
    }
  }
  EXPECT_NEAR(static_cast<double>(english) / turns, 0.67, 0.08);
  EXPECT_EQ(EvaluatorShortSuffix(books_, Language::kChinese), "请用单个词或短语回答问题。");
}

TEST_F(DialogTest, FollowsTheWeights) {
  options_.languages = {1, 0, 0, 0, 0, 1};
  options_.categories.fill(0);
  options_.categories[static_cast<size_t>(Category::kBackground)] = 1;
  std::set<Language> languages;
  for (uint64_t i = 0; i < 100; ++i) {
    const Sample sample = Make(i);
    languages.insert(sample.language);
    EXPECT_EQ(sample.turns.size(), 1U) << "there is one thing to ask";
  }
  EXPECT_EQ(languages, (std::set<Language>{Language::kEnglish, Language::kRussian}));
}

TEST_F(DialogTest, HasNoTurnsWhereNothingCanBeAsked) {
  options_.categories.fill(0);
  options_.categories[static_cast<size_t>(Category::kDigit)] = 1;
  int empty = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    const bool shows_digit = SceneOf(i).digit.has_value();
    EXPECT_EQ(Make(i).turns.empty(), !shows_digit);
    CounterRng rng(1, RandomStream::kText, i);
    EXPECT_EQ(MakeTextDialog(SceneOf(i), books_, {}, options_, rng).turns.empty(), !shows_digit);
    empty += shows_digit ? 0 : 1;
  }
  EXPECT_GT(empty, 40);
}

TEST_F(DialogTest, FollowUpsDoNotAskForWhatWasSaid) {
  options_.follow_percent = 100;
  options_.choice_percent = 0;
  options_.suffix_percent = 0;
  options_.caption_percent = 0;
  options_.languages = {1, 0, 0, 0, 0, 0};
  int follow_ups = 0;
  for (uint64_t i = 0; i < 500; ++i) {
    const Sample sample = Make(i);
    for (size_t k = 1; k < sample.turns.size(); ++k) {
      for (int phrasing = 0; phrasing < kNumTrainedPhrasings; ++phrasing) {
        const auto asks = [&](Category category) {
          return sample.turns[k].human == BookOf(sample).Ask({.category = category}, phrasing);
        };
        if (!asks(Category::kFollowColor) && !asks(Category::kFollowSize)) continue;
        ++follow_ups;
        EXPECT_NE(sample.turns[k].gpt, sample.turns[k - 1].gpt);
      }
    }
  }
  EXPECT_GT(follow_ups, 100);
}

TEST_F(DialogTest, TextDialogsBeginWithADescription) {
  options_.foreign_caption_percent = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    CounterRng rng(1, RandomStream::kText, i);
    const Sample sample = MakeTextDialog(SceneOf(i), books_, {}, options_, rng);
    EXPECT_THAT(sample.turns.front().human, StartsWith(BookOf(sample).Caption(SceneOf(i)) + "\n"));
  }
}

TEST_F(DialogTest, JsonIsOfLlavasForm) {
  const Sample sample{Language::kRussian, {{"Да?", "да"}, {"Нет?", "нет"}}};
  EXPECT_EQ(SampleJson(sample, "a-1", "000001.png"),
            R"({"id":"a-1","image":"000001.png","language":"ru","conversations":[)"
            R"({"from":"human","value":"<image>\nДа?"},{"from":"gpt","value":"да"},)"
            R"({"from":"human","value":"Нет?"},{"from":"gpt","value":"нет"}]})");
  const auto text = nlohmann::json::parse(SampleJson(sample, "a-1", ""));
  EXPECT_FALSE(text.contains("image"));
  EXPECT_EQ(text["conversations"][0]["value"], "Да?");
}

}  // namespace
}  // namespace parrot
