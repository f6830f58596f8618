#include "train/world/scene.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/world/counter_rng.h"

namespace parrot {
namespace {

constexpr int kHeldOutModulus = 8;
// Of a picture of 84 px, in sixteenths of a pixel.
constexpr int kUnitPx = 84;
constexpr std::array<std::array<int, 2>, 2> kRadius = {{{122, 141}, {192, 208}}};  // [size]
constexpr std::array<int, 2> kDigitHeight = {290, 330};
constexpr int kMaxJitter = 3 * kSubpixels;
constexpr int kMinJitter = kSubpixels;
// A figure takes over a property of an earlier one this often, so that there is something to count
// and to compare.
constexpr int kRepeatShapePercent = 25;
constexpr int kRepeatColorPercent = 35;

class SceneMaker {
 public:
  SceneMaker(const SceneOptions& options, Split split, uint64_t seed, uint64_t index)
      : options_(options),
        split_(split),
        rng_(seed,
             split == Split::kTrain ? RandomStream::kScene : HeldOutStream(RandomStream::kScene),
             index) {}

  Scene Make() {
    std::array<int, kNumCells> cells{};
    for (int i = 0; i < kNumCells; ++i) cells[i] = i;
    rng_.Shuffle(cells);
    scene_.background = rng_.Below(static_cast<int>(kBackgroundNames.size()));
    const int num_figures = rng_.Between(options_.min_figures, options_.max_figures);
    for (int i = 0; i < num_figures; ++i) AddFigure(cells[i]);
    std::sort(scene_.figures.begin(), scene_.figures.end(), [](const Figure& a, const Figure& b) {
      return a.cell < b.cell;
    });
    if (rng_.Percent(options_.digit_percent)) AddDigit(cells[num_figures]);
    return std::move(scene_);
  }

 private:
  int Scaled(int length) const { return length * options_.picture_px / kUnitPx; }

  // A coordinate of the centre of something of `radius` in the `place`-th third of the picture.
  int Jittered(int place, int radius) {
    const int cell = options_.picture_px * kSubpixels / 3;
    const int jitter = std::clamp(cell / 2 - radius, Scaled(kMinJitter), Scaled(kMaxJitter));
    return cell * place + cell / 2 + rng_.Between(-jitter, jitter);
  }

  void AddFigure(int cell) {
    Figure figure;
    figure.cell = cell;
    do {
      figure.shape = rng_.Below(options_.num_shapes);
      figure.color = rng_.Below(options_.num_colors);
      figure.size = rng_.Below(static_cast<int>(kSizeNames.size()));
      if (!scene_.figures.empty()) {
        const Figure& earlier = scene_.figures[rng_.Below(static_cast<int>(scene_.figures.size()))];
        if (rng_.Percent(kRepeatShapePercent)) figure.shape = earlier.shape;
        if (rng_.Percent(kRepeatColorPercent)) figure.color = earlier.color;
      }
    } while (IsHeldOut(figure) != (split_ == Split::kHeldOut));
    figure.radius = rng_.Between(Scaled(kRadius[figure.size][0]), Scaled(kRadius[figure.size][1]));
    figure.x = Jittered(cell % 3, figure.radius);
    figure.y = Jittered(cell / 3, figure.radius);
    scene_.figures.push_back(figure);
  }

  void AddDigit(int cell) {
    Digit digit;
    digit.cell = cell;
    do {
      digit.value = rng_.Below(10);
    } while (IsHeldOut(digit, scene_.background) != (split_ == Split::kHeldOut));
    digit.height = rng_.Between(Scaled(kDigitHeight[0]), Scaled(kDigitHeight[1]));
    digit.x = Jittered(cell % 3, digit.height / 2);
    digit.y = Jittered(cell / 3, digit.height / 2);
    scene_.digit = digit;
  }

  const SceneOptions& options_;
  const Split split_;
  CounterRng rng_;
  Scene scene_;
};

double Pixels(int length) { return static_cast<double>(length) / kSubpixels; }

}  // namespace

bool IsHeldOut(const Figure& figure) {
  return (figure.shape + 3 * figure.color + 5 * figure.cell + 4 * figure.size) % kHeldOutModulus ==
         0;
}

bool IsHeldOut(const Digit& digit, int background) {
  return (digit.value + 3 * digit.cell + 2 * background) % kHeldOutModulus == 0;
}

Scene MakeScene(const SceneOptions& options, Split split, uint64_t seed, uint64_t index) {
  return SceneMaker(options, split, seed, index).Make();
}

std::string SceneJson(const Scene& scene, std::string_view image_name) {
  nlohmann::ordered_json json = {{"image", image_name},
                                 {"background", kBackgroundNames[scene.background]},
                                 {"digit", nullptr},
                                 {"digit_cell", nullptr},
                                 {"figures", nlohmann::ordered_json::array()}};
  if (scene.digit.has_value()) {
    json["digit"] = scene.digit->value;
    json["digit_cell"] = scene.digit->cell;
  }
  for (const Figure& figure : scene.figures) {
    json["figures"].push_back({{"shape", kShapeNames[figure.shape]},
                               {"color", kColorNames[figure.color]},
                               {"size", kSizeNames[figure.size]},
                               {"cell", figure.cell},
                               {"cx", Pixels(figure.x)},
                               {"cy", Pixels(figure.y)},
                               {"radius", Pixels(figure.radius)}});
  }
  return json.dump();
}

}  // namespace parrot
