// What a picture of the picture world shows: one to four figures in a grid of 3x3 cells on a plain
// background, on some pictures a digit in a cell of its own. Scenes are made from a seed; training
// and held-out scenes differ in the combinations they are made of (IsHeldOut). Stateless;
// thread-safe.
//
// Lengths are whole sixteenths of a pixel, so that a scene is the same on every machine.
#ifndef PARROT_TRAIN_WORLD_SCENE_H_
#define PARROT_TRAIN_WORLD_SCENE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parrot {

inline constexpr int kNumCells = 9;  // row by row from the top left
inline constexpr int kSubpixels = 16;

inline constexpr std::array<std::string_view, 8> kShapeNames = {
    "circle", "square", "triangle", "star", "heart", "diamond", "cross", "ring"};
inline constexpr std::array<std::string_view, 8> kColorNames = {
    "red", "green", "blue", "yellow", "orange", "purple", "brown", "pink"};
inline constexpr std::array<std::string_view, 4> kBackgroundNames = {
    "white", "black", "gray", "cyan"};
inline constexpr std::array<std::string_view, 2> kSizeNames = {"small", "large"};
inline constexpr int kBlackBackground = 1;

struct Figure {
  int shape = 0;  // index into kShapeNames, and so on
  int color = 0;
  int size = 0;
  int cell = 0;
  // Centre and radius of the circle around it, in sixteenths of a pixel from the top left corner.
  int x = 0;
  int y = 0;
  int radius = 0;
};

struct Digit {
  int value = 0;
  int cell = 0;
  int x = 0;  // centre
  int y = 0;
  int height = 0;
};

struct Scene {
  int background = 0;
  std::vector<Figure> figures;  // in distinct cells, in order of cells
  std::optional<Digit> digit;   // in a cell without a figure
};

struct SceneOptions {
  int picture_px = 84;  // side; the prototype's radii are for 84 and scale with it
  int num_shapes = 8;   // the first of kShapeNames
  int num_colors = 8;
  int min_figures = 1;
  int max_figures = 4;
  int digit_percent = 35;  // of pictures
};

enum class Split : uint8_t { kTrain, kHeldOut };

// One in eight combinations of shape, colour, cell and size is held out, spread so that each pair
// of values also occurs in training.
bool IsHeldOut(const Figure& figure);
// The same of value, cell and background of a digit.
bool IsHeldOut(const Digit& digit, int background);

// Training scenes hold no held-out combination, held-out scenes hold no other. The same for the
// same arguments.
Scene MakeScene(const SceneOptions& options, Split split, uint64_t seed, uint64_t index);

// One line of scenes.jsonl: {"image": "000001.png", "background": "white", "digit": 5|null,
// "digit_cell": 0..8|null, "figures": [{"shape", "color", "size": "small"|"large", "cell",
// "cx", "cy", "radius"}]}, lengths in pixels.
std::string SceneJson(const Scene& scene, std::string_view image_name);

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_SCENE_H_
