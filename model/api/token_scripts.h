// Language locks: an answer keeps to the letters of one script. What a worker must know of the
// tokenizer for it, without knowing the tokenizer.
//
// The tokens are pieces of bytes: one may begin or end inside a code point. So what is allowed next
// depends on the unfinished code point that the answer so far ends in (0 to 3 bytes, "" between
// code points). That is the whole state: a function of the last tokens of the answer, the same
// alone, in a batch, after a preemption, or in any chunks.
#ifndef PARROT_MODEL_API_TOKEN_SCRIPTS_H_
#define PARROT_MODEL_API_TOKEN_SCRIPTS_H_

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "model/api/token.h"

namespace parrot {

enum class Script { kLatin, kHan, kArabic, kCyrillic };
inline constexpr int kNumScripts = 4;

struct LanguageLock {
  Script script = Script::kLatin;
  // Added to the logit of each token that does not keep to the script. -infinity: it is never
  // drawn.
  float blocked_bias = -std::numeric_limits<float>::infinity();
};

// Immutable, thread-safe.
class TokenScripts {
 public:
  virtual ~TokenScripts() = default;

  // The bytes of the code point that the text of these tokens ends inside of, at most 3; "" if it
  // ends between code points or in bytes that are no UTF-8.
  virtual std::string UnfinishedCodePoint(std::span<const TokenId> answer) const = 0;

  // allowed[id] = 1 if token `id` after `unfinished` makes valid UTF-8 of code points that are no
  // letters of another script, the last of them perhaps unfinished but possible to finish so; else
  // 0. Special tokens are allowed between code points, ids outside the vocabulary never. False: no
  // token is allowed (`unfinished` can only become a letter of another script).
  virtual bool FillAllowed(Script script,
                           std::string_view unfinished,
                           std::span<uint8_t> allowed) const = 0;
};

}  // namespace parrot

#endif  // PARROT_MODEL_API_TOKEN_SCRIPTS_H_
