#include "client/cli/bench_flags.h"

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "client/bench/bench_report.h"
#include "client/bench/synthetic_text.h"
#include "client/cli/duration_flag.h"

namespace parrot {
namespace {

constexpr char kLoad[] = "Load";
constexpr char kWorkload[] = "Workload";
constexpr char kResults[] = "Results";

// Beyond any server's limits.
constexpr int32_t kMostTokens = 1'000'000;

// An option whose text `parse` takes; false means that it is not what `expected` says.
CLI::Option* AddParsed(CLI::App* app,
                       const std::string& name,
                       const std::string& help,
                       const std::string& expected,
                       std::function<bool(const std::string&)> parse) {
  return app
      ->add_option_function<std::string>(
          name,
          [name, expected, parse = std::move(parse)](const std::string& text) {
            if (!parse(text)) {
              throw CLI::ValidationError(name, "'" + text + "' is not " + expected);
            }
          },
          help)
      ->type_name("TEXT");
}

// "a" and "b" of "a:b"; "" for b when there is no separator.
std::pair<std::string, std::string> SplitOnce(const std::string& text, char separator) {
  return absl::StrSplit(text, absl::MaxSplits(separator, 1));
}

// CLI11's own check takes no infinity.
bool ParsePositive(const std::string& text, double* value) {
  return absl::SimpleAtod(text, value) && *value > 0;
}

// Between commas.
std::vector<std::string> Items(const std::string& text) { return absl::StrSplit(text, ','); }

// "64" or "16:256".
bool ParseTokenRange(const std::string& text, TokenRange* range) {
  const auto [min, max] = SplitOnce(text, ':');
  if (!absl::SimpleAtoi(min, &range->min)) return false;
  range->max = range->min;
  if (text.find(':') != std::string::npos && !absl::SimpleAtoi(max, &range->max)) return false;
  return range->min >= 1 && range->min <= range->max && range->max <= kMostTokens;
}

// "640x480,1024x768".
bool ParseSizes(const std::string& text, std::vector<PictureSize>* sizes) {
  sizes->clear();
  for (const std::string& item : Items(text)) {
    const auto [width, height] = SplitOnce(item, 'x');
    PictureSize size;
    if (!absl::SimpleAtoi(width, &size.width) || !absl::SimpleAtoi(height, &size.height)) {
      return false;
    }
    if (size.width < 1 || size.height < 1 || size.width > kMaxPictureSide ||
        size.height > kMaxPictureSide) {
      return false;
    }
    sizes->push_back(size);
  }
  return true;
}

// "en,zh:2".
bool ParseLanguages(const std::string& text, std::vector<LanguageWeight>* languages) {
  languages->clear();
  for (const std::string& item : Items(text)) {
    const auto [language, weight] = SplitOnce(item, ':');
    LanguageWeight entry{.language = language};
    if (item.find(':') != std::string::npos && !absl::SimpleAtod(weight, &entry.weight)) {
      return false;
    }
    if (!IsSyntheticLanguage(language) || !(entry.weight > 0 && entry.weight < 1e9)) return false;
    languages->push_back(std::move(entry));
  }
  return true;
}

// "50,99.9".
bool ParsePercentiles(const std::string& text, std::vector<double>* percentiles) {
  percentiles->clear();
  for (const std::string& item : Items(text)) {
    double percent = 0;
    if (!absl::SimpleAtod(item, &percent) || !(percent >= 0 && percent <= 100)) return false;
    percentiles->push_back(percent);
  }
  return true;
}

// "ttft:500", milliseconds.
bool ParseLevel(const std::string& text, ServiceLevels* levels) {
  const auto [name, value] = SplitOnce(text, ':');
  double level_ms = 0;
  if (!absl::SimpleAtod(value, &level_ms) || !(level_ms > 0)) return false;
  const absl::Duration level = absl::Milliseconds(level_ms);
  if (name == "ttft") {
    levels->ttft = level;
  } else if (name == "tpot") {
    levels->tpot = level;
  } else if (name == "e2el") {
    levels->e2el = level;
  } else {
    return false;
  }
  return true;
}

void AddLoad(CLI::App* app, BenchFlags* flags) {
  app->add_option("--num-prompts", flags->num_prompts, "Requests [100; of a dataset, its lines]")
      ->check(CLI::PositiveNumber);
  AddDurationFlag(app, "--duration", &flags->duration, "Send for this long: 60s, 5m");
  AddParsed(app,
            "--request-rate",
            "Requests a second; inf: no limit [inf]",
            "a positive number or inf",
            [flags](const std::string& t) { return ParsePositive(t, &flags->request_rate); });
  CLI::Option* burstiness =
      AddParsed(app,
                "--burstiness",
                "Shape of the gaps: 1 is Poisson, inf constant [1]",
                "a positive number or inf",
                [flags](const std::string& t) { return ParsePositive(t, &flags->burstiness); });
  AddParsed(app,
            "--arrival",
            "poisson or constant [poisson]",
            "poisson or constant",
            [flags](const std::string& text) {
              const bool is_constant = text == "constant";
              if (is_constant) flags->burstiness = std::numeric_limits<double>::infinity();
              return is_constant || text == "poisson";
            })
      ->excludes(burstiness);
  app->add_option("--max-concurrency", flags->max_concurrency, "Requests in flight at most")
      ->check(CLI::PositiveNumber);
  app->add_option("--num-warmups", flags->num_warmups, "Requests before, not counted [0]")
      ->check(CLI::NonNegativeNumber);
  app->add_option("--seed", flags->seed, "Of arrivals, texts and pictures [0]");
  app->add_option("--streams-per-connection", flags->streams_per_connection, "Before another [100]")
      ->check(CLI::PositiveNumber);
}

void AddWorkload(CLI::App* app, BenchFlags* flags) {
  CLI::Option* dataset = app->add_option(
      "--dataset", flags->dataset, "JSONL file, a conversation a line; else synthetic questions");
  std::vector<CLI::Option*> synthetic = {
      app->add_option("--image-fraction", flags->image_fraction, "Of requests with a picture [0]")
          ->check(CLI::Range(0.0, 1.0)),
      AddParsed(app,
                "--image-size",
                "Of the pictures, drawn from these [640x480]",
                "WIDTHxHEIGHT,... of 1 .. " + std::to_string(kMaxPictureSide) + " pixels",
                [flags](const std::string& t) { return ParseSizes(t, &flags->image_sizes); }),
      app->add_option("--num-images", flags->num_images, "Different pictures [one a request]")
          ->check(CLI::PositiveNumber),
      AddParsed(app,
                "--languages",
                "Mix of en, zh, pt, ar, tr, ru, with weights: en:3,zh [en]",
                "a list of en, zh, pt, ar, tr, ru with weights such as en:3,zh",
                [flags](const std::string& t) { return ParseLanguages(t, &flags->languages); }),
      AddParsed(app,
                "--input-len",
                "Tokens of a question, about: 64 or 16:256 [64]",
                "a number of tokens or a range such as 16:256",
                [flags](const std::string& t) { return ParseTokenRange(t, &flags->input_len); }),
      app->add_option(
             "--shared-prefix-len", flags->shared_prefix_len, "Of a common system turn [0]")
          ->check(CLI::Range(0, kMostTokens))};
  for (CLI::Option* option : synthetic) option->excludes(dataset);
  AddParsed(
      app,
      "--output-len",
      "max_tokens: 64 or 16:256 [64; of a dataset, the server's]",
      "a number of tokens or a range such as 16:256",
      [flags](const std::string& t) { return ParseTokenRange(t, &flags->output_len.emplace()); });
  app->add_flag("--ignore-eos", flags->ignore_eos, "Generate all of max_tokens");
}

void AddResults(CLI::App* app, BenchFlags* flags) {
  app->add_option_function<std::vector<std::string>>(
         "--goodput",
         [flags](const std::vector<std::string>& levels) {
           for (const std::string& level : levels) {
             if (ParseLevel(level, &flags->levels)) continue;
             throw CLI::ValidationError("--goodput",
                                        "'" + level + "' is not ttft:MS, tpot:MS or e2el:MS");
           }
         },
         "Longest ttft, tpot, e2el in milliseconds: ttft:500 tpot:50")
      ->type_name("NAME:MS ...");
  AddParsed(app,
            "--percentiles,--metric-percentiles",
            "Percentiles to report [50,90,95,99]",
            "a list of numbers from 0 to 100",
            [flags](const std::string& t) { return ParsePercentiles(t, &flags->percentiles); });
  app->add_option("--save-result", flags->result_files, "FILE.json, .csv or .html; repeatable")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check([](const std::string& path) {
        const auto format = BenchFormatOf(path);
        return format.ok() ? std::string() : std::string(format.status().message());
      });
  app->add_flag("--save-detailed", flags->save_detailed, "In .json also lists of each request");
}

// Options added since `num_before` go to `group`.
void Group(CLI::App* app, size_t num_before, const std::string& group) {
  const std::vector<CLI::Option*> options = app->get_options();
  for (size_t i = num_before; i < options.size(); ++i) options[i]->group(group);
}

}  // namespace

void AddBenchFlags(CLI::App* app, BenchFlags* flags) {
  for (const auto& [add, group] : {std::pair(&AddLoad, kLoad),
                                   std::pair(&AddWorkload, kWorkload),
                                   std::pair(&AddResults, kResults)}) {
    const size_t num_before = app->get_options().size();
    add(app, flags);
    Group(app, num_before, group);
  }
}

}  // namespace parrot
