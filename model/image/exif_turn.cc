// Turning pictures by EXIF orientation, with OpenCV's blocked transpose and flip.
#include <opencv2/core.hpp>
#include <utility>

#include "model/image/codec_decoders.h"

namespace parrot::internal {
namespace {

// A header over pixels that RgbImage owns.
cv::Mat Borrow(const RgbImage& image) {
  return cv::Mat(image.height, image.width, CV_8UC3, image.pixels.get());
}

// cv::flip's codes.
constexpr int kFlipVertically = 0;
constexpr int kFlipHorizontally = 1;
constexpr int kFlipBoth = -1;

RgbImage Flip(RgbImage image, int code) {
  cv::Mat pixels = Borrow(image);
  cv::flip(pixels, pixels, code);
  return image;
}

RgbImage Transpose(const RgbImage& image) {
  RgbImage transposed = AllocateRgbImage(image.height, image.width);
  cv::Mat out = Borrow(transposed);
  cv::transpose(Borrow(image), out);
  return transposed;
}

}  // namespace

RgbImage TurnUpright(RgbImage image, int32_t orientation) {
  switch (orientation) {
    case 2:
      return Flip(std::move(image), kFlipHorizontally);
    case 3:
      return Flip(std::move(image), kFlipBoth);
    case 4:
      return Flip(std::move(image), kFlipVertically);
    case 5:
      return Transpose(image);
    case 6:
      return Flip(Transpose(image), kFlipHorizontally);
    case 7:
      return Flip(Transpose(image), kFlipBoth);
    case 8:
      return Flip(Transpose(image), kFlipVertically);
    default:
      return image;
  }
}

}  // namespace parrot::internal
