// Pillow's antialiased bicubic resize (libImaging/Resample.c), bit for bit, on uint8 RGB.
//
// a = -0.5; support 2 * max(scale, 1); weights in double, normalised to 1, then fixed point with 22
// bits rounded half away from zero; the accumulator starts at 2^21, is shifted right by 22 and
// clipped to 0..255. Horizontal pass first into uint8, then vertical. cv::INTER_CUBIC differs
// (a = -0.75, no antialiasing), ATen's uint8 kernel too (16-bit weights).
//
// The picture lies on a larger virtual canvas of one colour (padding to a square), or only a window
// of the output is wanted (centre crop). Neither is ever built: a tap outside the picture is the
// constant `background`, so the sum of its weights goes into the accumulator's start, and outputs
// outside the window are not computed. A 65535x1 picture needs no 4-gigapixel square.
//
// Reference loop of one pass, per output i and channel c (content pixels p, canvas taps t):
//   out[i] = clip((2^21 + sum_t w[i][t] * (t inside ? p[t][c] : background[c])) >> 22)
// All sums are exact in int32, so their order does not matter: the kernel takes 48 lanes at a time
// (16 rows x RGB, or 16 pixels of a row), which compilers vectorise. Pure functions, thread-safe.
#ifndef PARROT_MODEL_IMAGE_PILLOW_RESAMPLE_H_
#define PARROT_MODEL_IMAGE_PILLOW_RESAMPLE_H_

#include <array>
#include <cstdint>
#include <vector>

namespace parrot {

using RgbColour = std::array<uint8_t, 3>;

// Borrowed [height, width, 3] uint8, row-major without gaps. Sides >= 1.
struct RgbView {
  const uint8_t* pixels = nullptr;
  int32_t width = 0;
  int32_t height = 0;
};

// One direction of a resize: a canvas of `canvas` pixels that holds the picture's `content` pixels
// from `content_begin` is resized to `scaled` pixels, of which `num_outputs` from `first_output`
// are computed. All in pixels.
struct ResizeAxis {
  int64_t canvas = 0;
  int32_t content_begin = 0;
  int64_t scaled = 0;
  int64_t first_output = 0;
  int32_t num_outputs = 0;
};

// The general form: [vertical.num_outputs, horizontal.num_outputs, 3].
// REQUIRES: content lies on the canvas and the outputs in the scaled picture.
// Memory: horizontal.num_outputs x image.height pixels for the intermediate, and 16 rows.
std::vector<uint8_t> Resample(RgbView image,
                              RgbColour background,
                              const ResizeAxis& horizontal,
                              const ResizeAxis& vertical);

// The reference's `pad`: a square of side max(width, height) in `background`, the picture at
// (0, (w-h)/2) or ((h-w)/2, 0) rounded down, resized to [size, size, 3].
std::vector<uint8_t> PadAndResize(RgbView image, RgbColour background, int32_t size);

// Without padding: short edge to `size`, long edge to int(size * long / short), then the centre
// [size, size, 3] (offset rounded down), as CLIPImageProcessor does.
std::vector<uint8_t> ResizeAndCentreCrop(RgbView image, int32_t size);

}  // namespace parrot

#endif  // PARROT_MODEL_IMAGE_PILLOW_RESAMPLE_H_
