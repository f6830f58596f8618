#include "train/data/training_sample.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"
#include "train/data/python_random.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

absl::Status Bad(std::string_view file, size_t index, std::string_view rule) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(file), ": sample ", index, ": ", std::string(rule)));
}

// A string or a number; "" when absent or null.
std::string Text(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return {};
  return it->is_string() ? it->get<std::string>() : it->dump();
}

absl::StatusOr<TrainingTurn> ParseTurn(const Json& json) {
  if (!json.is_object() || !json.contains("from") || !json.contains("value") ||
      !json["from"].is_string() || !json["value"].is_string()) {
    return absl::InvalidArgumentError("a turn has the texts `from` and `value`");
  }
  const std::string from = json["from"];
  TrainingTurn turn = {.text = json["value"]};
  if (from == "human") {
    turn.role = ChatRole::kUser;
  } else if (from == "gpt") {
    turn.role = ChatRole::kAssistant;
  } else if (from == "system") {
    turn.role = ChatRole::kSystem;
  } else {
    return absl::InvalidArgumentError("`from` is none of human, gpt, system");
  }
  return turn;
}

absl::StatusOr<TrainingSample> ParseSample(const Json& json, const std::string& image_dir) {
  if (!json.is_object()) return absl::InvalidArgumentError("is no object");
  const auto turns = json.find("conversations");
  if (turns == json.end() || !turns->is_array() || turns->empty()) {
    return absl::InvalidArgumentError("`conversations` is no list with turns");
  }
  TrainingSample sample = {.id = Text(json, "id"), .language = Text(json, "language")};
  const std::string image = Text(json, "image");
  if (!image.empty()) sample.image_path = (std::filesystem::path(image_dir) / image).string();
  for (const Json& turn : *turns) {
    ASSIGN_OR_RETURN(TrainingTurn parsed, ParseTurn(turn));
    sample.turns.push_back(std::move(parsed));
  }
  return sample;
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat("cannot read ", std::filesystem::path(path).filename().string()));
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

absl::StatusOr<std::vector<TrainingSample>> ParseTrainingSamples(std::string_view name,
                                                                 std::string_view json,
                                                                 const std::string& image_dir) {
  const Json document = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!document.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(name), ": is no JSON list"));
  }
  std::vector<TrainingSample> samples;
  samples.reserve(document.size());
  for (const Json& entry : document) {
    absl::StatusOr<TrainingSample> sample = ParseSample(entry, image_dir);
    if (!sample.ok()) {
      const absl::string_view why = sample.status().message();
      return Bad(name, samples.size(), {why.data(), why.size()});
    }
    samples.push_back(*std::move(sample));
  }
  return samples;
}

void ShuffleAsReference(std::vector<TrainingSample>* samples) {
  PythonRandom random(42);
  for (int i = 0; i < 10; ++i) random.Shuffle(samples);
}

absl::StatusOr<std::vector<TrainingSample>> LoadTrainingData(
    const std::vector<DataSetFiles>& sets) {
  std::vector<TrainingSample> all;
  for (const DataSetFiles& set : sets) {
    const std::filesystem::path path = set.json_path;
    ASSIGN_OR_RETURN(const std::string text, ReadWhole(set.json_path));
    const std::string image_dir =
        set.image_dir.empty() ? path.parent_path().string() : set.image_dir;
    ASSIGN_OR_RETURN(std::vector<TrainingSample> samples,
                     ParseTrainingSamples(path.filename().string(), text, image_dir));
    all.insert(all.end(),
               std::make_move_iterator(samples.begin()),
               std::make_move_iterator(samples.end()));
  }
  if (all.empty()) return absl::InvalidArgumentError("the data sets hold no sample");
  ShuffleAsReference(&all);
  return all;
}

}  // namespace parrot
