// UTF-8 as the tokenizer reads and writes it: strict (no overlong forms, no surrogates, nothing
// above U+10FFFF), with invalid input cut into maximal parts as Unicode recommends (chapter 3.9),
// so that one U+FFFD stands for each. Thread-safe.
#ifndef PARROT_MODEL_TEXT_UTF8_H_
#define PARROT_MODEL_TEXT_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace parrot {

enum class Utf8Kind : uint8_t {
  kValid,       // `code_point` in `length` bytes
  kInvalid,     // a maximal invalid part of `length` bytes
  kIncomplete,  // the text ends inside a character that is valid so far: `length` bytes
};

struct Utf8Step {
  Utf8Kind kind = Utf8Kind::kInvalid;
  int32_t length = 0;  // bytes, 1..4
  char32_t code_point = 0;
};

// The character or invalid part at `position`. REQUIRES: position < text.size().
Utf8Step DecodeUtf8(std::string_view text, size_t position);

// INVALID_ARGUMENT "invalid UTF-8 at byte 17" (reason INVALID_UTF8, value 17) for the first byte
// that is not part of a valid character.
absl::Status ValidateUtf8(std::string_view text);

// REQUIRES: code_point is a Unicode scalar value.
void AppendUtf8(char32_t code_point, std::string* out);

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_UTF8_H_
