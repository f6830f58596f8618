#include "client/cli/eval_flags.h"

#include <map>
#include <utility>

#include "CLI/CLI.hpp"

namespace parrot {
namespace {

// An option that takes one of the names.
template <typename Value>
void AddNamed(CLI::App* app,
              const std::string& name,
              const std::string& help,
              const std::map<std::string, Value>& values,
              Value* target) {
  std::string names;
  for (const auto& [value_name, value] : values) names += (names.empty() ? "" : "|") + value_name;
  app->add_option_function<std::string>(
         name, [values, target](const std::string& given) { *target = values.at(given); }, help)
      ->check(CLI::IsMember(values))
      ->type_name(names);
}

}  // namespace

void AddEvalFlags(CLI::App* app, EvalFlags* flags) {
  app->add_option("datasets", flags->datasets, "TSV files of MMMB's form, named as the data sets")
      ->required();
  app->add_option("--output,-o", flags->output, "Folder of the results; run again to go on there")
      ->capture_default_str();
  EvalSettings& settings = flags->settings;
  AddNamed<Naming>(
      app,
      "--naming",
      "Whose instruction: that of each language's name, or of one name for all [per-language]",
      {{"per-language", Naming::kPerLanguage}, {"all-in-one", Naming::kAllInOne}},
      &settings.naming);
  AddNamed<RuleSet>(
      app,
      "--rules",
      "By which an answer is told: the Parrot repository's, or VLMEvalKit's of 2026 [vk]",
      {{"vk", RuleSet::kVk}, {"vk-verbose", RuleSet::kVkVerbose}, {"vk26", RuleSet::kVk26}},
      &settings.rules);
  AddNamed<std::optional<Protocol>>(
      app,
      "--protocol",
      "auto: circular for MMBench's and CCBench's names [auto]",
      {{"auto", std::nullopt}, {"vanilla", Protocol::kVanilla}, {"circular", Protocol::kCircular}},
      &settings.protocol);
  AddNamed<std::optional<OpenRule>>(
      app,
      "--open",
      "Questions without options; auto: exact where a data set has no others [auto]",
      {{"auto", std::nullopt}, {"exact", OpenRule::kExact}, {"never", OpenRule::kNever}},
      &settings.open);
  AddNamed<JpegMode>(app,
                     "--jpeg",
                     "Pictures as they are, or saved again as by the reference [original]",
                     {{"original", JpegMode::kOriginal}, {"reference", JpegMode::kReference}},
                     &settings.jpeg);
  AddNamed<Scoring>(app,
                    "--scoring",
                    "Infer the option from generated text, or take the most probable [generate]",
                    {{"generate", Scoring::kGenerate}, {"choices", Scoring::kChoices}},
                    &settings.scoring);
  app->add_option("--max-tokens", settings.max_tokens, "Most tokens of an answer")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--limit", flags->limit, "Only the first questions of each data set")
      ->check(CLI::PositiveNumber);
  app->add_option("--concurrency", flags->concurrency, "Requests in flight")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app->add_option("--max-attempts", flags->max_attempts, "Of a request that the server cannot take")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  AddNamed<EvalFormat>(app,
                       "--format",
                       "Of what is printed [text]",
                       {{"text", EvalFormat::kText},
                        {"markdown", EvalFormat::kMarkdown},
                        {"csv", EvalFormat::kCsv},
                        {"json", EvalFormat::kJson}},
                       &flags->format);
}

}  // namespace parrot
