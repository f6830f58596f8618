#include "train/world/exam.h"

#include <algorithm>
#include <optional>

#include "train/world/counter_rng.h"

namespace parrot {
namespace {

constexpr int kMaxOptions = 4;

constexpr std::array<std::string_view, kNumScoredCategories> kGroups = {"attribute",
                                                                        "attribute",
                                                                        "attribute",
                                                                        "attribute",
                                                                        "attribute",
                                                                        "counting",
                                                                        "counting",
                                                                        "counting",
                                                                        "existence",
                                                                        "existence",
                                                                        "place",
                                                                        "place",
                                                                        "scene",
                                                                        "scene",
                                                                        "comparison",
                                                                        "comparison",
                                                                        "comparison"};

// A scene for which the question has another answer; searched in a circle from a random one, so
// that no scene is preferred.
int WrongScene(const std::vector<Scene>& scenes, const ExamQuestion& question, CounterRng& rng) {
  const int num_scenes = static_cast<int>(scenes.size());
  const int start = rng.Below(num_scenes);
  for (int i = 0; i < num_scenes; ++i) {
    const int candidate = (start + i) % num_scenes;
    const std::optional<Answer> answer =
        AnswerTo(scenes[static_cast<size_t>(candidate)], question.question);
    if (answer.has_value() && *answer != question.answer) return candidate;
  }
  return -1;
}

bool IsAsked(const std::vector<ExamQuestion>& exam, int scene_idx, const Question& question) {
  return std::any_of(exam.begin(), exam.end(), [&](const ExamQuestion& other) {
    return other.scene_idx == scene_idx && other.question == question;
  });
}

void AppendRow(const std::vector<std::string>& cells, std::string* tsv) {
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) *tsv += '\t';
    *tsv += cells[i];  // our cells hold no tabs, quotes or line ends
  }
  *tsv += '\n';
}

}  // namespace

std::vector<ExamQuestion> MakeExam(const std::vector<Scene>& scenes,
                                   int num_questions,
                                   const SceneOptions& options,
                                   uint64_t seed) {
  std::vector<ExamQuestion> exam;
  exam.reserve(static_cast<size_t>(num_questions));
  const int num_scenes = static_cast<int>(scenes.size());
  for (int i = 0; i < num_questions; ++i) {
    CounterRng rng(seed, HeldOutStream(RandomStream::kDialog), static_cast<uint64_t>(i));
    const auto category = static_cast<Category>(i % kNumScoredCategories);
    const int start = rng.Below(num_scenes);
    for (int k = 0; k < num_scenes; ++k) {
      ExamQuestion asked;
      asked.scene_idx = (start + k) % num_scenes;
      const Scene& scene = scenes[static_cast<size_t>(asked.scene_idx)];
      const std::optional<Question> question = ProposeQuestion(scene, category, options, rng);
      if (!question.has_value() || IsAsked(exam, asked.scene_idx, *question)) continue;
      asked.question = *question;
      asked.answer = *AnswerTo(scene, *question);
      asked.choices = MakeChoices(scene, *question, asked.answer, kMaxOptions, options, rng);
      asked.phrasing = rng.Below(kNumTrainedPhrasings);
      asked.held_out_phrasing = rng.Between(kNumTrainedPhrasings, kNumPhrasings - 1);
      asked.wrong_scene_idx = WrongScene(scenes, asked, rng);
      exam.push_back(std::move(asked));
      break;
    }
  }
  return exam;
}

std::string ExamTsv(const std::vector<ExamQuestion>& exam,
                    ExamForm form,
                    const Phrasebook& book,
                    const std::vector<std::string>& images) {
  std::string tsv;
  AppendRow({"index",
             "question",
             "A",
             "B",
             "C",
             "D",
             "answer",
             "category",
             "l2-category",
             "split",
             "image"},
            &tsv);
  for (size_t i = 0; i < exam.size(); ++i) {
    const ExamQuestion& asked = exam[i];
    const bool wrong = form == ExamForm::kWrongImage;
    const int scene_idx = wrong ? asked.wrong_scene_idx : asked.scene_idx;
    if (scene_idx < 0) continue;
    const auto category = static_cast<size_t>(asked.question.category);
    std::array<std::string, kMaxOptions> cells;
    std::string answer = book.Name(asked.answer);
    if (form == ExamForm::kChoice) {
      for (size_t k = 0; k < asked.choices.options.size(); ++k) {
        cells[k] = book.Name(asked.choices.options[k]);
      }
      answer.assign(1, static_cast<char>('A' + asked.choices.correct));
    }
    const int phrasing = form == ExamForm::kParaphrase ? asked.held_out_phrasing : asked.phrasing;
    AppendRow({std::to_string(i),
               book.Ask(asked.question, phrasing),
               cells[0],
               cells[1],
               cells[2],
               cells[3],
               answer,
               std::string(kCategoryNames[category]),
               std::string(kGroups[category]),
               "test",
               images[static_cast<size_t>(scene_idx)]},
              &tsv);
  }
  return tsv;
}

}  // namespace parrot
