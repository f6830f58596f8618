// The twin that the resampler is tested against: builds the square, walks pixel by pixel, tap by
// tap, in the order of the formula. Slow and plain on purpose.
#ifndef PARROT_TESTS_MODEL_IMAGE_NAIVE_RESAMPLE_H_
#define PARROT_TESTS_MODEL_IMAGE_NAIVE_RESAMPLE_H_

#include <cstdint>
#include <vector>

#include "model/image/pillow_resample.h"

namespace parrot::testing {

// Pillow's image.resize((width, height), BICUBIC): [height, width, 3].
std::vector<uint8_t> NaiveResize(RgbView image, int32_t width, int32_t height);
// On a canvas that is built.
std::vector<uint8_t> NaivePadAndResize(RgbView image, RgbColour background, int32_t size);
// Resizes all, then cuts.
std::vector<uint8_t> NaiveResizeAndCentreCrop(RgbView image, int32_t size);

}  // namespace parrot::testing

#endif  // PARROT_TESTS_MODEL_IMAGE_NAIVE_RESAMPLE_H_
