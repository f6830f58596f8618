#include "server/frontend/answer.h"

#include <iterator>
#include <utility>

namespace parrot {

void AnswerPiece::Append(AnswerPiece piece) {
  if (empty()) {
    *this = std::move(piece);
    return;
  }
  text.append(piece.text);
  token_ids.insert(token_ids.end(), piece.token_ids.begin(), piece.token_ids.end());
  logprobs.insert(logprobs.end(),
                  std::make_move_iterator(piece.logprobs.begin()),
                  std::make_move_iterator(piece.logprobs.end()));
  num_blocked += piece.num_blocked;
}

}  // namespace parrot
