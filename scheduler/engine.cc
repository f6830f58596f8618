#include "scheduler/engine.h"

#include <algorithm>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "base/thread_checker.h"
#include "scheduler/engine_inbox.h"
#include "scheduler/request_limits.h"
#include "scheduler/scheduler.h"
#include "scheduler/worker_failure.h"

namespace parrot {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(1);

SchedulerOptions SchedulerOptionsOf(const EngineOptions& options) {
  return {.max_num_seqs = options.max_num_seqs,
          .max_num_batched_tokens = options.max_num_batched_tokens,
          .max_images_per_step = options.max_images_per_step,
          .enable_prefix_caching = options.enable_prefix_caching,
          .model_revision = options.model_revision,
          .vision_cache_memory_bytes = options.vision_cache_memory_bytes,
          .priority_aging_interval = options.priority_aging_interval,
          .queue_timeout = options.queue_timeout};
}

RequestLimits LimitsOf(const EngineOptions& options, const ExecutorCapacity& capacity) {
  return {.max_model_len = options.max_model_len,
          .num_blocks = capacity.num_blocks,
          .block_size = capacity.block_size,
          .image_tokens = capacity.image_tokens,
          .num_experts = capacity.num_experts};
}

int32_t NumTokens(const StepInput& input) {
  int32_t count = 0;
  for (const Span& span : input.spans) count += span.num_tokens;
  return count;
}

// How many of those that run and wait must end before another has a place; <= 0: it has one.
int32_t NumBeforeSlot(const EngineLoad& load, int32_t max_num_seqs) {
  return load.num_running + load.num_waiting - max_num_seqs + 1;
}

absl::Status StoppedStatus() {
  return ErrorStatus(absl::StatusCode::kUnavailable,
                     "the server is shutting down",
                     {.reason = "DRAINING", .retry_after = kRetryAfter});
}

// What a step's output says of the executor itself, as opposed to single requests: OK unless the
// step failed, a part of it is UNAVAILABLE, or the device failed and nothing else succeeded.
absl::Status ExecutorFailure(const StepInput& input, const StepOutput& output) {
  if (!output.status.ok()) return output.status;
  absl::Status unavailable;
  absl::Status device_error;
  bool any_job_done = false;
  const auto look = [&](const absl::Status& status) {
    if (absl::IsUnavailable(status)) unavailable = status;
    if (GetErrorFacts(status).reason == kDeviceErrorReason) device_error = status;
    return status.ok();
  };
  for (const SlotFailure& failure : output.failed_slots) look(failure.status);
  for (const EncodeDone& done : output.encodes_done) any_job_done |= look(done.status);
  for (const RouteDone& done : output.routes_done) any_job_done |= look(done.status);
  if (!unavailable.ok()) return unavailable;
  const bool any_span_done = output.failed_slots.size() < input.spans.size();
  return any_job_done || any_span_done ? absl::OkStatus() : device_error;
}

}  // namespace

// Confined to the engine thread but for the members named so.
class Engine::Impl {
 public:
  Impl(const EngineOptions& options, ModelExecutor* executor, EventSink* sink, Clock* clock)
      : options_(options),
        executor_(*executor),
        sink_(*sink),
        clock_(*clock),
        limits_(LimitsOf(options, executor->capacity())),
        max_num_seqs_(std::min(options.max_num_seqs, executor->capacity().max_slots)),
        inbox_(options.max_queue_size, max_num_seqs_),
        scheduler_(SchedulerOptionsOf(options), executor->capacity()) {
    load_.num_blocks_total = executor->capacity().num_blocks;
    scheduler_.set_predictor(&load_.predictor);
    inbox_.Publish(load_, {});
    free_buffers_.resize(executor->capacity().max_steps_in_flight);
    for (StepResult& buffers : free_buffers_) {
      buffers.input = std::make_unique<StepInput>();
      buffers.output = std::make_unique<StepOutput>();
    }
  }

  // Thread-safe.
  absl::Status Add(std::shared_ptr<const Request> request) {
    RETURN_IF_ERROR(CheckRequest(*request, limits_));
    RETURN_IF_ERROR(CheckDeadline(*request));
    return inbox_.AddRequest(std::move(request));
  }
  EngineInbox& inbox() { return inbox_; }  // thread-safe

  void Start() {
    PARROT_CHECK(!thread_.joinable() && !stopped_);
    thread_ = std::thread([this] { ThreadMain(); });
  }

  bool RunOnce() {
    PARROT_CHECK(!thread_.joinable());
    return Turn();
  }

  absl::Status CheckIntegrity() const { return scheduler_.CheckIntegrity(); }

  void Stop() {
    if (stopped_) return;
    stopped_ = true;
    inbox_.Stop();
    if (thread_.joinable()) {
      thread_.join();
      return;
    }
    Turn();
    PARROT_CHECK(num_in_flight_ == 0) << "finish the executor's steps before stopping the engine";
    inbox_.MarkStopped();
  }

 private:
  // Thread-safe. DEADLINE_EXCEEDED for what cannot answer in time.
  absl::Status CheckDeadline(const Request& request) const;
  void ThreadMain();
  // Takes the inbox, handles it, submits what there is room for, publishes and delivers.
  bool Turn();
  void TakeResult(StepResult result, absl::Time now);
  void Learn(const StepInput& input, const StepOutput& output, absl::Duration elapsed);
  void CountFailure(const StepInput& input, const StepOutput& output);
  bool SubmitSteps(absl::Time now);
  void Publish();

  const EngineOptions options_;
  ModelExecutor& executor_;
  EventSink& sink_;
  Clock& clock_;
  const RequestLimits limits_;
  const int32_t max_num_seqs_;
  EngineInbox inbox_;

  Scheduler scheduler_;
  EngineLoad load_;
  EngineInbox::Batch batch_;
  std::vector<EngineEvent> events_;
  std::vector<RequestKey> finished_;
  std::vector<StepResult> free_buffers_;  // those in flight are with the executor
  int32_t num_in_flight_ = 0;
  int32_t num_failed_in_a_row_ = 0;

  ThreadChecker thread_checker_;
  bool stopped_ = false;  // of the thread that owns the engine
  std::thread thread_;    // last: it uses everything above
};

void Engine::Impl::ThreadMain() {
  while (true) {
    Turn();
    if (batch_.stopping) break;
    const absl::Time wake_up = scheduler_.next_expiry();
    inbox_.Wait(wake_up == absl::InfiniteFuture() ? absl::InfiniteDuration()
                                                  : wake_up - clock_.Now());
  }
  while (num_in_flight_ > 0) {
    inbox_.WaitForResult();
    Turn();
  }
  inbox_.MarkStopped();
}

absl::Status Engine::Impl::CheckDeadline(const Request& request) const {
  if (request.deadline == absl::InfiniteFuture()) return absl::OkStatus();
  const EngineLoad load = inbox_.load();
  if (!load.predictor.is_ready()) return absl::OkStatus();
  StepTimePredictor::Queue queue = {
      .num_tokens = request.num_prompt_tokens(),
      .num_images = static_cast<int64_t>(request.images.size()),
      .num_decoding = load.num_running,
      .max_step_tokens =
          std::min(options_.max_num_batched_tokens, executor_.capacity().max_step_tokens),
      .max_step_images =
          std::min(options_.max_images_per_step, executor_.capacity().max_step_images)};
  double num_tokens = 1.0;
  if (request.priority == 0) queue.num_tokens += load.num_waiting_tokens;
  if (const int32_t num_ahead = NumBeforeSlot(load, max_num_seqs_);
      request.priority == 0 && num_ahead > 0) {
    queue.num_steps_until_slot =
        static_cast<int32_t>(num_ahead * load.mean_completion_tokens / max_num_seqs_);
    // A place is not for who will only begin.
    num_tokens = std::min<double>(load.mean_completion_tokens, request.max_tokens);
  }
  // What caches save is not known yet; so only what is late without any image is refused for sure.
  if (options_.vision_cache_memory_bytes > 0 || options_.enable_prefix_caching)
    queue.num_images = 0;
  const absl::Duration left = request.deadline - clock_.Now();
  const absl::Duration predicted = load.predictor.NthToken(num_tokens, queue);
  return predicted <= left ? absl::OkStatus() : DeadlineUnreachable(predicted, left);
}

bool Engine::Impl::Turn() {
  PARROT_CHECK(thread_checker_.CalledOnValidThread());
  batch_.Clear();
  inbox_.Take(&batch_);
  const absl::Time now = clock_.Now();
  events_.clear();
  for (StepResult& result : batch_.results) TakeResult(std::move(result), now);
  for (const auto& request : batch_.requests) scheduler_.Add(request, now);
  for (const SequenceKey& key : batch_.cancels) scheduler_.Cancel(key, now, &events_);
  if (batch_.flush_cache) scheduler_.FlushCache();
  scheduler_.Expire(now, &events_);
  if (!load_.health.ok()) scheduler_.FailAll(load_.health, now, &events_);
  if (batch_.stopping) scheduler_.FailAll(StoppedStatus(), now, &events_);
  load_.paused = batch_.paused;
  const bool may_submit = load_.health.ok() && !batch_.stopping && !batch_.paused;
  const bool submitted = may_submit && SubmitSteps(now);

  Publish();
  const bool delivered = !events_.empty();
  if (delivered) sink_.OnEvents(events_);
  const std::vector<std::function<void()>> drained = inbox_.TakeDrained();
  for (const std::function<void()>& done : drained) done();
  return submitted || delivered || !batch_.empty() || !drained.empty();
}

void Engine::Impl::TakeResult(StepResult result, absl::Time now) {
  --num_in_flight_;
  Learn(*result.input, *result.output, now - load_.oldest_step_start);
  scheduler_.Update(*result.input, result.output.get(), now, &events_);
  ++load_.num_steps;
  load_.last_step_tokens = NumTokens(*result.input);
  load_.last_step_end = now;
  load_.oldest_step_start = now;  // the next one in flight starts when this one ends
  CountFailure(*result.input, *result.output);
  // At once: the step holds the pixels of the images it encoded.
  result.input->Clear();
  free_buffers_.push_back(std::move(result));
}

void Engine::Impl::Learn(const StepInput& input, const StepOutput& output, absl::Duration elapsed) {
  // Steps that only wait for jobs, or whose jobs end later, say nothing of the cost.
  const int32_t num_layers = executor_.capacity().num_vision_layers;
  double num_images = 0.0;
  size_t num_ended = 0;
  for (const EncodeJob& job : input.encode_jobs) {
    num_images += static_cast<double>(job.num_layers) / num_layers;
    if (job.first_layer + job.num_layers == num_layers) ++num_ended;
  }
  const bool is_measured = output.status.ok() &&
                           !(input.spans.empty() && input.encode_jobs.empty()) &&
                           output.encodes_done.size() == num_ended;
  if (is_measured) load_.predictor.Observe(NumTokens(input), num_images, elapsed);
}

void Engine::Impl::CountFailure(const StepInput& input, const StepOutput& output) {
  const absl::Status failure = ExecutorFailure(input, output);
  if (failure.ok()) {
    // A step that only tells of freed slots, or whose slots failed, proves nothing.
    const bool has_work = !input.spans.empty() || !input.route_jobs.empty();
    if (has_work && output.failed_slots.empty()) num_failed_in_a_row_ = 0;
    return;
  }
  ++load_.num_failed_steps;
  load_.last_failure = failure;
  ++num_failed_in_a_row_;
  if (absl::IsUnavailable(failure) ||
      num_failed_in_a_row_ >= options_.max_consecutive_failed_steps) {
    load_.health = ClientStatus(absl::UnavailableError(""));
  }
}

bool Engine::Impl::SubmitSteps(absl::Time now) {
  bool submitted = false;
  if (options_.max_step_time > absl::ZeroDuration() && load_.predictor.is_ready()) {
    scheduler_.set_step_time_limit(
        {.limit = options_.max_step_time, .price = load_.predictor.coefficients()});
  }
  while (num_in_flight_ < executor_.capacity().max_steps_in_flight) {
    if (!scheduler_.Schedule(now, free_buffers_.back().input.get(), &events_)) break;
    StepResult buffers = std::move(free_buffers_.back());
    free_buffers_.pop_back();
    if (num_in_flight_ == 0) load_.oldest_step_start = now;
    ++num_in_flight_;
    submitted = true;
    executor_.Submit(std::move(buffers),
                     [this](StepResult result) { inbox_.PostResult(std::move(result)); });
  }
  return submitted;
}

void Engine::Impl::Publish() {
  load_.num_waiting = scheduler_.num_waiting();
  load_.num_waiting_tokens = scheduler_.num_waiting_tokens();
  load_.num_running = scheduler_.num_running();
  load_.num_blocks_used = scheduler_.blocks().num_used();
  load_.num_blocks_cached = scheduler_.blocks().num_cached();
  load_.num_vision_entries = scheduler_.vision().num_present();
  const SchedulerTotals& totals = scheduler_.totals();
  load_.num_preemptions = totals.num_preemptions;
  load_.num_retries = totals.num_retries;
  load_.mean_completion_tokens = totals.mean_completion_tokens;
  load_.num_prompt_tokens = totals.num_prompt_tokens;
  load_.num_generated_tokens = totals.num_generated_tokens;
  load_.num_prefix_query_tokens = scheduler_.kv_cache().num_query_tokens();
  load_.num_prefix_hit_tokens = scheduler_.kv_cache().num_hit_tokens();
  load_.num_vision_queries = totals.num_vision_queries;
  load_.num_vision_hits = totals.num_vision_hits;
  load_.num_prefix_evictions = scheduler_.blocks().num_evictions();
  load_.num_vision_evictions = scheduler_.vision().num_evictions();
  load_.step_in_flight = num_in_flight_ > 0;
  finished_.clear();
  for (const EngineEvent& event : events_) {
    const auto* finish = std::get_if<FinishEvent>(&event);
    if (finish != nullptr) finished_.push_back(finish->key);
  }
  inbox_.Publish(load_, finished_);
}

Engine::Engine(const EngineOptions& options, ModelExecutor* executor, EventSink* sink, Clock* clock)
    : impl_(std::make_unique<Impl>(options, executor, sink, clock)) {}

Engine::~Engine() { impl_->Stop(); }

void Engine::Start() { impl_->Start(); }
void Engine::Stop() { impl_->Stop(); }
bool Engine::RunOnce() { return impl_->RunOnce(); }
absl::Status Engine::CheckIntegrityForTest() const { return impl_->CheckIntegrity(); }

absl::Status Engine::Add(std::shared_ptr<const Request> request) {
  return impl_->Add(std::move(request));
}
void Engine::Cancel(RequestKey key) { impl_->inbox().Cancel({key, kAllSequences}); }
void Engine::CancelSequence(RequestKey key, int32_t sequence_idx) {
  impl_->inbox().Cancel({key, sequence_idx});
}
void Engine::Pause() { impl_->inbox().SetPaused(true); }
void Engine::Resume() { impl_->inbox().SetPaused(false); }
void Engine::FlushCache() { impl_->inbox().FlushCache(); }
void Engine::Drain(std::function<void()> done) { impl_->inbox().Drain(std::move(done)); }
EngineLoad Engine::load() const { return impl_->inbox().load(); }

}  // namespace parrot
