// What can be asked about a scene, in no language: a question is a category and what it names, an
// answer a kind and a value. AnswerTo is the one place that says what is true. Stateless;
// thread-safe.
//
// A figure is named by its shape, its colour or its cell, and only when that names exactly one.
#ifndef PARROT_TRAIN_WORLD_QUESTION_H_
#define PARROT_TRAIN_WORLD_QUESTION_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "train/world/counter_rng.h"
#include "train/world/scene.h"

namespace parrot {

enum class Category : uint8_t {
  kColor,        // of a shape
  kColorAt,      // of the figure in a cell
  kShape,        // of a colour
  kShapeAt,      // in a cell
  kSize,         // of a shape
  kCount,        // of all figures
  kCountShape,   // of a shape; may be 0
  kCountColor,   // of a colour; may be 0
  kExistShape,   // is there one?
  kExistBoth,    // is there one of this shape and colour?
  kPosition,     // of a shape: its cell
  kRelation,     // is one left of, right of, above, below another? Never asked of one column or row
  kBackground,   // its colour
  kDigit,        // which is it?
  kLargest,      // shape of the only large one among small ones
  kSmallest,     // shape of the only small one among large ones
  kSameColor,    // have two shapes the same colour?
  kFollowColor,  // "what color is it?" of the figure of the question before
  kFollowSize,
  kCaption,
};
inline constexpr int kNumCategories = 20;
// Those that can be asked on their own and scored: all before kFollowColor.
inline constexpr int kNumScoredCategories = 17;
inline constexpr std::array<std::string_view, kNumCategories> kCategoryNames = {
    "color",    "color_at",    "shape",        "shape_at",    "size",
    "count",    "count_shape", "count_color",  "exist_shape", "exist_both",
    "position", "relation",    "background",   "digit",       "largest",
    "smallest", "same_color",  "follow_color", "follow_size", "caption"};

inline constexpr std::array<std::string_view, 4> kRelationNames = {
    "left", "right", "above", "below"};

struct Question {
  Category category = Category::kCount;
  // What the question names; -1: nothing. A follow-up holds shape and cell of what it is about.
  int shape = -1;
  int other_shape = -1;
  int color = -1;
  int cell = -1;
  int relation = -1;

  friend bool operator==(const Question&, const Question&) = default;
};

enum class AnswerKind : uint8_t {
  kShape,
  kColor,
  kSize,
  kNumber,
  kYesNo,
  kCell,
  kBackground,
  kCaption
};

struct Answer {
  AnswerKind kind = AnswerKind::kNumber;
  int value = 0;  // index into the names of its kind; the number itself; 0 no, 1 yes

  friend bool operator==(const Answer&, const Answer&) = default;
};

// nullopt when the question makes no sense for the scene: what it names is not there, or more than
// once.
std::optional<Answer> AnswerTo(const Scene& scene, const Question& question);

// A random question of the category about the scene that has an answer, yes and no about equally
// often; nullopt when there is none. REQUIRES: not a follow-up.
std::optional<Question> ProposeQuestion(const Scene& scene,
                                        Category category,
                                        const SceneOptions& options,
                                        CounterRng& rng);

// The figure that the question or its answer is about, for follow-ups; nullptr if there is none.
const Figure* Subject(const Scene& scene, const Question& question);

struct Choices {
  std::vector<Answer> options;  // in the order of their letters
  int correct = 0;
};

// The answer among others of its kind, often such as the picture shows too; fewer than
// `num_options` (2 to 4) where the kind has no more values. REQUIRES: not a caption.
Choices MakeChoices(const Scene& scene,
                    const Question& question,
                    Answer answer,
                    int num_options,
                    const SceneOptions& options,
                    CounterRng& rng);

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_QUESTION_H_
