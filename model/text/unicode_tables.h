// Pinned Unicode 14.0 tables of the tokenizer, generated; unicode_classes.h is the interface.
// Pinned, because token ids depend on them: a library's newer tables would change the ids of some
// texts without notice. The ranges are sorted and do not overlap.
#ifndef PARROT_MODEL_TEXT_UNICODE_TABLES_H_
#define PARROT_MODEL_TEXT_UNICODE_TABLES_H_

#include <span>

#include "model/text/unicode_classes.h"

namespace parrot::internal {

struct ClassRange {
  char32_t first;
  char32_t last;  // inclusive
  CodePointClass code_point_class;
};

struct CodePointRange {
  char32_t first;
  char32_t last;  // inclusive
};

std::span<const ClassRange> ClassRanges();
std::span<const CodePointRange> NfcSensitiveRanges();

}  // namespace parrot::internal

#endif  // PARROT_MODEL_TEXT_UNICODE_TABLES_H_
