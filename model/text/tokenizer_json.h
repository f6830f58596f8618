// The JSON half of reading tokenizer.json: one pass over the text that streams the two large parts,
// model.vocab and model.merges, into vectors, and keeps the rest as a small document. A document of
// everything would need several hundred bytes per token and would silently drop duplicate keys.
#ifndef PARROT_MODEL_TEXT_TOKENIZER_JSON_H_
#define PARROT_MODEL_TEXT_TOKENIZER_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace parrot {

// NOLINTNEXTLINE(bugprone-exception-escape): nlohmann::json's move does not throw
struct TokenizerJson {
  std::vector<std::pair<std::string, int64_t>> vocab;       // model.vocab, in order of the file
  std::vector<std::pair<std::string, std::string>> merges;  // model.merges: left, right
  nlohmann::json rest;                                      // everything else
};

// Refuses what is not JSON, invalid UTF-8, duplicate keys, nesting and size over the limits, a
// vocab that is not an object of integers, merges that are not "left right" or ["left", "right"].
absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string_view json);

// INVALID_ARGUMENT with reason MODEL_FILE_INVALID and `key_path` as its field.
absl::Status BadTokenizer(std::string_view key_path, std::string_view what);

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_TOKENIZER_JSON_H_
