// The runner's promises, on small models unlike the released ones: independence of batch mates,
// chunks and layer cuts; failures that stay where they arise; errors at start.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/error_status.h"
#include "gtest/gtest.h"
#include "model/runtime/model_runner_factory.h"
#include "model/runtime/prompt_probe.h"
#include "tests/model/step_driver/step_driver.h"
#include "tests/model/tiny_model/tiny_model.h"

namespace parrot {
namespace {

constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr char kHead[] = "lm_head.weight";

ModelRunnerOptions TinyOptions() {
  ModelRunnerOptions options;
  options.dtype = ComputeDtype::kFloat32;
  options.num_threads = 1;
  options.max_num_seqs = 32;
  options.max_images_per_step = 3;
  options.kv_cache_memory_bytes = int64_t{16} << 20;
  options.block_size = 8;
  options.vocab_size = kTinyVocabSize;
  return options;
}

std::unique_ptr<ModelExecutor> MakeRunner(const WeightSource& source,
                                          const ModelRunnerOptions& options = TinyOptions()) {
  absl::StatusOr<std::unique_ptr<ModelExecutor>> runner = CreateModelRunner(source, options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  return runner.ok() ? *std::move(runner) : nullptr;
}

// A mixed load: with and without images, greedy and drawn, short and long.
std::vector<DriverRequest> MixedRequests(const ModelConfig& config, int count) {
  std::vector<DriverRequest> requests;
  for (int i = 0; i < count; ++i) {
    const bool with_image = i % 3 != 2;
    DriverRequest request;
    request.ids = TinyPrompt(100 + i, 2 + 5 * (i % 7), with_image);
    if (with_image) request.images = {TinyImage(config, i % 5)};
    request.sampling.num_logprobs = 2;
    if (i % 2 == 1) {
      request.sampling.temperature = 0.8f;
      request.sampling.top_k = i % 4 == 1 ? 40 : 0;
      request.sampling.top_p = 0.95f;
      request.sampling.seed = 17 + i;
    }
    request.max_new_tokens = 4 + i % 9;
    requests.push_back(std::move(request));
  }
  return requests;
}

// Same tokens, and log-probabilities that differ by at most `tolerance`.
void ExpectSame(const DriverResult& a, const DriverResult& b, float tolerance) {
  ASSERT_TRUE(a.status.ok()) << a.status;
  ASSERT_TRUE(b.status.ok()) << b.status;
  ASSERT_EQ(a.tokens, b.tokens);
  for (size_t i = 0; i < a.rows.size(); ++i) {
    EXPECT_LE(std::abs(a.rows[i].logprob - b.rows[i].logprob), tolerance);
  }
  ASSERT_EQ(a.routing.size(), b.routing.size());
}

class TinyModels : public testing::TestWithParam<bool> {};

TEST_P(TinyModels, ReportTheirCapacity) {
  const DummyWeights weights(TinyConfig(GetParam()), 7);
  ModelRunnerOptions options = TinyOptions();
  options.cpu.backend = "reference";  // its blocks have no padding
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights, options);
  const ExecutorCapacity& capacity = runner->capacity();
  EXPECT_EQ(capacity.image_tokens, 17);
  EXPECT_EQ(capacity.num_experts, 4);
  EXPECT_EQ(capacity.num_vision_layers, 4);
  EXPECT_EQ(capacity.block_size, 8);
  // 2 (K, V) x 3 layers x 2 heads x 16 x 4 bytes x 8 tokens = 6144 bytes per block.
  EXPECT_EQ(capacity.num_blocks, (16 << 20) / 6144);
  EXPECT_EQ(capacity.max_slots, 32);
  EXPECT_EQ(capacity.max_steps_in_flight, 1);
}

TEST_P(TinyModels, GiveEachSequenceTheSameBitsAloneAndAmong32) {
  const DummyWeights weights(TinyConfig(GetParam()), 7);
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights);
  StepDriver driver(*runner);
  const std::vector<DriverRequest> requests = MixedRequests(weights.config(), 32);
  const std::vector<DriverResult> together = driver.Run(requests);
  std::set<std::vector<TokenId>> distinct;
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    ExpectSame(driver.Run({requests[i]})[0], together[i], 0.0f);
    distinct.insert(together[i].tokens);
  }
  EXPECT_GT(distinct.size(), 24u) << "the load is too uniform to show anything";
}

TEST_P(TinyModels, GiveTheSameTokensInChunksOfAnySize) {
  const DummyWeights weights(TinyConfig(GetParam()), 7);
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights);
  StepDriver driver(*runner);
  const std::vector<DriverRequest> requests = MixedRequests(weights.config(), 8);
  const std::vector<DriverResult> whole = driver.Run(requests);
  for (const int32_t chunk : {1, 2, 7, 8, 9, 16, 31}) {
    const std::vector<DriverResult> cut = driver.Run(requests, {.chunk_tokens = chunk});
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "chunk " << chunk << ", sequence " << i);
      ExpectSame(cut[i], whole[i], 1e-4f);
    }
  }
}

TEST_P(TinyModels, GiveTheSameBitsWhenTheTowerIsCutByLayers) {
  const DummyWeights weights(TinyConfig(GetParam()), 7);
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights);
  StepDriver driver(*runner);
  const std::vector<DriverRequest> requests = MixedRequests(weights.config(), 5);
  const std::vector<DriverResult> whole = driver.Run(requests);
  const std::vector<DriverResult> cut = driver.Run(requests, {.layers_per_encode = 3});
  for (size_t i = 0; i < requests.size(); ++i) ExpectSame(cut[i], whole[i], 0.0f);
}

TEST_P(TinyModels, ChainTokensThatTheHostHasNotSeen) {
  const DummyWeights weights(TinyConfig(GetParam()), 7);
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights);
  StepDriver driver(*runner);
  const std::vector<DriverRequest> requests = MixedRequests(weights.config(), 5);
  const std::vector<DriverResult> by_host = driver.Run(requests);
  const std::vector<DriverResult> chained = driver.Run(requests, {.chain_on_device = true});
  for (size_t i = 0; i < requests.size(); ++i) ExpectSame(chained[i], by_host[i], 0.0f);
}

// One pass for all spans of a step, as devices other than the CPU run it.
TEST_P(TinyModels, GiveTheSameTokensWhenComputedTogether) {
  const DummyWeights weights(TinyConfig(GetParam()), 7);
  const std::vector<DriverRequest> requests = MixedRequests(weights.config(), 32);
  const std::unique_ptr<ModelExecutor> one_by_one = MakeRunner(weights);
  ModelRunnerOptions options = TinyOptions();
  options.compute_together = true;
  const std::unique_ptr<ModelExecutor> together = MakeRunner(weights, options);
  const std::vector<DriverResult> expected = StepDriver(*one_by_one).Run(requests);
  for (const int32_t chunk : {0, 9}) {
    const std::vector<DriverResult> results =
        StepDriver(*together).Run(requests, {.chunk_tokens = chunk, .layers_per_encode = 3});
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "chunk " << chunk << ", sequence " << i);
      ExpectSame(results[i], expected[i], 1e-4f);
    }
  }
}

TEST_P(TinyModels, TakeExpertWeightsFromTheCaller) {
  const DummyWeights weights(TinyConfig(GetParam()), 7);
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights);
  StepDriver driver(*runner);
  DriverRequest request = {.ids = TinyPrompt(1, 9, true),
                           .images = {TinyImage(weights.config(), 1)}};
  request.sampling.num_logprobs = 0;
  const DriverResult routed = driver.Run({request})[0];
  ASSERT_EQ(routed.routing.size(), 1u);
  ASSERT_EQ(routed.routing[0].size(), 4u);
  float sum = 0.0f;
  for (const float weight : routed.routing[0]) sum += weight;
  EXPECT_NEAR(sum, 1.0f, 1e-5f);
  request.expert_weights = routed.routing[0];
  ExpectSame(driver.Run({request})[0], routed, 0.0f);
  request.expert_weights = {1.0f, 0.0f, 0.0f, 0.0f};
  const DriverResult pinned = driver.Run({request})[0];
  EXPECT_NE(pinned.rows[0].logprob, routed.rows[0].logprob);
}

INSTANTIATE_TEST_SUITE_P(TiedAndUntied, TinyModels, testing::Bool());

TEST(ModelRunnerTest, RunsWithoutTheMixtureOfExperts) {
  ModelConfig config = TinyConfig(false);
  config.moe.enabled = false;
  const DummyWeights weights(config, 7);
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights);
  EXPECT_EQ(runner->capacity().num_experts, 0);
  StepDriver driver(*runner);
  const DriverResult result =
      driver.Run({{.ids = TinyPrompt(1, 9, true), .images = {TinyImage(config, 1)}}})[0];
  ASSERT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.tokens.size(), 16u);
  EXPECT_TRUE(result.routing[0].empty());
}

TEST(ModelRunnerTest, NeverSamplesPaddingRowsOfTheVocabulary) {
  EditedWeights weights(TinyConfig(false));
  for (int64_t row = kTinyVocabSize; row < 320; ++row) {
    weights.FillRow(kHead, row, row % 2 == 0 ? 9.0f : -9.0f);  // one of them wins every row
  }
  ModelRunnerOptions options = TinyOptions();
  DriverRequest request = {.ids = TinyPrompt(1, 9, false), .max_new_tokens = 8};
  request.sampling.num_logprobs = 5;
  DriverRequest drawn = request;
  drawn.sampling.temperature = 1.5f;
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights, options);
  for (const DriverResult& result : StepDriver(*runner).Run({request, drawn})) {
    ASSERT_TRUE(result.status.ok()) << result.status;
    for (const RowResult& row : result.rows) {
      EXPECT_LT(row.token, kTinyVocabSize);
      EXPECT_EQ(row.top.size(), 5u);
      for (const TokenLogprob& top : row.top) EXPECT_LT(top.token, kTinyVocabSize);
    }
  }
  options.vocab_size = 0;  // now they are real
  const std::unique_ptr<ModelExecutor> all_rows = MakeRunner(weights, options);
  EXPECT_GE(StepDriver(*all_rows).Run({request})[0].tokens[0], kTinyVocabSize);
}

TEST(ModelRunnerTest, PenalisesWhatWasSaidAndFollowsBiases) {
  const DummyWeights weights(TinyConfig(false), 7);
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights);
  StepDriver driver(*runner);
  DriverRequest plain = {.ids = TinyPrompt(3, 9, false), .max_new_tokens = 24};
  DriverRequest frequency = plain, repetition = plain, bias = plain, banned = plain;
  frequency.sampling.frequency_penalty = 2.0f;
  frequency.sampling.presence_penalty = 100.0f;   // nothing twice
  repetition.sampling.repetition_penalty = 1e6f;  // nothing of the prompt either
  bias.sampling.logit_bias = {{123, 100.0f}, {5000, 1.0f}, {-7, 1.0f}};
  const TokenId first = driver.Run({plain})[0].tokens[0];
  banned.sampling.logit_bias = {{first, -100.0f}};
  const std::vector<DriverResult> results =
      driver.Run({frequency, repetition, bias, banned}, {.chain_on_device = true});
  const std::set<TokenId> said(results[0].tokens.begin(), results[0].tokens.end());
  EXPECT_EQ(said.size(), 24u);
  for (const TokenId token : results[1].tokens) {
    EXPECT_EQ(std::count(plain.ids.begin(), plain.ids.end(), token), 0) << token;
  }
  EXPECT_EQ(results[2].tokens, std::vector<TokenId>(24, 123));
  EXPECT_NE(results[3].tokens[0], first);
}

TEST(ModelRunnerTest, FailsOnlyTheSlotWhoseLogitsAreNotFinite) {
  constexpr TokenId kPoisoned = 42;
  EditedWeights weights(TinyConfig(false));
  weights.FillRow(kEmbedding, kPoisoned, std::numeric_limits<float>::quiet_NaN());
  for (const bool together : {false, true}) {
    ModelRunnerOptions options = TinyOptions();
    options.compute_together = together;
    const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights, options);
    StepDriver driver(*runner);
    const DriverRequest healthy = {.ids = {1, 2, 3, 4}};
    const DriverRequest poisoned = {.ids = {1, kPoisoned, 3, 4}};
    const DriverResult alone = driver.Run({healthy})[0];
    const std::vector<DriverResult> results = driver.Run({healthy, poisoned, healthy});
    ExpectSame(results[0], alone, 0.0f);
    ExpectSame(results[2], alone, 0.0f);
    EXPECT_EQ(results[1].status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(GetErrorFacts(results[1].status).reason, "LOGITS_NOT_FINITE");
    EXPECT_TRUE(results[1].tokens.empty());
    // The slot and its blocks can be used again.
    ExpectSame(driver.Run({healthy, healthy})[1], alone, 0.0f);
  }
}

// A runner with slot 0 started on `blocks`, one step at a time.
class StepTest : public testing::Test {
 protected:
  StepTest() : weights_(TinyConfig(false), 7), runner_(MakeRunner(weights_)), driver_(*runner_) {}

  std::unique_ptr<StepInput> Start(SlotId slot,
                                   std::vector<BlockId> blocks,
                                   std::vector<TokenId> ids) {
    auto input = std::make_unique<StepInput>();
    AddSequence(*input, slot, std::move(blocks), ids);
    return input;
  }

  static void AddSequence(StepInput& input,
                          SlotId slot,
                          std::vector<BlockId> blocks,
                          const std::vector<TokenId>& ids) {
    input.new_slots.push_back({.slot = slot,
                               .block_ids = std::move(blocks),
                               .token_ids = ids,
                               .num_prompt_tokens = static_cast<int32_t>(ids.size())});
    input.logits_rows.push_back({.span_idx = static_cast<int32_t>(input.spans.size()),
                                 .row = static_cast<int32_t>(ids.size()) - 1});
    input.spans.push_back({.slot = slot,
                           .num_tokens = static_cast<int32_t>(ids.size()),
                           .token_offset = static_cast<int32_t>(input.token_ids.size())});
    input.token_ids.insert(input.token_ids.end(), ids.begin(), ids.end());
  }

  // The step failed for slot 1 alone, as malformed; slot 0 got its token.
  void ExpectOnlySlot1Failed(const StepOutput& output) {
    ASSERT_TRUE(output.status.ok()) << output.status;
    ASSERT_EQ(output.failed_slots.size(), 1u);
    EXPECT_EQ(output.failed_slots[0].slot, 1);
    EXPECT_EQ(GetErrorFacts(output.failed_slots[0].status).reason, "MALFORMED_STEP");
    ASSERT_EQ(output.rows.size(), 2u);
    EXPECT_EQ(output.rows[0].slot, 0);
    EXPECT_GE(output.rows[0].token, 0);
    EXPECT_EQ(output.rows[1].slot, 1);
    EXPECT_EQ(output.rows[1].token, -1);
  }

  DummyWeights weights_;
  std::unique_ptr<ModelExecutor> runner_;
  StepDriver driver_;
};

TEST_F(StepTest, FailsOnlyTheSequenceThatContradictsItself) {
  const std::vector<TokenId> ids = {5, 6, 7, 8, 9, 10, 11, 12, 13};
  std::vector<std::unique_ptr<StepInput>> steps;
  for (int i = 0; i < 5; ++i) {
    steps.push_back(Start(0, {0, 1}, ids));
    AddSequence(*steps.back(), 1, {2, 3}, ids);
  }
  steps[0]->token_ids[12] = 320;           // not in the vocabulary
  steps[1]->token_ids[12] = kVisualToken;  // without visual tokens
  steps[2]->new_slots[1].block_ids = {2};  // one block for nine tokens
  steps[3]->spans[1].token_offset = 15;    // ids that were not sent
  steps[4]->logits_rows[1].row = 9;        // past its span
  for (auto& step : steps) {
    ExpectOnlySlot1Failed(*driver_.RunStep(std::move(step)).output);
    auto retire = std::make_unique<StepInput>();
    retire->retired_slots = {0, 1};
    EXPECT_TRUE(driver_.RunStep(std::move(retire)).output->status.ok());
  }
}

TEST_F(StepTest, FailsTheStepThatNamesWhatDoesNotExistAndRunsTheNext) {
  std::vector<std::unique_ptr<StepInput>> steps;
  for (int i = 0; i < 6; ++i) steps.push_back(Start(0, {0}, {1, 2, 3}));
  steps[0]->new_slots[0].slot = 32;
  steps[1]->new_slots[0].block_ids = {runner_->capacity().num_blocks};
  steps[2]->block_appends = {{.slot = 3, .block = 0}};
  steps[3]->block_copies = {{.source = -1, .destination = 0}};
  steps[4]->logits_rows[0].span_idx = 7;
  steps[5]->new_slots[0].adapter_id = 1;
  for (auto& step : steps) {
    const StepResult result = driver_.RunStep(std::move(step));
    EXPECT_EQ(result.output->status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(GetErrorFacts(result.output->status).reason, "MALFORMED_STEP");
  }
  const StepResult result = driver_.RunStep(Start(0, {0}, {1, 2, 3}));
  EXPECT_TRUE(result.output->status.ok()) << result.output->status;
  EXPECT_GE(result.output->rows[0].token, 0);
}

TEST_F(StepTest, ReportsAnImageThatCannotBeRoutedOrEncodedByItself) {
  const ImageInput image = TinyImage(weights_.config(), 3);
  auto input = std::make_unique<StepInput>();
  input->route_jobs.push_back({.slot = 0, .image = image.hash, .text_ids = {1, 2}});
  ImageInput wrong_size = image;
  wrong_size.pixels = std::make_shared<ImagePixels>(12);
  input->encode_jobs.push_back({.image = wrong_size, .num_layers = 4});
  const StepResult result = driver_.RunStep(std::move(input));
  ASSERT_TRUE(result.output->status.ok()) << result.output->status;
  ASSERT_EQ(result.output->encodes_done.size(), 1u);
  EXPECT_FALSE(result.output->encodes_done[0].status.ok());
  ASSERT_EQ(result.output->routes_done.size(), 1u);
  EXPECT_EQ(GetErrorFacts(result.output->routes_done[0].status).reason, "IMAGE_NOT_ENCODED");
}

// ||V - V_exact||_F by another way, and what the runner says of it.
TEST_F(StepTest, BoundsTheErrorOfAnApproximation) {
  const ImageInput image = TinyImage(weights_.config(), 3);
  const std::vector<TokenId> used = {5, 6, 7};
  const std::vector<TokenId> exact = {5, 6, 7, 200, 11, 12};
  absl::StatusOr<std::unique_ptr<PromptProbe>> probe = PromptProbe::Load(weights_, {});
  ASSERT_TRUE(probe.ok()) << probe.status();
  const auto visual_tokens = [&](std::vector<TokenId> ids) {
    ids.push_back(kVisualToken);
    const absl::StatusOr<PromptTrace> trace =
        (*probe)->Run({.ids = std::move(ids), .images = {image.pixels}});
    EXPECT_TRUE(trace.ok()) << trace.status();
    return trace.ok() ? trace->moe.values : std::vector<float>();
  };
  const std::vector<float> a = visual_tokens(used);
  const std::vector<float> b = visual_tokens(exact);
  ASSERT_EQ(a.size(), b.size());
  double squares = 0.0;
  for (size_t i = 0; i < a.size(); ++i) squares += (a[i] - b[i]) * (a[i] - b[i]);
  const auto error = static_cast<float>(std::sqrt(squares));

  for (const bool keeps_experts : {false, true}) {
    SCOPED_TRACE(keeps_experts);
    ModelRunnerOptions options = TinyOptions();
    options.vision_cache_experts = keeps_experts;
    const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights_, options);
    StepDriver driver(*runner);
    const auto route = [&](RouteJob job) {
      std::unique_ptr<StepInput> input = Start(0, {0}, {1, 2, 3});
      input->retired_slots = {0};
      job.slot = 0;
      job.image = image.hash;
      input->route_jobs.push_back(std::move(job));
      const RouteDone done = driver.RunStep(std::move(input)).output->routes_done.at(0);
      EXPECT_TRUE(done.status.ok()) << done.status;
      return done;
    };
    auto first = Start(0, {0}, {1, 2, 3});
    first->encode_jobs.push_back({.image = image, .num_layers = 4});
    ASSERT_TRUE(driver.RunStep(std::move(first)).output->encodes_done.at(0).status.ok());
    const RouteJob approximate = {.text_ids = used, .exact_text_ids = exact};
    RouteJob only_bound = approximate;
    only_bound.bound_only = true;
    EXPECT_FALSE(route({.text_ids = used}).error_bound.has_value());
    EXPECT_EQ(route(only_bound).error_bound.has_value(), keeps_experts) << "no pass for it alone";
    const std::optional<float> bound = route(approximate).error_bound;
    ASSERT_TRUE(bound.has_value());
    EXPECT_GE(*bound, 0.999f * error);
    EXPECT_LE(*bound, 20.0f * error) << "too wide to be of use";
    EXPECT_EQ(route(only_bound).error_bound, bound);
    EXPECT_EQ(route({.text_ids = exact, .exact_text_ids = exact}).error_bound, 0.0f);
    RouteJob given = {.source = RoutingSource::kWeights, .exact_text_ids = exact};
    given.weights = route({.text_ids = used}).weights;
    EXPECT_EQ(route(given).error_bound, bound);
  }
}

TEST_F(StepTest, ForgetsImagesOnlyWhenTold) {
  const ImageInput image = TinyImage(weights_.config(), 3);
  auto encode = std::make_unique<StepInput>();
  encode->encode_jobs.push_back({.image = image, .num_layers = 4});
  EXPECT_TRUE(driver_.RunStep(std::move(encode)).output->encodes_done[0].status.ok());
  const auto route = [&](bool evict) {
    auto input = std::make_unique<StepInput>();
    if (evict) input->evicted_images = {image.hash};
    input->route_jobs.push_back({.slot = 0, .image = image.hash, .text_ids = {1, 2}});
    return driver_.RunStep(std::move(input)).output->routes_done[0].status;
  };
  EXPECT_TRUE(route(false).ok());
  EXPECT_TRUE(route(false).ok());
  EXPECT_FALSE(route(true).ok());
}

TEST_F(StepTest, CopiesBlocksBeforeItComputes) {
  const std::vector<TokenId> ids = {5, 6, 7, 8, 9, 10, 11, 12};
  const StepResult first = driver_.RunStep(Start(0, {4, 5}, ids));
  // Slot 1 continues from a copy of slot 0's full block; both see the same past.
  auto input = std::make_unique<StepInput>();
  input->block_copies = {{.source = 4, .destination = 9}};
  input->new_slots.push_back({.slot = 1, .block_ids = {9, 6}, .num_prompt_tokens = 8});
  for (SlotId slot : {0, 1}) {
    input->spans.push_back({.slot = slot, .start_position = 8, .num_tokens = 1});
    input->logits_rows.push_back(
        {.span_idx = slot, .row = 0, .use = LogitsUse::kScore, .target = 77});
  }
  input->token_ids = {first.output->rows[0].token};
  const StepResult second = driver_.RunStep(std::move(input));
  ASSERT_TRUE(second.output->status.ok()) << second.output->status;
  EXPECT_EQ(second.output->rows[0].token, 77);
  EXPECT_LT(second.output->rows[0].logprob, 0.0f);
  EXPECT_EQ(second.output->rows[0].logprob, second.output->rows[1].logprob);
}

TEST_F(StepTest, ScoresEveryRowThatIsAskedFor) {
  auto input = Start(0, {0, 1}, {5, 6, 7, 8});
  input->logits_rows = {{.span_idx = 0, .row = 0, .use = LogitsUse::kScore, .target = 6},
                        {.span_idx = 0, .row = 2, .use = LogitsUse::kScore, .target = 8},
                        {.span_idx = 0, .row = 3}};
  input->new_slots[0].sampling.num_logprobs = 300;
  const StepResult result = driver_.RunStep(std::move(input));
  ASSERT_EQ(result.output->rows.size(), 3u);
  EXPECT_EQ(result.output->rows[0].token, 6);
  EXPECT_EQ(result.output->rows[1].token, 8);
  const RowResult& drawn = result.output->rows[2];
  ASSERT_EQ(drawn.top.size(), 300u);
  EXPECT_EQ(drawn.top[0].token, drawn.token);
  EXPECT_EQ(drawn.top[0].logprob, drawn.logprob);
  double total = 0.0;
  for (const TokenLogprob& top : drawn.top) total += std::exp(double{top.logprob});
  EXPECT_GT(total, 0.9);
  EXPECT_LE(total, 1.0 + 1e-6);
}

// In one slice or in many, and beside a draw; the draw itself does not notice.
TEST_F(StepTest, ScoresLongPromptsInSlices) {
  std::vector<TokenId> ids;
  for (TokenId id = 5; id < 45; ++id) ids.push_back(id);
  const auto run = [&](int64_t max_score_logits_bytes, bool scores) {
    ModelRunnerOptions options = TinyOptions();
    options.max_score_logits_bytes = max_score_logits_bytes;
    const std::unique_ptr<ModelExecutor> runner = MakeRunner(weights_, options);
    StepDriver driver(*runner);
    auto input = Start(0, {0, 1, 2, 3, 4, 5}, ids);
    input->new_slots[0].sampling.num_prompt_logprobs = 2;
    for (int32_t row = 0; scores && row + 1 < static_cast<int32_t>(ids.size()); ++row) {
      input->logits_rows.push_back(
          {.span_idx = 0, .row = row, .use = LogitsUse::kScore, .target = ids[row + 1]});
    }
    return std::move(driver.RunStep(std::move(input)).output->rows);
  };
  const std::vector<RowResult> plain = run(1 << 20, false);
  const std::vector<RowResult> whole = run(1 << 20, true);
  const std::vector<RowResult> sliced = run(1, true);
  ASSERT_EQ(whole.size(), ids.size());
  ASSERT_EQ(sliced.size(), ids.size());
  EXPECT_EQ(whole[0].token, plain[0].token);
  EXPECT_EQ(whole[0].logprob, plain[0].logprob);
  for (size_t i = 1; i < ids.size(); ++i) {
    EXPECT_EQ(whole[i].token, ids[i]);
    EXPECT_EQ(sliced[i].token, ids[i]);
    EXPECT_NEAR(sliced[i].logprob, whole[i].logprob, 1e-5);
    ASSERT_EQ(sliced[i].top.size(), 2u);
    EXPECT_GE(sliced[i].top[0].logprob, sliced[i].top[1].logprob);
    EXPECT_GE(sliced[i].top[0].logprob, sliced[i].logprob);
  }
}

TEST_F(StepTest, ReportsTheTimeOfTheStagesThatRan) {
  DriverRequest request = {.ids = TinyPrompt(1, 9, true),
                           .images = {TinyImage(weights_.config(), 1)}};
  driver_.Run({request});
  for (int i = 0; i < kNumStages; ++i) {
    EXPECT_GT(driver_.times()[static_cast<Stage>(i)], absl::ZeroDuration())
        << StageName(static_cast<Stage>(i));
  }
  const StepResult text = driver_.RunStep(Start(0, {0}, {1, 2, 3}));
  EXPECT_EQ(text.output->times[Stage::kClip], absl::ZeroDuration());
  EXPECT_EQ(text.output->times[Stage::kDecode], absl::ZeroDuration());
  EXPECT_GT(text.output->times[Stage::kPrefill], absl::ZeroDuration());
}

TEST(ModelRunnerTest, FinishesSubmittedStepsBeforeItIsGone) {
  const DummyWeights weights(TinyConfig(false), 7);
  std::unique_ptr<ModelExecutor> runner = MakeRunner(weights);
  std::atomic<int> done{0};
  runner->Submit({.input = std::make_unique<StepInput>(), .output = std::make_unique<StepOutput>()},
                 [&](StepResult result) {
                   EXPECT_TRUE(result.output->status.ok());
                   EXPECT_NE(result.input, nullptr);
                   ++done;
                 });
  runner.reset();
  EXPECT_EQ(done, 1);
}

// Whatever a worker knows of the weights it has from one reading: there is nothing else it could
// have a copy of.
TEST(ModelRunnersTest, ReadTheWeightsOnceAndAnswerAtOnceWithTheBitsOfOneAlone) {
  const CountingWeights weights(TinyConfig(false), 7);
  const std::unique_ptr<ModelExecutor> alone = MakeRunner(weights);
  const int num_reads = weights.num_reads();
  ModelRunnerOptions options = TinyOptions();
  options.num_threads = 3;
  options.kv_cache_memory_bytes = int64_t{48} << 20;
  auto runners = CreateModelRunners(weights, options, 3);
  ASSERT_TRUE(runners.ok()) << runners.status();
  ASSERT_EQ(runners->size(), 3u);
  EXPECT_EQ(weights.num_reads(), 2 * num_reads);
  const std::vector<DriverRequest> requests = MixedRequests(weights.config(), 8);
  const std::vector<DriverResult> expected = StepDriver(*alone).Run(requests);
  std::vector<std::vector<DriverResult>> results(3);
  std::vector<std::thread> clients;
  for (size_t i = 0; i < runners->size(); ++i) {
    EXPECT_EQ((*runners)[i]->capacity().num_blocks, alone->capacity().num_blocks) << "a third each";
    clients.emplace_back([&, i] { results[i] = StepDriver(*(*runners)[i]).Run(requests); });
  }
  for (std::thread& client : clients) client.join();
  runners->erase(runners->begin());  // who loaded the weights is gone, the others have them still
  for (const auto& runner : *runners) results.push_back(StepDriver(*runner).Run(requests));
  for (const std::vector<DriverResult>& result : results) {
    for (size_t i = 0; i < requests.size(); ++i) ExpectSame(result[i], expected[i], 0.0f);
  }
}

TEST(ModelRunnersTest, AreSeveralOnACpuAlone) {
  const DummyWeights weights(TinyConfig(false), 7);
  ModelRunnerOptions options = TinyOptions();
  for (const int32_t num_workers : {0, 65}) {
    const auto runners = CreateModelRunners(weights, options, num_workers);
    EXPECT_EQ(runners.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(GetErrorFacts(runners.status()).field, "num_workers");
  }
  options.device = "cuda";
  const auto runners = CreateModelRunners(weights, options, 2);
  EXPECT_EQ(runners.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorFacts(runners.status()).field, "num_workers");
}

TEST(ModelRunnerTest, ReportsLoadingProgressUpToTheWhole) {
  const DummyWeights weights(TinyConfig(false), 7);
  ModelRunnerOptions options = TinyOptions();
  std::vector<LoadProgress> reports;
  options.progress = [&](const LoadProgress& progress) { reports.push_back(progress); };
  MakeRunner(weights, options);
  ASSERT_GT(reports.size(), 50u);
  for (size_t i = 1; i < reports.size(); ++i) {
    EXPECT_GE(reports[i].loaded_bytes, reports[i - 1].loaded_bytes);
  }
  EXPECT_GT(reports.back().total_bytes, 1000000);
  EXPECT_EQ(reports.back().loaded_bytes, reports.back().total_bytes);
}

struct BadOption {
  const char* field;
  void (*set)(ModelRunnerOptions&);
};

TEST(ModelRunnerTest, RefusesOptionsOutOfRange) {
  const DummyWeights weights(TinyConfig(false), 7);
  const BadOption cases[] = {
      {"block_size", [](ModelRunnerOptions& o) { o.block_size = 0; }},
      {"max_num_seqs", [](ModelRunnerOptions& o) { o.max_num_seqs = 0; }},
      {"max_num_batched_tokens", [](ModelRunnerOptions& o) { o.max_num_batched_tokens = 0; }},
      {"max_images_per_step", [](ModelRunnerOptions& o) { o.max_images_per_step = 0; }},
      {"num_threads", [](ModelRunnerOptions& o) { o.num_threads = -1; }},
      {"vocab_size", [](ModelRunnerOptions& o) { o.vocab_size = 321; }},
      {"kv_cache_memory_bytes", [](ModelRunnerOptions& o) { o.kv_cache_memory_bytes = 6143; }},
      {"device", [](ModelRunnerOptions& o) { o.device = "tpu"; }},
      {"device", [](ModelRunnerOptions& o) { o.device = "cuda:x"; }},
  };
  for (const BadOption& bad : cases) {
    ModelRunnerOptions options = TinyOptions();
    bad.set(options);
    const auto runner = CreateModelRunner(weights, options);
    EXPECT_EQ(runner.status().code(), absl::StatusCode::kInvalidArgument) << bad.field;
    EXPECT_EQ(GetErrorFacts(runner.status()).field, bad.field);
  }
}

}  // namespace
}  // namespace parrot
