// JSON as a document of an untrusted file should be read: bounded depth, no duplicate keys (the
// usual parsers keep one of them silently), valid UTF-8, nothing after the value, no NUL bytes (the
// usual lexer takes one for the end of the text). No exceptions leave this file.
#ifndef PARROT_MODEL_WEIGHTS_STRICT_JSON_H_
#define PARROT_MODEL_WEIGHTS_STRICT_JSON_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace parrot {

inline constexpr int kMaxJsonDepth = 64;

// `file` is the base name for errors (MODEL_FILE_INVALID). The caller has bounded the size.
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view file,
                                               std::string_view text,
                                               int max_depth = kMaxJsonDepth);

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_STRICT_JSON_H_
