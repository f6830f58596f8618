#include "model/text/tokenizer_file.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/text/qwen_pretokenizer.h"
#include "model/text/tokenizer_json.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

// Added tokens of a real file: 3. The parser of special strings scans the text once for each.
constexpr size_t kMaxAddedTokens = 256;
constexpr char32_t kByteAlphabetEnd = 0x144;  // exclusive

// The byte-level alphabet: printable bytes stand for themselves, the others are numbered from
// U+0100 on, so that every token is printable text in the file.
std::array<char32_t, 256> ByteAlphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    alphabet[byte] = printable ? byte : next++;
  }
  return alphabet;
}

// Code point of the alphabet -> byte; -1 for other code points.
std::array<int16_t, kByteAlphabetEnd> ReverseByteAlphabet() {
  std::array<int16_t, kByteAlphabetEnd> reverse{};
  reverse.fill(-1);
  const std::array<char32_t, 256> alphabet = ByteAlphabet();
  for (size_t byte = 0; byte < alphabet.size(); ++byte) {
    reverse[alphabet[byte]] = static_cast<int16_t>(byte);
  }
  return reverse;
}

// The bytes that a token's byte-level text stands for; nullopt if it is not byte-level text.
std::optional<std::string> TokenTextToBytes(std::string_view text,
                                            const std::array<int16_t, kByteAlphabetEnd>& reverse) {
  std::string bytes;
  for (size_t position = 0; position < text.size();) {
    const Utf8Step step = DecodeUtf8(text, position);
    if (step.kind != Utf8Kind::kValid || step.code_point >= kByteAlphabetEnd) return std::nullopt;
    const int16_t byte = reverse[step.code_point];
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    position += static_cast<size_t>(step.length);
  }
  return bytes;
}

absl::Status UnsupportedValue(std::string_view key_path) {
  return WithField(
      ErrorStatus(
          absl::StatusCode::kInvalidArgument, "unsupported value", {.reason = "MODEL_UNSUPPORTED"}),
      key_path);
}

// What the file must say for its ids to be the ones we compute.
struct Rule {
  const char* pointer;  // RFC 6901
  Json expected;
  bool may_be_absent;  // absent or null
};

std::vector<Rule> Rules() {
  const std::string pattern(kQwenSplitPattern);
  return {
      {"/truncation", nullptr, true},
      {"/padding", nullptr, true},
      {"/normalizer/type", "NFC", false},
      {"/pre_tokenizer/type", "Sequence", false},
      {"/pre_tokenizer/pretokenizers/0/type", "Split", false},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", pattern, false},
      {"/pre_tokenizer/pretokenizers/0/behavior", "Isolated", false},
      {"/pre_tokenizer/pretokenizers/0/invert", false, false},
      {"/pre_tokenizer/pretokenizers/1/type", "ByteLevel", false},
      {"/pre_tokenizer/pretokenizers/1/add_prefix_space", false, false},
      {"/pre_tokenizer/pretokenizers/1/use_regex", false, false},
      {"/pre_tokenizer/pretokenizers/2", nullptr, true},
      {"/post_processor/type", "ByteLevel", true},
      {"/decoder/type", "ByteLevel", false},
      {"/model/type", "BPE", false},
      {"/model/dropout", nullptr, true},
      {"/model/unk_token", nullptr, true},
      {"/model/continuing_subword_prefix", "", true},
      {"/model/end_of_word_suffix", "", true},
      {"/model/fuse_unk", false, true},
      {"/model/byte_fallback", false, true},
      {"/model/ignore_merges", false, true},
      {"/model/vocab", Json::object(), false},
      {"/model/merges", Json::array(), false},
  };
}

// "/a/b/0/c" -> "a.b[0].c".
std::string KeyPath(std::string_view pointer) {
  std::string path;
  for (size_t begin = 1; begin <= pointer.size();) {
    const size_t end = std::min(pointer.find('/', begin), pointer.size());
    const std::string part(pointer.substr(begin, end - begin));
    const bool is_index = part.find_first_not_of("0123456789") == std::string::npos;
    if (is_index) {
      absl::StrAppend(&path, "[", part, "]");
    } else {
      absl::StrAppend(&path, path.empty() ? "" : ".", part);
    }
    begin = end + 1;
  }
  return path;
}

// The value at an RFC 6901 pointer, or nullptr.
const Json* Find(const Json& document, std::string_view pointer) {
  const Json* node = &document;
  for (size_t begin = 1; begin <= pointer.size() && node != nullptr;) {
    const size_t end = std::min(pointer.find('/', begin), pointer.size());
    const std::string part(pointer.substr(begin, end - begin));
    if (node->is_array()) {
      size_t index = 0;
      node = absl::SimpleAtoi(part, &index) && index < node->size() ? &(*node)[index] : nullptr;
    } else {
      node = node->is_object() && node->contains(part) ? &(*node)[part] : nullptr;
    }
    begin = end + 1;
  }
  return node;
}

absl::Status CheckRules(const Json& document) {
  for (const Rule& rule : Rules()) {
    const Json* value = Find(document, rule.pointer);
    if (value == nullptr || value->is_null()) {
      if (rule.may_be_absent) continue;
      return BadTokenizer(KeyPath(rule.pointer), "missing");
    }
    if (*value != rule.expected) return UnsupportedValue(KeyPath(rule.pointer));
  }
  return absl::OkStatus();
}

// Text of a base token, as in the file -> id.
using TextIds = std::unordered_map<std::string_view, TokenId>;

// Enters token `id`; ids are unique and, there being as many as places, without holes.
absl::Status Claim(int64_t id, std::string bytes, std::string_view key_path, TokenizerFile* file) {
  const auto num_tokens = static_cast<int64_t>(file->tokens.size());
  if (id < 0 || id >= num_tokens) {
    return BadTokenizer(key_path, absl::StrCat("id ", id, " is outside 0..", num_tokens - 1));
  }
  std::string& place = file->tokens[static_cast<size_t>(id)];
  if (!place.empty()) {
    return BadTokenizer(key_path, absl::StrCat("id ", id, " is given twice"));
  }
  place = std::move(bytes);
  return absl::OkStatus();
}

absl::Status AddVocabulary(const TokenizerJson& json, TextIds* ids, TokenizerFile* file) {
  constexpr char kKeyPath[] = "model.vocab";
  const std::array<int16_t, kByteAlphabetEnd> reverse = ReverseByteAlphabet();
  ids->reserve(json.vocab.size());
  for (const auto& [text, id] : json.vocab) {
    std::optional<std::string> bytes = TokenTextToBytes(text, reverse);
    if (!bytes.has_value() || bytes->empty()) {
      return BadTokenizer(kKeyPath, absl::StrCat("token ", id, " is not byte-level text"));
    }
    RETURN_IF_ERROR(Claim(id, *std::move(bytes), kKeyPath, file));
    const auto [it, inserted] = ids->emplace(text, static_cast<TokenId>(id));
    if (!inserted) {
      return BadTokenizer(kKeyPath,
                          absl::StrCat("tokens ", it->second, " and ", id, " have the same text"));
    }
  }
  return absl::OkStatus();
}

absl::Status AddByteTokens(const TextIds& ids, TokenizerFile* file) {
  const std::array<char32_t, 256> alphabet = ByteAlphabet();
  for (size_t byte = 0; byte < alphabet.size(); ++byte) {
    std::string text;
    AppendUtf8(alphabet[byte], &text);
    const auto it = ids.find(text);
    if (it == ids.end()) {
      return BadTokenizer("model.vocab", absl::StrCat("no token for byte ", byte));
    }
    file->byte_tokens[byte] = it->second;
  }
  return absl::OkStatus();
}

// A merge's result is longer than its parts, because no token is empty: chains of merges end.
absl::Status AddMerges(const TokenizerJson& json, const TextIds& ids, TokenizerFile* file) {
  std::unordered_set<uint64_t> pairs;
  pairs.reserve(json.merges.size());
  file->merges.reserve(json.merges.size());
  for (size_t i = 0; i < json.merges.size(); ++i) {
    const auto& [left, right] = json.merges[i];
    const auto refuse = [i](std::string_view what) {
      return BadTokenizer(absl::StrCat("model.merges[", i, "]"), what);
    };
    const auto left_it = ids.find(left);
    const auto right_it = ids.find(right);
    if (left_it == ids.end() || right_it == ids.end()) {
      return refuse("part is not in the vocabulary");
    }
    const auto result_it = ids.find(left + right);
    if (result_it == ids.end()) return refuse("result is not in the vocabulary");
    const uint64_t pair =
        (static_cast<uint64_t>(left_it->second) << 32) | static_cast<uint64_t>(right_it->second);
    if (!pairs.insert(pair).second) return refuse("pair is given twice");
    file->merges.push_back({left_it->second, right_it->second, result_it->second});
  }
  return absl::OkStatus();
}

// Only special tokens of the plain kind: matched literally, before normalisation.
absl::Status AddSpecialToken(const Json& token, const std::string& path, TokenizerFile* file) {
  const auto has_flag = [&token](const char* key, bool expected) {
    return token.contains(key) ? token[key] == expected : !expected;
  };
  if (!token.is_object()) return BadTokenizer(path, "not an object");
  if (!token.contains("id") || !token["id"].is_number_integer()) {
    return BadTokenizer(path + ".id", "missing or not an integer");
  }
  if (!token.contains("content") || !token["content"].is_string() ||
      token["content"].get_ref<const std::string&>().empty()) {
    return BadTokenizer(path + ".content", "missing or empty");
  }
  if (!has_flag("special", true)) return UnsupportedValue(path + ".special");
  for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"}) {
    if (!has_flag(key, false)) return UnsupportedValue(path + "." + key);
  }
  const auto id = token["id"].get<int64_t>();
  RETURN_IF_ERROR(Claim(id, token["content"].get<std::string>(), path + ".id", file));
  file->special_ids.push_back(static_cast<TokenId>(id));
  return absl::OkStatus();
}

absl::Status AddSpecialTokens(const Json& added_tokens, TokenizerFile* file) {
  std::unordered_set<std::string> contents;
  for (size_t i = 0; i < added_tokens.size(); ++i) {
    const std::string path = absl::StrCat("added_tokens[", i, "]");
    RETURN_IF_ERROR(AddSpecialToken(added_tokens[i], path, file));
    if (!contents.insert(added_tokens[i]["content"].get<std::string>()).second) {
      return BadTokenizer(path + ".content", "is given twice");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerFile> ParseTokenizerFile(std::string_view json) {
  ASSIGN_OR_RETURN(const TokenizerJson parsed, ParseTokenizerJson(json));
  RETURN_IF_ERROR(CheckRules(parsed.rest));
  const Json* added_tokens = Find(parsed.rest, "/added_tokens");
  if (added_tokens == nullptr || !added_tokens->is_array()) {
    return BadTokenizer("added_tokens", "missing or not a list");
  }
  if (added_tokens->size() > kMaxAddedTokens) {
    return BadTokenizer("added_tokens",
                        absl::StrCat(added_tokens->size(), " entries, limit ", kMaxAddedTokens));
  }
  TokenizerFile file;
  file.tokens.resize(parsed.vocab.size() + added_tokens->size());
  TextIds ids;  // views of parsed.vocab
  RETURN_IF_ERROR(AddVocabulary(parsed, &ids, &file));
  RETURN_IF_ERROR(AddByteTokens(ids, &file));
  RETURN_IF_ERROR(AddMerges(parsed, ids, &file));
  RETURN_IF_ERROR(AddSpecialTokens(*added_tokens, &file));
  return file;
}

}  // namespace parrot
