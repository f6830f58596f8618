// The fake refuses what a strict runtime would refuse; else tests that use it prove nothing.
#include "tests/fakes/fake_model_executor.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/hash.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_state.h"

namespace parrot {
namespace {

FakeModelOptions Options() {
  FakeModelOptions options;
  options.capacity = {.num_blocks = 8,
                      .block_size = 4,
                      .max_slots = 2,
                      .max_step_tokens = 8,
                      .max_step_images = 1,
                      .max_steps_in_flight = 1,
                      .image_tokens = 2,
                      .num_experts = 3,
                      .num_vision_layers = 4};
  return options;
}

EncodeJob Encode(const std::string& name) {
  EncodeJob job;
  job.image = {Sha256Of(name), 1, std::make_shared<const ImagePixels>(3)};
  job.num_layers = 4;
  return job;
}

// A step that starts slot 0 with prompt {5, V, V, 6} and routes its image.
StepInput FirstStep() {
  StepInput input;
  input.step_id = 1;
  input.new_slots.push_back({.slot = 0,
                             .block_ids = {3, 4},
                             .token_ids = {5, kVisualToken, kVisualToken, 6},
                             .num_prompt_tokens = 4});
  input.encode_jobs.push_back(Encode("a"));
  input.route_jobs.push_back(
      {.slot = 0, .image_idx = 0, .image = Sha256Of("a"), .text_ids = {5, 6}});
  input.spans.push_back({.slot = 0, .start_position = 0, .num_tokens = 1});
  input.token_ids = {5};
  return input;
}

// The one after it: the rest of the prompt, and a sample.
StepInput SecondStep() {
  StepInput input;
  input.step_id = 2;
  input.spans.push_back({.slot = 0, .start_position = 1, .num_tokens = 3});
  input.token_ids = {kVisualToken, kVisualToken, 6};
  input.visual_spans.push_back(
      {.slot = 0, .image_idx = 0, .start_position = 1, .first_row = 0, .num_tokens = 2});
  input.logits_rows.push_back({.span_idx = 0, .row = 2});
  return input;
}

TEST(FakeModelStateTest, ComputesAnAnswerFromEverythingItRead) {
  FakeModelState state(Options());
  StepOutput output;
  ASSERT_EQ(state.Begin(FirstStep()), absl::OkStatus());
  state.Compute(FirstStep(), &output);
  EXPECT_EQ(output.encodes_done.size(), 1u);
  ASSERT_EQ(output.routes_done.size(), 1u);
  EXPECT_EQ(output.routes_done[0].weights.size(), 3u);
  output.Clear();
  ASSERT_EQ(state.Begin(SecondStep()), absl::OkStatus());
  state.Compute(SecondStep(), &output);
  const uint64_t visual = VisualFingerprint(Sha256Of("a"), RoutingSource::kText, {5, 6}, {});
  uint64_t hash = 0;
  for (const uint64_t content : {TokenContent(0, 5),
                                 VisualContent(1, 0, visual),
                                 VisualContent(2, 1, visual),
                                 TokenContent(3, 6)}) {
    hash = FoldContent(hash, content);
  }
  ASSERT_EQ(output.rows.size(), 1u);
  EXPECT_EQ(output.rows[0].token, TokenOfHash(hash, 1000));
}

struct Breach {
  std::string name;
  std::function<void(StepInput&)> spoil;
};

void ExpectRefused(const std::vector<Breach>& breaches, bool second_step) {
  for (const Breach& breach : breaches) {
    FakeModelState state(Options());
    StepInput input = FirstStep();
    if (second_step) {
      StepOutput output;
      ASSERT_EQ(state.Begin(input), absl::OkStatus());
      state.Compute(input, &output);
      input = SecondStep();
    }
    breach.spoil(input);
    EXPECT_FALSE(state.Begin(input).ok()) << breach.name;
  }
}

TEST(FakeModelStateTest, RefusesABrokenFirstStep) {
  ExpectRefused(
      {{"slot out of range", [](StepInput& i) { i.new_slots[0].slot = 2; }},
       {"slot taken", [](StepInput& i) { i.new_slots.push_back(i.new_slots[0]); }},
       {"block out of range", [](StepInput& i) { i.new_slots[0].block_ids[0] = 8; }},
       {"block shared", [](StepInput& i) { i.new_slots[0].block_ids[1] = 3; }},
       {"no prompt", [](StepInput& i) { i.new_slots[0].num_prompt_tokens = 0; }},
       {"unknown slot retired", [](StepInput& i) { i.retired_slots = {1}; }},
       {"unknown visuals",
        [](StepInput& i) {
          i.released_visuals = {{0, 0}};
        }},
       {"unknown append",
        [](StepInput& i) {
          i.block_appends = {{1, 7}};
        }},
       {"append of a used block",
        [](StepInput& i) {
          i.block_appends = {{0, 3}};
        }},
       {"sampling of an unknown slot",
        [](StepInput& i) { i.sampling_changes.push_back({.slot = 1}); }},
       {"copy onto itself",
        [](StepInput& i) {
          i.block_copies = {{3, 3}};
        }},
       {"too many images", [](StepInput& i) { i.encode_jobs.push_back(Encode("b")); }},
       {"image without pixels", [](StepInput& i) { i.encode_jobs[0].image.pixels = nullptr; }},
       {"part of a pass", [](StepInput& i) { i.encode_jobs[0].num_layers = 3; }},
       {"route of an unknown slot", [](StepInput& i) { i.route_jobs[0].slot = 1; }},
       {"routed twice", [](StepInput& i) { i.route_jobs.push_back(i.route_jobs[0]); }},
       {"no features", [](StepInput& i) { i.route_jobs[0].image = Sha256Of("b"); }},
       {"no weights", [](StepInput& i) { i.route_jobs[0].source = RoutingSource::kWeights; }},
       {"empty span", [](StepInput& i) { i.spans[0].num_tokens = 0; }},
       {"wrong start", [](StepInput& i) { i.spans[0].start_position = 1; }},
       {"wrong token", [](StepInput& i) { i.token_ids[0] = 9; }},
       {"missing token", [](StepInput& i) { i.token_ids.clear(); }},
       {"two spans", [](StepInput& i) { i.spans.push_back(i.spans[0]); }},
       {"unknown span", [](StepInput& i) { i.spans[0].slot = 1; }},
       {"not on the device",
        [](StepInput& i) { i.spans[0].source = TokenSource::kSampledOnDevice; }},
       {"sample too early", [](StepInput& i) { i.logits_rows = {{.span_idx = 0, .row = 0}}; }},
       {"row of no span", [](StepInput& i) { i.logits_rows = {{.span_idx = 1, .row = 0}}; }},
       {"visual too early",
        [](StepInput& i) {
          i.spans[0].num_tokens = 2;
          i.token_ids = {5, kVisualToken};
          i.visual_spans = {{.slot = 0, .start_position = 1, .num_tokens = 1}};
        }}},
      /*second_step=*/false);
}

TEST(FakeModelStateTest, RefusesABrokenSecondStep) {
  ExpectRefused(
      {{"encoded twice", [](StepInput& i) { i.encode_jobs.push_back(Encode("a")); }},
       {"visual not covered", [](StepInput& i) { i.visual_spans.clear(); }},
       {"visual covered twice", [](StepInput& i) { i.visual_spans.push_back(i.visual_spans[0]); }},
       {"rows out of range", [](StepInput& i) { i.visual_spans[0].first_row = 1; }},
       {"unknown image", [](StepInput& i) { i.visual_spans[0].image_idx = 1; }},
       {"visual over text", [](StepInput& i) { i.visual_spans[0].start_position = 2; }},
       {"released",
        [](StepInput& i) {
          i.released_visuals = {{0, 0}};
        }},
       {"slot retired", [](StepInput& i) { i.retired_slots = {0}; }},
       {"beyond the blocks", [](StepInput& i) { i.spans[0].num_tokens = 8; }},
       {"row out of range", [](StepInput& i) { i.logits_rows[0].row = 3; }}},
      /*second_step=*/true);
}

TEST(FakeModelExecutorTest, FailsTheStepThatBreaksTheContractAndRemembersIt) {
  FakeModelExecutor executor({.model = Options()});
  StepResult buffers{std::make_unique<StepInput>(FirstStep()), std::make_unique<StepOutput>()};
  buffers.input->spans[0].start_position = 1;
  StepResult result;
  executor.Submit(std::move(buffers), [&](StepResult r) { result = std::move(r); });
  EXPECT_EQ(executor.num_waiting_steps(), 1);
  EXPECT_TRUE(executor.RunStep());
  EXPECT_FALSE(executor.RunStep());
  EXPECT_FALSE(result.output->status.ok());
  EXPECT_FALSE(executor.violation().ok());
}

TEST(FakeModelExecutorTest, RefusesMoreStepsThanMayBeInFlight) {
  FakeModelExecutor executor({.model = Options()});
  for (int i = 0; i < 2; ++i) {
    executor.Submit({std::make_unique<StepInput>(), std::make_unique<StepOutput>()},
                    [](StepResult) {});
  }
  EXPECT_FALSE(executor.violation().ok());
}

TEST(FakeModelExecutorTest, RunsOnItsOwnThreadWithAScript) {
  FakeExecutorOptions options;
  options.model = Options();
  options.model.next_token = [](const std::vector<TokenId>& ids) { return ids.front() + 100; };
  options.own_thread = true;
  options.step_time = absl::Milliseconds(1);
  FakeModelExecutor executor(options);
  executor.SetPaused(true);
  for (int step = 0; step < 2; ++step) {
    auto input = std::make_unique<StepInput>(step == 0 ? FirstStep() : SecondStep());
    absl::Notification finished;
    StepResult result;
    executor.Submit({std::move(input), std::make_unique<StepOutput>()}, [&](StepResult r) {
      result = std::move(r);
      finished.Notify();
    });
    if (step == 0) {
      EXPECT_FALSE(finished.HasBeenNotified()) << "paused";
    }
    executor.SetPaused(false);
    finished.WaitForNotification();
    ASSERT_EQ(result.output->status, absl::OkStatus());
    if (step == 1) {
      EXPECT_EQ(result.output->rows[0].token, 105);
    }
  }
  EXPECT_EQ(executor.counts().num_steps, 2);
  EXPECT_EQ(executor.counts().num_tokens, 4);
}

TEST(FakeClockTest, MovesOnlyWhenTold) {
  FakeClock clock;
  const absl::Time start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(absl::Seconds(2));
  EXPECT_EQ(clock.Now(), start + absl::Seconds(2));
}

}  // namespace
}  // namespace parrot
