#include "train/data/scene_labels.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using Json = nlohmann::json;

bool IsText(const Json& object, const char* key) {
  return object.contains(key) && object[key].is_string();
}

// An integer in [0, end), or -1 when null or absent; false for anything else.
bool ReadIndex(const Json& object, const char* key, int end, int* value) {
  *value = -1;
  if (!object.contains(key) || object[key].is_null()) return true;
  if (!object[key].is_number_integer()) return false;
  const int64_t number = object[key];
  if (number < 0 || number >= end) return false;
  *value = static_cast<int>(number);
  return true;
}

bool IsSound(const Json& scene) {
  int index = 0;
  if (!scene.is_object() || !IsText(scene, "image") || !IsText(scene, "background") ||
      !scene.contains("figures") || !scene["figures"].is_array() ||
      !ReadIndex(scene, "digit", 10, &index) ||
      !ReadIndex(scene, "digit_cell", kSceneCells, &index)) {
    return false;
  }
  return std::all_of(scene["figures"].begin(), scene["figures"].end(), [&](const Json& figure) {
    return figure.is_object() && IsText(figure, "shape") && IsText(figure, "color") &&
           IsText(figure, "size") && ReadIndex(figure, "cell", kSceneCells, &index) && index >= 0;
  });
}

std::vector<std::string> Sorted(const std::set<std::string>& names) {
  return {names.begin(), names.end()};
}

int IndexOf(const std::vector<std::string>& sorted, const Json& name) {
  const auto it = std::lower_bound(sorted.begin(), sorted.end(), name.get<std::string>());
  return static_cast<int>(it - sorted.begin());
}

std::string_view BaseName(std::string_view path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

SceneLabel ToLabel(const Json& scene, const SceneLabels& names) {
  SceneLabel label = {.image = scene["image"],
                      .background = IndexOf(names.backgrounds, scene["background"])};
  ReadIndex(scene, "digit", 10, &label.digit);
  ReadIndex(scene, "digit_cell", kSceneCells, &label.digit_cell);
  for (const Json& figure : scene["figures"]) {
    label.figures.push_back({.shape = IndexOf(names.shapes, figure["shape"]),
                             .color = IndexOf(names.colors, figure["color"]),
                             .size = IndexOf(names.sizes, figure["size"]),
                             .cell = figure["cell"]});
  }
  return label;
}

}  // namespace

int64_t SceneLabels::Find(std::string_view image) const {
  const auto it = by_image.find(BaseName(image));
  return it == by_image.end() ? -1 : it->second;
}

absl::StatusOr<SceneLabels> ParseSceneLabels(std::string_view jsonl) {
  std::vector<Json> lines;
  std::set<std::string> shapes, colors, sizes, backgrounds;
  for (size_t begin = 0; begin < jsonl.size();) {
    const size_t end = std::min(jsonl.find('\n', begin), jsonl.size());
    Json scene = Json::parse(jsonl.substr(begin, end - begin), nullptr, false);
    if (!IsSound(scene)) {
      return absl::InvalidArgumentError(
          absl::StrCat("scenes, line ", lines.size() + 1, ": is no scene"));
    }
    backgrounds.insert(scene["background"].get<std::string>());
    for (const Json& figure : scene["figures"]) {
      shapes.insert(figure["shape"].get<std::string>());
      colors.insert(figure["color"].get<std::string>());
      sizes.insert(figure["size"].get<std::string>());
    }
    lines.push_back(std::move(scene));
    begin = end + 1;
  }
  SceneLabels labels = {.shapes = Sorted(shapes),
                        .colors = Sorted(colors),
                        .sizes = Sorted(sizes),
                        .backgrounds = Sorted(backgrounds)};
  for (const Json& scene : lines) {
    labels.scenes.push_back(ToLabel(scene, labels));
    labels.by_image.emplace(BaseName(labels.scenes.back().image),
                            static_cast<int64_t>(labels.scenes.size()) - 1);
  }
  if (labels.scenes.empty()) return absl::InvalidArgumentError("scenes: the file is empty");
  return labels;
}

absl::StatusOr<SceneLabels> LoadSceneLabels(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat("cannot read ", std::filesystem::path(path).filename().string()));
  }
  return ParseSceneLabels(std::string(std::istreambuf_iterator<char>(file), {}));
}

int CellOfPatch(int64_t patch, int64_t side) {
  // Twice the centre, in patches: 2 i + 1 of 2 side.
  const int64_t row = (2 * (patch / side) + 1) * kSceneSide / (2 * side);
  const int64_t column = (2 * (patch % side) + 1) * kSceneSide / (2 * side);
  return static_cast<int>(row * kSceneSide + column);
}

}  // namespace parrot
