// Times llama.cpp's vision encoder (libmtmd's clip) on an image of noise. Compiled by
// build_llama.sh against the pinned version, whose internal headers it includes; no part of our
// own build.
//
//   vision-driver MMPROJ.gguf THREADS REPEATS
//
// Prints one line of JSON: {"flash": [ms...], "plain": [ms...]}, with and without flash attention.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "clip-impl.h"
#include "clip.h"

namespace {

constexpr int kImageSize = 336;

clip_image_f32 NoiseImage() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> pixels(3 * kImageSize * kImageSize);
  std::generate(pixels.begin(), pixels.end(), [&] { return normal(random); });
  clip_image_f32 image;
  image.set_size({kImageSize, kImageSize}, /*is_placeholder=*/false, /*is_audio=*/false);
  image.cpy_buf(pixels);
  return image;
}

// Prints the milliseconds of each of `repeats` passes, after one that is not counted.
bool Measure(const char* file, clip_flash_attn_type attention, int threads, int repeats) {
  clip_context_params params = {};
  params.flash_attn_type = attention;
  clip_ctx* context = clip_init(file, params).ctx_v;
  if (context == nullptr) return false;
  const clip_image_f32 image = NoiseImage();
  std::vector<float> output(static_cast<size_t>(clip_n_output_tokens(context, &image)) *
                            clip_n_mmproj_embd(context));
  bool good = true;
  for (int i = 0; good && i <= repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    good = clip_image_encode(context, threads, &image, output);
    const std::chrono::duration<double, std::milli> elapsed =
        std::chrono::steady_clock::now() - start;
    if (good && i > 0) std::printf("%s%.3f", i > 1 ? ", " : "", elapsed.count());
  }
  clip_free(context);
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: vision-driver MMPROJ.gguf THREADS REPEATS\n");
    return 2;
  }
  const int threads = std::atoi(argv[2]);
  const int repeats = std::atoi(argv[3]);
  std::printf("{\"flash\": [");
  if (!Measure(argv[1], CLIP_FLASH_ATTN_TYPE_ENABLED, threads, repeats)) return 1;
  std::printf("], \"plain\": [");
  if (!Measure(argv[1], CLIP_FLASH_ATTN_TYPE_DISABLED, threads, repeats)) return 1;
  std::printf("]}\n");
  return 0;
}
