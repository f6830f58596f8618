// Reads a Hugging Face tokenizer.json of the Qwen kind into plain vectors, and refuses whatever the
// tokenizer would not reproduce exactly: another normaliser, splitter, model or decoder, options
// that change ids, a vocabulary with holes or duplicates, merges that name unknown tokens.
//
// The file is operator input of up to 64 MB, nested at most 64 deep. Errors are INVALID_ARGUMENT
// with reason MODEL_FILE_INVALID (MODEL_UNSUPPORTED: well-formed, but a kind of tokenizer that we
// do not implement) and the key path as field ("model.merges[17]"); they quote numbers and key
// names, no other text of the file.
#ifndef PARROT_MODEL_TEXT_TOKENIZER_FILE_H_
#define PARROT_MODEL_TEXT_TOKENIZER_FILE_H_

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/token.h"
#include "model/text/byte_bpe.h"

namespace parrot {

inline constexpr size_t kMaxTokenizerFileBytes = size_t{64} << 20;
inline constexpr int kMaxTokenizerFileDepth = 64;

struct TokenizerFile {
  // Bytes of token i; base vocabulary and added tokens together, without holes.
  std::vector<std::string> tokens;
  // The added (special) tokens: control tokens of the chat format.
  std::vector<TokenId> special_ids;
  std::array<TokenId, 256> byte_tokens{};
  std::vector<ByteBpe::Merge> merges;  // in order of rank
};

absl::StatusOr<TokenizerFile> ParseTokenizerFile(std::string_view json);

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_TOKENIZER_FILE_H_
