// The evaluation sets of the picture world: questions about held-out scenes, the same ones in every
// language and form, as TSV files of MMMB's form. Stateless; thread-safe.
#ifndef PARROT_TRAIN_WORLD_EXAM_H_
#define PARROT_TRAIN_WORLD_EXAM_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "train/world/phrasebook.h"
#include "train/world/question.h"
#include "train/world/scene.h"

namespace parrot {

enum class ExamForm : uint8_t {
  kChoice,      // up to four options; the answer is a letter
  kOpen,        // no options; the answer is a text
  kParaphrase,  // open, in words that never occur in training
  kWrongImage,  // open, with a picture for which another answer is right; the answer stays
};
inline constexpr int kNumExamForms = 4;
// File names are <name>_<language>.tsv.
inline constexpr std::array<std::string_view, kNumExamForms> kExamNames = {
    "Mini-MMMB", "Mini-MMMB-open", "Mini-MMMB-paraphrase", "Mini-MMMB-wrong"};

struct ExamQuestion {
  int scene_idx = 0;
  int wrong_scene_idx = -1;  // -1: none of the scenes gives another answer
  Question question;
  Answer answer;
  Choices choices;
  int phrasing = 0;           // one that occurs in training
  int held_out_phrasing = 0;  // one that does not
};

// About `num_questions` questions, each of the scored categories equally often as far as the scenes
// allow; none twice about a scene. REQUIRES: scenes is not empty.
std::vector<ExamQuestion> MakeExam(const std::vector<Scene>& scenes,
                                   int num_questions,
                                   const SceneOptions& options,
                                   uint64_t seed);

// index, question, A..D, answer, category, l2-category, split, image. `images`: base64 of the
// picture of each scene. In kWrongImage, questions without another picture are left out.
std::string ExamTsv(const std::vector<ExamQuestion>& exam,
                    ExamForm form,
                    const Phrasebook& book,
                    const std::vector<std::string>& images);

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_EXAM_H_
