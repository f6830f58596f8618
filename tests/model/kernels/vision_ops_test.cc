#include "model/kernels/vision_ops.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/isa.h"
#include "model/kernels/worker_pool.h"
#include "tests/model/kernels/guarded_rows.h"

namespace parrot::kernels {
namespace {

TEST(VisionOpsTest, PatchesAreChannelMajorAndNormalised) {
  constexpr int64_t kImages = 2, kSize = 12, kPatch = 4, kSide = kSize / kPatch;
  GuardedRows<uint8_t> pixels(kImages * kSize * kSize * 3);
  GuardedRows<float> table(3 * 256), rows(kImages * kSide * kSide * 3 * kPatch * kPatch);
  std::mt19937 random(1);
  for (uint8_t& pixel : pixels.span()) pixel = static_cast<uint8_t>(random());
  table.Fill(random);
  WorkerPool pool(2);
  PatchRows(pool,
            {.pixels = pixels.data(),
             .num_images = kImages,
             .size = kSize,
             .patch = kPatch,
             .normalization = table.data(),
             .rows = rows.data()});
  size_t i = 0;
  for (int64_t n = 0; n < kImages; ++n) {
    for (int64_t p = 0; p < kSide * kSide; ++p) {
      for (int64_t c = 0; c < 3; ++c) {
        for (int64_t y = p / kSide * kPatch; y < (p / kSide + 1) * kPatch; ++y) {
          for (int64_t x = p % kSide * kPatch; x < (p % kSide + 1) * kPatch; ++x) {
            ASSERT_EQ(rows[i++], table[c * 256 + pixels[((n * kSize + y) * kSize + x) * 3 + c]]);
          }
        }
      }
    }
  }
}

TEST(VisionOpsTest, TheClassRowComesFirstAndAllRowsGetTheirPositions) {
  constexpr int64_t kImages = 3, kPatches = 37, kHidden = 21;
  GuardedRows<float> patches(kImages * kPatches * kHidden), class_row(kHidden);
  GuardedRows<float> positions((kPatches + 1) * kHidden);
  GuardedRows<float> tokens(kImages * (kPatches + 1) * kHidden);
  std::mt19937 random(2);
  for (GuardedRows<float>* x : {&patches, &class_row, &positions}) x->Fill(random);
  WorkerPool pool(2);
  for (const Isa isa : AllIsas()) {
    AddPositions(isa,
                 pool,
                 {.patches = patches.data(),
                  .num_images = kImages,
                  .num_patches = kPatches,
                  .hidden = kHidden,
                  .class_row = class_row.data(),
                  .positions = positions.data(),
                  .tokens = tokens.data()});
    for (int64_t i = 0; i < kImages * (kPatches + 1) * kHidden; ++i) {
      const int64_t h = i % kHidden, token = i / kHidden % (kPatches + 1);
      const int64_t image = i / kHidden / (kPatches + 1);
      const float x =
          token == 0 ? class_row[h] : patches[(image * kPatches + token - 1) * kHidden + h];
      ASSERT_EQ(tokens[i], x + positions[token * kHidden + h]) << IsaName(isa);
    }
  }
}

struct Routed {
  explicit Routed(int64_t text_size, int64_t hidden, int64_t experts)
      : attention(text_size), attended(hidden), logits(experts), weights(experts) {}
  GuardedRows<float> attention, attended, logits, weights;
};

std::vector<double> Softmax(const std::vector<double>& scores) {
  std::vector<double> p;
  double sum = 0.0;
  for (const double x : scores)
    p.push_back(std::exp(x - *std::max_element(scores.begin(), scores.end())));
  for (const double x : p) sum += x;
  for (double& x : p) x /= sum;
  return p;
}

TEST(VisionOpsTest, RoutesByTheTextThatTheClassRowAttendsTo) {
  constexpr int64_t kExperts = 6;
  std::mt19937 random(3);
  WorkerPool one(1), two(2);
  for (const auto& [text_size, hidden] : {std::pair<int64_t, int64_t>{1, 5}, {77, 300}, {5, 64}}) {
    GuardedRows<float> c(hidden), text(text_size * hidden), router(kExperts * hidden);
    for (GuardedRows<float>* x : {&c, &text, &router}) x->Fill(random, 2.0f);
    std::vector<double> scores(text_size, 0.0), g(hidden, 0.0), z(kExperts, 0.0);
    for (int64_t i = 0; i < text_size * hidden; ++i) {
      scores[i / hidden] += c[i % hidden] * double{text[i]} / std::sqrt(hidden);
    }
    const std::vector<double> a = Softmax(scores);
    for (int64_t i = 0; i < text_size * hidden; ++i) g[i % hidden] += a[i / hidden] * text[i];
    for (int64_t i = 0; i < kExperts * hidden; ++i) z[i / hidden] += g[i % hidden] * router[i];
    const std::vector<double> r = Softmax(z);
    for (const Isa isa : AllIsas()) {
      Routed x(text_size, hidden, kExperts), y(text_size, hidden, kExperts);
      for (const auto& [pool, out] : {std::pair<WorkerPool*, Routed*>{&one, &x}, {&two, &y}}) {
        Route(isa,
              *pool,
              {.class_row = c.data(),
               .text = text.data(),
               .text_size = text_size,
               .hidden = hidden,
               .router = router.data(),
               .num_experts = kExperts,
               .attention = out->attention.data(),
               .attended = out->attended.data(),
               .logits = out->logits.data(),
               .weights = out->weights.data()});
      }
      for (int64_t t = 0; t < text_size; ++t) ASSERT_NEAR(x.attention[t], a[t], 1e-5);
      for (int64_t h = 0; h < hidden; ++h) ASSERT_NEAR(x.attended[h], g[h], 1e-5);
      for (int64_t i = 0; i < kExperts; ++i) {
        ASSERT_NEAR(x.logits[i], z[i], 1e-4) << IsaName(isa);
        ASSERT_NEAR(x.weights[i], r[i], 1e-4) << IsaName(isa);
        ASSERT_EQ(x.weights[i], y.weights[i]) << "the same bits with two threads";
      }
    }
  }
}

TEST(VisionOpsTest, MixesExpertsFirstToLast) {
  constexpr int64_t kRows = 19, kHidden = 45, kExperts = 6;
  GuardedRows<float> outputs(kExperts * kRows * kHidden), features(kRows * kHidden);
  GuardedRows<float> weights(kExperts), out(kRows * kHidden);
  std::mt19937 random(4);
  for (GuardedRows<float>* x : {&outputs, &features, &weights}) x->Fill(random);
  WorkerPool pool(2);
  for (const Isa isa : AllIsas()) {
    for (const float* residual :
         {static_cast<const float*>(features.data()), static_cast<const float*>(nullptr)}) {
      CombineExperts(isa,
                     pool,
                     {.rows = kRows,
                      .hidden = kHidden,
                      .num_experts = kExperts,
                      .outputs = outputs.data(),
                      .expert_stride = kRows * kHidden,
                      .weights = weights.data(),
                      .features = residual,
                      .residual_weight = 0.25f,
                      .out = out.data()});
      for (int64_t i = 0; i < kRows * kHidden; ++i) {
        float sum = weights[0] * outputs[i];
        for (int64_t expert = 1; expert < kExperts; ++expert) {
          sum = std::fma(weights[expert], outputs[expert * kRows * kHidden + i], sum);
        }
        if (residual != nullptr) sum = std::fma(0.25f, residual[i], sum);
        ASSERT_EQ(out[i], sum) << IsaName(isa);
      }
    }
  }
}

}  // namespace
}  // namespace parrot::kernels
