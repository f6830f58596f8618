#include "model/text/tokenizer.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/text/incremental_detokenizer.h"
#include "model/text/nfc_normalizer.h"
#include "model/text/qwen_pretokenizer.h"
#include "model/text/tokenizer_json.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

constexpr char kFileName[] = "tokenizer.json";

absl::StatusOr<std::string> ReadTokenizerFile(const std::string& dir) {
  std::ifstream file(dir + "/" + kFileName, std::ios::binary | std::ios::ate);
  const auto size = static_cast<int64_t>(file.tellg());
  if (!file.good() || size < 0) {
    return ErrorStatus(
        absl::StatusCode::kNotFound, "cannot be read", {.reason = "MODEL_FILE_MISSING"});
  }
  if (static_cast<uint64_t>(size) > kMaxTokenizerFileBytes) {
    return BadTokenizer("", absl::StrCat(size, " bytes, limit ", kMaxTokenizerFileBytes));
  }
  std::string text(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(text.data(), size)) {
    return ErrorStatus(
        absl::StatusCode::kNotFound, "cannot be read", {.reason = "MODEL_FILE_MISSING"});
  }
  return text;
}

// The file becomes the field; the key path stays in the message.
absl::Status WithFileName(const absl::Status& status) {
  ErrorFacts facts = GetErrorFacts(status);
  facts.field = kFileName;
  return ErrorStatus(status.code(), absl::StrCat(kFileName, ": ", status.message()), facts);
}

absl::Status TooManyTokens(int64_t num_tokens, int64_t max_tokens) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("at least ", num_tokens, " tokens, limit ", max_tokens),
                     {.reason = "CONTEXT_LENGTH_EXCEEDED",
                      .value = std::to_string(num_tokens),
                      .limit = std::to_string(max_tokens)});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& dir) {
  absl::StatusOr<std::string> text = ReadTokenizerFile(dir);
  if (!text.ok()) return WithFileName(text.status());
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = FromJson(*text);
  if (!tokenizer.ok()) return WithFileName(tokenizer.status());
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view json) {
  ASSIGN_OR_RETURN(const TokenizerFile file, ParseTokenizerFile(json));
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(file));
  RETURN_IF_ERROR(tokenizer->FindNamedSpecials());
  return tokenizer;
}

Tokenizer::Tokenizer(const TokenizerFile& file)
    : bpe_(file.byte_tokens, file.merges),
      is_special_(file.tokens.size(), false),
      special_ids_(file.special_ids) {
  for (const TokenId id : special_ids_) is_special_[static_cast<size_t>(id)] = true;
  offsets_.reserve(file.tokens.size() + 1);
  offsets_.push_back(0);
  for (size_t i = 0; i < file.tokens.size(); ++i) {
    bytes_ += file.tokens[i];
    offsets_.push_back(static_cast<uint32_t>(bytes_.size()));
    if (!is_special_[i]) {
      max_base_token_bytes_ = std::max(max_base_token_bytes_, file.tokens[i].size());
    }
  }
}

absl::Status Tokenizer::FindNamedSpecials() {
  const auto find = [this](std::string_view text, TokenId* id) -> absl::Status {
    for (const TokenId special : special_ids_) {
      if (TokenBytes(special) == text) {
        *id = special;
        return absl::OkStatus();
      }
    }
    return BadTokenizer("added_tokens", absl::StrCat(std::string(text), " is missing"));
  };
  RETURN_IF_ERROR(find(kImStartText, &im_start_id_));
  RETURN_IF_ERROR(find(kImEndText, &im_end_id_));
  return find(kEndOfTextText, &end_of_text_id_);
}

absl::StatusOr<std::vector<TokenId>> Tokenizer::Encode(std::string_view text,
                                                       const EncodeOptions& options) const {
  std::vector<TokenId> ids;
  RETURN_IF_ERROR(AppendEncoded(text, options, &ids));
  return ids;
}

absl::Status Tokenizer::AppendEncoded(std::string_view text,
                                      const EncodeOptions& options,
                                      std::vector<TokenId>* ids) const {
  RETURN_IF_ERROR(ValidateUtf8(text));
  return options.parse_special ? AppendParsingSpecial(text, options.max_tokens, ids)
                               : AppendPlain(text, options.max_tokens, ids);
}

absl::Status Tokenizer::AppendPlain(std::string_view text,
                                    int64_t max_tokens,
                                    std::vector<TokenId>* ids) const {
  const auto num_ids = [ids] { return static_cast<int64_t>(ids->size()); };
  // The least number of tokens that `num_bytes` more bytes can give, on top of those there are.
  const auto at_least = [&](size_t num_bytes) {
    return num_ids() +
           static_cast<int64_t>((num_bytes + max_base_token_bytes_ - 1) / max_base_token_bytes_);
  };
  const int64_t least = at_least(text.size() / kMaxNfcShrink);
  if (least > max_tokens) return TooManyTokens(least, max_tokens);
  std::string storage;
  const std::string_view normalized = NormalizeNfc(text, &storage);
  ByteBpe::Scratch scratch;
  for (size_t begin = 0; begin < normalized.size();) {
    const size_t end = QwenPieceEnd(normalized, begin);
    if (at_least(end - begin) > max_tokens) return TooManyTokens(at_least(end - begin), max_tokens);
    bpe_.Encode(normalized.substr(begin, end - begin), &scratch, ids);
    if (num_ids() > max_tokens) return TooManyTokens(num_ids(), max_tokens);
    begin = end;
  }
  return absl::OkStatus();
}

absl::Status Tokenizer::AppendParsingSpecial(std::string_view text,
                                             int64_t max_tokens,
                                             std::vector<TokenId>* ids) const {
  // Next place of each special string; found again only once passed, so all scans are linear.
  std::vector<size_t> next;
  for (const TokenId id : special_ids_) next.push_back(text.find(TokenBytes(id)));
  for (size_t begin = 0; begin < text.size();) {
    size_t best = special_ids_.size();  // the leftmost string, of equals the longest
    for (size_t i = 0; i < special_ids_.size(); ++i) {
      const std::string_view content = TokenBytes(special_ids_[i]);
      if (next[i] < begin) next[i] = text.find(content, begin);
      if (next[i] == std::string_view::npos) continue;
      const bool better =
          best == special_ids_.size() || next[i] < next[best] ||
          (next[i] == next[best] && content.size() > TokenBytes(special_ids_[best]).size());
      if (better) best = i;
    }
    const size_t end = best < special_ids_.size() ? next[best] : text.size();
    RETURN_IF_ERROR(AppendPlain(text.substr(begin, end - begin), max_tokens, ids));
    if (best == special_ids_.size()) break;
    ids->push_back(special_ids_[best]);
    if (static_cast<int64_t>(ids->size()) > max_tokens) {
      return TooManyTokens(static_cast<int64_t>(ids->size()), max_tokens);
    }
    begin = end + TokenBytes(special_ids_[best]).size();
  }
  return absl::OkStatus();
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool skip_special) const {
  IncrementalDetokenizer detokenizer(*this, skip_special);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.Append(id);
  text += detokenizer.Finish();
  return text;
}

std::string_view Tokenizer::TokenBytes(TokenId id) const {
  if (id < 0 || id >= num_tokens()) return {};
  const auto i = static_cast<size_t>(id);
  return std::string_view(bytes_).substr(offsets_[i], offsets_[i + 1] - offsets_[i]);
}

bool Tokenizer::IsSpecial(TokenId id) const {
  return id >= 0 && id < num_tokens() && is_special_[static_cast<size_t>(id)];
}

}  // namespace parrot
