#include "train/world/tokenizer_files.h"

#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "model/text/qwen_pretokenizer.h"
#include "model/text/tokenizer.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kIndent = 2;
constexpr std::array<std::string_view, 3> kSpecialTokens = {
    kEndOfTextText, kImStartText, kImEndText};
constexpr std::string_view kChatTemplate =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// The byte-level alphabet of GPT-2: printable bytes of Latin-1 stand for themselves, the others for
// the characters from U+0100 on.
std::array<std::string, 256> ByteAlphabet() {
  std::array<std::string, 256> alphabet;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    AppendUtf8(printable ? byte : next++, &alphabet[byte]);
  }
  return alphabet;
}

class Vocabulary {
 public:
  explicit Vocabulary(const std::vector<LearnedMerge>& merges) {
    // In the order of characters, which is that of their UTF-8.
    for (const std::string& text : std::set<std::string>(alphabet_.begin(), alphabet_.end())) {
      Add(text);
    }
    for (const auto& [left, right] : merges) {
      std::string& line = merges_.emplace_back(Text(left));
      const std::string right_text = Text(right);
      Add(line + right_text);
      line.append(" ").append(right_text);
    }
  }

  const Json& ids() const { return ids_; }
  const std::vector<std::string>& merges() const { return merges_; }  // "left right"

 private:
  std::string Text(std::string_view bytes) const {
    std::string text;
    for (const char byte : bytes) text += alphabet_[static_cast<unsigned char>(byte)];
    return text;
  }

  void Add(const std::string& text) {
    if (seen_.insert(text).second) ids_[text] = ids_.size();
  }

  const std::array<std::string, 256> alphabet_ = ByteAlphabet();
  std::set<std::string> seen_;  // ordered_json searches its keys one by one
  Json ids_ = Json::object();
  std::vector<std::string> merges_;
};

Json TokenFlags() {
  return {{"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}};
}

// An entry of special_tokens_map.json.
Json SpecialToken(std::string_view content) {
  return {{"content", content},
          {"lstrip", false},
          {"normalized", false},
          {"rstrip", false},
          {"single_word", false}};
}

Json ByteLevel() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", false}};
}

std::string TokenizerJson(const Vocabulary& vocabulary) {
  Json added = Json::array();
  for (size_t i = 0; i < kSpecialTokens.size(); ++i) {
    Json token = {{"id", vocabulary.ids().size() + i}, {"content", kSpecialTokens[i]}};
    token.update(TokenFlags());
    token["special"] = true;
    added.push_back(std::move(token));
  }
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", kQwenSplitPattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", {{"type", "NFC"}}},
                     {"pre_tokenizer",
                      {{"type", "Sequence"}, {"pretokenizers", Json::array({split, ByteLevel()})}}},
                     {"post_processor", ByteLevel()},
                     {"decoder", ByteLevel()},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", ""},
                       {"end_of_word_suffix", ""},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"vocab", vocabulary.ids()},
                       {"merges", vocabulary.merges()}}}};
  return json.dump(kIndent);
}

std::string MergesText(const Vocabulary& vocabulary) {
  std::string text = "#version: 0.2\n";
  for (const std::string& merge : vocabulary.merges()) text.append(merge).append("\n");
  return text;
}

std::string AddedTokensJson(size_t base) {
  // Sorted by name.
  const Json json = {{kEndOfTextText, base}, {kImEndText, base + 2}, {kImStartText, base + 1}};
  return json.dump(kIndent) + "\n";
}

std::string SpecialTokensMapJson() {
  const Json json = {{"additional_special_tokens", {kImStartText, kImEndText}},
                     {"eos_token", SpecialToken(kImEndText)},
                     {"pad_token", SpecialToken(kEndOfTextText)},
                     {"unk_token", SpecialToken(kEndOfTextText)}};
  return json.dump(kIndent) + "\n";
}

std::string TokenizerConfigJson(size_t base, int max_length_tokens) {
  Json decoder = Json::object();
  for (size_t i = 0; i < kSpecialTokens.size(); ++i) {
    Json token = SpecialToken(kSpecialTokens[i]);
    token["special"] = true;
    decoder[std::to_string(base + i)] = std::move(token);
  }
  const Json json = {{"add_prefix_space", false},
                     {"added_tokens_decoder", decoder},
                     {"additional_special_tokens", {kImStartText, kImEndText}},
                     {"bos_token", nullptr},
                     {"chat_template", kChatTemplate},
                     {"clean_up_tokenization_spaces", false},
                     {"eos_token", kImEndText},
                     {"errors", "replace"},
                     {"model_max_length", max_length_tokens},
                     {"pad_token", kEndOfTextText},
                     {"padding_side", "right"},
                     {"split_special_tokens", false},
                     {"tokenizer_class", "Qwen2Tokenizer"},
                     {"unk_token", kEndOfTextText}};
  return json.dump(kIndent) + "\n";
}

}  // namespace

std::map<std::string, std::string> TokenizerFiles(const std::vector<LearnedMerge>& merges,
                                                  int max_length_tokens) {
  const Vocabulary vocabulary(merges);
  const size_t base = vocabulary.ids().size();
  return {{"tokenizer.json", TokenizerJson(vocabulary)},
          {"vocab.json", vocabulary.ids().dump()},
          {"merges.txt", MergesText(vocabulary)},
          {"added_tokens.json", AddedTokensJson(base)},
          {"special_tokens_map.json", SpecialTokensMapJson()},
          {"tokenizer_config.json", TokenizerConfigJson(base, max_length_tokens)}};
}

}  // namespace parrot
