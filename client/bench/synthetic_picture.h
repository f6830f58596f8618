// Pictures for benchmarks: made from a seed, each unlike every other. Stateless; thread-safe.
#ifndef PARROT_CLIENT_BENCH_SYNTHETIC_PICTURE_H_
#define PARROT_CLIENT_BENCH_SYNTHETIC_PICTURE_H_

#include <cstdint>
#include <string>

namespace parrot {

struct PictureSize {
  int32_t width = 640;
  int32_t height = 480;

  friend bool operator==(const PictureSize&, const PictureSize&) = default;
};

// Longest side that is made; the server's limits may be lower.
inline constexpr int32_t kMaxPictureSide = 8192;

// A PNG file, RGB: a gradient with rectangles on it, the same for the same arguments.
// REQUIRES: 1 <= width, height <= kMaxPictureSide.
std::string SyntheticPicture(PictureSize size, uint64_t seed);

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_SYNTHETIC_PICTURE_H_
