// The model as a whole, on a small one whose every size is unlike the released ones': it takes
// exactly the tensors of a checkpoint, chunks and whole prompts agree, and gradients are right.
#include "model/nn/parrot_model.h"

#include <cmath>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/allclose.h"
#include "gtest/gtest.h"
#include "model/backend/reference/reference_backend.h"
#include "model/weights/tensor_specs.h"
#include "tests/model/backend/map_source.h"
#include "tests/model/tiny_model/tiny_model.h"

namespace parrot {
namespace {

class ParrotModelTest : public testing::TestWithParam<bool> {
 protected:
  ParrotModelTest()
      : config_(TinyConfig(GetParam())),
        backend_({.device = at::kCPU, .compute_dtype = at::kDouble}),
        source_(at::kDouble, /*requires_grad=*/true),
        model_(config_, backend_, source_),
        workspace_(backend_.MakeWorkspace({})),
        dense_(backend_.MakeDenseContext()) {}

  // Rows of a spliced prompt: text, V of one image, text.
  at::Tensor SplicedRows(const std::vector<TokenId>& ids, const ImageInput& image) {
    const uint8_t* const images[] = {image.pixels->data()};
    const at::Tensor features =
        model_.EncodeImages(backend_.UploadPixels(images, config_.vision.image_size, *workspace_),
                            *dense_,
                            *workspace_);
    std::vector<TokenId> text, spliced;
    int64_t first_row = -1;
    for (const TokenId id : ids) {
      if (id == kVisualToken) {
        first_row = static_cast<int64_t>(spliced.size());
        spliced.insert(spliced.end(), config_.vision.num_tokens(), kVisualToken);
      } else {
        text.push_back(id);
        spliced.push_back(id);
      }
    }
    const int32_t cu_text[] = {0, static_cast<int32_t>(text.size())};
    const at::Tensor text_rows =
        model_.language().Embed(backend_.UploadIds(text, *workspace_), *workspace_);
    const Routing routing =
        model_.moe()->RouterWeights(features.narrow(0, 0, 1), text_rows, cu_text, *workspace_);
    const VisualRows visual = {
        .first_row = first_row,
        .visual = model_.moe()->VisualTokens(features, routing.weights, *workspace_)};
    return model_.EmbedRows(spliced, {&visual, 1}, *workspace_);
  }

  // Logits of all rows; the rows are one sequence.
  at::Tensor DenseLogits(const at::Tensor& rows) {
    const int32_t cu_seqlens[] = {0, static_cast<int32_t>(rows.size(0))};
    backend_.PlanDense({.cu_seqlens = cu_seqlens}, *workspace_, *dense_);
    return model_.language().Logits(
        model_.language().Forward(rows, *dense_, *workspace_), at::Tensor(), *workspace_);
  }

  const ModelConfig config_;
  const ReferenceBackend backend_;
  MapSource source_;
  const ParrotModel model_;
  const std::unique_ptr<Workspace> workspace_;
  const std::unique_ptr<AttentionContext> dense_;
};

TEST_P(ParrotModelTest, TakesExactlyTheTensorsOfACheckpointThatItUses) {
  std::set<std::string> expected;
  for (const TensorSpec& spec : ExpectedTensors(config_)) {
    // The tower's last layer and final norm are in checkpoints and never run.
    if (spec.name.find("post_layernorm") == std::string::npos &&
        spec.name.find("vision_model.encoder.layers.4.") == std::string::npos) {
      expected.insert(spec.name);
      ASSERT_EQ(source_.tensors().count(spec.name), 1u) << spec.name;
      EXPECT_EQ(source_.tensors().at(spec.name).sizes(), at::IntArrayRef(spec.shape)) << spec.name;
    }
  }
  EXPECT_EQ(source_.tensors().size(), expected.size());
  std::set<std::string> named;
  for (const auto& [name, tensor] : model_.NamedWeights()) {
    EXPECT_TRUE(tensor.is_same(source_.tensors().at(name))) << name;
    EXPECT_TRUE(named.insert(name).second) << name << " twice";
  }
  EXPECT_EQ(named, expected);
}

TEST_P(ParrotModelTest, PagedChunksGiveTheLogitsOfTheWholeDensePrompt) {
  const at::NoGradGuard no_grad;
  const at::Tensor rows = SplicedRows(TinyPrompt(5, 12, true), TinyImage(config_, 1));
  const int32_t length = static_cast<int32_t>(rows.size(0));
  ASSERT_EQ(length, 12 + 17);
  const at::Tensor expected = DenseLogits(rows);
  for (const int32_t chunk : {1, 4, 7, 29}) {
    const auto store = backend_.MakeKvStore(
        {.num_layers = config_.language.num_layers,
         .num_kv_heads = static_cast<int32_t>(model_.language().num_kv_heads()),
         .head_dim = config_.language.head_dim(),
         .num_blocks = 8,
         .block_size = 4});
    const auto paged = backend_.MakePagedContext(*store);
    const std::vector<BlockId> blocks = {6, 1, 0, 5, 7, 2, 4, 3};
    for (int32_t start = 0; start < length; start += chunk) {
      const int32_t count = std::min(chunk, length - start);
      const PagedSpan span = {
          .first_row = 0, .num_tokens = count, .start_position = start, .blocks = blocks};
      backend_.PlanPaged({&span, 1}, *workspace_, *paged);
      const at::Tensor hidden =
          model_.language().Forward(rows.narrow(0, start, count), *paged, *workspace_);
      EXPECT_TRUE(at::allclose(model_.language().Logits(hidden, at::Tensor(), *workspace_),
                               expected.narrow(0, start, count),
                               1e-9,
                               1e-9))
          << "chunk " << chunk << " at " << start;
    }
  }
}

TEST_P(ParrotModelTest, TheRestOfTheTowerContinuesWhereACutPassStopped) {
  const at::NoGradGuard no_grad;
  const ImageInput a = TinyImage(config_, 1), b = TinyImage(config_, 2);
  const uint8_t* const images[] = {a.pixels->data(), b.pixels->data()};
  const at::Tensor pixels = backend_.UploadPixels(images, config_.vision.image_size, *workspace_);
  const VisionTower& tower = model_.vision();
  ASSERT_EQ(tower.num_layers(), 4);
  const at::Tensor start = tower.Begin(pixels, *workspace_);
  const at::Tensor whole = tower.RunLayers(start, 2, 0, 4, *dense_, *workspace_);
  at::Tensor cut = tower.RunLayers(start, 2, 0, 1, *dense_, *workspace_);
  cut = tower.RunLayers(cut, 2, 1, 3, *dense_, *workspace_);
  EXPECT_TRUE(at::allclose(cut, whole, 0, 0));
  // Images side by side do not see each other.
  const at::Tensor first = tower.RunLayers(
      start.narrow(0, 0, config_.vision.num_tokens()), 1, 0, 4, *dense_, *workspace_);
  EXPECT_TRUE(at::allclose(first, whole.narrow(0, 0, config_.vision.num_tokens()), 1e-9, 1e-9));
}

TEST_P(ParrotModelTest, GradientsAgreeWithFiniteDifferences) {
  const std::vector<TokenId> ids = TinyPrompt(5, 6, true);
  const ImageInput image = TinyImage(config_, 1);
  const int64_t rows = 6 + 17;
  const at::Tensor direction =
      RandomTensor(9, {rows, config_.language.vocab_rows}, at::kDouble, 1.0);
  const auto loss = [&] { return (DenseLogits(SplicedRows(ids, image)) * direction).sum(); };
  loss().backward();
  // One of each kind, on every path: the embeddings count twice (input and router), the class row
  // of F is query and visual token.
  std::vector<std::string> names = {
      "model.embed_tokens.weight",
      "model.layers.0.self_attn.q_proj.weight",
      "model.layers.1.self_attn.k_proj.bias",
      "model.layers.2.mlp.gate_proj.weight",
      "model.layers.1.input_layernorm.weight",
      "model.norm.weight",
      "model.mm_projector.0.weight",
      "model.mm_projector.2.bias",
      "model.moe_model.gate.weight",
      "model.moe_model.experts.2.up_proj.weight",
      "model.moe_model.experts.3.down_proj.weight",
      "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding",
      "model.vision_tower.vision_tower.vision_model.embeddings.patch_embedding.weight",
      "model.vision_tower.vision_tower.vision_model.encoder.layers.3.mlp.fc1.weight",
  };
  if (!config_.language.tie_word_embeddings) names.push_back("lm_head.weight");
  const at::NoGradGuard no_grad;
  constexpr double kStep = 1e-6;
  uint64_t seed = 100;
  for (const std::string& name : names) {
    at::Tensor& weight = source_[name];
    ASSERT_TRUE(weight.grad().defined()) << name;
    const at::Tensor delta = RandomTensor(seed++, weight.sizes().vec(), at::kDouble, 1.0);
    const double analytic = (weight.grad() * delta).sum().item<double>();
    weight.add_(delta, kStep);
    const double above = loss().item<double>();
    weight.sub_(delta, 2 * kStep);
    const double below = loss().item<double>();
    weight.add_(delta, kStep);
    const double numeric = (above - below) / (2 * kStep);
    EXPECT_NEAR(numeric, analytic, 1e-5 * (1.0 + std::abs(analytic))) << name;
    EXPECT_GT(std::abs(analytic), 1e-6) << name << " has no influence";
  }
}

// Tensors of the meta device have shapes and no values: reading one, or mixing it with a tensor of
// the host, throws. So what runs here neither synchronises nor forgets to move anything to the
// device, which is what an accelerator needs.
TEST(ParrotModelOnMetaTest, NeverReadsATensorNorMixesDevices) {
  const at::NoGradGuard no_grad;
  const ModelConfig config = TinyConfig(false);
  const ReferenceBackend backend({.device = at::kMeta, .compute_dtype = at::kBFloat16});
  MapSource source;
  const ParrotModel model(config, backend, source);
  const auto workspace = backend.MakeWorkspace({});
  // The tower's LayerNorm has no meta kernel in C++: its features are stood in for.
  const at::Tensor features = RandomTensor(1, {34, 96}, at::kBFloat16).to(at::kMeta);
  const std::vector<TokenId> text = {1, 2, 3, 4, 5};
  const at::Tensor text_rows =
      model.language().Embed(backend.UploadIds(text, *workspace), *workspace);
  const int32_t cu_text[] = {0, 2, 5};
  const at::Tensor class_rows = features.narrow(0, 0, 2);
  const Routing routing = model.moe()->RouterWeights(class_rows, text_rows, cu_text, *workspace);
  const at::Tensor visual = model.moe()->VisualTokens(features, routing.weights, *workspace);
  EXPECT_EQ(visual.sizes(), features.sizes());

  const auto store = backend.MakeKvStore({.num_layers = config.language.num_layers,
                                          .num_kv_heads = config.language.num_kv_heads,
                                          .head_dim = config.language.head_dim(),
                                          .num_blocks = 8,
                                          .block_size = 4});
  const auto paged = backend.MakePagedContext(*store);
  const std::vector<BlockId> blocks = {6, 1}, other = {0, 5};
  const PagedSpan spans[] = {
      {.num_tokens = 5, .blocks = blocks},
      {.first_row = 5, .num_tokens = 1, .start_position = 7, .blocks = other}};
  backend.PlanPaged(spans, *workspace, *paged);
  const VisualRows run = {.first_row = 2, .visual = visual.narrow(0, 0, 2)};
  const std::vector<TokenId> ids = {1, 2, kVisualToken, kVisualToken, 3, 4};
  const at::Tensor rows = model.EmbedRows(ids, {&run, 1}, *workspace);
  const at::Tensor hidden = model.language().Forward(rows, *paged, *workspace);
  const std::vector<int32_t> logits_rows = {4, 5, 5, 4, 0, 1};
  const at::Tensor logits =
      model.language().Logits(hidden, backend.UploadIds(logits_rows, *workspace), *workspace);
  ASSERT_EQ(logits.sizes(), at::IntArrayRef({6, 320}));
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  store->CopyBlock(6, 2);
  std::vector<SampleRow> sample(
      6, {.temperature = 0.7f, .top_k = 9, .top_p = 0.9f, .min_p = 0.1f, .num_logprobs = 3});
  sample[1] = {};
  sample[2] = {.score_target = 7};
  const SampledRows sampled = backend.Sample(logits, sample, kTinyVocabSize, *workspace);
  EXPECT_EQ(sampled.tokens.sizes(), at::IntArrayRef({6}));
  EXPECT_EQ(sampled.top_tokens.sizes(), at::IntArrayRef({6, 3}));
}

INSTANTIATE_TEST_SUITE_P(UntiedAndTied, ParrotModelTest, testing::Bool());

}  // namespace
}  // namespace parrot
