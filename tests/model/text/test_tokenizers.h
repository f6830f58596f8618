// The golden tokenizers, each loaded once per test program. For tests only; thread-safe.
#ifndef PARROT_TESTS_MODEL_TEXT_TEST_TOKENIZERS_H_
#define PARROT_TESTS_MODEL_TEXT_TEST_TOKENIZERS_H_

#include <string>
#include <string_view>

#include "model/text/tokenizer.h"

namespace parrot {

// tokenizer.json of "qwen" (151,646 ids) or of a golden checkpoint ("nano-mha", ...). Ends the
// program if it cannot be loaded.
const Tokenizer& TestTokenizer(std::string_view name);

// The text of its tokenizer.json.
std::string TestTokenizerJson(std::string_view name);

}  // namespace parrot

#endif  // PARROT_TESTS_MODEL_TEXT_TEST_TOKENIZERS_H_
