#include "model/text/qwen_pretokenizer.h"

#include "model/text/unicode_classes.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

// Case-folds to `s`: the pattern's (?i:...) uses simple folding.
constexpr char32_t kLongS = 0x17F;

struct Char {
  char32_t code_point = 0;
  CodePointClass code_point_class = CodePointClass::kOther;
  size_t end = 0;  // where the next character begins; 0 if the text has ended

  bool exists() const { return end != 0; }
  bool Is(CodePointClass c) const { return exists() && code_point_class == c; }
  bool IsNewline() const { return exists() && (code_point == '\n' || code_point == '\r'); }
};

Char CharAt(std::string_view text, size_t position) {
  if (position >= text.size()) return {};
  const Utf8Step step = DecodeUtf8(text, position);
  return {step.code_point,
          ClassifyCodePoint(step.code_point),
          position + static_cast<size_t>(step.length)};
}

size_t SkipClass(std::string_view text, size_t position, CodePointClass code_point_class) {
  for (Char c = CharAt(text, position); c.Is(code_point_class); c = CharAt(text, position)) {
    position = c.end;
  }
  return position;
}

size_t SkipNewlines(std::string_view text, size_t position) {
  while (position < text.size() && (text[position] == '\n' || text[position] == '\r')) ++position;
  return position;
}

char32_t FoldAscii(char32_t c) {
  if (c == kLongS) return 's';
  return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d) after the apostrophe; 0 if there is none.
size_t ContractionEnd(std::string_view text, size_t position) {
  const Char first = CharAt(text, position);
  if (!first.exists()) return 0;
  const char32_t a = FoldAscii(first.code_point);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return first.end;
  const Char second = CharAt(text, first.end);
  if (!second.exists()) return 0;
  const char32_t b = FoldAscii(second.code_point);
  const bool matches = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
  return matches ? second.end : 0;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ at a white-space character.
size_t SpaceEnd(std::string_view text, size_t begin) {
  size_t after_last_newline = 0;
  size_t last_begin = begin;  // of the run's last character
  size_t end = begin;
  for (Char c = CharAt(text, begin); c.Is(CodePointClass::kSpace); c = CharAt(text, end)) {
    last_begin = end;
    end = c.end;
    if (c.IsNewline()) after_last_newline = end;
  }
  if (after_last_newline != 0) return after_last_newline;
  // Text follows: its last space is left to it, if any other remains.
  if (end < text.size() && last_begin > begin) return last_begin;
  return end;
}

}  // namespace

size_t QwenPieceEnd(std::string_view text, size_t begin) {
  const Char first = CharAt(text, begin);
  if (first.code_point == '\'') {
    if (const size_t end = ContractionEnd(text, first.end); end != 0) return end;
  }
  if (first.Is(CodePointClass::kLetter)) {
    return SkipClass(text, first.end, CodePointClass::kLetter);
  }
  if (first.Is(CodePointClass::kNumber)) return first.end;
  const Char second = CharAt(text, first.end);
  if (second.Is(CodePointClass::kLetter) && !first.IsNewline()) {
    return SkipClass(text, second.end, CodePointClass::kLetter);
  }
  const bool space_then_other = first.code_point == ' ' && second.Is(CodePointClass::kOther);
  if (first.Is(CodePointClass::kOther) || space_then_other) {
    return SkipNewlines(text, SkipClass(text, first.end, CodePointClass::kOther));
  }
  return SpaceEnd(text, begin);
}

}  // namespace parrot
