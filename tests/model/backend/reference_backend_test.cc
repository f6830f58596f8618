// The reference backend against the loops that backend.h states, in double precision.
#include "model/backend/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/zeros.h"
#include "gtest/gtest.h"
#include "tests/model/backend/map_source.h"

namespace parrot {
namespace {

constexpr int64_t kHeads = 6, kKvHeads = 2, kDim = 8, kHidden = 20;

double At(const at::Tensor& t, std::initializer_list<int64_t> index) {
  at::Tensor value = t;
  for (const int64_t i : index) value = value[i];
  return value.item<double>();
}

QkvSpec MakeQkvSpec(float theta, int32_t layer_idx = 0) {
  const auto linear = [](const std::string& name, int64_t out) {
    return LinearSpec{.name = name, .in_features = kHidden, .out_features = out, .has_bias = true};
  };
  return {.norm = {.name = "norm", .kind = NormKind::kRmsNorm, .size = kHidden, .eps = 1e-6f},
          .query = linear("q", kHeads * kDim),
          .key = linear("k", kKvHeads * kDim),
          .value = linear("v", kKvHeads * kDim),
          .num_heads = kHeads,
          .num_kv_heads = kKvHeads,
          .head_dim = kDim,
          .layer_idx = layer_idx,
          .rope_theta = theta};
}

// x [rows, heads, kDim] rotated by its positions, as the loop over pairs (i, i + half).
at::Tensor NaiveRotate(const at::Tensor& x, const std::vector<int64_t>& positions, double theta) {
  at::Tensor out = x.clone();
  const int64_t half = kDim / 2;
  for (int64_t row = 0; row < x.size(0); ++row) {
    for (int64_t head = 0; head < x.size(1); ++head) {
      for (int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(positions[row]) * std::pow(theta, -2.0 * i / kDim);
        const double a = At(x, {row, head, i}), b = At(x, {row, head, i + half});
        out[row][head][i] = a * std::cos(angle) - b * std::sin(angle);
        out[row][head][i + half] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
  }
  return out;
}

// One sequence of rows; row t sees s <= t when causal.
at::Tensor NaiveAttend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal) {
  const int64_t rows = q.size(0);
  at::Tensor out = RandomTensor(0, {rows, kHeads * kDim}, at::kDouble);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t h = 0; h < kHeads; ++h) {
      const int64_t kv = h / (kHeads / kKvHeads);
      const int64_t end = causal ? t + 1 : rows;
      std::vector<double> weights(end);
      double total = 0.0;
      for (int64_t s = 0; s < end; ++s) {
        double dot = 0.0;
        for (int64_t i = 0; i < kDim; ++i) dot += At(q, {t, h, i}) * At(k, {s, kv, i});
        weights[s] = std::exp(dot / std::sqrt(double{kDim}));
        total += weights[s];
      }
      for (int64_t i = 0; i < kDim; ++i) {
        double sum = 0.0;
        for (int64_t s = 0; s < end; ++s) sum += weights[s] / total * At(v, {s, kv, i});
        out[t][h * kDim + i] = sum;
      }
    }
  }
  return out;
}

class ReferenceBackendTest : public testing::Test {
 protected:
  ReferenceBackendTest() : workspace_(backend_.MakeWorkspace({})) {}

  ReferenceBackend backend_{{.device = at::kCPU, .compute_dtype = at::kDouble}};
  std::unique_ptr<Workspace> workspace_;
  MapSource source_{at::kDouble};
};

TEST_F(ReferenceBackendTest, AttendsDenseSequencesAsTheLoopDoes) {
  for (const bool causal : {true, false}) {
    for (const float theta : {0.0f, 100.0f}) {
      SCOPED_TRACE(testing::Message() << "causal " << causal << ", theta " << theta);
      const auto handle = backend_.MakeQkv(MakeQkvSpec(theta), source_);
      const Qkv qkv = {.query = RandomTensor(1, {9, kHeads, kDim}, at::kDouble, 2.0),
                       .key = RandomTensor(2, {9, kKvHeads, kDim}, at::kDouble, 2.0),
                       .value = RandomTensor(3, {9, kKvHeads, kDim}, at::kDouble, 2.0)};
      const auto context = backend_.MakeDenseContext();
      const int32_t cu_seqlens[] = {0, 1, 6, 9};
      backend_.PlanDense({.cu_seqlens = cu_seqlens, .causal = causal}, *workspace_, *context);
      const at::Tensor out = backend_.Attend(*handle, qkv, *context, *workspace_);
      for (int i = 0; i < 3; ++i) {
        const int64_t first = cu_seqlens[i], rows = cu_seqlens[i + 1] - first;
        std::vector<int64_t> positions(rows);
        std::iota(positions.begin(), positions.end(), 0);
        at::Tensor q = qkv.query.narrow(0, first, rows), k = qkv.key.narrow(0, first, rows);
        if (theta != 0.0f) {
          q = NaiveRotate(q, positions, theta);
          k = NaiveRotate(k, positions, theta);
        }
        const at::Tensor expected = NaiveAttend(q, k, qkv.value.narrow(0, first, rows), causal);
        // Rotary tables are fp32.
        EXPECT_TRUE(at::allclose(out.narrow(0, first, rows), expected, 0, 1e-5));
      }
    }
  }
}

TEST_F(ReferenceBackendTest, AttendsPagedChunksAsWholeDenseSequences) {
  constexpr int64_t kLength = 13;
  const auto handle = backend_.MakeQkv(MakeQkvSpec(100.0f, /*layer_idx=*/1), source_);
  const Qkv whole = {.query = RandomTensor(1, {kLength, kHeads, kDim}, at::kDouble, 2.0),
                     .key = RandomTensor(2, {kLength, kKvHeads, kDim}, at::kDouble, 2.0),
                     .value = RandomTensor(3, {kLength, kKvHeads, kDim}, at::kDouble, 2.0)};
  const auto dense = backend_.MakeDenseContext();
  const int32_t cu_seqlens[] = {0, kLength};
  backend_.PlanDense({.cu_seqlens = cu_seqlens}, *workspace_, *dense);
  const at::Tensor expected = backend_.Attend(*handle, whole, *dense, *workspace_);

  for (const int32_t block_size : {1, 4, 5, 16}) {
    const auto store = backend_.MakeKvStore({.num_layers = 2,
                                             .num_kv_heads = kKvHeads,
                                             .head_dim = kDim,
                                             .num_blocks = 40,
                                             .block_size = block_size});
    const auto paged = backend_.MakePagedContext(*store);
    std::vector<BlockId> blocks;
    for (int i = 0; i * block_size < kLength; ++i) blocks.push_back((i * 7 + 3) % 32);
    const std::vector<BlockId> other_blocks = {39, 38};
    int32_t start = 0;
    for (const int32_t count : {3, 1, 4, 5}) {
      // Another sequence shares the call: two rows in front of this one's.
      const PagedSpan spans[] = {
          {.first_row = 0, .num_tokens = 2, .blocks = other_blocks},
          {.first_row = 2, .num_tokens = count, .start_position = start, .blocks = blocks}};
      const auto rows = [&](const at::Tensor& t) {
        const at::Tensor mine = t.narrow(0, start, count), mates = t.narrow(0, 0, 2) * 3.0;
        const at::Tensor parts[] = {mates, mine};
        return backend_.ConcatRows(parts, *workspace_);
      };
      backend_.PlanPaged(spans, *workspace_, *paged);
      const at::Tensor out = backend_.Attend(
          *handle,
          {.query = rows(whole.query), .key = rows(whole.key), .value = rows(whole.value)},
          *paged,
          *workspace_);
      EXPECT_TRUE(
          at::allclose(out.narrow(0, 2, count), expected.narrow(0, start, count), 1e-9, 1e-9))
          << "block size " << block_size << ", position " << start;
      start += count;
    }
  }
}

TEST_F(ReferenceBackendTest, NormalisesAsTheLoopDoes) {
  const at::Tensor x = RandomTensor(1, {3, kHidden}, at::kDouble, 4.0);
  const auto rms = backend_.MakeNorm(
      {.name = "rms", .kind = NormKind::kRmsNorm, .size = kHidden, .eps = 1e-3f}, source_);
  const auto layer = backend_.MakeNorm(
      {.name = "layer", .kind = NormKind::kLayerNorm, .size = kHidden, .eps = 1e-3f}, source_);
  const at::Tensor rms_out = backend_.Norm(*rms, x, *workspace_);
  const at::Tensor layer_out = backend_.Norm(*layer, x, *workspace_);
  for (int64_t row = 0; row < 3; ++row) {
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < kHidden; ++i) {
      sum += At(x, {row, i});
      squares += At(x, {row, i}) * At(x, {row, i});
    }
    const double mean = sum / kHidden, mean_square = squares / kHidden;
    const double deviation = std::sqrt(mean_square - mean * mean + 1e-3);
    for (int64_t i = 0; i < kHidden; ++i) {
      const double value = At(x, {row, i});
      EXPECT_NEAR(At(rms_out, {row, i}),
                  value / std::sqrt(mean_square + 1e-3) * At(source_["rms.weight"], {i}),
                  1e-6);
      EXPECT_NEAR(At(layer_out, {row, i}),
                  (value - mean) / deviation * At(source_["layer.weight"], {i}) +
                      At(source_["layer.bias"], {i}),
                  1e-6);
    }
  }
}

TEST_F(ReferenceBackendTest, AppliesEachActivation) {
  const at::Tensor x = RandomTensor(1, {2, kHidden}, at::kDouble, 4.0);
  const auto make = [&](Activation activation) {
    return backend_.MakeLinear({.name = "linear",
                                .in_features = kHidden,
                                .out_features = 7,
                                .has_bias = true,
                                .activation = activation},
                               source_);
  };
  const at::Tensor plain = backend_.Linear(*make(Activation::kNone), x, *workspace_);
  const at::Tensor gelu = backend_.Linear(*make(Activation::kGelu), x, *workspace_);
  const at::Tensor quick = backend_.Linear(*make(Activation::kQuickGelu), x, *workspace_);
  for (int64_t i = 0; i < 7; ++i) {
    const double y = At(plain, {1, i});
    EXPECT_NEAR(At(gelu, {1, i}), 0.5 * y * (1.0 + std::erf(y / std::sqrt(2.0))), 1e-9);
    EXPECT_NEAR(At(quick, {1, i}), y / (1.0 + std::exp(-1.702 * y)), 1e-9);
  }
  const at::Tensor residual = RandomTensor(2, {2, 7}, at::kDouble);
  EXPECT_TRUE(at::allclose(backend_.LinearAdd(*make(Activation::kNone), x, residual, *workspace_),
                           plain + residual));
}

TEST_F(ReferenceBackendTest, CutsPatchesAndAddsPositions) {
  constexpr int64_t kPatch = 2, kSize = 6, kSide = 3, kWidth = 5;
  ImageProcessorConfig processor;
  const PixelNormalization normalization(processor);
  const auto handle = backend_.MakePatchEmbedding(
      {.patch_name = "patch",
       .class_name = "class",
       .position_name = "position",
       .pre_norm = {.name = "pre", .kind = NormKind::kLayerNorm, .size = kWidth, .eps = 1e-5f},
       .image_size = kSize,
       .patch_size = kPatch,
       .hidden_size = kWidth},
      normalization,
      source_);
  std::vector<uint8_t> first(kSize * kSize * 3), second(kSize * kSize * 3);
  for (size_t i = 0; i < first.size(); ++i) {
    first[i] = static_cast<uint8_t>(i * 37);
    second[i] = static_cast<uint8_t>(i * 101 + 5);
  }
  const uint8_t* const images[] = {first.data(), second.data()};
  const at::Tensor out = backend_.EmbedPatches(
      *handle, backend_.UploadPixels(images, kSize, *workspace_), *workspace_);
  ASSERT_EQ(out.sizes(), at::IntArrayRef({2 * (kSide * kSide + 1), kWidth}));
  at::Tensor rows = RandomTensor(0, {2 * (kSide * kSide + 1), kWidth}, at::kDouble);
  const at::Tensor &weight = source_["patch.weight"], &positions = source_["position.weight"];
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t w = 0; w < kWidth; ++w) {
      const int64_t base = n * (kSide * kSide + 1);
      rows[base][w] = At(source_["class"], {w}) + At(positions, {0, w});
      for (int64_t p = 0; p < kSide * kSide; ++p) {
        double sum = 0.0;
        for (int64_t c = 0; c < 3; ++c) {
          for (int64_t i = 0; i < kPatch; ++i) {
            for (int64_t j = 0; j < kPatch; ++j) {
              const int64_t y = p / kSide * kPatch + i, x = p % kSide * kPatch + j;
              sum += At(weight, {w, c, i, j}) *
                     normalization.value(static_cast<int>(c), images[n][(y * kSize + x) * 3 + c]);
            }
          }
        }
        rows[base + 1 + p][w] = sum + At(positions, {p + 1, w});
      }
    }
  }
  const auto norm = backend_.MakeNorm(
      {.name = "pre", .kind = NormKind::kLayerNorm, .size = kWidth, .eps = 1e-5f}, source_);
  EXPECT_TRUE(at::allclose(out, backend_.Norm(*norm, rows, *workspace_), 0, 1e-9));
}

class MoeTest : public ReferenceBackendTest {
 protected:
  static constexpr int64_t kExperts = 5, kInter = 11;
  MoeTest() {
    MoeSpec spec;
    spec.router = {.name = "gate", .in_features = kHidden, .out_features = kExperts};
    spec.experts_name = "experts";
    spec.num_experts = kExperts;
    spec.hidden_size = kHidden;
    spec.intermediate_size = kInter;
    spec.residual_weight = 0.25f;
    moe_ = backend_.MakeMoe(spec, source_);
  }
  std::unique_ptr<MoeHandle> moe_;
};

TEST_F(MoeTest, RoutesByTheTextThatTheClassRowAttendsTo) {
  const at::Tensor classes = RandomTensor(1, {2, kHidden}, at::kDouble, 2.0);
  const at::Tensor text = RandomTensor(2, {9, kHidden}, at::kDouble, 2.0);
  const int32_t cu_text[] = {0, 2, 9};
  const Routing routing = backend_.Route(*moe_, classes, text, cu_text, *workspace_);
  for (int64_t n = 0; n < 2; ++n) {
    std::vector<double> attention, logits(kExperts, 0.0);
    double total = 0.0;
    for (int64_t t = cu_text[n]; t < cu_text[n + 1]; ++t) {
      double dot = 0.0;
      for (int64_t i = 0; i < kHidden; ++i) dot += At(classes, {n, i}) * At(text, {t, i});
      attention.push_back(std::exp(dot / std::sqrt(double{kHidden})));
      total += attention.back();
    }
    for (int64_t e = 0; e < kExperts; ++e) {
      for (int64_t i = 0; i < kHidden; ++i) {
        double attended = 0.0;
        for (size_t t = 0; t < attention.size(); ++t) {
          attended += attention[t] / total * At(text, {cu_text[n] + static_cast<int64_t>(t), i});
        }
        logits[e] += At(source_["gate.weight"], {e, i}) * attended;
      }
    }
    double normaliser = 0.0;
    for (const double logit : logits) normaliser += std::exp(logit);
    for (int64_t e = 0; e < kExperts; ++e) {
      EXPECT_NEAR(At(routing.logits, {n, e}), logits[e], 1e-6);
      EXPECT_NEAR(At(routing.weights, {n, e}), std::exp(logits[e]) / normaliser, 1e-6);
    }
    EXPECT_NEAR(At(routing.attention, {cu_text[n]}), attention[0] / total, 1e-6);
  }
}

TEST_F(MoeTest, MixesExpertsAndResidual) {
  const at::Tensor features = RandomTensor(1, {2 * 3, kHidden}, at::kDouble, 2.0);
  const at::Tensor weights = RandomTensor(2, {2, kExperts}, at::kDouble, 1.0);
  const at::Tensor outputs = backend_.ExpertOutputs(*moe_, features, *workspace_);
  ASSERT_EQ(outputs.sizes(), at::IntArrayRef({kExperts, 6, kHidden}));
  // One element by hand: expert 3, row 4, channel 7.
  double element = 0.0;
  for (int64_t j = 0; j < kInter; ++j) {
    double gate = 0.0, up = 0.0;
    for (int64_t i = 0; i < kHidden; ++i) {
      gate += At(source_["experts.3.gate_proj.weight"], {j, i}) * At(features, {4, i});
      up += At(source_["experts.3.up_proj.weight"], {j, i}) * At(features, {4, i});
    }
    element +=
        At(source_["experts.3.down_proj.weight"], {7, j}) * gate / (1 + std::exp(-gate)) * up;
  }
  EXPECT_NEAR(At(outputs, {3, 4, 7}), element, 1e-9);
  const at::Tensor mixed = backend_.MixExperts(*moe_, features, weights, *workspace_);
  for (int64_t row = 0; row < 6; ++row) {
    double sum = 0.25 * At(features, {row, 7});
    for (int64_t e = 0; e < kExperts; ++e) {
      sum += At(weights, {row / 3, e}) * At(outputs, {e, row, 7});
    }
    EXPECT_NEAR(At(mixed, {row, 7}), sum, 1e-9);
  }
}

TEST_F(ReferenceBackendTest, HandlesKeepTheTensorsTheyAreGivenAndShowThemByName) {
  const auto qkv = backend_.MakeQkv(MakeQkvSpec(0.0f), source_);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : qkv->named_tensors()) {
    EXPECT_TRUE(tensor.is_same(source_[name])) << name;
    names.push_back(name);
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{
                "norm.weight", "q.weight", "q.bias", "k.weight", "k.bias", "v.weight", "v.bias"}));
}

TEST_F(ReferenceBackendTest, ATiedHeadIsTheEmbedding) {
  const auto embedding =
      backend_.MakeEmbedding({.name = "embed", .rows = 12, .size = kHidden}, source_);
  const LmHeadSpec spec = {
      .norm = {.name = "norm", .kind = NormKind::kRmsNorm, .size = kHidden, .eps = 1e-6f},
      .head = {.name = "head", .in_features = kHidden, .out_features = 12}};
  const auto tied = backend_.MakeLmHead(spec, embedding.get(), source_);
  EXPECT_EQ(tied->named_tensors().size(), 1u);
  EXPECT_EQ(source_.tensors().count("head.weight"), 0u);
  const at::Tensor x = RandomTensor(1, {1, kHidden}, at::kDouble);
  at::Tensor normed;
  const at::Tensor logits = backend_.Logits(*tied, x, at::Tensor(), &normed, *workspace_);
  EXPECT_TRUE(at::allclose(logits, normed.matmul(source_["embed.weight"].t())));
  const at::Tensor rows = backend_.UploadIds(std::vector<int32_t>{2, 0}, *workspace_);
  const at::Tensor many = RandomTensor(2, {3, kHidden}, at::kDouble);
  const at::Tensor all = backend_.Logits(*tied, many, at::Tensor(), nullptr, *workspace_);
  const at::Tensor some = backend_.Logits(*tied, many, rows, nullptr, *workspace_);
  EXPECT_TRUE(at::allclose(some[0], all[2]));
  EXPECT_TRUE(at::allclose(some[1], all[0]));
}

TEST(ReferenceBackendBf16Test, RoundsWhereTheReferenceDoes) {
  const ReferenceBackend backend({.compute_dtype = at::kBFloat16});
  const auto workspace = backend.MakeWorkspace({});
  MapSource source(at::kBFloat16);
  const auto norm = backend.MakeNorm(
      {.name = "norm", .kind = NormKind::kRmsNorm, .size = 64, .eps = 1e-6f}, source);
  const at::Tensor x = RandomTensor(1, {5, 64}, at::kBFloat16, 3.0);
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scaled = wide * (wide.square().mean(-1, true) + 1e-6).rsqrt();
  EXPECT_TRUE(at::equal(backend.Norm(*norm, x, *workspace),
                        source["norm.weight"] * scaled.to(at::kBFloat16)));

  MoeSpec spec;
  spec.router = {.name = "gate", .in_features = 64, .out_features = 3};
  spec.experts_name = "experts";
  spec.num_experts = 3;
  spec.hidden_size = 64;
  spec.intermediate_size = 32;
  spec.residual_weight = 0.1f;
  const auto moe = backend.MakeMoe(spec, source);
  const at::Tensor outputs = RandomTensor(2, {3, 5, 64}, at::kBFloat16, 3.0);
  const at::Tensor weights = RandomTensor(3, {3}, at::kBFloat16, 1.0);
  at::Tensor sum = at::zeros({5, 64}, at::kFloat);
  for (int64_t e = 0; e < 3; ++e) {
    const at::Tensor product = outputs[e].to(at::kFloat) * weights[e].item<float>();
    sum = sum + product.to(at::kBFloat16).to(at::kFloat);
  }
  const at::Tensor residual = (wide * 0.1f).to(at::kBFloat16).to(at::kFloat);
  const at::Tensor expected = (sum.to(at::kBFloat16).to(at::kFloat) + residual).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(backend.Combine(*moe, x, outputs, weights, *workspace), expected));
}

}  // namespace
}  // namespace parrot
