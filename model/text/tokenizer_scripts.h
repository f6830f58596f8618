// TokenizerScripts: what language locks allow of a byte-level BPE vocabulary. Tokens are judged
// once for every script where they stand between code points; inside of one only those few that
// begin with a continuation byte can be right, and they are judged when asked for.
//
// Per script: Latin letters (fullwidth ones too); Han with fullwidth Latin; Arabic; Cyrillic.
//
// Borrows the tokenizer, which outlives it. Immutable after construction, thread-safe. Memory: a
// byte for each token.
#ifndef PARROT_MODEL_TEXT_TOKENIZER_SCRIPTS_H_
#define PARROT_MODEL_TEXT_TOKENIZER_SCRIPTS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/api/token_scripts.h"
#include "model/text/tokenizer.h"

namespace parrot {

class TokenizerScripts final : public TokenScripts {
 public:
  explicit TokenizerScripts(const Tokenizer& tokenizer);

  std::string UnfinishedCodePoint(std::span<const TokenId> answer) const override;
  bool FillAllowed(Script script,
                   std::string_view unfinished,
                   std::span<uint8_t> allowed) const override;

 private:
  const Tokenizer& tokenizer_;
  std::vector<uint8_t> allowed_scripts_;  // [num_tokens]: bit s: allowed between code points
  std::vector<TokenId> continuations_;    // tokens that begin with a continuation byte
};

// Whether text in this script may hold the code point.
bool ScriptAllows(Script script, char32_t code_point);

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_TOKENIZER_SCRIPTS_H_
