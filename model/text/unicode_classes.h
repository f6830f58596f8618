// What the tokenizer asks about one code point, from pinned Unicode 14.0 tables. Thread-safe.
#ifndef PARROT_MODEL_TEXT_UNICODE_CLASSES_H_
#define PARROT_MODEL_TEXT_UNICODE_CLASSES_H_

#include <cstdint>

namespace parrot {

enum class CodePointClass : uint8_t {
  kOther,   // marks, punctuation, symbols, controls, unassigned
  kLetter,  // \p{L}
  kNumber,  // \p{N}
  kSpace,   // \s, the property White_Space
};

CodePointClass ClassifyCodePoint(char32_t code_point);

// False for a code point that NFC leaves alone in any context: it has no canonical decomposition to
// undo, combining class 0, and never combines with a character before it. Text may be cut in front
// of such a code point and the parts normalised one by one.
bool IsNfcSensitive(char32_t code_point);

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_UNICODE_CLASSES_H_
