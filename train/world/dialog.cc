#include "train/world/dialog.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace parrot {
namespace {

constexpr int kMinOptions = 2;
constexpr int kMaxOptions = 4;
// Of the open questions that ask for a single word: in the words of the evaluator.
constexpr int kEvaluatorSuffixPercent = 67;

constexpr size_t Index(Category category) { return static_cast<size_t>(category); }

class DialogMaker {
 public:
  DialogMaker(const Scene& scene,
              const std::vector<Phrasebook>& books,
              const SceneOptions& scene_options,
              const DialogOptions& options,
              CounterRng& rng)
      : scene_(scene),
        books_(books),
        scene_options_(scene_options),
        options_(options),
        rng_(rng),
        language_(static_cast<Language>(rng.Weighted(options.languages))),
        book_(books[static_cast<size_t>(language_)]) {}

  Sample Make(bool may_describe) {
    const int num_questions =
        rng_.Percent(options_.single_percent) ? 1 : rng_.Between(1, options_.max_questions);
    while (static_cast<int>(asked_.size()) < num_questions) {
      std::optional<Question> question = FollowUp();
      if (!question.has_value()) question = Unasked();
      if (!question.has_value()) break;
      Ask(*question);
    }
    may_describe = may_describe && options_.categories[Index(Category::kCaption)] > 0;
    const bool describes = rng_.Percent(options_.caption_percent);
    if (may_describe && (describes || turns_.empty())) Describe();
    return {language_, std::move(turns_)};
  }

 private:
  // A question about the subject of the last one that it has not answered, not asked before.
  std::optional<Question> FollowUp() {
    if (asked_.empty() || !rng_.Percent(options_.follow_percent)) return std::nullopt;
    const Figure* subject = Subject(scene_, asked_.back());
    if (subject == nullptr) return std::nullopt;
    std::vector<Question> possible;
    for (const Category category : {Category::kFollowColor, Category::kFollowSize}) {
      if (options_.categories[Index(category)] == 0) continue;
      const Question question{.category = category, .shape = subject->shape, .cell = subject->cell};
      if (!Reveals(asked_.back(), category) && !Asked(question)) possible.push_back(question);
    }
    if (possible.empty()) return std::nullopt;
    return possible[static_cast<size_t>(rng_.Below(static_cast<int>(possible.size())))];
  }

  // Whether the question names or asks for what the follow-up would ask for.
  static bool Reveals(const Question& question, Category follow_up) {
    const Category category = question.category;
    if (follow_up == Category::kFollowColor) {
      return category == Category::kColor || category == Category::kColorAt ||
             category == Category::kShape;
    }
    return category == Category::kSize || category == Category::kLargest ||
           category == Category::kSmallest;
  }

  std::optional<Question> Unasked() {
    constexpr int kTries = 40;
    std::array<int, kNumScoredCategories> weights{};
    std::copy_n(options_.categories.begin(), weights.size(), weights.begin());
    if (std::all_of(weights.begin(), weights.end(), [](int weight) { return weight == 0; })) {
      return std::nullopt;
    }
    for (int i = 0; i < kTries; ++i) {
      const auto category = static_cast<Category>(rng_.Weighted(weights));
      const std::optional<Question> question =
          ProposeQuestion(scene_, category, scene_options_, rng_);
      if (question.has_value() && !Asked(*question)) return question;
    }
    return std::nullopt;
  }

  bool Asked(const Question& question) const {
    return std::find(asked_.begin(), asked_.end(), question) != asked_.end();
  }

  void Ask(const Question& question) {
    const Answer answer = *AnswerTo(scene_, question);
    std::string text = book_.Ask(question, rng_.Below(kNumTrainedPhrasings));
    if (rng_.Percent(options_.choice_percent)) {
      const Choices choices = MakeChoices(
          scene_, question, answer, rng_.Between(kMinOptions, kMaxOptions), scene_options_, rng_);
      turns_.push_back(
          {ChoiceQuestion(book_, text, choices), std::string(1, OptionLetter(choices.correct))});
    } else {
      if (rng_.Percent(options_.suffix_percent)) {
        text += '\n';
        text += rng_.Percent(kEvaluatorSuffixPercent) ? EvaluatorShortSuffix(books_, language_)
                                                      : std::string_view(book_.short_suffix());
      }
      turns_.push_back({std::move(text), book_.Name(answer)});
    }
    asked_.push_back(question);
  }

  void Describe() {
    turns_.push_back({book_.Ask({.category = Category::kCaption}, rng_.Below(kNumTrainedPhrasings)),
                      book_.Caption(scene_)});
  }

  const Scene& scene_;
  const std::vector<Phrasebook>& books_;
  const SceneOptions& scene_options_;
  const DialogOptions& options_;
  CounterRng& rng_;
  const Language language_;
  const Phrasebook& book_;
  std::vector<Question> asked_;
  std::vector<Turn> turns_;
};

}  // namespace

std::string_view EvaluatorShortSuffix(const std::vector<Phrasebook>& books, Language language) {
  const Language used = language == Language::kChinese ? language : Language::kEnglish;
  return books[static_cast<size_t>(used)].short_suffix();
}

std::string ChoiceQuestion(const Phrasebook& book,
                           std::string_view question,
                           const Choices& choices) {
  std::string text(question);
  for (size_t i = 0; i < choices.options.size(); ++i) {
    text += '\n';
    text += OptionLetter(static_cast<int>(i));
    text += ". " + book.Name(choices.options[i]);
  }
  return text + "\n" + book.choice_suffix();
}

Sample MakeDialog(const Scene& scene,
                  const std::vector<Phrasebook>& books,
                  const SceneOptions& scene_options,
                  const DialogOptions& options,
                  CounterRng& rng) {
  return DialogMaker(scene, books, scene_options, options, rng).Make(/*may_describe=*/true);
}

Sample MakeTextDialog(const Scene& scene,
                      const std::vector<Phrasebook>& books,
                      const SceneOptions& scene_options,
                      const DialogOptions& options,
                      CounterRng& rng) {
  // A description must not be asked for: it stands there already.
  Sample sample =
      DialogMaker(scene, books, scene_options, options, rng).Make(/*may_describe=*/false);
  auto described_in = static_cast<size_t>(sample.language);
  if (sample.turns.empty()) return sample;
  if (rng.Percent(options.foreign_caption_percent)) {
    described_in = static_cast<size_t>(rng.Weighted(options.languages));
  }
  Turn& first = sample.turns.front();
  first.human = books[described_in].Caption(scene) + "\n" + first.human;
  return sample;
}

Sample MakeCaption(const Scene& scene,
                   const std::vector<Phrasebook>& books,
                   const DialogOptions& options,
                   CounterRng& rng) {
  const auto language = static_cast<Language>(rng.Weighted(options.languages));
  const Phrasebook& book = books[static_cast<size_t>(language)];
  const std::string request =
      book.Ask({.category = Category::kCaption}, rng.Below(kNumTrainedPhrasings));
  return {language, {{request, book.Caption(scene)}}};
}

std::string SampleJson(const Sample& sample, std::string_view id, std::string_view image_name) {
  nlohmann::ordered_json json = {{"id", id}};
  if (!image_name.empty()) json["image"] = image_name;
  json["language"] = kLanguageCodes[static_cast<size_t>(sample.language)];
  nlohmann::ordered_json& conversations = json["conversations"];
  for (const Turn& turn : sample.turns) {
    const bool shows_image = conversations.empty() && !image_name.empty();
    conversations.push_back(
        {{"from", "human"}, {"value", (shows_image ? "<image>\n" : "") + turn.human}});
    conversations.push_back({{"from", "gpt"}, {"value", turn.gpt}});
  }
  return json.dump();
}

}  // namespace parrot
