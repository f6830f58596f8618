#include "train/world/question.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace parrot {
namespace {

constexpr int kCircle = 0;
constexpr int kSquare = 1;
constexpr int kStar = 3;
constexpr int kRed = 0;
constexpr int kBlue = 2;
constexpr int kGreen = 1;

// A large red circle top left, a small blue star in the centre, a small red square bottom centre,
// the digit 4 on gray.
Scene Example() {
  return {.background = 2,
          .figures = {{.shape = kCircle, .color = kRed, .size = 1, .cell = 0},
                      {.shape = kStar, .color = kBlue, .size = 0, .cell = 4},
                      {.shape = kSquare, .color = kRed, .size = 0, .cell = 7}},
          .digit = Digit{.value = 4, .cell = 2}};
}

void ExpectAnswer(const Question& question, AnswerKind kind, int value) {
  const auto answer = AnswerTo(Example(), question);
  ASSERT_TRUE(answer.has_value()) << kCategoryNames[static_cast<size_t>(question.category)];
  EXPECT_EQ(answer->kind, kind);
  EXPECT_EQ(answer->value, value) << kCategoryNames[static_cast<size_t>(question.category)];
}

TEST(QuestionTest, AnswersWhatThePictureShows) {
  ExpectAnswer({.category = Category::kColor, .shape = kStar}, AnswerKind::kColor, kBlue);
  ExpectAnswer({.category = Category::kColorAt, .cell = 7}, AnswerKind::kColor, kRed);
  ExpectAnswer({.category = Category::kShape, .color = kBlue}, AnswerKind::kShape, kStar);
  ExpectAnswer({.category = Category::kShapeAt, .cell = 0}, AnswerKind::kShape, kCircle);
  ExpectAnswer({.category = Category::kSize, .shape = kCircle}, AnswerKind::kSize, 1);
  ExpectAnswer({.category = Category::kCount}, AnswerKind::kNumber, 3);
  ExpectAnswer({.category = Category::kCountShape, .shape = kStar}, AnswerKind::kNumber, 1);
  ExpectAnswer({.category = Category::kCountShape, .shape = 6}, AnswerKind::kNumber, 0);
  ExpectAnswer({.category = Category::kCountColor, .color = kRed}, AnswerKind::kNumber, 2);
  ExpectAnswer({.category = Category::kExistShape, .shape = kStar}, AnswerKind::kYesNo, 1);
  ExpectAnswer({.category = Category::kExistShape, .shape = 6}, AnswerKind::kYesNo, 0);
  ExpectAnswer(
      {.category = Category::kExistBoth, .shape = kStar, .color = kBlue}, AnswerKind::kYesNo, 1);
  ExpectAnswer(
      {.category = Category::kExistBoth, .shape = kStar, .color = kRed}, AnswerKind::kYesNo, 0);
  ExpectAnswer({.category = Category::kPosition, .shape = kSquare}, AnswerKind::kCell, 7);
  ExpectAnswer({.category = Category::kBackground}, AnswerKind::kBackground, 2);
  ExpectAnswer({.category = Category::kDigit}, AnswerKind::kNumber, 4);
  ExpectAnswer({.category = Category::kLargest}, AnswerKind::kShape, kCircle);
  ExpectAnswer({.category = Category::kSameColor, .shape = kCircle, .other_shape = kSquare},
               AnswerKind::kYesNo,
               1);
  ExpectAnswer({.category = Category::kSameColor, .shape = kCircle, .other_shape = kStar},
               AnswerKind::kYesNo,
               0);
  ExpectAnswer(
      {.category = Category::kFollowSize, .shape = kStar, .cell = 4}, AnswerKind::kSize, 0);
  ExpectAnswer(
      {.category = Category::kFollowColor, .shape = kStar, .cell = 4}, AnswerKind::kColor, kBlue);
}

TEST(QuestionTest, RelationsGoByColumnAndRow) {
  const auto relation = [](int shape, int other, int relation) {
    return AnswerTo(Example(),
                    {.category = Category::kRelation,
                     .shape = shape,
                     .other_shape = other,
                     .relation = relation});
  };
  EXPECT_EQ(relation(kCircle, kStar, /*left*/ 0)->value, 1);
  EXPECT_EQ(relation(kCircle, kStar, /*right*/ 1)->value, 0);
  EXPECT_EQ(relation(kSquare, kStar, /*above*/ 2)->value, 0);
  EXPECT_EQ(relation(kSquare, kStar, /*below*/ 3)->value, 1);
  EXPECT_FALSE(relation(kSquare, kStar, /*left*/ 0).has_value()) << "they share a column";
  EXPECT_FALSE(relation(kStar, kStar, 0).has_value());
}

TEST(QuestionTest, AmbiguousOrAbsentThingsHaveNoAnswer) {
  EXPECT_FALSE(AnswerTo(Example(), {.category = Category::kShape, .color = kRed}).has_value());
  EXPECT_FALSE(AnswerTo(Example(), {.category = Category::kShape, .color = kGreen}).has_value());
  EXPECT_FALSE(AnswerTo(Example(), {.category = Category::kColor, .shape = 6}).has_value());
  EXPECT_FALSE(AnswerTo(Example(), {.category = Category::kShapeAt, .cell = 2}).has_value());
  EXPECT_FALSE(AnswerTo(Example(), {.category = Category::kSmallest}).has_value());
  Scene no_digit = Example();
  no_digit.digit.reset();
  EXPECT_FALSE(AnswerTo(no_digit, {.category = Category::kDigit}).has_value());
  Scene one = Example();
  one.figures.resize(1);
  EXPECT_FALSE(AnswerTo(one, {.category = Category::kLargest}).has_value());
}

TEST(QuestionTest, YesAndNoAreAboutEquallyOften) {
  for (const Category category :
       {Category::kExistShape, Category::kExistBoth, Category::kRelation, Category::kSameColor}) {
    int yes = 0;
    int asked = 0;
    for (uint64_t i = 0; i < 3000; ++i) {
      const Scene scene = MakeScene({}, Split::kTrain, 1, i);
      CounterRng rng(1, RandomStream::kTest, i);
      const auto question = ProposeQuestion(scene, category, {}, rng);
      if (!question.has_value()) continue;
      ++asked;
      yes += AnswerTo(scene, *question)->value;
    }
    EXPECT_GT(asked, 800);
    EXPECT_NEAR(static_cast<double>(yes) / asked, 0.5, 0.1)
        << kCategoryNames[static_cast<size_t>(category)];
  }
}

TEST(QuestionTest, ChoicesHoldTheAnswerOnceAmongOthersOfItsKind) {
  for (uint64_t i = 0; i < 3000; ++i) {
    const Scene scene = MakeScene({}, Split::kTrain, 1, i);
    CounterRng rng(1, RandomStream::kTest, i);
    const auto category = static_cast<Category>(i % kNumScoredCategories);
    const auto question = ProposeQuestion(scene, category, {}, rng);
    if (!question.has_value()) continue;
    const Answer answer = *AnswerTo(scene, *question);
    const Choices choices = MakeChoices(scene, *question, answer, 4, {}, rng);
    std::set<int> values;
    for (const Answer& option : choices.options) {
      EXPECT_EQ(option.kind, answer.kind);
      values.insert(option.value);
    }
    EXPECT_EQ(values.size(), choices.options.size());
    EXPECT_EQ(choices.options[static_cast<size_t>(choices.correct)], answer);
    const bool binary = answer.kind == AnswerKind::kYesNo || answer.kind == AnswerKind::kSize;
    EXPECT_EQ(choices.options.size(), binary ? 2U : 4U);
  }
}

}  // namespace
}  // namespace parrot
