// Conversations about a scene, as training data: questions and answers in one language, alone or in
// a row, open or multiple-choice, follow-ups, a description at the end. Stateless; thread-safe.
#ifndef PARROT_TRAIN_WORLD_DIALOG_H_
#define PARROT_TRAIN_WORLD_DIALOG_H_

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "train/world/counter_rng.h"
#include "train/world/phrasebook.h"
#include "train/world/question.h"
#include "train/world/scene.h"

namespace parrot {

struct DialogOptions {
  // Relative weights; a category of weight 0 is never asked.
  std::array<int, kNumLanguages> languages = {1, 1, 1, 1, 1, 1};
  std::array<int, kNumCategories> categories = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  int max_questions = 6;     // of one conversation, the description not counted
  int single_percent = 25;   // conversations of exactly one question
  int choice_percent = 25;   // questions that are multiple-choice
  int suffix_percent = 50;   // open questions that ask for a single word or phrase
  int follow_percent = 30;   // chance of a follow-up where one is possible
  int caption_percent = 15;  // conversations that end with a description
  // Text samples whose description is in another language than the questions.
  int foreign_caption_percent = 33;
};

struct Turn {
  std::string human;
  std::string gpt;
};

// One sample of LLaVA's form.
struct Sample {
  Language language = Language::kEnglish;
  std::vector<Turn> turns;
};

// What the evaluator adds to a question without options: in English, but for Chinese questions.
std::string_view EvaluatorShortSuffix(const std::vector<Phrasebook>& books, Language language);

// The question, one line per option ("A. red"), then the language's sentence.
std::string ChoiceQuestion(const Phrasebook& book,
                           std::string_view question,
                           const Choices& choices);

// Letter of an option.
constexpr char OptionLetter(int option) { return static_cast<char>('A' + option); }

// A conversation about a picture of the scene; no turns where nothing of the wanted categories can
// be asked. REQUIRES: some weight of a language is positive. `books` in the order of Language.
Sample MakeDialog(const Scene& scene,
                  const std::vector<Phrasebook>& books,
                  const SceneOptions& scene_options,
                  const DialogOptions& options,
                  CounterRng& rng);

// The same without a picture: a description of the scene stands in front of the first question.
Sample MakeTextDialog(const Scene& scene,
                      const std::vector<Phrasebook>& books,
                      const SceneOptions& scene_options,
                      const DialogOptions& options,
                      CounterRng& rng);

// A request for a description and the description.
Sample MakeCaption(const Scene& scene,
                   const std::vector<Phrasebook>& books,
                   const DialogOptions& options,
                   CounterRng& rng);

// {"id", "image" (absent when empty), "language", "conversations"}: the first human message begins
// with "<image>\n" when there is an image.
std::string SampleJson(const Sample& sample, std::string_view id, std::string_view image_name);

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_DIALOG_H_
