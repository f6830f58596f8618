#include "bench/engine/step_submitter.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "base/status_macros.h"

namespace parrot {
namespace {

constexpr int32_t kQuestionTokens = 64;
constexpr TokenId kFirstTextId = 1;  // ids count up from here, all real in every vocabulary

}  // namespace

StepSubmitter::StepSubmitter(ModelExecutor& executor, int32_t image_size) : executor_(executor) {
  for (int32_t i = 0; i < executor.capacity().max_step_images; ++i) {
    auto pixels = std::make_shared<ImagePixels>(size_t{3} * image_size * image_size);
    for (size_t at = 0; at < pixels->size(); ++at) {
      (*pixels)[at] = static_cast<uint8_t>(at * 131 + static_cast<size_t>(i));
    }
    images_.push_back({.hash = Sha256Of("image " + std::to_string(i)),
                       .size = image_size,
                       .pixels = std::move(pixels)});
  }
  for (TokenId id = 0; id < kQuestionTokens; ++id) question_.push_back(kFirstTextId + id);
}

absl::StatusOr<StageTimes> StepSubmitter::Run(std::unique_ptr<StepInput> input) {
  absl::Notification done;
  StepResult step;
  step.input = std::move(input);
  step.output =
      spare_output_ != nullptr ? std::move(spare_output_) : std::make_unique<StepOutput>();
  StepResult finished;
  executor_.Submit(std::move(step), [&](StepResult result) {
    finished = std::move(result);
    done.Notify();
  });
  done.WaitForNotification();
  spare_output_ = std::move(finished.output);
  spare_input_ = std::move(finished.input);
  RETURN_IF_ERROR(spare_output_->status);
  for (const SlotFailure& failure : spare_output_->failed_slots) return failure.status;
  for (const EncodeDone& encode : spare_output_->encodes_done) RETURN_IF_ERROR(encode.status);
  for (const RouteDone& route : spare_output_->routes_done) RETURN_IF_ERROR(route.status);
  return spare_output_->times;
}

int32_t StepSubmitter::NumBlocks(int32_t num_tokens) const {
  const int32_t block_size = executor_.capacity().block_size;
  return (num_tokens + block_size - 1) / block_size;
}

void StepSubmitter::AddEncodeJob(int32_t image_idx, StepInput& input) const {
  const ImageInput& image = images_[static_cast<size_t>(image_idx)];
  input.evicted_images.push_back(image.hash);
  input.encode_jobs.push_back(
      {.image = image, .num_layers = executor_.capacity().num_vision_layers});
}

void StepSubmitter::AddRouteJob(StepInput& input) const {
  input.route_jobs.push_back({.slot = 0, .image = images_[0].hash, .text_ids = question_});
}

void StepSubmitter::AddSlot(SlotId slot,
                            BlockId first_block,
                            int32_t num_tokens,
                            StepInput& input) const {
  SlotStart start = {.slot = slot, .num_prompt_tokens = num_tokens};
  for (int32_t i = 0; i < NumBlocks(num_tokens); ++i) start.block_ids.push_back(first_block + i);
  input.new_slots.push_back(std::move(start));
}

void StepSubmitter::AddSpan(
    SlotId slot, int32_t start, int32_t num_visual, int32_t num_text, StepInput& input) const {
  const int32_t num_tokens = num_visual + num_text;
  input.logits_rows.push_back(
      {.span_idx = static_cast<int32_t>(input.spans.size()), .row = num_tokens - 1});
  input.spans.push_back({.slot = slot,
                         .start_position = start,
                         .num_tokens = num_tokens,
                         .token_offset = static_cast<int32_t>(input.token_ids.size())});
  if (num_visual > 0) {
    input.visual_spans.push_back({.slot = slot, .start_position = start, .num_tokens = num_visual});
  }
  input.token_ids.insert(input.token_ids.end(), num_visual, kVisualToken);
  for (int32_t i = 0; i < num_text; ++i) input.token_ids.push_back(kFirstTextId + i);
}

absl::StatusOr<StageTimes> StepSubmitter::EncodeImages(int32_t num_images) {
  auto input = std::make_unique<StepInput>();
  for (int32_t i = 0; i < num_images; ++i) AddEncodeJob(i, *input);
  return Run(std::move(input));
}

absl::StatusOr<StageTimes> StepSubmitter::MakeVisualTokens(bool is_new) {
  auto input = std::make_unique<StepInput>();
  if (is_new) AddEncodeJob(0, *input);
  AddRouteJob(*input);
  return Run(std::move(input));
}

absl::StatusOr<StageTimes> StepSubmitter::Prefill(int32_t num_tokens) {
  auto input = std::make_unique<StepInput>();
  AddSlot(0, 0, num_tokens, *input);
  AddSpan(0, 0, 0, num_tokens, *input);
  return Run(std::move(input));
}

absl::StatusOr<StageTimes> StepSubmitter::AnswerImageQuestion() {
  ASSIGN_OR_RETURN(StageTimes times, MakeVisualTokens(/*is_new=*/true));
  auto input = std::make_unique<StepInput>();
  const int32_t num_visual = executor_.capacity().image_tokens;
  AddSlot(0, 0, num_visual + kQuestionTokens, *input);
  AddSpan(0, 0, num_visual, kQuestionTokens, *input);
  ASSIGN_OR_RETURN(const StageTimes answer, Run(std::move(input)));
  times.Add(answer);
  return times;
}

absl::Status StepSubmitter::FillCache() {
  RETURN_IF_ERROR(Prefill(executor_.capacity().block_size).status());
  auto input = std::make_unique<StepInput>();
  for (BlockId block = 1; block < executor_.capacity().num_blocks; ++block) {
    input->block_copies.push_back({.source = 0, .destination = block});
  }
  return Run(std::move(input)).status();
}

absl::Status StepSubmitter::StartSequences(int32_t batch, int32_t context_tokens) {
  batch_ = batch;
  context_tokens_ = context_tokens;
  auto input = std::make_unique<StepInput>();
  for (SlotId slot = 0; slot < batch; ++slot) {
    AddSlot(slot, slot * NumBlocks(context_tokens + 1), context_tokens + 1, *input);
  }
  return Run(std::move(input)).status();
}

absl::StatusOr<StageTimes> StepSubmitter::Decode() {
  std::unique_ptr<StepInput> input =
      spare_input_ != nullptr ? std::move(spare_input_) : std::make_unique<StepInput>();
  input->Clear();
  for (SlotId slot = 0; slot < batch_; ++slot) AddSpan(slot, context_tokens_, 0, 1, *input);
  return Run(std::move(input));
}

}  // namespace parrot
