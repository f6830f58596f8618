#include "train/world/question.h"

#include <algorithm>

namespace parrot {
namespace {

constexpr int kMaxCount = 4;  // largest count that distractors name
// How often distractors are taken from the picture first.
constexpr int kSeenDistractorsPercent = 50;
// How often a count is asked of something that may be absent.
constexpr int kAbsentPercent = 12;
// How often a yes is looked for. Two figures of one colour are rarer than two of different ones.
constexpr int kYesPercent = 50;
constexpr int kSameColorYesPercent = 85;
// How often another count than one is looked for, when it is asked of a shape or a colour.
constexpr int kOtherThanOnePercent = 65;

// The only figure for which `matches` holds, else nullptr.
template <typename Matches>
const Figure* Only(const Scene& scene, const Matches& matches) {
  const Figure* found = nullptr;
  for (const Figure& figure : scene.figures) {
    if (!matches(figure)) continue;
    if (found != nullptr) return nullptr;
    found = &figure;
  }
  return found;
}

const Figure* OnlyOfShape(const Scene& scene, int shape) {
  return Only(scene, [&](const Figure& f) { return f.shape == shape; });
}

template <typename Matches>
int Count(const Scene& scene, const Matches& matches) {
  return static_cast<int>(std::count_if(scene.figures.begin(), scene.figures.end(), matches));
}

// The only figure of `size` among figures of the other one.
const Figure* Extreme(const Scene& scene, int size) {
  if (scene.figures.size() < 2) return nullptr;
  return Only(scene, [&](const Figure& f) { return f.size == size; });
}

std::optional<Answer> Property(const Figure* figure, AnswerKind kind, int Figure::*value) {
  if (figure == nullptr) return std::nullopt;
  return Answer{kind, figure->*value};
}

Answer YesNo(bool yes) { return {AnswerKind::kYesNo, yes ? 1 : 0}; }

std::optional<Answer> Relation(const Scene& scene, const Question& question) {
  const Figure* one = OnlyOfShape(scene, question.shape);
  const Figure* other = OnlyOfShape(scene, question.other_shape);
  if (one == nullptr || other == nullptr || one == other) return std::nullopt;
  const bool horizontal = question.relation < 2;
  const int difference =
      horizontal ? one->cell % 3 - other->cell % 3 : one->cell / 3 - other->cell / 3;
  if (difference == 0) return std::nullopt;
  return YesNo((question.relation % 2 == 0) == (difference < 0));
}

std::optional<Answer> SameColor(const Scene& scene, const Question& question) {
  const Figure* one = OnlyOfShape(scene, question.shape);
  const Figure* other = OnlyOfShape(scene, question.other_shape);
  if (one == nullptr || other == nullptr || one == other) return std::nullopt;
  return YesNo(one->color == other->color);
}

// Whether the answer may be no as well as yes.
bool IsYesNo(Category category) {
  return category == Category::kExistShape || category == Category::kExistBoth ||
         category == Category::kRelation || category == Category::kSameColor;
}

bool CountsSome(Category category) {
  return category == Category::kCountShape || category == Category::kCountColor;
}

// Balances the answers of questions whose answer is mostly the same: draws what it should be. True
// for a question's answer that is as drawn, and for every answer in the other categories.
class WantedAnswer {
 public:
  WantedAnswer(Category category, CounterRng& rng)
      : yes_no_(IsYesNo(category)), counts_(CountsSome(category)) {
    const int yes_percent = category == Category::kSameColor ? kSameColorYesPercent : kYesPercent;
    drawn_ = rng.Percent(counts_ ? 100 - kOtherThanOnePercent : yes_percent);
  }
  bool Is(Answer answer) const { return !(yes_no_ || counts_) || (answer.value == 1) == drawn_; }

 private:
  bool yes_no_;
  bool counts_;
  bool drawn_;  // yes; or a count of one
};

Question Guess(const Scene& scene,
               Category category,
               const SceneOptions& options,
               CounterRng& rng) {
  const auto any = [&]() -> const Figure& {
    return scene.figures[rng.Below(static_cast<int>(scene.figures.size()))];
  };
  Question question{.category = category};
  const bool absent = IsYesNo(category) ? rng.Percent(50) : rng.Percent(kAbsentPercent);
  switch (category) {
    case Category::kColor:
    case Category::kSize:
    case Category::kPosition:
      question.shape = any().shape;
      break;
    case Category::kColorAt:
    case Category::kShapeAt:
      question.cell = any().cell;
      break;
    case Category::kShape:
      question.color = any().color;
      break;
    case Category::kCountShape:
    case Category::kExistShape:
      question.shape = absent ? rng.Below(options.num_shapes) : any().shape;
      break;
    case Category::kCountColor:
      question.color = absent ? rng.Below(options.num_colors) : any().color;
      break;
    case Category::kExistBoth:
      // A wrong one shares its shape or its colour with a figure.
      question.shape = any().shape;
      question.color = rng.Percent(50) ? any().color : rng.Below(options.num_colors);
      if (absent && rng.Percent(50)) question.shape = rng.Below(options.num_shapes);
      break;
    case Category::kRelation:
      question.relation = rng.Below(static_cast<int>(kRelationNames.size()));
      [[fallthrough]];
    case Category::kSameColor:
      question.shape = any().shape;
      question.other_shape = any().shape;
      break;
    default:
      break;
  }
  return question;
}

struct Values {
  AnswerKind kind;
  int begin;
  int end;
};

Values ValuesLike(const Question& question, AnswerKind kind, const SceneOptions& options) {
  switch (kind) {
    case AnswerKind::kShape:
      return {kind, 0, options.num_shapes};
    case AnswerKind::kColor:
      return {kind, 0, options.num_colors};
    case AnswerKind::kSize:
    case AnswerKind::kYesNo:
      return {kind, 0, 2};
    case AnswerKind::kCell:
      return {kind, 0, kNumCells};
    case AnswerKind::kBackground:
      return {kind, 0, static_cast<int>(kBackgroundNames.size())};
    default:
      break;
  }
  if (question.category == Category::kDigit) return {kind, 0, 10};
  return {kind, question.category == Category::kCount ? 1 : 0, kMaxCount + 1};
}

bool Shows(const Scene& scene, Answer answer) {
  return std::any_of(scene.figures.begin(), scene.figures.end(), [&](const Figure& figure) {
    return (answer.kind == AnswerKind::kShape && figure.shape == answer.value) ||
           (answer.kind == AnswerKind::kColor && figure.color == answer.value) ||
           (answer.kind == AnswerKind::kCell && figure.cell == answer.value);
  });
}

}  // namespace

std::optional<Answer> AnswerTo(const Scene& scene, const Question& question) {
  switch (question.category) {
    case Category::kColor:
      return Property(OnlyOfShape(scene, question.shape), AnswerKind::kColor, &Figure::color);
    case Category::kColorAt:
    case Category::kShapeAt:
    case Category::kFollowColor:
    case Category::kFollowSize: {
      const Figure* figure = Subject(scene, question);
      if (question.category == Category::kShapeAt) {
        return Property(figure, AnswerKind::kShape, &Figure::shape);
      }
      return question.category == Category::kFollowSize
                 ? Property(figure, AnswerKind::kSize, &Figure::size)
                 : Property(figure, AnswerKind::kColor, &Figure::color);
    }
    case Category::kShape:
    case Category::kLargest:
    case Category::kSmallest:
      return Property(Subject(scene, question), AnswerKind::kShape, &Figure::shape);
    case Category::kSize:
      return Property(OnlyOfShape(scene, question.shape), AnswerKind::kSize, &Figure::size);
    case Category::kPosition:
      return Property(OnlyOfShape(scene, question.shape), AnswerKind::kCell, &Figure::cell);
    case Category::kCount:
      return Answer{AnswerKind::kNumber, static_cast<int>(scene.figures.size())};
    case Category::kCountShape:
    case Category::kExistShape: {
      const int count = Count(scene, [&](const Figure& f) { return f.shape == question.shape; });
      if (question.category == Category::kExistShape) return YesNo(count > 0);
      return Answer{AnswerKind::kNumber, count};
    }
    case Category::kCountColor:
      return Answer{AnswerKind::kNumber,
                    Count(scene, [&](const Figure& f) { return f.color == question.color; })};
    case Category::kExistBoth:
      return YesNo(Count(scene, [&](const Figure& f) {
                     return f.shape == question.shape && f.color == question.color;
                   }) > 0);
    case Category::kRelation:
      return Relation(scene, question);
    case Category::kBackground:
      return Answer{AnswerKind::kBackground, scene.background};
    case Category::kDigit:
      if (!scene.digit.has_value()) return std::nullopt;
      return Answer{AnswerKind::kNumber, scene.digit->value};
    case Category::kSameColor:
      return SameColor(scene, question);
    case Category::kCaption:
      return Answer{AnswerKind::kCaption, 0};
  }
  return std::nullopt;
}

const Figure* Subject(const Scene& scene, const Question& question) {
  switch (question.category) {
    case Category::kColor:
    case Category::kSize:
    case Category::kPosition:
      return OnlyOfShape(scene, question.shape);
    case Category::kColorAt:
    case Category::kShapeAt:
    case Category::kFollowColor:
    case Category::kFollowSize:
      return Only(scene, [&](const Figure& f) { return f.cell == question.cell; });
    case Category::kShape:
      return Only(scene, [&](const Figure& f) { return f.color == question.color; });
    case Category::kLargest:
      return Extreme(scene, /*size=*/1);
    case Category::kSmallest:
      return Extreme(scene, /*size=*/0);
    default:
      return nullptr;
  }
}

std::optional<Question> ProposeQuestion(const Scene& scene,
                                        Category category,
                                        const SceneOptions& options,
                                        CounterRng& rng) {
  constexpr int kTries = 24;
  const WantedAnswer wanted(category, rng);
  std::optional<Question> found;
  for (int i = 0; i < kTries; ++i) {
    const Question question = Guess(scene, category, options, rng);
    const std::optional<Answer> answer = AnswerTo(scene, question);
    if (!answer.has_value()) continue;
    found = question;
    if (wanted.Is(*answer)) break;
  }
  return found;
}

Choices MakeChoices(const Scene& scene,
                    const Question& question,
                    Answer answer,
                    int num_options,
                    const SceneOptions& options,
                    CounterRng& rng) {
  const Values values = ValuesLike(question, answer.kind, options);
  Choices choices;
  for (int value = values.begin; value < values.end; ++value) {
    if (value != answer.value) choices.options.push_back({answer.kind, value});
  }
  rng.Shuffle(choices.options);
  if (rng.Percent(kSeenDistractorsPercent)) {
    std::stable_partition(choices.options.begin(), choices.options.end(), [&](const Answer& other) {
      return Shows(scene, other);
    });
  }
  choices.options.resize(std::min(choices.options.size(), static_cast<size_t>(num_options - 1)));
  choices.options.push_back(answer);
  rng.Shuffle(choices.options);
  choices.correct = static_cast<int>(
      std::find(choices.options.begin(), choices.options.end(), answer) - choices.options.begin());
  return choices;
}

}  // namespace parrot
