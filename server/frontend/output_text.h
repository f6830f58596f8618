// OutputText: what the tokens of one answer become for its client: text, token ids and, where asked
// for, log-probabilities, up to the end that a stop string makes.
//
// Text that may be the beginning of a stop string is held back until that is decided, and the
// tokens it came from with it. Where a stop string is found, the answer ends before it (or after it
// with include_stop): a token counts if its text begins before that point. So what is handed out is
// never taken back, and no byte of the stop string or after it is seen.
//
// Borrows the tokenizer, which outlives it. Not thread-safe.
#ifndef PARROT_SERVER_FRONTEND_OUTPUT_TEXT_H_
#define PARROT_SERVER_FRONTEND_OUTPUT_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/api/token.h"
#include "model/text/incremental_detokenizer.h"
#include "model/text/tokenizer.h"
#include "server/frontend/answer.h"
#include "server/frontend/stop_matcher.h"

namespace parrot {

struct StopRules {
  std::vector<std::string> stop;
  bool include_stop = false;
  // Stop strings are looked for in the text of the tokens after these.
  int32_t min_tokens = 0;
};

class OutputText {
 public:
  OutputText(const Tokenizer& tokenizer, const StopRules& rules);

  // The next token; what is certain now. Nothing once stopped.
  AnswerPiece Append(TokenId token, std::optional<TokenLogprobs> logprobs, bool is_blocked = false);
  // No token follows: all that was held back. Nothing once stopped.
  AnswerPiece Finish();

  // A stop string was found.
  bool stopped() const { return stopped_; }
  const std::string& stop_text() const { return stop_text_; }  // which one
  // Token ids handed out.
  int32_t num_tokens() const { return num_tokens_; }
  int32_t num_blocked() const { return num_blocked_; }  // of them

 private:
  struct HeldToken {
    size_t text_begin = 0;  // byte of the answer at which its text begins
    TokenId token = -1;
    std::optional<TokenLogprobs> logprobs;
    bool is_blocked = false;
  };
  size_t text_end() const { return num_released_ + held_text_.size(); }
  AnswerPiece Take(std::string_view text);
  // Bytes up to `cut` of the answer, and the tokens that begin before it (or all).
  AnswerPiece Release(size_t cut, bool all_tokens);

  const StopRules rules_;
  IncrementalDetokenizer detokenizer_;
  std::optional<StopMatcher> matcher_;  // none without stop strings
  size_t matcher_begin_ = 0;            // byte of the answer at which the matcher began
  int32_t num_appended_ = 0;
  size_t num_released_ = 0;  // bytes
  std::string held_text_;
  std::deque<HeldToken> held_tokens_;
  int32_t num_tokens_ = 0;
  int32_t num_blocked_ = 0;
  bool stopped_ = false;
  std::string stop_text_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_OUTPUT_TEXT_H_
