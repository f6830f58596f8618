#include "train/world/exam.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

namespace parrot {
namespace {

constexpr int kNumScenes = 200;
constexpr int kNumQuestions = 17 * 12;

std::vector<std::vector<std::string>> Rows(const std::string& tsv) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(tsv);
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string>& row = rows.emplace_back();
    std::istringstream cells(line + "\t");
    for (std::string cell; std::getline(cells, cell, '\t');) row.push_back(cell);
  }
  return rows;
}

class ExamTest : public ::testing::Test {
 protected:
  ExamTest() {
    for (uint64_t i = 0; i < kNumScenes; ++i) {
      scenes_.push_back(MakeScene({}, Split::kHeldOut, 1, i));
      images_.push_back("picture" + std::to_string(i));
    }
    exam_ = MakeExam(scenes_, kNumQuestions, {}, 1);
  }

  std::vector<std::vector<std::string>> Table(ExamForm form, Language language) const {
    return Rows(ExamTsv(exam_, form, books_[static_cast<size_t>(language)], images_));
  }

  const std::vector<Phrasebook> books_ = BuiltInPhrasebooks();
  std::vector<Scene> scenes_;
  std::vector<std::string> images_;
  std::vector<ExamQuestion> exam_;
};

TEST_F(ExamTest, AsksEveryCategoryEquallyOftenAndNothingTwice) {
  std::map<Category, int> counts;
  for (size_t i = 0; i < exam_.size(); ++i) {
    ++counts[exam_[i].question.category];
    for (size_t k = 0; k < i; ++k) {
      EXPECT_FALSE(exam_[i].scene_idx == exam_[k].scene_idx &&
                   exam_[i].question == exam_[k].question);
    }
  }
  EXPECT_EQ(counts.size(), static_cast<size_t>(kNumScoredCategories));
  for (const auto& [category, count] : counts) EXPECT_EQ(count, 12);
}

TEST_F(ExamTest, ChoiceRowsNameTheRightOption) {
  const auto rows = Table(ExamForm::kChoice, Language::kTurkish);
  EXPECT_EQ(rows[0],
            (std::vector<std::string>{"index",
                                      "question",
                                      "A",
                                      "B",
                                      "C",
                                      "D",
                                      "answer",
                                      "category",
                                      "l2-category",
                                      "split",
                                      "image"}));
  ASSERT_EQ(rows.size(), exam_.size() + 1);
  for (size_t i = 1; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i].size(), rows[0].size());
    const size_t letter = static_cast<size_t>(rows[i][6][0] - 'A');
    EXPECT_EQ(rows[i][2 + letter],
              books_[static_cast<size_t>(Language::kTurkish)].Name(exam_[i - 1].answer));
    EXPECT_EQ(rows[i][10], "picture" + std::to_string(exam_[i - 1].scene_idx));
  }
}

TEST_F(ExamTest, OpenRowsHaveNoOptionsAndTheSameQuestionsInAllLanguages) {
  const auto english = Table(ExamForm::kOpen, Language::kEnglish);
  const auto arabic = Table(ExamForm::kOpen, Language::kArabic);
  ASSERT_EQ(english.size(), arabic.size());
  for (size_t i = 1; i < english.size(); ++i) {
    for (size_t option = 2; option < 6; ++option) EXPECT_EQ(english[i][option], "");
    EXPECT_EQ(english[i][0], arabic[i][0]);
    EXPECT_EQ(english[i][7], arabic[i][7]);
    EXPECT_EQ(english[i][10], arabic[i][10]);
  }
}

TEST_F(ExamTest, ParaphrasesAreNotThoseOfTraining) {
  const auto open = Table(ExamForm::kOpen, Language::kPortuguese);
  const auto paraphrase = Table(ExamForm::kParaphrase, Language::kPortuguese);
  ASSERT_EQ(open.size(), paraphrase.size());
  for (size_t i = 1; i < open.size(); ++i) {
    EXPECT_NE(open[i][1], paraphrase[i][1]);
    EXPECT_EQ(open[i][6], paraphrase[i][6]);
  }
  for (const ExamQuestion& question : exam_) {
    EXPECT_LT(question.phrasing, kNumTrainedPhrasings);
    EXPECT_GE(question.held_out_phrasing, kNumTrainedPhrasings);
  }
}

TEST_F(ExamTest, WrongPicturesHaveAnotherAnswer) {
  const auto rows = Table(ExamForm::kWrongImage, Language::kEnglish);
  EXPECT_GT(rows.size(), exam_.size() * 95 / 100);
  for (const ExamQuestion& question : exam_) {
    if (question.wrong_scene_idx < 0) continue;
    const auto other =
        AnswerTo(scenes_[static_cast<size_t>(question.wrong_scene_idx)], question.question);
    ASSERT_TRUE(other.has_value());
    EXPECT_NE(*other, question.answer);
  }
}

}  // namespace
}  // namespace parrot
