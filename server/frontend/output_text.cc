#include "server/frontend/output_text.h"

#include <iterator>
#include <utility>

namespace parrot {

OutputText::OutputText(const Tokenizer& tokenizer, const StopRules& rules)
    : rules_(rules), detokenizer_(tokenizer) {
  if (!rules_.stop.empty()) matcher_.emplace(rules_.stop);
}

AnswerPiece OutputText::Append(TokenId token,
                               std::optional<TokenLogprobs> logprobs,
                               bool is_blocked) {
  if (stopped_) return {};
  ++num_appended_;
  held_tokens_.push_back({.text_begin = text_end(),
                          .token = token,
                          .logprobs = std::move(logprobs),
                          .is_blocked = is_blocked});
  return Take(detokenizer_.Append(token));
}

AnswerPiece OutputText::Finish() {
  if (stopped_) return {};
  AnswerPiece piece = Take(detokenizer_.Finish());
  if (!stopped_) piece.Append(Release(text_end(), /*all_tokens=*/true));
  return piece;
}

AnswerPiece OutputText::Take(std::string_view text) {
  if (!matcher_.has_value() || num_appended_ <= rules_.min_tokens) {
    held_text_.append(text);
    matcher_begin_ = text_end();
    return Release(text_end(), /*all_tokens=*/true);
  }
  held_text_.append(text);
  const std::optional<StopMatcher::Match> match = matcher_->Append(text);
  if (!match.has_value()) return Release(text_end() - matcher_->num_held(), /*all_tokens=*/false);
  stopped_ = true;
  stop_text_ = rules_.stop[match->stop_idx];
  const size_t cut = matcher_begin_ + (rules_.include_stop ? match->end : match->begin);
  AnswerPiece piece = Release(cut, /*all_tokens=*/false);
  held_text_.clear();
  held_tokens_.clear();
  return piece;
}

AnswerPiece OutputText::Release(size_t cut, bool all_tokens) {
  AnswerPiece piece;
  piece.text = held_text_.substr(0, cut - num_released_);
  held_text_.erase(0, piece.text.size());
  num_released_ = cut;
  while (!held_tokens_.empty() && (all_tokens || held_tokens_.front().text_begin < cut)) {
    HeldToken& held = held_tokens_.front();
    piece.token_ids.push_back(held.token);
    if (held.logprobs.has_value()) piece.logprobs.push_back(*std::move(held.logprobs));
    piece.num_blocked += held.is_blocked ? 1 : 0;
    held_tokens_.pop_front();
    ++num_tokens_;
  }
  num_blocked_ += piece.num_blocked;
  return piece;
}

}  // namespace parrot
