#include "model/text/tokenizer_scripts.h"

#include <algorithm>
#include <cstddef>

#include "model/text/letter_scripts.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

constexpr char32_t kLastCodePoint = 0x10FFFF;
constexpr size_t kMaxUnfinishedBytes = 3;

bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// A set of scripts: bit s is Script s.
using ScriptSet = uint8_t;
constexpr ScriptSet kAllScripts = (1 << kNumScripts) - 1;
constexpr ScriptSet Only(Script script) {
  return static_cast<ScriptSet>(1 << static_cast<int>(script));
}

// The scripts whose text may hold the letter.
ScriptSet ScriptsOf(LetterScript letter) {
  switch (letter) {
    case LetterScript::kNone:
      return kAllScripts;
    case LetterScript::kLatin:
      return Only(Script::kLatin);
    case LetterScript::kFullwidthLatin:
      return Only(Script::kLatin) | Only(Script::kHan);
    case LetterScript::kHan:
      return Only(Script::kHan);
    case LetterScript::kArabic:
      return Only(Script::kArabic);
    case LetterScript::kCyrillic:
      return Only(Script::kCyrillic);
    case LetterScript::kOther:
      return 0;
  }
  return 0;
}

// The scripts whose text may hold one of the code points [first, last].
ScriptSet ScriptsOfAny(char32_t first, char32_t last) {
  ScriptSet scripts = 0;
  for (auto it = internal::FirstLetterRangeFrom(first); first <= last; ++it) {
    if (it == internal::LetterRanges().end() || it->first > first) return kAllScripts;
    scripts |= ScriptsOf(it->script);
    first = it->last + 1;
  }
  return scripts;
}

// The same for a code point that begins with these bytes, which are valid so far.
ScriptSet ScriptsOfUnfinished(std::string_view bytes) {
  const auto lead = static_cast<uint8_t>(bytes[0]);
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  char32_t first = lead & (0x7F >> length);
  for (const char byte : bytes.substr(1)) {
    first = (first << 6) | (static_cast<uint8_t>(byte) & 0x3F);
  }
  const size_t missing_bits = 6 * (length - bytes.size());
  first <<= missing_bits;
  const char32_t last = first + (char32_t{1} << missing_bits) - 1;
  // What could be said in fewer bytes is not valid in this many.
  const char32_t shortest = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  return ScriptsOfAny(std::max(first, shortest), std::min(last, kLastCodePoint));
}

// The scripts that `text` keeps to; none if it is not the beginning of valid UTF-8.
ScriptSet ScriptsOfText(std::string_view text) {
  ScriptSet scripts = kAllScripts;
  for (size_t position = 0; position < text.size() && scripts != 0;) {
    const Utf8Step step = DecodeUtf8(text, position);
    switch (step.kind) {
      case Utf8Kind::kInvalid:
        return 0;
      case Utf8Kind::kIncomplete:
        return scripts & ScriptsOfUnfinished(text.substr(position));
      case Utf8Kind::kValid:
        scripts &= ScriptsOf(LetterScriptOf(step.code_point));
        break;
    }
    position += static_cast<size_t>(step.length);
  }
  return scripts;
}

}  // namespace

bool ScriptAllows(Script script, char32_t code_point) {
  return (ScriptsOf(LetterScriptOf(code_point)) & Only(script)) != 0;
}

TokenizerScripts::TokenizerScripts(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), allowed_scripts_(static_cast<size_t>(tokenizer.num_tokens())) {
  for (TokenId id = 0; id < tokenizer.num_tokens(); ++id) {
    const std::string_view bytes = tokenizer.TokenBytes(id);
    if (!bytes.empty() && IsContinuation(bytes[0])) continuations_.push_back(id);
    allowed_scripts_[static_cast<size_t>(id)] =
        tokenizer.IsSpecial(id) ? kAllScripts : ScriptsOfText(bytes);
  }
}

std::string TokenizerScripts::UnfinishedCodePoint(std::span<const TokenId> answer) const {
  std::string tail;  // back to the last byte that begins a character, if it is near enough
  for (auto id = answer.rbegin(); id != answer.rend(); ++id) {
    if (tokenizer_.IsSpecial(*id)) continue;  // no text
    const std::string_view bytes = tokenizer_.TokenBytes(*id);
    for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
      tail.insert(tail.begin(), *byte);
      if (IsContinuation(*byte) && tail.size() < kMaxUnfinishedBytes) continue;
      return DecodeUtf8(tail, 0).kind == Utf8Kind::kIncomplete ? tail : std::string();
    }
  }
  return {};
}

bool TokenizerScripts::FillAllowed(Script script,
                                   std::string_view unfinished,
                                   std::span<uint8_t> allowed) const {
  std::fill(allowed.begin(), allowed.end(), uint8_t{0});
  const size_t num_tokens = std::min(allowed.size(), allowed_scripts_.size());
  bool is_any = false;
  const auto judge = [&](size_t id, ScriptSet scripts) {
    allowed[id] = (scripts & Only(script)) != 0 ? 1 : 0;
    is_any = is_any || allowed[id] != 0;
  };
  if (unfinished.empty()) {
    for (size_t id = 0; id < num_tokens; ++id) judge(id, allowed_scripts_[id]);
    return is_any;
  }
  for (const TokenId id : continuations_) {
    if (static_cast<size_t>(id) >= num_tokens) continue;
    std::string text(unfinished);
    text += tokenizer_.TokenBytes(id);
    judge(static_cast<size_t>(id), ScriptsOfText(text));
  }
  return is_any;
}

}  // namespace parrot
