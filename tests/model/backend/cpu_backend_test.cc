// The CPU backend against the reference backend, operation by operation and for every instruction
// set; and what the reference does not promise: a row's bits do not depend on the rows beside it.
#include "model/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/randint.h"
#include "gtest/gtest.h"
#include "model/backend/reference/reference_backend.h"
#include "model/kernels/isa.h"
#include "tests/model/backend/map_source.h"

namespace parrot {
namespace {

using kernels::Isa;
using kernels::KvFormat;
using kernels::WeightEncoding;
using kernels::WeightFormat;

constexpr int64_t kHeads = 6, kKvHeads = 2, kDim = 12, kHidden = 40;

const WeightEncoding kEncodings[] = {{.format = WeightFormat::kFloat32},
                                     {.format = WeightFormat::kBFloat16},
                                     {.format = WeightFormat::kInt8},
                                     {.format = WeightFormat::kInt8, .group_size = 32},
                                     {.format = WeightFormat::kInt4, .group_size = 32}};

NormSpec RmsNorm(int64_t size) {
  return {.name = "rms", .kind = NormKind::kRmsNorm, .size = size, .eps = 1e-6f};
}

LinearSpec MakeLinearSpec(const std::string& name,
                          int64_t in,
                          int64_t out,
                          bool has_bias = true,
                          Activation activation = Activation::kNone) {
  return {.name = name,
          .in_features = in,
          .out_features = out,
          .has_bias = has_bias,
          .activation = activation};
}

QkvSpec MakeQkvSpec(float theta) {
  return {.norm = RmsNorm(kHidden),
          .query = MakeLinearSpec("q", kHidden, kHeads * kDim),
          .key = MakeLinearSpec("k", kHidden, kKvHeads * kDim),
          .value = MakeLinearSpec("v", kHidden, kKvHeads * kDim),
          .num_heads = kHeads,
          .num_kv_heads = kKvHeads,
          .head_dim = kDim,
          .layer_idx = 1,
          .rope_theta = theta};
}

GatedMlpSpec MakeGatedMlpSpec() {
  return {.norm = RmsNorm(kHidden),
          .gate = MakeLinearSpec("gate", kHidden, 70, false),
          .up = MakeLinearSpec("up", kHidden, 70, false),
          .down = MakeLinearSpec("down", 70, kHidden, false)};
}

MoeSpec MakeMoeSpec() {
  MoeSpec spec;
  spec.router = {.name = "router", .in_features = kHidden, .out_features = 5};
  spec.experts_name = "experts";
  spec.num_experts = 5;
  spec.hidden_size = kHidden;
  spec.intermediate_size = 22;
  spec.residual_weight = 0.25f;
  return spec;
}

CpuBackend MakeBackend(Isa isa,
                       const WeightEncoding& encoding = {},
                       KvFormat kv_format = KvFormat::kFloat32) {
  return CpuBackend({.isa = isa,
                     .vision = encoding,
                     .language = encoding,
                     .experts = encoding,
                     .head = encoding,
                     .kv_format = kv_format});
}

class CpuBackendTest : public testing::TestWithParam<Isa> {
 protected:
  CpuBackendTest() : backend_(MakeBackend(GetParam())) {
    workspace_ = backend_.MakeWorkspace({.num_threads = 2});
    reference_workspace_ = reference_.MakeWorkspace({});
  }
  static testing::AssertionResult Near(const at::Tensor& a,
                                       const at::Tensor& b,
                                       double tolerance = 2e-5) {
    if (a.sizes() != b.sizes()) return testing::AssertionFailure() << a.sizes() << b.sizes();
    const double error = (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
    const double scale = b.abs().max().item<double>();
    if (error <= tolerance * scale) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "error " << error << " of " << scale;
  }
  Qkv RandomQkv(int64_t rows) const {
    return {.query = RandomTensor(1, {rows, kHeads, kDim}, at::kFloat, 2.0),
            .key = RandomTensor(2, {rows, kKvHeads, kDim}, at::kFloat, 2.0),
            .value = RandomTensor(3, {rows, kKvHeads, kDim}, at::kFloat, 2.0)};
  }

  MapSource source_;
  const CpuBackend backend_;
  std::unique_ptr<Workspace> workspace_;
  const ReferenceBackend reference_{{}};
  std::unique_ptr<Workspace> reference_workspace_;
};

TEST_P(CpuBackendTest, ProductsAndNormsAreTheReferences) {
  const auto layer =
      NormSpec{.name = "ln", .kind = NormKind::kLayerNorm, .size = kHidden, .eps = 1e-5f};
  const MlpSpec mlp = {.norm = layer,
                       .input = MakeLinearSpec("in", kHidden, 50, true, Activation::kQuickGelu),
                       .output = MakeLinearSpec("out", 50, kHidden)};
  const LinearSpec linear = MakeLinearSpec("l", kHidden, 33, true, Activation::kGelu);
  const LinearSpec square = MakeLinearSpec("s", kHidden, kHidden);
  for (const int64_t rows : {1, 3, 19}) {
    SCOPED_TRACE(rows);
    const at::Tensor x = RandomTensor(7, {rows, kHidden}, at::kFloat, 2.0);
    const auto both = [&](const auto& run) {
      return Near(run(static_cast<const Backend&>(backend_), *workspace_),
                  run(static_cast<const Backend&>(reference_), *reference_workspace_));
    };
    EXPECT_TRUE(both(
        [&](const Backend& b, Workspace& w) { return b.Norm(*b.MakeNorm(layer, source_), x, w); }));
    EXPECT_TRUE(both([&](const Backend& b, Workspace& w) {
      return b.Linear(*b.MakeLinear(linear, source_), x, w);
    }));
    EXPECT_TRUE(both([&](const Backend& b, Workspace& w) {
      return b.LinearAdd(*b.MakeLinear(square, source_), x, x.clone(), w);
    }));
    EXPECT_TRUE(both([&](const Backend& b, Workspace& w) {
      return b.Mlp(*b.MakeMlp(mlp, source_), x.clone(), w);
    }));
    EXPECT_TRUE(both([&](const Backend& b, Workspace& w) {
      return b.GatedMlp(*b.MakeGatedMlp(MakeGatedMlpSpec(), source_), x.clone(), w);
    }));
    EXPECT_TRUE(both([&](const Backend& b, Workspace& w) {
      const Qkv qkv = b.NormQkv(*b.MakeQkv(MakeQkvSpec(0.0f), source_), x, w);
      const at::Tensor parts[] = {qkv.query.view({rows, -1}), qkv.key.view({rows, -1}).clone()};
      return parts[0].narrow(1, 0, kKvHeads * kDim) + parts[1] + qkv.value.view({rows, -1}) * 3.0;
    }));
  }
}

TEST_P(CpuBackendTest, PatchesBecomeTheReferencesRows) {
  PatchEmbeddingSpec spec = {
      .patch_name = "patch",
      .class_name = "class",
      .position_name = "position",
      .pre_norm = {.name = "pre", .kind = NormKind::kLayerNorm, .size = kHidden, .eps = 1e-5f},
      .image_size = 21,
      .patch_size = 7,
      .hidden_size = kHidden};
  const PixelNormalization table(ImageProcessorConfig{});
  const at::Tensor pixels = at::randint(0, 256, {2, 21, 21, 3}, at::kByte);
  const std::vector<const uint8_t*> images = {pixels[0].const_data_ptr<uint8_t>(),
                                              pixels[1].const_data_ptr<uint8_t>()};
  const at::Tensor uploaded = backend_.UploadPixels(images, 21, *workspace_);
  EXPECT_TRUE(at::equal(uploaded, pixels));
  EXPECT_TRUE(Near(
      backend_.EmbedPatches(
          *backend_.MakePatchEmbedding(spec, table, source_), uploaded, *workspace_),
      reference_.EmbedPatches(
          *reference_.MakePatchEmbedding(spec, table, source_), pixels, *reference_workspace_)));
}

TEST_P(CpuBackendTest, DenseSequencesAttendAsTheReferences) {
  for (const bool causal : {true, false}) {
    for (const float theta : {0.0f, 100.0f}) {
      SCOPED_TRACE(testing::Message() << "causal " << causal << ", theta " << theta);
      const int32_t cu_seqlens[] = {0, 1, 38, 77};
      const auto run = [&](const Backend& b, Workspace& w) {
        const auto context = b.MakeDenseContext();
        b.PlanDense({.cu_seqlens = cu_seqlens, .causal = causal}, w, *context);
        return b.Attend(*b.MakeQkv(MakeQkvSpec(theta), source_), RandomQkv(77), *context, w);
      };
      EXPECT_TRUE(Near(run(backend_, *workspace_), run(reference_, *reference_workspace_)));
    }
  }
}

// A sequence of 77 positions, in chunks and among others, gets the bits of the whole alone; and
// about the reference's values.
TEST_P(CpuBackendTest, PagedChunksHaveTheBitsOfTheWhole) {
  constexpr int32_t kLength = 77, kBlockSize = 16;
  const std::vector<BlockId> blocks = {7, 2, 9, 4, 1, 8, 3, 0, 6, 5};
  const Qkv whole = RandomQkv(kLength);
  const KvStoreSpec store_spec = {.num_layers = 2,
                                  .num_kv_heads = kKvHeads,
                                  .head_dim = kDim,
                                  .num_blocks = 10,
                                  .block_size = kBlockSize};
  const auto run = [&](const Backend& b, Workspace& w, const std::vector<int32_t>& cuts) {
    const auto handle = b.MakeQkv(MakeQkvSpec(100.0f), source_);
    const auto store = b.MakeKvStore(store_spec);
    const auto context = b.MakePagedContext(*store);
    std::vector<at::Tensor> outputs;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const int32_t count = cuts[i + 1] - cuts[i];
      const auto cut = [&](const at::Tensor& t) { return t.narrow(0, cuts[i], count).clone(); };
      // Another sequence of one row first, in block 5: it must change nothing.
      const Qkv mate = RandomQkv(1);
      const auto join = [](const at::Tensor& a, const at::Tensor& t) { return at::cat({a, t}); };
      const Qkv rows = {.query = join(mate.query, cut(whole.query)),
                        .key = join(mate.key, cut(whole.key)),
                        .value = join(mate.value, cut(whole.value))};
      const PagedSpan spans[] = {
          {.first_row = 0, .num_tokens = 1, .blocks = std::span(blocks).last(1)},
          {.first_row = 1, .num_tokens = count, .start_position = cuts[i], .blocks = blocks}};
      b.PlanPaged(spans, w, *context);
      outputs.push_back(b.Attend(*handle, rows, *context, w).narrow(0, 1, count).clone());
    }
    return at::cat(outputs);
  };
  const at::Tensor expected = run(reference_, *reference_workspace_, {0, kLength});
  for (const auto& [format, tolerance] : {std::pair(KvFormat::kFloat32, 2e-5),
                                          std::pair(KvFormat::kBFloat16, 2e-2),
                                          std::pair(KvFormat::kInt8, 4e-2)}) {
    SCOPED_TRACE(static_cast<int>(format));
    const CpuBackend backend = MakeBackend(GetParam(), {}, format);
    const at::Tensor alone = run(backend, *workspace_, {0, kLength});
    EXPECT_TRUE(Near(alone, expected, tolerance));
    EXPECT_TRUE(at::equal(run(backend, *workspace_, {0, 1, 33, 34, 64, 76, kLength}), alone));
    std::vector<int32_t> ones(kLength + 1);
    std::iota(ones.begin(), ones.end(), 0);
    EXPECT_TRUE(at::equal(run(backend, *workspace_, ones), alone));
    const auto one_thread = backend.MakeWorkspace({.num_threads = 1});
    EXPECT_TRUE(at::equal(run(backend, *one_thread, {0, kLength}), alone));
  }
}

TEST_P(CpuBackendTest, ExpertsAndRouterAreTheReferences) {
  const auto moe = backend_.MakeMoe(MakeMoeSpec(), source_);
  const auto reference_moe = reference_.MakeMoe(MakeMoeSpec(), source_);
  const at::Tensor features = RandomTensor(1, {2 * 13, kHidden}, at::kFloat, 2.0);
  const at::Tensor text = RandomTensor(2, {9, kHidden}, at::kFloat, 2.0);
  const at::Tensor classes = features.view({2, 13, kHidden}).select(1, 0).clone();
  const int32_t cu_text[] = {0, 2, 9};
  const Routing routing = backend_.Route(*moe, classes, text, cu_text, *workspace_);
  const Routing expected =
      reference_.Route(*reference_moe, classes, text, cu_text, *reference_workspace_);
  EXPECT_TRUE(Near(routing.attention, expected.attention));
  EXPECT_TRUE(Near(routing.attended, expected.attended));
  EXPECT_TRUE(Near(routing.logits, expected.logits));
  EXPECT_TRUE(Near(routing.weights, expected.weights));
  const at::Tensor outputs = backend_.ExpertOutputs(*moe, features, *workspace_);
  EXPECT_TRUE(
      Near(outputs, reference_.ExpertOutputs(*reference_moe, features, *reference_workspace_)));
  const at::Tensor weights = expected.weights[0].contiguous();
  EXPECT_TRUE(
      Near(backend_.Combine(*moe, features, outputs, weights, *workspace_),
           reference_.Combine(*reference_moe, features, outputs, weights, *reference_workspace_)));
  EXPECT_TRUE(Near(
      backend_.MixExperts(*moe, features, expected.weights, *workspace_),
      reference_.MixExperts(*reference_moe, features, expected.weights, *reference_workspace_)));
}

TEST_P(CpuBackendTest, LogitsAreOfTheRowsAskedFor) {
  const LmHeadSpec spec = {.norm = RmsNorm(kHidden),
                           .head = MakeLinearSpec("head", kHidden, 53, false)};
  const at::Tensor x = RandomTensor(4, {6, kHidden}, at::kFloat, 2.0);
  // The head of its own, the embedding's values packed once more, the embedding itself.
  for (const auto& [tied, is_head] :
       {std::pair(false, false), std::pair(true, false), std::pair(true, true)}) {
    SCOPED_TRACE(testing::Message() << tied << is_head);
    const EmbeddingSpec embedding = {
        .name = "embed", .rows = 53, .size = kHidden, .is_head = is_head};
    const bool is_tied = tied;
    const auto run = [&](const Backend& b, Workspace& w, at::Tensor* normed) {
      const auto table = b.MakeEmbedding(embedding, source_);
      const auto head = b.MakeLmHead(spec, is_tied ? table.get() : nullptr, source_);
      const at::Tensor rows = b.UploadIds(std::vector<int32_t>{5, 0, 5}, w);
      const at::Tensor looked_up = b.Embed(*table, rows, w);
      return at::cat({b.Logits(*head, x, rows, normed, w), looked_up}, 1);
    };
    at::Tensor normed, expected_normed;
    const at::Tensor expected = run(reference_, *reference_workspace_, &expected_normed);
    EXPECT_TRUE(Near(run(backend_, *workspace_, &normed), expected));
    EXPECT_TRUE(Near(normed, expected_normed));
  }
}

TEST_P(CpuBackendTest, ARowHasTheSameBitsAmongOthersInEveryFormat) {
  const at::Tensor x = RandomTensor(9, {29, kHidden}, at::kFloat, 2.0);
  for (const WeightEncoding& encoding : kEncodings) {
    SCOPED_TRACE(testing::Message()
                 << static_cast<int>(encoding.format) << " in groups of " << encoding.group_size);
    const CpuBackend backend = MakeBackend(GetParam(), encoding);
    const auto mlp = backend.MakeGatedMlp(MakeGatedMlpSpec(), source_);
    const auto moe = backend.MakeMoe(MakeMoeSpec(), source_);
    const at::Tensor weights = RandomTensor(3, {1, 5});
    const at::Tensor all = backend.GatedMlp(*mlp, x.clone(), *workspace_).clone();
    const at::Tensor mixed = backend.MixExperts(*moe, x, weights, *workspace_).clone();
    const auto one_thread = backend.MakeWorkspace({.num_threads = 1});
    for (const auto& [first, count] :
         {std::pair(0, 1), std::pair(28, 1), std::pair(3, 5), std::pair(4, 17)}) {
      const at::Tensor some = x.narrow(0, first, count).clone();
      EXPECT_TRUE(at::equal(backend.MixExperts(*moe, some, weights, *one_thread),
                            mixed.narrow(0, first, count)));
      EXPECT_TRUE(
          at::equal(backend.GatedMlp(*mlp, some, *one_thread), all.narrow(0, first, count)));
    }
    // Formats lose little: int4 has 16 steps a group.
    const at::Tensor exact = reference_.GatedMlp(
        *reference_.MakeGatedMlp(MakeGatedMlpSpec(), source_), x, *reference_workspace_);
    const double tolerance = encoding.format == WeightFormat::kInt4       ? 0.2
                             : encoding.format == WeightFormat::kInt8     ? 2e-2
                             : encoding.format == WeightFormat::kBFloat16 ? 1e-2
                                                                          : 2e-5;
    EXPECT_TRUE(Near(all, exact, tolerance));
  }
}

TEST_P(CpuBackendTest, DrawsAsTheReference) {
  constexpr int64_t kVocab = 400;
  const at::Tensor logits = RandomTensor(5, {64, kVocab + 8}, at::kFloat, 6.0);
  const at::Tensor allowed = RandomTensor(6, {kVocab}) > 0.0;
  const std::vector<LogitEdit> edits = {{.token = 3, .repetition = 1.5f, .bias = 2.0f},
                                        {.token = 77, .bias = -3.0f}};
  std::vector<SampleRow> rows;
  for (int i = 0; i < 64; ++i) {
    SampleRow& row = rows.emplace_back(SampleRow{.uniform = (i * 37 % 64) / 64.0});
    if (i % 2 == 1) row.temperature = 0.25f * static_cast<float>(i % 8);
    if (i % 3 == 1) row.top_k = 1 + i;
    if (i % 5 == 2) row.top_p = 0.5f + 0.005f * static_cast<float>(i);
    if (i % 7 == 3) row.min_p = 0.02f;
    if (i % 4 == 0) row.edits = edits;
    if (i % 6 == 5) {
      row.allowed = allowed;
      row.blocked_bias = i % 12 == 5 ? -4.0f : -std::numeric_limits<float>::infinity();
    }
    if (i % 3 == 0) row.num_logprobs = i % 9;
    if (i == 60) row.score_target = 17;
  }
  const SampledRows drawn = backend_.Sample(logits, rows, kVocab, *workspace_);
  const SampledRows expected = reference_.Sample(logits, rows, kVocab, *reference_workspace_);
  EXPECT_TRUE(at::equal(drawn.tokens, expected.tokens));
  EXPECT_TRUE(at::equal(drawn.finite, expected.finite));
  EXPECT_TRUE(at::equal(drawn.blocked, expected.blocked));
  for (int64_t i = 0; i < 64; ++i) {
    if (rows[i].num_logprobs < 0) continue;
    EXPECT_NEAR(drawn.logprobs[i].item<float>(), expected.logprobs[i].item<float>(), 1e-5);
    for (int64_t k = 0; k < rows[i].num_logprobs; ++k) {
      EXPECT_EQ(drawn.top_tokens[i][k].item<int64_t>(), expected.top_tokens[i][k].item<int64_t>());
    }
  }
}

TEST_P(CpuBackendTest, ASteadyStepUsesTheSameMemoryAgain) {
  const auto mlp = backend_.MakeGatedMlp(MakeGatedMlpSpec(), source_);
  const auto norm = backend_.MakeNorm(RmsNorm(kHidden), source_);
  const at::Tensor x = RandomTensor(9, {4, kHidden});
  std::vector<const void*> first;
  for (int step = 0; step < 3; ++step) {
    workspace_->BeginStep(4);
    const at::Tensor a = backend_.Norm(*norm, x, *workspace_);
    const at::Tensor b = backend_.GatedMlp(*mlp, a, *workspace_);
    const at::Tensor c = backend_.Norm(*norm, b, *workspace_);
    EXPECT_NE(a.data_ptr(), c.data_ptr());  // both are held
    const std::vector<const void*> used = {
        a.data_ptr(), c.data_ptr(), a.unsafeGetTensorImpl(), c.unsafeGetTensorImpl()};
    if (step == 0) first = used;
    EXPECT_EQ(used, first);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryIsa,
                         CpuBackendTest,
                         testing::ValuesIn(kernels::AllIsas()),
                         [](const testing::TestParamInfo<Isa>& isa) {
                           std::string name(kernels::IsaName(isa.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace parrot
