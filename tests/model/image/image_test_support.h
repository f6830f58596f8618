// What the tests of model/image share: writers of images that are valid, or broken in one chosen
// way.
#ifndef PARROT_TESTS_MODEL_IMAGE_IMAGE_TEST_SUPPORT_H_
#define PARROT_TESTS_MODEL_IMAGE_IMAGE_TEST_SUPPORT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "model/image/image_decoder.h"
#include "model/image/pillow_resample.h"

namespace parrot::testing {

// Owns pixels for an RgbView.
struct TestImage {
  int32_t width = 0;
  int32_t height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]

  RgbView view() const { return {pixels.data(), width, height}; }
};
TestImage RandomImage(int32_t width, int32_t height, uint32_t seed);
RgbView View(const RgbImage& image);
std::string PixelsHex(RgbView image);  // SHA-256 of the pixel bytes

// The golden set's GIF and BMP, whose formats the server refuses: their pixels test the resampler.
// Only what these two files need (one frame; 24 bits, bottom-up).
TestImage ReadGif(std::string_view bytes);
TestImage ReadBmp(std::string_view bytes);

// PNG pieces. A chunk has a right checksum.
inline constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n";
std::string PngChunk(std::string_view type, std::string_view payload);
std::string PngHeader(
    uint32_t width, uint32_t height, int depth, int colour_type, int interlace = 0);
std::string Deflate(std::string_view bytes);
// Raw samples of each row (no filter bytes) to a whole PNG; `before_data` are chunks.
std::string MakePng(uint32_t width,
                    uint32_t height,
                    int depth,
                    int colour_type,
                    std::string_view samples,
                    std::string_view before_data = "");

struct JpegOptions {
  int quality = 90;
  bool progressive = false;
  int num_scans = 0;  // > 0: grey, progressive, that many scans (2..64)
};
std::string MakeJpeg(RgbView image, const JpegOptions& options = {});
// A four-component JPEG of one colour, as stored; `ycck` transforms it.
std::string MakeCmykJpeg(int32_t width, int32_t height, const uint8_t cmyk[4], bool ycck);
// A segment with its length; its payload goes in after SOI by InsertAfterSoi.
std::string JpegSegment(uint8_t marker, std::string_view payload);
std::string InsertAfterSoi(std::string_view jpeg, std::string_view segments);
// The frame header's sides replaced.
std::string ForgeJpegSize(std::string jpeg, uint32_t width, uint32_t height);
// A TIFF structure of one directory with one SHORT or LONG entry.
std::string TiffInteger(uint16_t tag, uint32_t value, bool is_long, bool big_endian);

std::string MakeLosslessWebp(RgbView image);
std::string RiffChunk(std::string_view type, std::string_view payload);
// A WebP file of whole chunks.
std::string WebpFile(std::string_view chunks);

}  // namespace parrot::testing

#endif  // PARROT_TESTS_MODEL_IMAGE_IMAGE_TEST_SUPPORT_H_
