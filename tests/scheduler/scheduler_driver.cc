#include "tests/scheduler/scheduler_driver.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "gtest/gtest.h"

namespace parrot {

SchedulerOptions WideOptions() {
  return {.max_num_seqs = 1000,
          .max_num_batched_tokens = 1000,
          .max_images_per_step = 1000,
          .queue_timeout = absl::Seconds(30)};
}

ExecutorCapacity TwoInFlight() {
  ExecutorCapacity capacity = SmallCapacity();
  capacity.max_steps_in_flight = 2;
  return capacity;
}

Driver::Driver(const ExecutorCapacity& capacity,
               int32_t job_delay_steps,
               const SchedulerOptions& options)
    : model_(FakeModelOptions{
          .capacity = capacity, .vocab_size = kTestVocabSize, .job_delay_steps = job_delay_steps}),
      scheduler_(options, capacity) {}

void Driver::Add(std::shared_ptr<const Request> request) {
  scheduler_.Add(std::move(request), clock_.Now());
}

void Driver::Answer(const RequestBuilder& request) {
  Add(request);
  RunAll();
}

void Driver::Cancel(RequestKey key, int32_t sequence_idx) {
  scheduler_.Cancel({key, sequence_idx}, clock_.Now(), &events_);
  Deliver();
}

void Driver::Expire() {
  scheduler_.Expire(clock_.Now(), &events_);
  Deliver();
}

const StepInput* Driver::Submit() {
  auto input = std::make_unique<StepInput>();
  const bool scheduled = scheduler_.Schedule(clock_.Now(), input.get(), &events_);
  Deliver();
  EXPECT_EQ(scheduler_.CheckIntegrity(), absl::OkStatus());
  if (!scheduled) return nullptr;
  in_flight_.push_back(std::move(input));
  return in_flight_.back().get();
}

void Driver::Finish() {
  StepOutput output = Run();
  Update(&output);
}

StepOutput Driver::Run() {
  if (on_step_ != nullptr) on_step_(in_flight_.front().get());
  const StepInput& input = *in_flight_.front();
  StepOutput output;
  output.step_id = input.step_id;
  EXPECT_EQ(model_.Begin(input), absl::OkStatus());
  model_.Compute(input, &output);
  for (const Span& span : input.spans) num_computed_tokens_ += span.num_tokens;
  num_encodes_ += static_cast<int64_t>(input.encode_jobs.size());
  return output;
}

StepOutput Driver::Fail(const absl::Status& status) {
  if (on_step_ != nullptr) on_step_(in_flight_.front().get());
  StepOutput output;
  output.step_id = in_flight_.front()->step_id;
  output.status = status;
  EXPECT_EQ(model_.Begin(*in_flight_.front()), absl::OkStatus());
  model_.Abandon(*in_flight_.front());
  return output;
}

void Driver::Update(StepOutput* output) {
  scheduler_.Update(*in_flight_.front(), output, clock_.Now(), &events_);
  in_flight_.pop_front();
  Deliver();
  EXPECT_EQ(scheduler_.CheckIntegrity(), absl::OkStatus());
}

void Driver::RunAll() {
  for (int i = 0; i < 1000; ++i) {
    if (Submit() == nullptr && in_flight_.empty()) return;
    if (!in_flight_.empty()) Finish();
  }
  FAIL() << "no end";
}

void Driver::Deliver() {
  sink_.OnEvents(events_);
  events_.clear();
}

std::vector<std::vector<int32_t>> Spans(const StepInput& input) {
  std::vector<std::vector<int32_t>> spans;
  for (const Span& s : input.spans) spans.push_back({s.slot, s.start_position, s.num_tokens});
  return spans;
}

std::vector<RequestKey> OrderOfFirstTokens(const RecordingSink& sink) {
  std::vector<RequestKey> order;
  for (const EngineEvent& event : sink.events()) {
    const auto* token = std::get_if<TokenEvent>(&event);
    if (token != nullptr && std::count(order.begin(), order.end(), token->key) == 0) {
      order.push_back(token->key);
    }
  }
  return order;
}

}  // namespace parrot
