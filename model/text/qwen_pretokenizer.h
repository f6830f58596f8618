// Cuts text into the pieces that byte-pair encoding works on, as the Qwen tokenizers do:
//
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|
//   \s*[\r\n]+|\s+(?!\S)|\s+
//
// with Unicode 14.0 classes. A hand-written scanner: linear time on any input, no backtracking, no
// recursion, which no general regular expression library promises for this pattern (RE2 has no
// look-ahead, std::regex overflows the stack). Thread-safe.
#ifndef PARROT_MODEL_TEXT_QWEN_PRETOKENIZER_H_
#define PARROT_MODEL_TEXT_QWEN_PRETOKENIZER_H_

#include <cstddef>
#include <string_view>

namespace parrot {

// The pattern as tokenizer.json spells it.
inline constexpr std::string_view kQwenSplitPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// End (exclusive, in bytes) of the piece that begins at `begin`. Pieces follow each other without
// gaps: for (size_t i = 0; i < text.size(); i = end) { end = QwenPieceEnd(text, i); ... }
// REQUIRES: text is valid UTF-8, begin < text.size() is the start of a piece.
size_t QwenPieceEnd(std::string_view text, size_t begin);

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_QWEN_PRETOKENIZER_H_
