// What a question of a benchmark says to the model, as the reference words it. The picture goes in
// front, which the server does. Stateless; thread-safe.
#ifndef PARROT_EVAL_PROMPT_H_
#define PARROT_EVAL_PROMPT_H_

#include <string>
#include <string_view>

#include "eval/dataset.h"

namespace parrot {

enum class QuestionStyle {
  kOptions,  // options if there are any, else a word or phrase is asked for
  kYesNo,
};

// Of the reference's Yes/No sets (MME, POPE, HallusionBench), by name.
QuestionStyle QuestionStyleOf(std::string_view dataset_name);

// `given_name` decides the language of the instruction: one that ends in _pt, _ar, _ru, _tr, _cn or
// _zh. A name of all languages together ends in none, so they get the English one. Chinese
// characters in the question give the Chinese one, whatever the name.
std::string BuildPrompt(const EvalRow& row, std::string_view given_name, QuestionStyle style);

}  // namespace parrot

#endif  // PARROT_EVAL_PROMPT_H_
