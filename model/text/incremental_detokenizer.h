// Token ids of one stream to text deltas that are each valid UTF-8. Bytes of an unfinished
// character are held back until it is complete, invalid, or the stream ends; each maximal invalid
// part becomes one U+FFFD. The deltas joined equal Tokenizer::Decode of all ids, however the ids
// were cut. Borrows the tokenizer, which outlives it. Not thread-safe: one stream, one thread at a
// time.
//
//   IncrementalDetokenizer detokenizer(tokenizer);
//   for (TokenId id : step_ids) text += detokenizer.Append(id);   // "" while a character is cut
//   text += detokenizer.Finish();                                 // once, at the end
#ifndef PARROT_MODEL_TEXT_INCREMENTAL_DETOKENIZER_H_
#define PARROT_MODEL_TEXT_INCREMENTAL_DETOKENIZER_H_

#include <string>

#include "model/api/token.h"

namespace parrot {

class Tokenizer;

class IncrementalDetokenizer {
 public:
  // skip_special false gives special tokens as their names ("<|im_end|>").
  explicit IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special = true);

  // The text that `id` completes; may be empty. Ids outside the vocabulary give nothing.
  [[nodiscard]] std::string Append(TokenId id);

  // Ends the stream: U+FFFD if a character is unfinished, else "". The object is then as new.
  [[nodiscard]] std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  const bool skip_special_;
  std::string pending_;  // 0 to 3 bytes: a character valid so far
};

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_INCREMENTAL_DETOKENIZER_H_
