#include "model/text/incremental_detokenizer.h"

#include <cstddef>
#include <string_view>

#include "model/text/tokenizer.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string IncrementalDetokenizer::Append(TokenId id) {
  std::string text;
  if (skip_special_ && tokenizer_.IsSpecial(id)) return text;
  pending_ += tokenizer_.TokenBytes(id);
  size_t position = 0;
  while (position < pending_.size()) {
    const Utf8Step step = DecodeUtf8(pending_, position);
    if (step.kind == Utf8Kind::kIncomplete) break;
    if (step.kind == Utf8Kind::kValid) {
      text.append(pending_, position, static_cast<size_t>(step.length));
    } else {
      text += kReplacement;
    }
    position += static_cast<size_t>(step.length);
  }
  pending_.erase(0, position);
  return text;
}

std::string IncrementalDetokenizer::Finish() {
  const bool unfinished = !pending_.empty();
  pending_.clear();
  return std::string(unfinished ? kReplacement : "");
}

}  // namespace parrot
