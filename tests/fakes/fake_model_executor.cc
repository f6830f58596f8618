#include "tests/fakes/fake_model_executor.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace parrot {

FakeModelExecutor::FakeModelExecutor(FakeExecutorOptions options)
    : options_(std::move(options)), state_(options_.model) {
  if (options_.own_thread) thread_ = std::thread([this] { ThreadMain(); });
}

FakeModelExecutor::~FakeModelExecutor() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void FakeModelExecutor::Submit(StepResult buffers, StepDone done) {
  PARROT_CHECK(buffers.input != nullptr && buffers.output != nullptr && done != nullptr);
  absl::MutexLock lock(&mutex_);
  PARROT_CHECK(!closing_);
  CheckSubmitted(*buffers.input);
  jobs_.push_back({std::move(buffers), std::move(done)});
}

void FakeModelExecutor::CheckSubmitted(const StepInput& input) {
  ++num_in_flight_;
  counts_.max_in_flight = std::max(counts_.max_in_flight, num_in_flight_);
  if (num_in_flight_ > capacity().max_steps_in_flight && violation_.ok()) {
    violation_ = absl::InternalError("step contract: too many steps in flight");
  }
  for (const SlotId slot : input.retired_slots) reported_slots_.erase(slot);
  bool computes_failed_slot = false;
  for (const Span& span : input.spans) computes_failed_slot |= reported_slots_.contains(span.slot);
  for (const RouteJob& job : input.route_jobs) {
    computes_failed_slot |= reported_slots_.contains(job.slot);
  }
  if (computes_failed_slot && violation_.ok()) {
    violation_ = absl::InternalError("step contract: a failed slot is computed again");
  }
}

bool FakeModelExecutor::RunStep() {
  PARROT_CHECK(!options_.own_thread);
  Job job;
  {
    absl::MutexLock lock(&mutex_);
    if (jobs_.empty()) return false;
    job = std::move(jobs_.front());
    jobs_.pop_front();
  }
  Run(std::move(job));
  return true;
}

void FakeModelExecutor::ThreadMain() {
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &FakeModelExecutor::CanRun));
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      // The step's duration; closing cuts it short.
      if (options_.step_time > absl::ZeroDuration()) {
        mutex_.AwaitWithTimeout(absl::Condition(&closing_), options_.step_time);
      }
    }
    Run(std::move(job));
  }
}

void FakeModelExecutor::Run(Job job) {
  const StepInput& input = *job.buffers.input;
  StepOutput& output = *job.buffers.output;
  output.Clear();
  output.step_id = input.step_id;
  output.status = Prepare(input);
  if (output.status.ok()) {
    state_.Compute(input, &output);
    FailSlots(input, &output);
    FillTimes(input, &output);
  } else {
    state_.Abandon(input);
  }
  {
    absl::MutexLock lock(&mutex_);
    --num_in_flight_;
    ++counts_.num_steps;
    counts_.num_retired_slots += static_cast<int64_t>(input.retired_slots.size());
    if (!output.status.ok()) {
      ++counts_.num_failed_steps;
      for (const Span& span : input.spans) reported_slots_.insert(span.slot);
      for (const RouteJob& route : input.route_jobs) reported_slots_.insert(route.slot);
    }
    for (const SlotFailure& failure : output.failed_slots) {
      ++counts_.num_failed_slots;
      reported_slots_.insert(failure.slot);
    }
    int32_t num_tokens = 0;
    for (const Span& span : input.spans) num_tokens += span.num_tokens;
    const auto num_images = static_cast<int32_t>(input.encode_jobs.size());
    counts_.num_tokens += num_tokens;
    for (const EncodeJob& encode : input.encode_jobs) {
      ++(encode.first_layer == 0 ? counts_.num_encodes : counts_.num_cut_encodes);
    }
    counts_.num_block_copies += static_cast<int64_t>(input.block_copies.size());
    counts_.num_routes += static_cast<int64_t>(input.route_jobs.size());
    counts_.max_step_tokens = std::max(counts_.max_step_tokens, num_tokens);
    counts_.max_step_spans =
        std::max(counts_.max_step_spans, static_cast<int32_t>(input.spans.size()));
    counts_.max_step_images = std::max(counts_.max_step_images, num_images);
  }
  // Last: whoever hears of the result may destroy the step's other users.
  const StepDone done = std::move(job.done);
  done(std::move(job.buffers));
}

absl::Status FakeModelExecutor::Prepare(const StepInput& input) {
  const absl::Status contract = state_.Begin(input);
  {
    absl::MutexLock lock(&mutex_);
    if (!contract.ok()) {
      if (violation_.ok()) violation_ = contract;
      return contract;
    }
    if (num_steps_to_fail_ > 0) {
      --num_steps_to_fail_;
      return next_failure_;
    }
  }
  return options_.fail_step == nullptr ? absl::OkStatus() : options_.fail_step(input);
}

void FakeModelExecutor::FailSlots(const StepInput& input, StepOutput* output) {
  if (options_.fail_slot == nullptr) return;
  for (const Span& span : input.spans) {
    const absl::Status status = options_.fail_slot(input, span.slot);
    if (status.ok()) continue;
    state_.SpoilSlot(span.slot);
    output->failed_slots.push_back({span.slot, status});
  }
}

void FakeModelExecutor::FillTimes(const StepInput& input, StepOutput* output) const {
  StageTimes& times = output->times;
  if (!output->encodes_done.empty()) {
    times[Stage::kClip] = times[Stage::kProjector] = options_.stage_time;
  }
  if (!output->routes_done.empty()) {
    times[Stage::kRouter] = times[Stage::kExperts] = options_.stage_time;
  }
  for (const Span& span : input.spans) {
    times[span.num_tokens > 1 ? Stage::kPrefill : Stage::kDecode] = options_.stage_time;
  }
  if (!input.logits_rows.empty()) times[Stage::kSample] = options_.stage_time;
}

int FakeModelExecutor::num_waiting_steps() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(jobs_.size());
}

void FakeModelExecutor::SetPaused(bool paused) {
  absl::MutexLock lock(&mutex_);
  paused_ = paused;
}

void FakeModelExecutor::FailNextSteps(int count, const absl::Status& status) {
  PARROT_CHECK(!status.ok());
  absl::MutexLock lock(&mutex_);
  num_steps_to_fail_ = count;
  next_failure_ = status;
}

absl::Status FakeModelExecutor::violation() const {
  absl::MutexLock lock(&mutex_);
  return violation_;
}

FakeModelExecutor::Counts FakeModelExecutor::counts() const {
  absl::MutexLock lock(&mutex_);
  return counts_;
}

int FakeModelExecutor::num_live_slots() const { return state_.num_live_slots(); }
int FakeModelExecutor::num_features() const { return state_.num_features(); }

}  // namespace parrot
