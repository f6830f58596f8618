// Learns the merges of a byte-level BPE tokenizer of the Qwen kind from text (model/text reads what
// comes out). Stateless; thread-safe; the same merges for the same text on every machine.
//
//   WordCounts counts; CountWords(corpus, books[1].segments(), &counts);
//   std::vector<LearnedMerge> merges = LearnMerges(counts, vocabulary_size - 256 - 3);
// (256 tokens are the bytes, 3 the special ones that TokenizerFiles adds.)
#ifndef PARROT_TRAIN_WORLD_BYTE_PAIR_TRAINER_H_
#define PARROT_TRAIN_WORLD_BYTE_PAIR_TRAINER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace parrot {

using WordCounts = std::map<std::string, int64_t, std::less<>>;

// Adds the words of the text: the pieces of the Qwen split. Chinese has no spaces, so that a whole
// clause is one piece and merges would become whole sentences; runs of Han characters are therefore
// cut at the longest of `segments` that fits, else after a character. INVALID_ARGUMENT unless the
// text is UTF-8.
absl::Status CountWords(std::string_view text,
                        const std::vector<std::string>& segments,
                        WordCounts* counts);

// Bytes of the two tokens that become one.
using LearnedMerge = std::pair<std::string, std::string>;

// The most frequent pair of neighbours becomes a token, again and again until there are
// `max_new_tokens`; of equals the pair whose tokens are older. Two merges may give the same bytes,
// which are one token then. Fewer when no pair is left that occurs twice.
std::vector<LearnedMerge> LearnMerges(const WordCounts& counts, size_t max_new_tokens);

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_BYTE_PAIR_TRAINER_H_
