#include "bench/decode_steps/decode_steps.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "base/check.h"

namespace parrot {
namespace {

constexpr int32_t kBlockSize = 32;
constexpr TokenId kVocabSize = 150'000;

}  // namespace

DecodeSteps::DecodeSteps(int32_t num_sequences, int32_t prompt_tokens, int32_t max_steps) {
  const int32_t num_tokens = prompt_tokens + max_steps + 2;
  ExecutorCapacity capacity;
  capacity.block_size = kBlockSize;
  // One more for each that runs: admission keeps them free.
  capacity.num_blocks = num_sequences * (num_tokens / kBlockSize + 3);
  capacity.max_slots = num_sequences;
  capacity.max_step_tokens = std::max(8192, num_sequences);
  SchedulerOptions options;
  options.max_num_seqs = num_sequences;
  options.max_num_batched_tokens = capacity.max_step_tokens;
  scheduler_ = std::make_unique<Scheduler>(options, capacity);
  for (int32_t i = 0; i < num_sequences; ++i) {
    auto request = std::make_shared<Request>();
    request->key = static_cast<RequestKey>(i);
    for (int32_t k = 0; k < prompt_tokens; ++k) {
      request->token_ids.push_back((i * 7919 + k * 31) % kVocabSize);
    }
    request->max_tokens = max_steps + 2;
    scheduler_->Add(std::move(request), absl::UnixEpoch());
  }
  while (scheduler_->totals().num_generated_tokens < num_sequences) Step();
}

void DecodeSteps::Step() {
  events_.clear();
  const absl::Time start = absl::Now();
  const bool scheduled = scheduler_->Schedule(absl::UnixEpoch(), &input_, &events_);
  const absl::Time submitted = absl::Now();
  PARROT_CHECK(scheduled);
  output_.Clear();
  output_.step_id = input_.step_id;
  for (const LogitsRow& row : input_.logits_rows) {
    RowResult result;
    result.slot = input_.spans[row.span_idx].slot;
    result.token = static_cast<TokenId>((input_.step_id * 7 + result.slot) % kVocabSize);
    output_.rows.push_back(std::move(result));
  }
  const absl::Time done = absl::Now();
  scheduler_->Update(input_, &output_, absl::UnixEpoch(), &events_);
  update_time_ = absl::Now() - done;
  schedule_time_ = submitted - start;
}

}  // namespace parrot
