#include "train/world/world_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

namespace parrot {
namespace {

constexpr int kExitUsage = 2;
constexpr int kMaxPictures = 10'000'000;
constexpr int kMaxWeight = 1'000'000;
constexpr int kSmallestVocabulary = 256 + 3;

// "en=3,zh" sets the weights of the named ones (1 unless said) and 0 for all others.
template <size_t kSize>
std::string SetWeights(const std::vector<std::string>& items,
                       const std::array<std::string_view, kSize>& names,
                       std::array<int, kSize>& weights) {
  weights.fill(0);
  for (const std::string& item : items) {
    const size_t equals = item.find('=');
    const auto name = std::find(names.begin(), names.end(), item.substr(0, equals));
    if (name == names.end()) return "unknown name '" + item.substr(0, equals) + "'";
    int weight = 1;
    if (equals != std::string::npos &&
        (!CLI::detail::lexical_cast(item.substr(equals + 1), weight) || weight < 0 ||
         weight > kMaxWeight)) {
      return "'" + item + "': not a weight from 0 to 1000000";
    }
    weights[static_cast<size_t>(name - names.begin())] = weight;
  }
  return std::any_of(weights.begin(), weights.end(), [](int w) { return w > 0; })
             ? ""
             : "some weight must be positive";
}

template <size_t kSize>
void AddWeights(CLI::App& app,
                const std::string& flag,
                const std::array<std::string_view, kSize>& names,
                std::array<int, kSize>& weights,
                std::string help) {
  for (const std::string_view name : names) (help += " ").append(name);
  app.add_option_function<std::vector<std::string>>(
         flag,
         [&names, &weights](const std::vector<std::string>& items) {
           const std::string error = SetWeights(items, names, weights);
           if (!error.empty()) throw CLI::ValidationError(error);
         },
         help)
      ->delimiter(',')
      ->type_name("NAME[=WEIGHT],...");
}

void AddNumber(
    CLI::App& app, const std::string& flag, int& value, int low, int high, const char* help) {
  app.add_option(flag, value, help)->check(CLI::Range(low, high))->capture_default_str();
}

void AddPercent(CLI::App& app, const std::string& flag, int& value, const char* help) {
  AddNumber(app, flag, value, 0, 100, help);
}

void AddSceneOptions(CLI::App& app, SceneOptions& o) {
  AddNumber(app, "--size", o.picture_px, 28, 1024, "Side of a picture in pixels");
  AddNumber(app,
            "--shapes",
            o.num_shapes,
            4,
            static_cast<int>(kShapeNames.size()),
            "How many: the first of circle, square, triangle, star, heart, diamond, cross, ring");
  AddNumber(app,
            "--colors",
            o.num_colors,
            6,
            static_cast<int>(kColorNames.size()),
            "How many: the first of red, green, blue, yellow, orange, purple, brown, pink");
  AddNumber(app, "--min-figures", o.min_figures, 1, 4, "Fewest figures of a picture");
  AddNumber(app, "--max-figures", o.max_figures, 1, 4, "Most figures of a picture");
  AddPercent(app, "--digit-percent", o.digit_percent, "Pictures that show a digit");
}

void AddDialogOptions(CLI::App& app, DialogOptions& o) {
  AddWeights(app, "--languages", kLanguageCodes, o.languages, "Languages of training samples:");
  AddWeights(app, "--categories", kCategoryNames, o.categories, "Questions of training samples:");
  AddNumber(app, "--max-questions", o.max_questions, 1, 32, "Most questions of one conversation");
  AddPercent(app, "--single-percent", o.single_percent, "Conversations of one question");
  AddPercent(app, "--choice-percent", o.choice_percent, "Multiple-choice questions");
  AddPercent(app, "--suffix-percent", o.suffix_percent, "Open questions that ask for one word");
  AddPercent(app, "--follow-percent", o.follow_percent, "Follow-ups where one is possible");
  AddPercent(
      app, "--caption-percent", o.caption_percent, "Conversations that end in a description");
  AddPercent(app,
             "--foreign-caption-percent",
             o.foreign_caption_percent,
             "text.json: descriptions whose language is drawn anew");
}

void AddWorldOptions(CLI::App& app, WorldOptions& o) {
  app.add_option("--output", o.output_dir, "Folder to write");
  app.add_option("--seed", o.seed, "Another seed, other pictures")->capture_default_str();
  AddNumber(app, "--train", o.num_train, 0, kMaxPictures, "Training pictures");
  AddNumber(app, "--heldout", o.num_held_out, 0, kMaxPictures, "Held-out pictures");
  AddNumber(app, "--dialogs", o.dialogs_per_picture, 0, 100, "Conversations about each picture");
  AddNumber(app, "--questions", o.num_questions, 1, kMaxPictures, "Of each evaluation file");
  AddNumber(app, "--threads", o.num_threads, 0, 1024, "0: one per core");
  app.add_flag("--images,!--no-images", o.write_images, "Pictures; without, the other files alone");
  AddSceneOptions(app, o.scene);
  AddDialogOptions(app, o.dialog);
}

void AddTokenizerOptions(CLI::App& app, TokenizerOptions& o) {
  app.add_option("--corpus", o.corpus_path, "UTF-8 text, such as corpus.txt of a picture world")
      ->required();
  app.add_option("--output", o.output_dir, "Folder for the tokenizer's files")->required();
  AddNumber(app,
            "--vocab-size",
            o.vocabulary_size,
            kSmallestVocabulary,
            1'000'000,
            "Ids, the three special ones included");
  AddNumber(app,
            "--max-length",
            o.max_length_tokens,
            1,
            1'000'000,
            "Tokens that training cuts a sample at");
}

}  // namespace

WorldCommandLine ParseWorldCommandLine(int argc, const char* const* argv) {
  CLI::App app{
      "Makes a picture world: pictures, questions and answers in six languages, for "
      "training and evaluation; the same for the same options"};
  WorldOptions world;
  TokenizerOptions tokenizer;
  AddWorldOptions(app, world);
  CLI::App* tokenizer_command =
      app.add_subcommand("tokenizer", "Trains a byte-level BPE tokenizer of the Qwen kind");
  AddTokenizerOptions(*tokenizer_command, tokenizer);
  try {
    app.parse(argc, argv);
    if (tokenizer_command->parsed()) return {.has_command = true, .command = tokenizer};
    if (world.output_dir.empty()) throw CLI::RequiredError("--output");
    if (world.scene.min_figures > world.scene.max_figures) {
      throw CLI::ValidationError("--min-figures is above --max-figures");
    }
  } catch (const CLI::ParseError& e) {
    return {.exit_code = app.exit(e) == 0 ? 0 : kExitUsage};
  }
  return {.has_command = true, .command = world};
}

}  // namespace parrot
