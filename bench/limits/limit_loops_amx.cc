#include <immintrin.h>

#include "bench/limits/isa_loops.h"

namespace parrot {
namespace {

constexpr int kRows = 16, kRowBytes = 64;
constexpr int kTilesOut = 4;  // tiles 0..3 are sums, 4 and 5 left operands, 6 and 7 right ones

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {
      kRowBytes, kRowBytes, kRowBytes, kRowBytes, kRowBytes, kRowBytes, kRowBytes, kRowBytes};
  uint8_t rows[16] = {kRows, kRows, kRows, kRows, kRows, kRows, kRows, kRows};
};
static_assert(sizeof(TileConfig) == 64);

// Tiles hold `pattern` in each 16 bits; belongs to the calling thread until _tile_release.
void LoadTiles(uint16_t pattern) {
  TileConfig config;
  asm volatile("" : "+m"(config));  // GCC 12 believes that 8 bytes of it are read
  _tile_loadconfig(&config);
  alignas(64) uint16_t data[kRows * kRowBytes / 2];
  for (uint16_t& value : data) value = pattern;
  asm volatile("" : "+m"(data));
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, data, kRowBytes);
  _tile_loadd(5, data, kRowBytes);
  _tile_loadd(6, data, kRowBytes);
  _tile_loadd(7, data, kRowBytes);
}

void Bf16Peak(int64_t iterations) {
  LoadTiles(0x3f80);
  for (int64_t n = 0; n < iterations; ++n) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

void Int8Peak(int64_t iterations) {
  LoadTiles(0x0302);
  for (int64_t n = 0; n < iterations; ++n) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
}

}  // namespace

PeakLoop AmxBf16Peak() {
  return {.arithmetic = Arithmetic::kBFloat16,
          .isa = kernels::Isa::kAmx,
          .instruction = "tdpbf16ps",
          .operations = int64_t{2} * kTilesOut * kRows * 16 * (kRowBytes / 2),
          .run = Bf16Peak};
}

PeakLoop AmxInt8Peak() {
  return {.arithmetic = Arithmetic::kInt8,
          .isa = kernels::Isa::kAmx,
          .instruction = "tdpbusd",
          .operations = int64_t{2} * kTilesOut * kRows * 16 * kRowBytes,
          .run = Int8Peak};
}

}  // namespace parrot
