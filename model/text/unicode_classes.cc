#include "model/text/unicode_classes.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "model/text/unicode_tables.h"

namespace parrot {
namespace {

constexpr char32_t kAsciiEnd = 0x80;
// The first NFC-sensitive code point: combining grave accent.
constexpr char32_t kFirstNfcSensitive = 0x300;

constexpr std::array<CodePointClass, kAsciiEnd> MakeAsciiClasses() {
  std::array<CodePointClass, kAsciiEnd> classes{};
  for (char32_t c = U'a'; c <= U'z'; ++c) classes[c] = CodePointClass::kLetter;
  for (char32_t c = U'A'; c <= U'Z'; ++c) classes[c] = CodePointClass::kLetter;
  for (char32_t c = U'0'; c <= U'9'; ++c) classes[c] = CodePointClass::kNumber;
  for (char32_t c = U'\t'; c <= U'\r'; ++c) classes[c] = CodePointClass::kSpace;
  classes[' '] = CodePointClass::kSpace;
  return classes;
}

constexpr std::array<CodePointClass, kAsciiEnd> kAsciiClasses = MakeAsciiClasses();

// The range that holds `code_point`, or nullptr.
template <typename Range>
const Range* FindRange(std::span<const Range> ranges, char32_t code_point) {
  const auto it = std::lower_bound(
      ranges.begin(), ranges.end(), code_point, [](const Range& range, char32_t value) {
        return range.last < value;
      });
  return it != ranges.end() && it->first <= code_point ? &*it : nullptr;
}

}  // namespace

CodePointClass ClassifyCodePoint(char32_t code_point) {
  if (code_point < kAsciiEnd) return kAsciiClasses[code_point];
  const internal::ClassRange* range = FindRange(internal::ClassRanges(), code_point);
  return range == nullptr ? CodePointClass::kOther : range->code_point_class;
}

bool IsNfcSensitive(char32_t code_point) {
  if (code_point < kFirstNfcSensitive) return false;
  return FindRange(internal::NfcSensitiveRanges(), code_point) != nullptr;
}

}  // namespace parrot
