#include "model/text/letter_scripts.h"

#include <algorithm>

namespace parrot {

std::span<const internal::LetterRange>::iterator internal::FirstLetterRangeFrom(
    char32_t code_point) {
  const std::span<const LetterRange> ranges = LetterRanges();
  return std::lower_bound(
      ranges.begin(), ranges.end(), code_point, [](const LetterRange& range, char32_t value) {
        return range.last < value;
      });
}

LetterScript LetterScriptOf(char32_t code_point) {
  if (code_point < 0x80) {
    const char32_t lower = code_point | 0x20;
    return lower >= U'a' && lower <= U'z' ? LetterScript::kLatin : LetterScript::kNone;
  }
  const auto it = internal::FirstLetterRangeFrom(code_point);
  const bool is_inside = it != internal::LetterRanges().end() && it->first <= code_point;
  return is_inside ? it->script : LetterScript::kNone;
}

}  // namespace parrot
