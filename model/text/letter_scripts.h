// Whose letter a code point is, from pinned Unicode 14.0 tables (generated; see
// letter_script_tables.cc). Thread-safe.
//
// Letters and the marks that belong to them (general categories L and M) have the script of
// Unicode's property Script. Everything that scripts share has none: digits, punctuation, symbols,
// spaces, controls, and letters and marks whose Script is Common or Inherited. Code points that
// Unicode 14.0 does not know are counted as letters of another script, except those that are set
// aside for emoji; surrogates too.
#ifndef PARROT_MODEL_TEXT_LETTER_SCRIPTS_H_
#define PARROT_MODEL_TEXT_LETTER_SCRIPTS_H_

#include <cstdint>
#include <span>

namespace parrot {

enum class LetterScript : uint8_t {
  kNone,  // no letter of any script
  kLatin,
  kFullwidthLatin,  // Latin in the width of Han characters, U+FF21..U+FF5A
  kHan,
  kArabic,
  kCyrillic,
  kOther,
};

LetterScript LetterScriptOf(char32_t code_point);

namespace internal {

struct LetterRange {
  char32_t first;
  char32_t last;  // inclusive
  LetterScript script;
};

// Sorted and disjoint; what is in none of them is kNone.
std::span<const LetterRange> LetterRanges();
// The first range that ends at or after `code_point`.
std::span<const LetterRange>::iterator FirstLetterRangeFrom(char32_t code_point);

}  // namespace internal
}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_LETTER_SCRIPTS_H_
