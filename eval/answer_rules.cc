#include "eval/answer_rules.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "eval/python_text.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

constexpr std::string_view kEnglishInstruction =
    "Answer with the option's letter from the given choices directly.";
constexpr std::string_view kOldChineseInstruction = "请直接回答选项字母。";
constexpr std::string_view kNoAnswer = "Failed to obtain answer via API";
constexpr std::array<std::string_view, 4> kRefusals = {
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer"};
constexpr std::string_view kLetterPunctuation = ".()[],:;!*#{}";
// The letter is one of the last four words.
constexpr size_t kWordsFromEnd = 4;

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool IsOneOf(char c, std::string_view characters) {
  return characters.find(c) != std::string_view::npos;
}

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }

bool IsSpaceOrPunctuation(char c) {
  return IsOneOf(c, kAsciiWhitespace) || IsOneOf(c, kAsciiPunctuation);
}

// After the first of `prefixes` (in their order) that is in the lower-cased text. Found there and
// cut in the original: a character that lower-casing makes two shifts the cut.
std::string_view CutAfter(std::string_view text, const std::vector<std::string_view>& prefixes) {
  const std::string lower = LowerCase(text);
  for (const std::string_view prefix : prefixes) {
    const size_t at = lower.find(prefix);
    if (at == std::string::npos) continue;
    return DropCharacters(text, NumCharacters(lower.substr(0, at + prefix.size())));
  }
  return text;
}

// A "answer is **B**" at `position`, white space as Python's, nothing else between.
std::optional<char> LetterAfterAnswerIs(std::string_view text, size_t position) {
  constexpr std::string_view kAnswer = "answer";
  const auto take_word = [&](std::string_view word) {
    if (absl::AsciiStrToLower(std::string(text.substr(position, word.size()))) != word)
      return false;
    position += word.size();
    return true;
  };
  const auto take_space = [&] {
    const size_t begin = position;
    while (position < text.size()) {
      const Utf8Step step = DecodeUtf8(text, position);
      if (step.kind != Utf8Kind::kValid || !IsPythonSpace(step.code_point)) break;
      position += static_cast<size_t>(step.length);
    }
    return position > begin;
  };
  if (!take_word(kAnswer) || !take_space() || !take_word("is") || !take_space()) {
    return std::nullopt;
  }
  while (position < text.size() && text[position] == '*') ++position;
  if (position == text.size()) return std::nullopt;
  const char letter = absl::ascii_toupper(text[position]);
  if (letter < 'A' || letter > 'D') return std::nullopt;
  return letter;
}

std::optional<char> FirstLetterAfterAnswerIs(std::string_view text, const Options& options) {
  for (size_t i = 0; i < text.size(); ++i) {
    const std::optional<char> letter = LetterAfterAnswerIs(text, i);
    if (!letter.has_value()) continue;
    return options.contains(*letter) ? letter : std::nullopt;
  }
  return std::nullopt;
}

// What the words say. `decided` is false where VK26 goes on to look for "answer is".
struct WordsVerdict {
  bool decided = true;
  std::optional<char> letter;
};

WordsVerdict JudgeWords(RuleSet rules,
                        const std::vector<std::string_view>& words,
                        const Options& options) {
  const auto position_of = [&](char letter) {
    return static_cast<size_t>(std::find(words.begin(), words.end(), std::string_view(&letter, 1)) -
                               words.begin());
  };
  std::optional<char> found;
  int num_found = 0;
  for (const auto& [letter, text] : options) {
    if (position_of(letter) == words.size()) continue;
    ++num_found;
    if (!found.has_value()) found = letter;
  }
  if (num_found == 0 && position_of(kRefusal) < words.size()) return {.letter = kRefusal};
  if (num_found != 1) return {.decided = false};
  if (rules == RuleSet::kVkVerbose && words.size() > 3 && position_of('A') < words.size()) {
    return {};
  }
  if (rules == RuleSet::kVk26 && position_of(*found) + kWordsFromEnd < words.size()) {
    return {.decided = false};
  }
  return {.letter = found};
}

// Without white space around it and punctuation at its end.
std::string Normalised(std::string_view text) {
  static constexpr std::array<std::string_view, 20> kMarks = {
      ".",  ",",  "!",  "?",  ";", ":", "。", "，", "！", "？",
      "；", "：", "．", "、", "،", "؛", "؟",  "۔",  "…",  "·"};
  text = StripSpace(text);
  for (bool cut = true; cut;) {
    cut = false;
    for (const std::string_view mark : kMarks) {
      if (text.size() <= mark.size() || !text.ends_with(mark)) continue;
      text = StripSpace(text.substr(0, text.size() - mark.size()));
      cut = true;
    }
  }
  return LowerCase(text);
}

}  // namespace

std::string_view RuleSetName(RuleSet rules) {
  switch (rules) {
    case RuleSet::kVk:
      return "vk";
    case RuleSet::kVkVerbose:
      return "vk-verbose";
    case RuleSet::kVk26:
      return "vk26";
  }
  return "";
}

std::optional<RuleSet> RuleSetNamed(std::string_view name) {
  for (const RuleSet rules : {RuleSet::kVk, RuleSet::kVkVerbose, RuleSet::kVk26}) {
    if (RuleSetName(rules) == name) return rules;
  }
  return std::nullopt;
}

std::string CleanAnswer(std::string_view prompt, std::string_view raw) {
  std::string_view answer = StripAscii(raw, kAsciiWhitespace);
  if (!prompt.ends_with(kEnglishInstruction) && !prompt.ends_with(kOldChineseInstruction)) {
    return std::string(answer);
  }
  const std::string marks = std::string(kAsciiPunctuation) + std::string(kAsciiWhitespace);
  while (true) {
    answer = StripAscii(answer, marks);
    if (answer.size() < 2) break;
    if (IsUpper(answer.front()) && IsSpaceOrPunctuation(answer[1])) {
      answer = answer.substr(0, 1);
      break;
    }
    if (IsUpper(answer.back()) && IsSpaceOrPunctuation(answer[answer.size() - 2])) {
      answer = answer.substr(answer.size() - 1);
      break;
    }
    const std::string lower = LowerCase(answer);
    if (!Contains(lower, "answer is") && !Contains(lower, "answer:")) break;
    answer = CutAfter(CutAfter(answer, {"answer is", "answer:"}), {"option"});
  }
  return std::string(answer);
}

std::optional<char> InferByLetter(RuleSet rules, std::string_view answer, const Options& options) {
  if (Contains(answer, kNoAnswer)) return std::nullopt;
  for (const std::string_view refusal : kRefusals) {
    if (Contains(answer, refusal)) return kRefusal;
  }
  std::string spaced(answer);
  for (char& c : spaced) {
    if (IsOneOf(c, kLetterPunctuation)) c = ' ';
  }
  const WordsVerdict verdict = JudgeWords(rules, SplitWords(spaced), options);
  if (verdict.decided || rules != RuleSet::kVk26) return verdict.letter;
  return FirstLetterAfterAnswerIs(answer, options);
}

std::optional<char> InferByText(RuleSet rules, std::string_view answer, const Options& options) {
  const std::string lower = LowerCase(answer);
  if (rules == RuleSet::kVk26) {
    int64_t options_length = 0;
    for (const auto& [letter, text] : options) options_length += NumCharacters(text);
    if (NumCharacters(lower) > 2 * options_length) return std::nullopt;
  }
  std::optional<char> found;
  for (const auto& [letter, text] : options) {
    if (!Contains(lower, LowerCase(text))) continue;
    if (found.has_value()) return std::nullopt;
    found = letter;
  }
  return found;
}

std::optional<char> InferLetter(RuleSet rules, std::string_view answer, const Options& options) {
  const std::optional<char> letter = InferByLetter(rules, answer, options);
  return letter.has_value() ? letter : InferByText(rules, answer, options);
}

bool MatchesExactly(std::string_view answer, std::string_view expected) {
  return Normalised(answer) == Normalised(expected);
}

}  // namespace parrot
