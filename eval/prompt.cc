#include "eval/prompt.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "eval/python_text.h"

namespace parrot {
namespace {

std::string_view LetterInstruction(std::string_view given_name, bool has_cjk) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kBySuffix = {
      {{"_cn", "请直接用给定选项中的选项字母回答。"},
       {"_zh", "请直接用给定选项中的选项字母回答。"},
       {"_pt", "Responda diretamente com a letra da opção das escolhas dadas."},
       {"_ar", "أجب مباشرةً بحرف الخيار من الاختيارات المعطاة."},
       {"_ru", "Ответьте буквой варианта из предложенных вариантов напрямую."},
       {"_tr", "Verilen seçeneklerden doğrudan seçeneğin harfi ile cevap verin."}}};
  if (has_cjk) return kBySuffix[0].second;
  for (const auto& [suffix, instruction] : kBySuffix) {
    if (given_name.ends_with(suffix)) return instruction;
  }
  return "Answer with the option's letter from the given choices directly.";
}

std::string YesNoPrompt(std::string_view question) {
  for (const std::string_view asked :
       {" Please answer yes or no.", " Yes or No", " Answer in one sentence."}) {
    if (!question.ends_with(asked)) continue;
    question.remove_suffix(asked.size());
    break;
  }
  return absl::StrCat(std::string(question),
                      HasCjk(question) ? "\n请直接回答Yes或No。请用单个词或短语回答问题。"
                                       : "\nPlease strictly answer Yes or No. Answer the question "
                                         "using a single word or phrase.");
}

}  // namespace

QuestionStyle QuestionStyleOf(std::string_view dataset_name) {
  for (const std::string_view name : {"MME", "POPE", "HallusionBench"}) {
    if (dataset_name.starts_with(name)) return QuestionStyle::kYesNo;
  }
  return QuestionStyle::kOptions;
}

std::string BuildPrompt(const EvalRow& row, std::string_view given_name, QuestionStyle style) {
  if (style == QuestionStyle::kYesNo) return YesNoPrompt(row.question);
  std::string prompt;
  if (row.hint.has_value()) absl::StrAppend(&prompt, *row.hint, "\n");
  absl::StrAppend(&prompt, row.question);
  for (const auto& [letter, text] : row.options) {
    absl::StrAppend(&prompt, "\n", std::string(1, letter), ". ", text);
  }
  const bool has_cjk = HasCjk(prompt);
  if (!row.options.empty()) {
    return absl::StrCat(prompt, "\n", std::string(LetterInstruction(given_name, has_cjk)));
  }
  absl::StrAppend(&prompt,
                  has_cjk ? "\n请用单个词或短语回答问题。"
                          : "\nAnswer the question using a single word or phrase.");
  return prompt;
}

}  // namespace parrot
