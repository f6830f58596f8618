#include "tests/model/image/naive_resample.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace parrot::testing {
namespace {

double Filter(double x) {
  const double a = -0.5;
  if (x < 0.0) x = -x;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

struct Taps {
  int begin = 0;
  std::vector<int> weights;
};

std::vector<Taps> MakeTaps(int in_size, int out_size) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = 2.0 * filter_scale;
  std::vector<Taps> result;
  for (int i = 0; i < out_size; ++i) {
    const double centre = (i + 0.5) * scale;
    const int begin = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int end = std::min(static_cast<int>(centre + support + 0.5), in_size);
    std::vector<double> weights;
    double sum = 0.0;
    for (int x = begin; x < end; ++x) {
      weights.push_back(Filter((x - centre + 0.5) * (1.0 / filter_scale)));
      sum += weights.back();
    }
    Taps taps = {begin, {}};
    for (double weight : weights) {
      weight = weight / sum * (1 << 22);
      taps.weights.push_back(static_cast<int>(weight < 0 ? weight - 0.5 : weight + 0.5));
    }
    result.push_back(taps);
  }
  return result;
}

uint8_t Clip(int64_t sum) { return static_cast<uint8_t>(std::clamp<int64_t>(sum >> 22, 0, 255)); }

}  // namespace

std::vector<uint8_t> NaiveResize(RgbView image, int32_t width, int32_t height) {
  std::vector<uint8_t> in(image.pixels, image.pixels + size_t{3} * image.width * image.height);
  if (width != image.width) {
    const std::vector<Taps> taps = MakeTaps(image.width, width);
    std::vector<uint8_t> out;
    for (int y = 0; y < image.height; ++y) {
      for (const Taps& tap : taps) {
        for (int channel = 0; channel < 3; ++channel) {
          int64_t sum = 1 << 21;
          for (size_t t = 0; t < tap.weights.size(); ++t) {
            const size_t pixel = size_t{1} * y * image.width + tap.begin + t;
            sum += int64_t{tap.weights[t]} * in[3 * pixel + channel];
          }
          out.push_back(Clip(sum));
        }
      }
    }
    in = std::move(out);
  }
  if (height != image.height) {
    std::vector<uint8_t> out;
    for (const Taps& tap : MakeTaps(image.height, height)) {
      for (size_t column = 0; column < size_t{3} * width; ++column) {
        int64_t sum = 1 << 21;
        for (size_t t = 0; t < tap.weights.size(); ++t) {
          sum += int64_t{tap.weights[t]} * in[(tap.begin + t) * 3 * width + column];
        }
        out.push_back(Clip(sum));
      }
    }
    in = std::move(out);
  }
  return in;
}

std::vector<uint8_t> NaivePadAndResize(RgbView image, RgbColour background, int32_t size) {
  const int32_t side = std::max(image.width, image.height);
  std::vector<uint8_t> square;
  for (int64_t i = 0; i < int64_t{side} * side; ++i) {
    square.insert(square.end(), background.begin(), background.end());
  }
  const int32_t left = (side - image.width) / 2;
  const int32_t top = (side - image.height) / 2;
  for (int32_t y = 0; y < image.height; ++y) {
    const uint8_t* row = image.pixels + size_t{3} * image.width * y;
    std::copy(
        row, row + size_t{3} * image.width, square.begin() + 3 * (int64_t{top + y} * side + left));
  }
  return NaiveResize({square.data(), side, side}, size, size);
}

std::vector<uint8_t> NaiveResizeAndCentreCrop(RgbView image, int32_t size) {
  const int32_t short_side = std::min(image.width, image.height);
  const auto scaled = [&](int32_t side) {
    return side == short_side
               ? size
               : static_cast<int32_t>(static_cast<double>(int64_t{size} * side) / short_side);
  };
  const int32_t width = scaled(image.width);
  const int32_t height = scaled(image.height);
  const std::vector<uint8_t> resized = NaiveResize(image, width, height);
  const int32_t left = (width - size) / 2;
  const int32_t top = (height - size) / 2;
  std::vector<uint8_t> out;
  for (int32_t y = 0; y < size; ++y) {
    const auto row = resized.begin() + 3 * (int64_t{top + y} * width + left);
    out.insert(out.end(), row, row + 3 * size);
  }
  return out;
}

}  // namespace parrot::testing
