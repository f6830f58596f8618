// Questions, answers and captions of the picture world in one language: a lexicon with the forms
// that agreement needs, and sentences with places to fill, from train/world/data/<language>.json
// (compiled in). Immutable after construction, thread-safe.
//
// A place is {slot[~noun][:form]}. Slots: s, t first and second shape; c colour; p position;
// r relation; b background; z size; d digit; small, large; or an entry of "words". ~s and ~t take
// the form for that noun's gender ("g"); :form is a key of the entry. {c~s:acc} of a feminine noun
// is the key "f.acc". The key "" is the citation form, which answers use, and stands for "m" where
// an entry has none. Sentences begin with a capital letter.
//
// What the reader refuses: a place that some noun, colour, ... could not fill, a form that no
// sentence uses, another number of sentences. docs/picture-world.md has the details.
#ifndef PARROT_TRAIN_WORLD_PHRASEBOOK_H_
#define PARROT_TRAIN_WORLD_PHRASEBOOK_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "train/world/question.h"
#include "train/world/scene.h"

namespace parrot {

enum class Language : uint8_t { kEnglish, kChinese, kPortuguese, kArabic, kTurkish, kRussian };
inline constexpr int kNumLanguages = 6;
inline constexpr std::array<std::string_view, kNumLanguages> kLanguageCodes = {
    "en", "zh", "pt", "ar", "tr", "ru"};
// As the names of MMMB's files spell them.
inline constexpr std::array<std::string_view, kNumLanguages> kDatasetCodes = {
    "en", "cn", "pt", "ar", "tr", "ru"};

// Every question can be put in this many ways; the last ones never occur in training.
inline constexpr int kNumPhrasings = 8;
inline constexpr int kNumTrainedPhrasings = 6;

class Phrasebook {
 public:
  // INVALID_ARGUMENT names the entry and what is wrong with it.
  static absl::StatusOr<Phrasebook> Parse(Language language, std::string_view json);

  Language language() const { return language_; }

  // The sentence. REQUIRES: 0 <= phrasing < kNumPhrasings.
  std::string Ask(const Question& question, int phrasing) const;
  // The answer in its citation form; numbers are digits. REQUIRES: not a caption.
  std::string Name(Answer answer) const;
  std::string Caption(const Scene& scene) const;

  // The sentence after the options of a multiple-choice question, as the evaluator puts it.
  const std::string& choice_suffix() const { return choice_suffix_; }
  // "Answer with a single word" in this language.
  const std::string& short_suffix() const { return short_suffix_; }
  // Words at which running text is cut before a tokenizer is trained: Chinese has no spaces. Empty
  // for the other languages.
  const std::vector<std::string>& segments() const { return segments_; }

 private:
  enum class Slot : uint8_t {
    kShape,
    kOtherShape,
    kColor,
    kPosition,
    kRelation,
    kBackground,
    kSize,
    kDigit,
    kSmall,
    kLarge,
    kWord,
    kLiteral,
  };
  using Entry = std::map<std::string, std::string, std::less<>>;  // form -> text
  struct Piece {
    Slot slot = Slot::kLiteral;
    std::string text;            // literal: itself; word: its name
    Slot noun = Slot::kLiteral;  // that it agrees with
    std::string form;
  };
  using Sentence = std::vector<Piece>;
  struct Filling {
    int shape = -1;
    int other_shape = -1;
    int color = -1;
    int cell = -1;
    int relation = -1;
    int background = -1;
    int size = -1;
    int digit = -1;
  };
  class Reader;

  const Entry* Find(const Piece& piece, const Filling& filling) const;
  // The key of the form that the piece takes in its entry.
  std::string FormKey(const Piece& piece, const Filling& filling, const Entry& entry) const;
  std::string Fill(const Sentence& sentence, const Filling& filling) const;

  Language language_ = Language::kEnglish;
  std::vector<Entry> shapes_;
  std::vector<Entry> colors_;
  std::vector<Entry> sizes_;
  std::vector<Entry> backgrounds_;
  std::vector<Entry> positions_;
  std::vector<Entry> relations_;
  std::map<std::string, Entry, std::less<>> words_;
  std::array<std::string, 2> no_yes_;
  std::string choice_suffix_;
  std::string short_suffix_;
  Sentence caption_head_;
  Sentence caption_figure_;
  Sentence caption_digit_;
  std::string caption_separator_;
  std::string caption_end_;
  std::array<std::vector<Sentence>, kNumCategories> sentences_;
  std::vector<std::string> segments_;
};

// Those compiled in, in the order of Language.
std::vector<Phrasebook> BuiltInPhrasebooks();

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_PHRASEBOOK_H_
