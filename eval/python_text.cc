#include "eval/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

struct Character {
  char32_t code_point = 0;
  size_t begin = 0;
  size_t length = 1;
};

Character CharacterAt(std::string_view text, size_t position) {
  const Utf8Step step = DecodeUtf8(text, position);
  if (step.kind == Utf8Kind::kValid) {
    return {step.code_point, position, static_cast<size_t>(step.length)};
  }
  return {0xfffd, position, 1};
}

std::vector<Character> CharactersOf(std::string_view text) {
  std::vector<Character> characters;
  characters.reserve(text.size());
  for (size_t at = 0; at < text.size(); at += characters.back().length) {
    characters.push_back(CharacterAt(text, at));
  }
  return characters;
}

constexpr char32_t kCapitalSigma = 0x3a3;
constexpr char32_t kSmallSigma = 0x3c3;
constexpr char32_t kFinalSigma = 0x3c2;
constexpr char32_t kCapitalIWithDot = 0x130;

// Unicode's Case_Ignorable: marks, formats, modifiers and the punctuation that stands inside words.
bool IsCaseIgnorable(char32_t c) {
  constexpr std::array<char32_t, 17> kInsideWords = {0x27,
                                                     0x2e,
                                                     0x3a,
                                                     0xb7,
                                                     0x387,
                                                     0x55f,
                                                     0x5f4,
                                                     0x2018,
                                                     0x2019,
                                                     0x2024,
                                                     0x2027,
                                                     0xfe13,
                                                     0xfe52,
                                                     0xfe55,
                                                     0xff07,
                                                     0xff0e,
                                                     0xff1a};
  if (std::find(kInsideWords.begin(), kInsideWords.end(), c) != kInsideWords.end()) return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return false;
  }
}

// Unicode's Cased: letters with case, and symbols that look like them.
bool IsCased(char32_t c) {
  constexpr std::array<std::pair<char32_t, char32_t>, 7> kOthers = {{{0xaa, 0xaa},
                                                                     {0xba, 0xba},
                                                                     {0x2160, 0x217f},
                                                                     {0x24b6, 0x24e9},
                                                                     {0x1f130, 0x1f149},
                                                                     {0x1f150, 0x1f169},
                                                                     {0x1f170, 0x1f189}}};
  for (const auto& [first, last] : kOthers) {
    if (c >= first && c <= last) return true;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
      return true;
    default:
      return false;
  }
}

// After a cased letter and before none, whatever may be ignored between.
bool IsFinal(const std::vector<Character>& text, size_t position) {
  size_t before = position;
  while (before > 0 && IsCaseIgnorable(text[before - 1].code_point)) --before;
  if (before == 0 || !IsCased(text[before - 1].code_point)) return false;
  size_t after = position + 1;
  while (after < text.size() && IsCaseIgnorable(text[after].code_point)) ++after;
  return after == text.size() || !IsCased(text[after].code_point);
}

std::string_view TrimAsciiBlanks(std::string_view text) {
  return StripAscii(text, kAsciiWhitespace);
}

// The decimal digits from *position on: at most 17 of them into *value, the rest counted.
struct Digits {
  int taken = 0;
  int dropped = 0;
};
constexpr int kMostDigits = 17;

Digits TakeDigits(std::string_view text, size_t* position, int already_taken, double* value) {
  Digits digits;
  for (; *position < text.size() && absl::ascii_isdigit(text[*position]); ++*position) {
    if (already_taken + digits.taken < kMostDigits) {
      *value = *value * 10 + (text[*position] - '0');
      ++digits.taken;
    } else {
      ++digits.dropped;
    }
  }
  return digits;
}

// The number after 'e', or 0 with *position unchanged if there is none.
int TakeExponent(std::string_view text, size_t* position) {
  if (*position >= text.size() || absl::ascii_tolower(text[*position]) != 'e') return 0;
  size_t at = *position + 1;
  const bool negative = at < text.size() && text[at] == '-';
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
  const size_t begin = at;
  int exponent = 0;
  for (; at < text.size() && absl::ascii_isdigit(text[at]); ++at) {
    exponent = std::min(exponent * 10 + (text[at] - '0'), 100000);
  }
  if (at == begin) return 0;
  *position = at;
  return negative ? -exponent : exponent;
}

// By powers of ten that doubles hold or round, one product or quotient: pandas' arithmetic.
double Scale(double value, int exponent) {
  const auto power = [](int n) { return std::strtod(("1e" + std::to_string(n)).c_str(), nullptr); };
  if (exponent > 308) return std::numeric_limits<double>::infinity();
  if (exponent > 0) return value * power(exponent);
  if (exponent < -616) return 0;
  if (exponent < -308) return value / power(-308 - exponent) / 1e308;
  return value / power(-exponent);
}

}  // namespace

bool IsPythonSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

std::vector<std::string_view> SplitWords(std::string_view text) {
  std::vector<std::string_view> words;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Character character = CharacterAt(text, at);
    if (IsPythonSpace(character.code_point)) {
      if (at > begin) words.push_back(text.substr(begin, at - begin));
      begin = at + character.length;
    }
    at += character.length;
  }
  if (text.size() > begin) words.push_back(text.substr(begin));
  return words;
}

std::string_view StripAscii(std::string_view text, std::string_view characters) {
  const size_t begin = text.find_first_not_of(characters);
  if (begin == std::string_view::npos) return text.substr(text.size());
  return text.substr(begin, text.find_last_not_of(characters) - begin + 1);
}

std::string_view StripSpace(std::string_view text) {
  const std::vector<Character> characters = CharactersOf(text);
  size_t begin = 0;
  size_t end = characters.size();
  while (begin < end && IsPythonSpace(characters[begin].code_point)) ++begin;
  while (end > begin && IsPythonSpace(characters[end - 1].code_point)) --end;
  if (begin == end) return text.substr(text.size());
  const Character& last = characters[end - 1];
  return text.substr(characters[begin].begin, last.begin + last.length - characters[begin].begin);
}

std::string LowerCase(std::string_view text) {
  const std::vector<Character> characters = CharactersOf(text);
  std::string lower;
  lower.reserve(text.size());
  for (size_t i = 0; i < characters.size(); ++i) {
    const char32_t c = characters[i].code_point;
    if (c == kCapitalSigma) {
      AppendUtf8(IsFinal(characters, i) ? kFinalSigma : kSmallSigma, &lower);
    } else if (c == kCapitalIWithDot) {
      lower += "i\u0307";
    } else {
      AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), &lower);
    }
  }
  return lower;
}

int64_t NumCharacters(std::string_view text) {
  int64_t count = 0;
  for (size_t at = 0; at < text.size(); at += CharacterAt(text, at).length) ++count;
  return count;
}

std::string_view DropCharacters(std::string_view text, int64_t count) {
  size_t at = 0;
  for (; count > 0 && at < text.size(); --count) at += CharacterAt(text, at).length;
  return text.substr(at);
}

bool HasCjk(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Character character = CharacterAt(text, at);
    if (character.code_point >= 0x4e00 && character.code_point <= 0x9fff) return true;
    at += character.length;
  }
  return false;
}

std::optional<int64_t> ParseInteger(std::string_view text) {
  text = TrimAsciiBlanks(text);
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> ParseReal(std::string_view text) {
  text = TrimAsciiBlanks(text);
  const bool negative = text.starts_with('-');
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  const std::string lower = LowerCase(text);
  if (lower == "inf" || lower == "infinity") {
    const double infinity = std::numeric_limits<double>::infinity();
    return negative ? -infinity : infinity;
  }
  double value = 0;
  size_t at = 0;
  const Digits whole = TakeDigits(text, &at, 0, &value);
  Digits decimals;
  if (at < text.size() && text[at] == '.') {
    ++at;
    decimals = TakeDigits(text, &at, whole.taken, &value);
  }
  if (whole.taken + decimals.taken == 0) return std::nullopt;
  const int exponent = whole.dropped - decimals.taken + TakeExponent(text, &at);
  if (at != text.size()) return std::nullopt;
  value = Scale(value, exponent);
  return negative ? -value : value;
}

std::string FormatReal(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 32> buffer{};
  const double size = std::abs(value);
  const bool plain = value == 0 || (size >= 1e-4 && size < 1e16);
  const auto end =
      plain
          ? std::to_chars(
                buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed)
                .ptr
          : std::to_chars(
                buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific)
                .ptr;
  std::string text(buffer.data(), end);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

}  // namespace parrot
