// Reads a phrasebook's file and tries every sentence with every filling, so that nothing can be
// missing later.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "train/world/phrasebook.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

// What the sentences of each category may name.
constexpr std::array<std::string_view, kNumCategories> kSlotsOfCategory = {
    "s", "p",   "c", "p", "s", "", "s",  "c", "s", "cs",
    "s", "srt", "",  "",  "",  "", "st", "s", "s", ""};

absl::Status Bad(std::string_view where, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(where), ": ", std::string(what)));
}

}  // namespace

class Phrasebook::Reader {
 public:
  Reader(Language language, const Json& json) : json_(json) { book_.language_ = language; }

  absl::StatusOr<Phrasebook> Read() {
    RETURN_IF_ERROR(ReadLexicon());
    RETURN_IF_ERROR(ReadCaption());
    RETURN_IF_ERROR(ReadQuestions());
    RETURN_IF_ERROR(CheckAllFormsAreUsed());
    return std::move(book_);
  }

 private:
  absl::Status ReadEntries(const char* key, size_t size, std::vector<Entry>& entries) {
    entries = json_.at(key).get<std::vector<Entry>>();
    if (entries.size() != size) return Bad(key, absl::StrCat("needs ", size, " entries"));
    for (const Entry& entry : entries) {
      if (!entry.contains("")) return Bad(key, "an entry has no citation form");
    }
    return absl::OkStatus();
  }

  absl::Status ReadLexicon() {
    RETURN_IF_ERROR(ReadEntries("shapes", kShapeNames.size(), book_.shapes_));
    RETURN_IF_ERROR(ReadEntries("colors", kColorNames.size(), book_.colors_));
    RETURN_IF_ERROR(ReadEntries("sizes", kSizeNames.size(), book_.sizes_));
    RETURN_IF_ERROR(ReadEntries("backgrounds", kBackgroundNames.size(), book_.backgrounds_));
    RETURN_IF_ERROR(ReadEntries("positions", kNumCells, book_.positions_));
    RETURN_IF_ERROR(ReadEntries("relations", kRelationNames.size(), book_.relations_));
    for (const auto& [name, entry] : json_.at("words").items()) {
      book_.words_[name] = entry.get<Entry>();
    }
    book_.no_yes_ = json_.at("no_yes").get<std::array<std::string, 2>>();
    book_.choice_suffix_ = json_.at("choice_suffix").get<std::string>();
    book_.short_suffix_ = json_.at("short_suffix").get<std::string>();
    if (json_.contains("segments")) {
      book_.segments_ = json_.at("segments").get<std::vector<std::string>>();
      for (const auto* entries : Tables()) {
        for (const Entry& entry : *entries) book_.segments_.push_back(entry.find("")->second);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadCaption() {
    const Json& caption = json_.at("caption");
    book_.caption_separator_ = caption.at("separator").get<std::string>();
    book_.caption_end_ = caption.at("end").get<std::string>();
    ASSIGN_OR_RETURN(book_.caption_head_, ReadSentence("caption.head", caption.at("head"), "b"));
    ASSIGN_OR_RETURN(book_.caption_figure_,
                     ReadSentence("caption.figure", caption.at("figure"), "zcsp"));
    ASSIGN_OR_RETURN(book_.caption_digit_, ReadSentence("caption.digit", caption.at("digit"), "d"));
    return absl::OkStatus();
  }

  absl::Status ReadQuestions() {
    const Json& questions = json_.at("questions");
    if (questions.size() != kNumCategories) return Bad("questions", "another set of categories");
    for (size_t category = 0; category < kNumCategories; ++category) {
      const std::string name(kCategoryNames[category]);
      const Json& sentences = questions.at(name);
      if (std::set<Json>(sentences.begin(), sentences.end()).size() != kNumPhrasings) {
        return Bad(name, absl::StrCat("needs ", kNumPhrasings, " different sentences"));
      }
      for (const Json& sentence : sentences) {
        ASSIGN_OR_RETURN(Sentence pieces, ReadSentence(name, sentence, kSlotsOfCategory[category]));
        book_.sentences_[category].push_back(std::move(pieces));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Sentence> ReadSentence(std::string_view where,
                                        const Json& json,
                                        std::string_view allowed) {
    const auto text = json.get<std::string>();
    Sentence sentence;
    for (size_t begin = 0; begin < text.size();) {
      const size_t open = std::min(text.find('{', begin), text.size());
      if (open > begin) sentence.push_back({.text = text.substr(begin, open - begin)});
      if (open == text.size()) break;
      const size_t close = text.find('}', open);
      if (close == std::string::npos) return Bad(where, "a place is not closed");
      const std::optional<Piece> piece =
          ReadPlace(text.substr(open + 1, close - open - 1), allowed);
      if (!piece.has_value()) return Bad(where, "an unknown place in '" + text + "'");
      sentence.push_back(*piece);
      begin = close + 1;
    }
    for (const Piece& piece : sentence) {
      if (!TryAllFillings(piece)) return Bad(where, "a form is missing for '" + text + "'");
    }
    return sentence;
  }

  // slot[~noun][:form]; nullopt when there is no such slot or the category does not have it.
  std::optional<Piece> ReadPlace(std::string place, std::string_view allowed) const {
    Piece piece;
    if (const size_t colon = place.find(':'); colon != std::string::npos) {
      piece.form = place.substr(colon + 1);
      place.resize(colon);
    }
    if (const size_t tilde = place.find('~'); tilde != std::string::npos) {
      const std::string noun = place.substr(tilde + 1);
      if (noun.size() != 1 || allowed.find(noun) == std::string_view::npos) return std::nullopt;
      if (noun != "s" && noun != "t") return std::nullopt;
      piece.noun = noun == "s" ? Slot::kShape : Slot::kOtherShape;
      place.resize(tilde);
    }
    static constexpr std::string_view kLetters = "stcprbzd";  // in the order of Slot
    if (place == "small" || place == "large") {
      piece.slot = place == "small" ? Slot::kSmall : Slot::kLarge;
    } else if (book_.words_.contains(place)) {
      piece.slot = Slot::kWord;
      piece.text = place;
    } else if (place.size() == 1 && allowed.find(place) != std::string_view::npos) {
      piece.slot = static_cast<Slot>(kLetters.find(place));
    } else {
      return std::nullopt;
    }
    return piece;
  }

  // Marks the forms that the piece takes; false when one is missing.
  bool TryAllFillings(const Piece& piece) {
    if (piece.slot == Slot::kLiteral || piece.slot == Slot::kDigit) return true;
    const int num_nouns = static_cast<int>(book_.shapes_.size());
    for (int value = 0; value < kNumCells; ++value) {
      for (int noun = 0; noun < num_nouns; ++noun) {
        const auto clamp = [&](const std::vector<Entry>& entries) {
          return std::min(value, static_cast<int>(entries.size()) - 1);
        };
        Filling filling{.shape = clamp(book_.shapes_),
                        .other_shape = clamp(book_.shapes_),
                        .color = clamp(book_.colors_),
                        .cell = value,
                        .relation = clamp(book_.relations_),
                        .background = clamp(book_.backgrounds_),
                        .size = clamp(book_.sizes_)};
        if (piece.noun == Slot::kShape) filling.shape = noun;
        if (piece.noun == Slot::kOtherShape) filling.other_shape = noun;
        const Entry& entry = *book_.Find(piece, filling);
        const auto form = entry.find(book_.FormKey(piece, filling, entry));
        if (form == entry.end() || form->second.empty()) return false;
        used_.insert(&form->second);
      }
    }
    return true;
  }

  absl::Status CheckAllFormsAreUsed() const {
    for (const auto* entries : Tables()) {
      for (const Entry& entry : *entries) RETURN_IF_ERROR(CheckUsed(entry));
    }
    for (const auto& [name, entry] : book_.words_) RETURN_IF_ERROR(CheckUsed(entry));
    return absl::OkStatus();
  }

  absl::Status CheckUsed(const Entry& entry) const {
    for (const auto& [form, text] : entry) {
      // The citation form is used in answers, the gender in agreement.
      if (form.empty() || form == "g" || used_.contains(&text)) continue;
      return Bad(text, "no sentence uses the form '" + form + "'");
    }
    return absl::OkStatus();
  }

  std::array<const std::vector<Entry>*, 6> Tables() const {
    return {&book_.shapes_,
            &book_.colors_,
            &book_.sizes_,
            &book_.backgrounds_,
            &book_.positions_,
            &book_.relations_};
  }

  const Json& json_;
  Phrasebook book_;
  std::set<const std::string*> used_;
};

absl::StatusOr<Phrasebook> Phrasebook::Parse(Language language, std::string_view json) {
  try {
    return Reader(language, Json::parse(json)).Read();
  } catch (const Json::exception& e) {
    return absl::InvalidArgumentError(e.what());
  }
}

}  // namespace parrot
