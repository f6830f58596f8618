// Text to token ids and back, exactly as the reference's tokenizer (Qwen2TokenizerFast): NFC, the
// Qwen split, byte-level BPE from tokenizer.json. Immutable after construction, thread-safe.
//
// Special tokens (<|im_start|> and the like) come from structure, never from text: Encode treats
// their strings in a text as plain text unless asked to parse them, which is what the reference
// does and what makes prompt injection of turns possible there.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(checkpoint_dir));
//   ASSIGN_OR_RETURN(std::vector<TokenId> ids, tokenizer->Encode(text, {.max_tokens = 2048}));
//   std::string text = tokenizer->Decode(ids);
#ifndef PARROT_MODEL_TEXT_TOKENIZER_H_
#define PARROT_MODEL_TEXT_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/token.h"
#include "model/text/byte_bpe.h"
#include "model/text/tokenizer_file.h"

namespace parrot {

inline constexpr std::string_view kImStartText = "<|im_start|>";
inline constexpr std::string_view kImEndText = "<|im_end|>";
inline constexpr std::string_view kEndOfTextText = "<|endoftext|>";

struct EncodeOptions {
  // True: strings of special tokens in the text become those tokens, as in the reference.
  bool parse_special = false;
  // Encoding stops with an error soon after this many tokens (inclusive limit).
  int64_t max_tokens = std::numeric_limits<int32_t>::max();
};

class Tokenizer {
 public:
  // Reads `dir`/tokenizer.json. Errors name the file's base name and the key path, for the
  // operator.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& dir);
  // The same from the file's text; errors as in tokenizer_file.h.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view json);

  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // INVALID_ARGUMENT: reason INVALID_UTF8 ("invalid UTF-8 at byte 17"); reason
  // CONTEXT_LENGTH_EXCEEDED ("at least 2311 tokens, limit 2048") as soon as the limit is certain to
  // be passed: a long text is not tokenised to its end, `value` is what is known by then.
  // Linear time up to a logarithm, on any input.
  absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text,
                                              const EncodeOptions& options = {}) const;
  // Encode that appends to *ids; max_tokens bounds ids->size() at the end. *ids is unspecified
  // after an error.
  absl::Status AppendEncoded(std::string_view text,
                             const EncodeOptions& options,
                             std::vector<TokenId>* ids) const;

  // The ids' bytes as UTF-8, each maximal invalid part replaced by U+FFFD. Ids outside the
  // vocabulary (padding rows, negative ones) give nothing.
  std::string Decode(std::span<const TokenId> ids, bool skip_special = true) const;

  // The bytes of a token, maybe a part of a character; of a special token its name. Empty for an id
  // outside the vocabulary. The view lives as long as the tokenizer.
  std::string_view TokenBytes(TokenId id) const;
  bool IsSpecial(TokenId id) const;

  // Number of ids, special tokens included: ids are 0 .. num_tokens() - 1. Rows of the embedding
  // beyond them are padding, whose logits must be masked.
  int32_t num_tokens() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  TokenId im_start_id() const { return im_start_id_; }
  TokenId im_end_id() const { return im_end_id_; }
  TokenId end_of_text_id() const { return end_of_text_id_; }

 private:
  explicit Tokenizer(const TokenizerFile& file);

  absl::Status FindNamedSpecials();
  absl::Status AppendPlain(std::string_view text,
                           int64_t max_tokens,
                           std::vector<TokenId>* ids) const;
  absl::Status AppendParsingSpecial(std::string_view text,
                                    int64_t max_tokens,
                                    std::vector<TokenId>* ids) const;

  ByteBpe bpe_;
  std::string bytes_;              // of all tokens, one after the other
  std::vector<uint32_t> offsets_;  // [num_tokens + 1], into bytes_
  std::vector<bool> is_special_;   // [num_tokens]
  std::vector<TokenId> special_ids_;
  size_t max_base_token_bytes_ = 1;  // of the longest token that is not special
  TokenId im_start_id_ = 0;
  TokenId im_end_id_ = 0;
  TokenId end_of_text_id_ = 0;
};

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_TOKENIZER_H_
