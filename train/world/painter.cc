#include "train/world/painter.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <span>

namespace parrot {
namespace {

constexpr int kOversampling = 4;  // a side
// cv's fixed point: fractional bits of a coordinate of the large canvas.
constexpr int kShift = 2;
static_assert(kSubpixels == kOversampling << kShift, "scene coordinates are canvas coordinates");

using Rgb = std::array<int, 3>;
constexpr std::array<Rgb, kColorNames.size()> kColors = {{{220, 35, 35},
                                                          {35, 160, 55},
                                                          {45, 75, 225},
                                                          {240, 220, 45},
                                                          {250, 140, 25},
                                                          {135, 50, 175},
                                                          {125, 75, 35},
                                                          {250, 150, 190}}};
constexpr std::array<Rgb, kBackgroundNames.size()> kBackgrounds = {
    {{248, 248, 248}, {10, 10, 10}, {128, 128, 128}, {115, 220, 230}}};
constexpr int kColorJitter = 12;
constexpr int kBackgroundJitter = 6;
constexpr int kDarkInk = 15;
constexpr int kLightInk = 240;

// Outlines around (0, 0), in thousandths of the radius; y points down.
struct OutlinePoint {
  int x;
  int y;
};
constexpr OutlinePoint kSquare[] = {{-840, -840}, {840, -840}, {840, 840}, {-840, 840}};
constexpr OutlinePoint kTriangle[] = {{0, -1050}, {1000, 800}, {-1000, 800}};
constexpr OutlinePoint kStar[] = {{0, -1080},
                                  {250, -344},
                                  {1027, -334},
                                  {404, 131},
                                  {635, 874},
                                  {0, 425},
                                  {-635, 874},
                                  {-404, 131},
                                  {-1027, -334},
                                  {-250, -344}};
constexpr OutlinePoint kHeart[] = {
    {0, -420},    {90, -650},   {260, -840},  {500, -920},  {740, -850},   {920, -660},
    {1000, -400}, {960, -120},  {820, 160},   {560, 490},   {280, 770},    {0, 1000},
    {-280, 770},  {-560, 490},  {-820, 160},  {-960, -120}, {-1000, -400}, {-920, -660},
    {-740, -850}, {-500, -920}, {-260, -840}, {-90, -650}};
constexpr OutlinePoint kDiamond[] = {{0, -1080}, {720, 0}, {0, 1080}, {-720, 0}};
constexpr OutlinePoint kCross[] = {{-320, -1000},
                                   {320, -1000},
                                   {320, -320},
                                   {1000, -320},
                                   {1000, 320},
                                   {320, 320},
                                   {320, 1000},
                                   {-320, 1000},
                                   {-320, 320},
                                   {-1000, 320},
                                   {-1000, -320},
                                   {-320, -320}};
// [shape]; empty: made of circles.
constexpr std::array<std::span<const OutlinePoint>, kShapeNames.size()> kOutlines = {
    {{}, kSquare, kTriangle, kStar, kHeart, kDiamond, kCross, {}}};
constexpr int kRingShape = 7;
constexpr int kRingHole = 560;  // thousandths of the radius

// Strokes of the digits, in hundredths of the height; x in 0..60.
constexpr OutlinePoint kZero[] = {{30, 0},
                                  {46, 5},
                                  {57, 24},
                                  {60, 50},
                                  {57, 76},
                                  {46, 95},
                                  {30, 100},
                                  {14, 95},
                                  {3, 76},
                                  {0, 50},
                                  {3, 24},
                                  {14, 5},
                                  {30, 0}};
constexpr OutlinePoint kOne[] = {{10, 22}, {36, 0}, {36, 100}};
constexpr OutlinePoint kTwo[] = {
    {1, 26}, {8, 8}, {30, 0}, {52, 8}, {58, 26}, {50, 46}, {0, 100}, {60, 100}};
constexpr OutlinePoint kThree[] = {{2, 0},
                                   {56, 0},
                                   {26, 40},
                                   {46, 46},
                                   {58, 60},
                                   {58, 78},
                                   {48, 94},
                                   {28, 100},
                                   {10, 96},
                                   {0, 82}};
constexpr OutlinePoint kFour[] = {{46, 100}, {46, 0}, {0, 68}, {60, 68}};
constexpr OutlinePoint kFive[] = {
    {56, 0}, {8, 0}, {4, 44}, {28, 38}, {50, 46}, {60, 68}, {52, 90}, {30, 100}, {10, 97}, {0, 86}};
constexpr OutlinePoint kSix[] = {{50, 4},
                                 {30, 4},
                                 {10, 24},
                                 {0, 56},
                                 {3, 80},
                                 {14, 96},
                                 {32, 100},
                                 {50, 94},
                                 {60, 74},
                                 {52, 52},
                                 {32, 44},
                                 {12, 52},
                                 {1, 66}};
constexpr OutlinePoint kSeven[] = {{0, 0}, {60, 0}, {20, 100}};
constexpr OutlinePoint kEight[] = {{30, 47},
                                   {10, 38},
                                   {4, 22},
                                   {12, 6},
                                   {30, 0},
                                   {48, 6},
                                   {56, 22},
                                   {50, 38},
                                   {30, 47},
                                   {8, 58},
                                   {0, 75},
                                   {9, 93},
                                   {30, 100},
                                   {51, 93},
                                   {60, 75},
                                   {52, 58},
                                   {30, 47}};
constexpr OutlinePoint kNine[] = {{10, 96},
                                  {30, 96},
                                  {50, 76},
                                  {60, 44},
                                  {57, 20},
                                  {46, 4},
                                  {28, 0},
                                  {10, 6},
                                  {0, 26},
                                  {8, 48},
                                  {28, 56},
                                  {48, 48},
                                  {59, 34}};
constexpr std::array<std::span<const OutlinePoint>, 10> kDigits = {
    {kZero, kOne, kTwo, kThree, kFour, kFive, kSix, kSeven, kEight, kNine}};
constexpr int kDigitWidth = 60;       // hundredths of the height
constexpr int kStrokePerMille = 150;  // of the height

std::vector<cv::Point> Placed(
    std::span<const OutlinePoint> outline, int x, int y, int scale, int unit) {
  std::vector<cv::Point> points;
  points.reserve(outline.size());
  for (const OutlinePoint& point : outline) {
    points.emplace_back(x + point.x * scale / unit, y + point.y * scale / unit);
  }
  return points;
}

cv::Scalar Jittered(const Rgb& color, int jitter, CounterRng& rng) {
  cv::Scalar result;
  for (size_t i = 0; i < color.size(); ++i) {
    result[static_cast<int>(i)] = std::clamp(color[i] + rng.Between(-jitter, jitter), 0, 255);
  }
  return result;
}

void PaintFigure(const Figure& figure,
                 const cv::Scalar& color,
                 const cv::Scalar& background,
                 cv::Mat& canvas) {
  const cv::Point center(figure.x, figure.y);
  const std::span<const OutlinePoint> outline = kOutlines[figure.shape];
  if (!outline.empty()) {
    const auto points = Placed(outline, figure.x, figure.y, figure.radius, 1000);
    cv::fillPoly(canvas, std::vector{points}, color, cv::LINE_8, kShift);
    return;
  }
  cv::circle(canvas, center, figure.radius, color, cv::FILLED, cv::LINE_8, kShift);
  if (figure.shape == kRingShape) {
    cv::circle(canvas,
               center,
               figure.radius * kRingHole / 1000,
               background,
               cv::FILLED,
               cv::LINE_8,
               kShift);
  }
}

void PaintDigit(const Digit& digit, int ink, cv::Mat& canvas) {
  const int left = digit.x - digit.height * kDigitWidth / 200;
  const int top = digit.y - digit.height / 2;
  const auto points = Placed(kDigits[digit.value], left, top, digit.height, 100);
  const int thickness = std::max(1, digit.height * kStrokePerMille / 1000 >> kShift);
  cv::polylines(canvas,
                std::vector{points},
                /*isClosed=*/false,
                cv::Scalar::all(ink),
                thickness,
                cv::LINE_8,
                kShift);
}

// Means of kOversampling x kOversampling pixels, rounded.
std::vector<uint8_t> AveragedDown(const cv::Mat& canvas, int picture_px) {
  constexpr int kArea = kOversampling * kOversampling;
  std::vector<uint8_t> pixels(static_cast<size_t>(picture_px) * picture_px * 3);
  std::vector<int> sums(static_cast<size_t>(picture_px) * 3);
  for (int y = 0; y < picture_px; ++y) {
    std::fill(sums.begin(), sums.end(), kArea / 2);
    for (int row = y * kOversampling; row < (y + 1) * kOversampling; ++row) {
      const uint8_t* source = canvas.ptr<uint8_t>(row);
      for (int x = 0; x < picture_px; ++x) {
        for (int i = 0; i < kOversampling; ++i, source += 3) {
          for (int channel = 0; channel < 3; ++channel) sums[x * 3 + channel] += source[channel];
        }
      }
    }
    uint8_t* row = &pixels[static_cast<size_t>(y) * picture_px * 3];
    for (const int sum : sums) *row++ = static_cast<uint8_t>(sum / kArea);
  }
  return pixels;
}

}  // namespace

std::vector<uint8_t> PaintScene(const Scene& scene, int picture_px, CounterRng rng) {
  const int side = picture_px * kOversampling;
  const cv::Scalar background = Jittered(kBackgrounds[scene.background], kBackgroundJitter, rng);
  cv::Mat canvas(side, side, CV_8UC3, background);
  for (const Figure& figure : scene.figures) {
    PaintFigure(figure, Jittered(kColors[figure.color], kColorJitter, rng), background, canvas);
  }
  if (scene.digit.has_value()) {
    PaintDigit(*scene.digit, scene.background == kBlackBackground ? kLightInk : kDarkInk, canvas);
  }
  return AveragedDown(canvas, picture_px);
}

}  // namespace parrot
