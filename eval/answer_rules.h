// From what a model said to the option it meant, by the rules of the reference evaluator. Names and
// deliberate differences: docs/evaluation.md. Stateless; thread-safe.
#ifndef PARROT_EVAL_ANSWER_RULES_H_
#define PARROT_EVAL_ANSWER_RULES_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace parrot {

// Which version of the reference infers the answer. Results of two are not comparable.
enum class RuleSet {
  kVk,         // the evaluator inside the Parrot repository
  kVkVerbose,  // the same with its environment's VERBOSE set: a word "A" may be an article
  kVk26,       // VLMEvalKit of 2026: the letter near the end, long answers never by their text
};

std::string_view RuleSetName(RuleSet rules);  // "vk", "vk-verbose", "vk26"
std::optional<RuleSet> RuleSetNamed(std::string_view name);

// By letter, A .. Z.
using Options = std::map<char, std::string>;

// The letter that stands for a refusal; never an option's.
inline constexpr char kRefusal = 'Z';

// The answer as the reference's model wrapper hands it on: without white space around it and, where
// the prompt ends with the English instruction to answer with a letter, cut down to that letter.
std::string CleanAnswer(std::string_view prompt, std::string_view raw);

// The option that the answer names, by its letter or by its text; kRefusal for a refusal. nullopt:
// it cannot be inferred.
std::optional<char> InferLetter(RuleSet rules, std::string_view answer, const Options& options);
// Its two parts: the first that gives something decides.
std::optional<char> InferByLetter(RuleSet rules, std::string_view answer, const Options& options);
std::optional<char> InferByText(RuleSet rules, std::string_view answer, const Options& options);

// The rule of questions without options, named "exact", ours: equal but for white space around,
// case, and punctuation at the end.
bool MatchesExactly(std::string_view answer, std::string_view expected);

}  // namespace parrot

#endif  // PARROT_EVAL_ANSWER_RULES_H_
