#include "train/world/phrasebook.h"

#include <cstddef>
#include <utility>

#include "base/check.h"
#include "model/text/utf8.h"
#include "train/world/phrasebook_data.h"

namespace parrot {
namespace {

// Upper case for the alphabets of our languages; other characters stay.
char32_t UpperCase(char32_t c, bool turkish) {
  if (c == U'i' && turkish) return U'\u0130';
  if (c == U'\u0131') return U'I';
  const bool latin = (c >= U'a' && c <= U'z') || (c >= U'\u00E0' && c <= U'\u00FE');
  const bool cyrillic = c >= U'\u0430' && c <= U'\u044F';
  if (latin || cyrillic) return c - 0x20;
  if (c >= U'\u0450' && c <= U'\u045F') return c - 0x50;
  if (c >= U'\u0100' && c <= U'\u017F' && c % 2 == 1) return c - 1;  // pairs: upper, lower
  return c;
}

std::string Capitalized(const std::string& sentence, bool turkish) {
  if (sentence.empty()) return sentence;
  const Utf8Step first = DecodeUtf8(sentence, 0);
  std::string result;
  AppendUtf8(UpperCase(first.code_point, turkish), &result);
  return result.append(sentence, static_cast<size_t>(first.length));
}

}  // namespace

const Phrasebook::Entry* Phrasebook::Find(const Piece& piece, const Filling& filling) const {
  switch (piece.slot) {
    case Slot::kShape:
      return &shapes_[filling.shape];
    case Slot::kOtherShape:
      return &shapes_[filling.other_shape];
    case Slot::kColor:
      return &colors_[filling.color];
    case Slot::kPosition:
      return &positions_[filling.cell];
    case Slot::kRelation:
      return &relations_[filling.relation];
    case Slot::kBackground:
      return &backgrounds_[filling.background];
    case Slot::kSize:
      return &sizes_[filling.size];
    case Slot::kSmall:
      return &sizes_.front();
    case Slot::kLarge:
      return &sizes_.back();
    case Slot::kWord:
      return &words_.find(piece.text)->second;
    case Slot::kDigit:
    case Slot::kLiteral:
      break;
  }
  return nullptr;
}

std::string Phrasebook::FormKey(const Piece& piece,
                                const Filling& filling,
                                const Entry& entry) const {
  if (piece.noun == Slot::kLiteral) return piece.form;
  const int noun = piece.noun == Slot::kShape ? filling.shape : filling.other_shape;
  const auto gender = shapes_[noun].find("g");
  std::string key = gender == shapes_[noun].end() ? "" : gender->second;
  if (!piece.form.empty()) return key + "." + piece.form;
  if (key == "m" && !entry.contains(key)) key.clear();
  return key;
}

std::string Phrasebook::Fill(const Sentence& sentence, const Filling& filling) const {
  std::string text;
  for (const Piece& piece : sentence) {
    if (piece.slot == Slot::kLiteral) {
      text += piece.text;
    } else if (piece.slot == Slot::kDigit) {
      text += std::to_string(filling.digit);
    } else {
      const Entry& entry = *Find(piece, filling);
      const auto form = entry.find(FormKey(piece, filling, entry));
      PARROT_CHECK(form != entry.end());  // the reader has tried every filling
      text += form->second;
    }
  }
  return text;
}

std::string Phrasebook::Ask(const Question& question, int phrasing) const {
  const Sentence& sentence =
      sentences_[static_cast<size_t>(question.category)][static_cast<size_t>(phrasing)];
  const std::string text = Fill(sentence,
                                {.shape = question.shape,
                                 .other_shape = question.other_shape,
                                 .color = question.color,
                                 .cell = question.cell,
                                 .relation = question.relation});
  return Capitalized(text, language_ == Language::kTurkish);
}

std::string Phrasebook::Name(Answer answer) const {
  const auto value = static_cast<size_t>(answer.value);
  const auto citation = [](const Entry& entry) { return entry.find("")->second; };
  switch (answer.kind) {
    case AnswerKind::kShape:
      return citation(shapes_[value]);
    case AnswerKind::kColor:
      return citation(colors_[value]);
    case AnswerKind::kSize:
      return citation(sizes_[value]);
    case AnswerKind::kCell:
      return citation(positions_[value]);
    case AnswerKind::kBackground:
      return citation(backgrounds_[value]);
    case AnswerKind::kYesNo:
      return no_yes_[value];
    case AnswerKind::kNumber:
      return std::to_string(answer.value);
    case AnswerKind::kCaption:
      break;
  }
  PARROT_CHECK(false);
  return {};
}

std::string Phrasebook::Caption(const Scene& scene) const {
  std::string text = Capitalized(Fill(caption_head_, {.background = scene.background}),
                                 language_ == Language::kTurkish);
  bool first = true;
  for (const Figure& figure : scene.figures) {
    if (!std::exchange(first, false)) text += caption_separator_;
    text += Fill(
        caption_figure_,
        {.shape = figure.shape, .color = figure.color, .cell = figure.cell, .size = figure.size});
  }
  text += caption_end_;
  if (scene.digit.has_value()) text += Fill(caption_digit_, {.digit = scene.digit->value});
  return text;
}

std::vector<Phrasebook> BuiltInPhrasebooks() {
  std::vector<Phrasebook> books;
  books.reserve(kNumLanguages);
  for (int i = 0; i < kNumLanguages; ++i) {
    absl::StatusOr<Phrasebook> book =
        Phrasebook::Parse(static_cast<Language>(i), kPhrasebookJson[static_cast<size_t>(i)]);
    PARROT_CHECK(book.ok()) << book.status().message();
    books.push_back(*std::move(book));
  }
  return books;
}

}  // namespace parrot
