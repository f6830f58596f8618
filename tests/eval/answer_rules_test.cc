// What tests/golden/eval cannot hold: the rules of the newer reference, and our own.
#include "eval/answer_rules.h"

#include <optional>
#include <string>

#include "gtest/gtest.h"

namespace parrot {
namespace {

const Options& Animals() {
  static const auto* options =
      new Options{{'A', "cat"}, {'B', "dog"}, {'C', "fish"}, {'D', "bird"}};
  return *options;
}

TEST(AnswerRules, TheNewerRulesTakeALetterNearTheEnd) {
  const std::string late = "It may well be that one, so I say B.";
  const std::string early = "B is what I would say here";
  EXPECT_EQ(InferLetter(RuleSet::kVk26, late, Animals()), 'B');
  EXPECT_EQ(InferLetter(RuleSet::kVk26, early, Animals()), std::nullopt);
  EXPECT_EQ(InferLetter(RuleSet::kVk, early, Animals()), 'B');
  EXPECT_EQ(InferLetter(RuleSet::kVk26, "B one two three", Animals()), 'B');
  EXPECT_EQ(InferLetter(RuleSet::kVk26, "B one two three four", Animals()), std::nullopt);
}

TEST(AnswerRules, TheNewerRulesLookForAnswerIs) {
  EXPECT_EQ(InferLetter(RuleSet::kVk26, "A or B? The correct answer is **b** I think", Animals()),
            'B');
  EXPECT_EQ(InferLetter(RuleSet::kVk26, "A or B? The answer\u00a0is C, so", Animals()), 'C');
  EXPECT_EQ(InferLetter(RuleSet::kVk26, "A or B, and the answer is E", Animals()), std::nullopt);
  EXPECT_EQ(InferLetter(RuleSet::kVk26, "A or D: answer is D", {{'A', "x"}, {'B', "y"}}),
            std::nullopt);
  EXPECT_EQ(InferLetter(RuleSet::kVk, "A or B? The answer is B", Animals()), std::nullopt);
}

TEST(AnswerRules, TheNewerRulesReadNoTextOutOfLongAnswers) {
  EXPECT_EQ(InferLetter(RuleSet::kVk26, "Surely a dog it is", Animals()), 'B');
  const std::string longer = "Surely a dog it is, what else, here";
  EXPECT_EQ(InferLetter(RuleSet::kVk26, longer, Animals()), std::nullopt);
  EXPECT_EQ(InferLetter(RuleSet::kVk, longer, Animals()), 'B');
}

TEST(AnswerRules, RuleSetsHaveNames) {
  for (const RuleSet rules : {RuleSet::kVk, RuleSet::kVkVerbose, RuleSet::kVk26}) {
    EXPECT_EQ(RuleSetNamed(RuleSetName(rules)), rules);
  }
  EXPECT_EQ(RuleSetNamed("gpt4"), std::nullopt);
}

TEST(AnswerRules, OpenAnswersMatchButForCaseSpaceAndFinalPunctuation) {
  EXPECT_TRUE(MatchesExactly(" Red.\n", "red"));
  EXPECT_TRUE(MatchesExactly("红色。", "红色"));
  EXPECT_TRUE(MatchesExactly("أحمر؟", "أحمر"));
  EXPECT_TRUE(MatchesExactly("İKİ !", "İKİ"));
  EXPECT_TRUE(MatchesExactly("3", "3"));
  EXPECT_TRUE(MatchesExactly("...", "..."));
  EXPECT_FALSE(MatchesExactly("dark red", "red"));
  EXPECT_FALSE(MatchesExactly("", "red"));
}

}  // namespace
}  // namespace parrot
