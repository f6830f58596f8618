#include "model/image/pillow_resample.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>

#include "base/check.h"

namespace parrot {
namespace {

constexpr int kFractionBits = 22;
constexpr int32_t kHalf = int32_t{1} << (kFractionBits - 1);
// Rows that the horizontal pass takes together; times RGB it is the width of the kernel.
constexpr int kRows = 16;
constexpr int kLanes = 3 * kRows;

double Bicubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * kA;
  return 0.0;
}

// Taps of one output on the content, and the weight of its taps outside. Constant after
// construction.
struct Output {
  int32_t first_tap = 0;  // content pixel
  int32_t num_taps = 0;
  size_t first_weight = 0;  // index into PassPlan::weights
  int32_t outside_weight = 0;
};

struct PassPlan {
  std::vector<Output> outputs;
  std::vector<int32_t> weights;  // fixed point
};

int32_t ToFixedPoint(double weight) {
  const double scaled = weight * (int32_t{1} << kFractionBits);
  return static_cast<int32_t>(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

PassPlan MakePlan(const ResizeAxis& axis, int32_t content) {
  PARROT_CHECK(content >= 1 && axis.content_begin >= 0 &&
               axis.content_begin + int64_t{content} <= axis.canvas);
  PARROT_CHECK(axis.first_output >= 0 && axis.first_output + axis.num_outputs <= axis.scaled);
  const double scale = static_cast<double>(axis.canvas) / static_cast<double>(axis.scaled);
  const double filter_scale = std::max(scale, 1.0);
  const double support = 2.0 * filter_scale;
  const double inverse_filter_scale = 1.0 / filter_scale;
  PassPlan plan;
  plan.outputs.reserve(axis.num_outputs);
  std::vector<double> weights;
  for (int64_t i = axis.first_output; i < axis.first_output + axis.num_outputs; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    // Truncated, not rounded, as Pillow does; the lower border can be negative until it is clipped.
    const auto begin = static_cast<int64_t>(std::max(std::trunc(centre - support + 0.5), 0.0));
    const auto end =
        std::min(static_cast<int64_t>(std::trunc(centre + support + 0.5)), axis.canvas);
    weights.clear();
    double sum = 0.0;
    for (int64_t x = 0; x < end - begin; ++x) {
      const double offset = static_cast<double>(x + begin) - centre + 0.5;
      weights.push_back(Bicubic(offset * inverse_filter_scale));
      sum += weights.back();
    }
    Output output = {.first_weight = plan.weights.size()};
    for (int64_t x = 0; x < end - begin; ++x) {
      const int32_t weight = ToFixedPoint(sum != 0.0 ? weights[x] / sum : weights[x]);
      const int64_t pixel = begin + x - axis.content_begin;
      if (pixel < 0 || pixel >= content) {
        output.outside_weight += weight;
      } else if (weight != 0 || output.num_taps != 0) {
        if (output.num_taps == 0) output.first_tap = static_cast<int32_t>(pixel);
        plan.weights.push_back(weight);
        ++output.num_taps;
      }
    }
    // Taps of weight zero at the ends: at scale 1 this leaves one tap of weight one, a copy.
    while (output.num_taps != 0 && plan.weights.back() == 0) {
      plan.weights.pop_back();
      --output.num_taps;
    }
    plan.outputs.push_back(output);
  }
  return plan;
}

// A channel's colour per lane.
using LaneColours = std::array<int32_t, kLanes>;

// One output: `in` is its first tap, taps are `tap_bytes` apart. Reads and writes kLanes bytes
// each.
inline __attribute__((always_inline)) void AccumulateOutput(const Output& output,
                                                            const int32_t* weights,
                                                            const LaneColours& background,
                                                            const uint8_t* in,
                                                            size_t tap_bytes,
                                                            uint8_t* out) {
  int32_t sums[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    sums[lane] = kHalf + output.outside_weight * background[lane];
  }
  for (int32_t tap = 0; tap < output.num_taps; ++tap, in += tap_bytes) {
    const int32_t weight = weights[tap];
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += weight * in[lane];
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    out[lane] = static_cast<uint8_t>(std::clamp(sums[lane] >> kFractionBits, 0, 255));
  }
}

// All outputs of a plan over one group of lanes: output i reads from in + first_tap * tap_bytes and
// goes to out + i * out_bytes.
inline __attribute__((always_inline)) void RunPlanGeneric(const PassPlan& plan,
                                                          const LaneColours& background,
                                                          const uint8_t* in,
                                                          size_t tap_bytes,
                                                          uint8_t* out,
                                                          size_t out_bytes) {
  for (const Output& output : plan.outputs) {
    AccumulateOutput(output,
                     plan.weights.data() + output.first_weight,
                     background,
                     in + output.first_tap * tap_bytes,
                     tap_bytes,
                     out);
    out += out_bytes;
  }
}

using RunPlanFunction =
    void (*)(const PassPlan&, const LaneColours&, const uint8_t*, size_t, uint8_t*, size_t);

void RunPlanBaseline(const PassPlan& plan,
                     const LaneColours& background,
                     const uint8_t* in,
                     size_t tap_bytes,
                     uint8_t* out,
                     size_t out_bytes) {
  RunPlanGeneric(plan, background, in, tap_bytes, out, out_bytes);
}

#if defined(__x86_64__)
// The same code with 32-bit multiplies of eight lanes, which SSE2 lacks.
__attribute__((target("avx2"))) void RunPlanAvx2(const PassPlan& plan,
                                                 const LaneColours& background,
                                                 const uint8_t* in,
                                                 size_t tap_bytes,
                                                 uint8_t* out,
                                                 size_t out_bytes) {
  RunPlanGeneric(plan, background, in, tap_bytes, out, out_bytes);
}
#endif

RunPlanFunction ChooseRunPlan() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return RunPlanAvx2;
#endif
  return RunPlanBaseline;
}

// Rows of a picture, padded at their ends to whole groups of lanes.
struct RowBuffer {
  size_t row_bytes = 0;
  std::unique_ptr<uint8_t[]> bytes;
};

RowBuffer MakeRowBuffer(int64_t num_rows, int32_t width) {
  RowBuffer buffer;
  buffer.row_bytes = (size_t{3} * width + kLanes - 1) / kLanes * kLanes;
  // Zeroed: the padding is computed with, and must not be indeterminate.
  buffer.bytes = std::make_unique<uint8_t[]>(buffer.row_bytes * num_rows);
  return buffer;
}

// Rows [first_row, end_row) of the image -> [rows, num_outputs, 3]. Sixteen rows at a time are
// turned on their side, so that one pixel's channels of all rows are contiguous lanes.
RowBuffer HorizontalPass(RgbView image,
                         RgbColour background,
                         const PassPlan& plan,
                         int32_t first_row,
                         int32_t end_row,
                         RunPlanFunction run_plan) {
  const auto num_outputs = static_cast<int32_t>(plan.outputs.size());
  const size_t in_row_bytes = size_t{3} * image.width;
  const size_t out_row_values = size_t{3} * num_outputs;
  RowBuffer result = MakeRowBuffer(end_row - first_row, num_outputs);
  LaneColours colours;  // lane = channel * kRows + row
  for (int lane = 0; lane < kLanes; ++lane) colours[lane] = background[lane / kRows];
  const auto turned = std::make_unique<uint8_t[]>(in_row_bytes * kRows);
  const auto turned_out = std::make_unique<uint8_t[]>(out_row_values * kRows);
  for (int32_t row = first_row; row < end_row; row += kRows) {
    const int32_t num_rows = std::min(kRows, end_row - row);
    const uint8_t* in = image.pixels + in_row_bytes * row;
    if (num_rows == kRows) {
      for (size_t i = 0; i < in_row_bytes; ++i) {
        for (int r = 0; r < kRows; ++r) turned[i * kRows + r] = in[r * in_row_bytes + i];
      }
    } else {  // the lanes of missing rows keep what they had
      for (size_t i = 0; i < in_row_bytes; ++i) {
        for (int r = 0; r < num_rows; ++r) turned[i * kRows + r] = in[r * in_row_bytes + i];
      }
    }
    run_plan(plan, colours, turned.get(), kLanes, turned_out.get(), kLanes);
    for (int r = 0; r < num_rows; ++r) {
      uint8_t* out = result.bytes.get() + result.row_bytes * (row - first_row + r);
      for (size_t i = 0; i < out_row_values; ++i) out[i] = turned_out[i * kRows + r];
    }
  }
  return result;
}

}  // namespace

std::vector<uint8_t> Resample(RgbView image,
                              RgbColour background,
                              const ResizeAxis& horizontal,
                              const ResizeAxis& vertical) {
  const RunPlanFunction run_plan = ChooseRunPlan();
  const PassPlan horizontal_plan = MakePlan(horizontal, image.width);
  PassPlan vertical_plan = MakePlan(vertical, image.height);
  // Only rows that the vertical pass reads.
  int32_t first_row = image.height;
  int32_t end_row = 0;
  for (const Output& output : vertical_plan.outputs) {
    if (output.num_taps == 0) continue;
    first_row = std::min(first_row, output.first_tap);
    end_row = std::max(end_row, output.first_tap + output.num_taps);
  }
  first_row = std::min(first_row, end_row);
  for (Output& output : vertical_plan.outputs) {
    if (output.num_taps != 0) output.first_tap -= first_row;
  }
  const RowBuffer rows =
      HorizontalPass(image, background, horizontal_plan, first_row, end_row, run_plan);
  LaneColours colours;  // lane = 3 * pixel + channel
  for (int lane = 0; lane < kLanes; ++lane) colours[lane] = background[lane % 3];
  const RowBuffer resized = MakeRowBuffer(vertical.num_outputs, horizontal.num_outputs);
  for (size_t column = 0; column < resized.row_bytes; column += kLanes) {
    run_plan(vertical_plan,
             colours,
             rows.bytes.get() + column,
             rows.row_bytes,
             resized.bytes.get() + column,
             resized.row_bytes);
  }
  const size_t row_values = size_t{3} * horizontal.num_outputs;
  std::vector<uint8_t> out(row_values * vertical.num_outputs);
  for (int32_t y = 0; y < vertical.num_outputs; ++y) {
    std::memcpy(
        out.data() + row_values * y, resized.bytes.get() + resized.row_bytes * y, row_values);
  }
  return out;
}

std::vector<uint8_t> PadAndResize(RgbView image, RgbColour background, int32_t size) {
  const int32_t side = std::max(image.width, image.height);
  const auto axis = [&](int32_t content) {
    return ResizeAxis{.canvas = side,
                      .content_begin = (side - content) / 2,
                      .scaled = size,
                      .first_output = 0,
                      .num_outputs = size};
  };
  return Resample(image, background, axis(image.width), axis(image.height));
}

std::vector<uint8_t> ResizeAndCentreCrop(RgbView image, int32_t size) {
  const int32_t short_side = std::min(image.width, image.height);
  const auto axis = [&](int32_t content) {
    const int64_t scaled = content == short_side ? size : int64_t{size} * content / short_side;
    return ResizeAxis{.canvas = content,
                      .content_begin = 0,
                      .scaled = scaled,
                      .first_output = (scaled - size) / 2,
                      .num_outputs = size};
  };
  return Resample(image, RgbColour{}, axis(image.width), axis(image.height));
}

}  // namespace parrot
