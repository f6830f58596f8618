// What is in each picture of the picture world: the labels that pre-training from nothing learns
// from. scenes.jsonl has one object per picture:
//
//   {"image": "000001.png", "background": "white", "digit": 5 or null, "digit_cell": 0..8 or null,
//    "figures": [{"shape": "star", "color": "red", "size": "large", "cell": 4, ...}]}
//
// Cells are those of a 3x3 grid, row by row. Names are whatever the file uses; the classes of a
// label are the sorted names that occur. Immutable after loading, thread-safe.
#ifndef PARROT_TRAIN_DATA_SCENE_LABELS_H_
#define PARROT_TRAIN_DATA_SCENE_LABELS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace parrot {

inline constexpr int kSceneCells = 9;
inline constexpr int kSceneSide = 3;

struct SceneFigure {
  int shape = 0;  // index into SceneLabels::shapes, and so on
  int color = 0;
  int size = 0;
  int cell = 0;
};

struct SceneLabel {
  std::string image;  // as in the file
  int background = 0;
  int digit = -1;  // -1: none
  int digit_cell = -1;
  std::vector<SceneFigure> figures;
};

struct SceneLabels {
  std::vector<std::string> shapes, colors, sizes, backgrounds;  // sorted
  std::vector<SceneLabel> scenes;

  // Position of an image's scene by its file name without folders; -1 if there is none.
  int64_t Find(std::string_view image) const;

  std::map<std::string, int64_t, std::less<>> by_image;
};

// Errors name the line.
absl::StatusOr<SceneLabels> ParseSceneLabels(std::string_view jsonl);
absl::StatusOr<SceneLabels> LoadSceneLabels(const std::string& path);

// The cell in which the centre of patch `patch` of a side x side grid of patches lies.
int CellOfPatch(int64_t patch, int64_t side);

}  // namespace parrot

#endif  // PARROT_TRAIN_DATA_SCENE_LABELS_H_
