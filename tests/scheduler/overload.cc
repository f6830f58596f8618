#include "tests/scheduler/overload.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "scheduler/event.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

constexpr int32_t kMinAnswer = 8;
constexpr int32_t kMaxAnswer = 64;
constexpr int32_t kStopEvery = 25;  // of the tokens, one stops
constexpr int32_t kMaxNumSeqs = 8;
constexpr int32_t kMaxStepTokens = 128;

// What a step takes: about a small model on a CPU.
absl::Duration TimeOf(const StepInput& input) {
  absl::Duration time = absl::Milliseconds(20);
  for (const Span& span : input.spans) time += span.num_tokens * absl::Microseconds(200);
  return time + static_cast<int64_t>(input.encode_jobs.size()) * absl::Milliseconds(60);
}

// Between the engine and the executor: knows whom each slot belongs to and when each step ends.
class PricedExecutor final : public ModelExecutor {
 public:
  PricedExecutor(ModelExecutor* executor, Clock* clock) : executor_(*executor), clock_(*clock) {}

  const ExecutorCapacity& capacity() const override { return executor_.capacity(); }
  void Submit(StepResult buffers, StepDone done) override {
    const StepInput& input = *buffers.input;
    for (const SlotStart& start : input.new_slots) owner_[start.slot] = start.sampling.seed;
    for (const Span& span : input.spans) Count(span.slot, span.num_tokens);
    for (const RouteJob& job : input.route_jobs) Count(job.slot, 1);
    step_end_ = clock_.Now() + TimeOf(input);
    executor_.Submit(std::move(buffers), std::move(done));
  }

  absl::Time step_end() const { return step_end_; }
  void Done() { step_end_ = absl::InfiniteFuture(); }
  void SetDeadline(RequestKey key, absl::Time deadline) { deadlines_[key] = deadline; }
  int64_t num_expired() const { return num_expired_; }
  int64_t num_positions(RequestKey key) const {
    const auto it = positions_.find(key);
    return it == positions_.end() ? 0 : it->second;
  }

 private:
  void Count(SlotId slot, int32_t count) {
    const RequestKey key = owner_.at(slot);
    positions_[key] += count;
    if (deadlines_.at(key) <= clock_.Now()) num_expired_ += count;
  }

  ModelExecutor& executor_;
  Clock& clock_;
  absl::Time step_end_ = absl::InfiniteFuture();
  std::map<SlotId, RequestKey> owner_;  // RequestBuilder: the seed is the key
  absl::flat_hash_map<RequestKey, absl::Time> deadlines_;
  absl::flat_hash_map<RequestKey, int64_t> positions_;
  int64_t num_expired_ = 0;
};

class OverloadRun final : public EventSink {
 public:
  explicit OverloadRun(const OverloadOptions& options)
      : options_(options),
        random_(options.seed),
        fake_({.model = {.capacity = Capacity()}}),
        executor_(&fake_, &clock_),
        engine_(EngineOptionsOf(options), &executor_, this, &clock_) {}

  OverloadResult Run() {
    absl::Time next_arrival = start_;
    for (int32_t num_arrived = 0; num_arrived < options_.num_requests;) {
      AdvanceTo(std::min(next_arrival, executor_.step_end()));
      if (clock_.Now() == executor_.step_end()) {
        EndStep();
      } else {
        Arrive(++num_arrived);
        next_arrival += absl::Seconds(-std::log(1.0 - Uniform()) / options_.requests_per_second);
      }
      while (engine_.RunOnce()) {
      }
    }
    const absl::Duration elapsed = clock_.Now() - start_;
    result_.goodput = result_.num_good / absl::ToDoubleSeconds(elapsed);
    while (executor_.step_end() != absl::InfiniteFuture()) {
      AdvanceTo(executor_.step_end());
      EndStep();
      while (engine_.RunOnce()) {
      }
    }
    Finish();
    return result_;
  }

  void OnEvents(std::vector<EngineEvent>& events) override {
    for (const EngineEvent& event : events) {
      if (const auto* finish = std::get_if<FinishEvent>(&event)) Take(*finish);
    }
  }

 private:
  static ExecutorCapacity Capacity() {
    ExecutorCapacity capacity = SmallCapacity();
    capacity.block_size = 16;
    capacity.max_slots = kMaxNumSeqs;
    capacity.num_blocks = kMaxNumSeqs * 16;
    capacity.max_step_tokens = kMaxStepTokens;
    capacity.max_step_images = 1;
    capacity.num_vision_layers = 1;
    return capacity;
  }
  static EngineOptions EngineOptionsOf(const OverloadOptions& options) {
    return {.max_num_seqs = kMaxNumSeqs,
            .max_num_batched_tokens = kMaxStepTokens,
            .max_images_per_step = 1,
            .max_queue_size = options.max_queue_size,
            .priority_aging_interval = options.priority_aging_interval,
            .queue_timeout = absl::InfiniteDuration()};
  }

  double Uniform() { return static_cast<double>(random_() >> 11) / 9007199254740992.0; }
  int32_t Pick(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  void AdvanceTo(absl::Time time) { clock_.Advance(time - clock_.Now()); }
  void EndStep() {
    executor_.Done();
    PARROT_CHECK(fake_.RunStep());
  }

  void Arrive(int32_t number) {
    const auto key = static_cast<RequestKey>(number);
    RequestBuilder builder(key);
    builder.Arrival(clock_.Now()).Text(Pick(8, 120));
    builder.Tenant(absl::StrCat("tenant ", Pick(1, options_.num_tenants)));
    if (Pick(1, 100) <= 40) builder.Image(number);
    const int32_t length = Pick(kMinAnswer, kMaxAnswer);
    builder.MaxTokens(options_.lengths_are_known ? length : kMaxAnswer);
    if (!options_.lengths_are_known) {
      for (TokenId token = 0; token < kTestVocabSize; token += kStopEvery) builder.StopToken(token);
      builder.MinTokens(kMinAnswer);
    }
    builder.Deadline(clock_.Now() + options_.timeout);
    std::shared_ptr<const Request> request = builder.Build();
    arrivals_[key] = clock_.Now();
    executor_.SetDeadline(key, request->deadline);
    const absl::Status status = engine_.Add(std::move(request));
    if (!status.ok()) ++result_.num_refused;
  }

  void Take(const FinishEvent& event) {
    result_.last_end = clock_.Now() - start_;
    const absl::Duration latency = clock_.Now() - arrivals_.at(event.key);
    const bool ended = event.reason == FinishReason::kStop || event.reason == FinishReason::kLength;
    if (ended && latency <= options_.timeout) {
      ++result_.num_good;
      good_.insert(event.key);
    } else if (executor_.num_positions(event.key) == 0) {
      ++result_.num_dropped;
    } else {
      ++result_.num_late;
    }
    if (ended) latencies_.push_back(latency);
  }

  void Finish() {
    PARROT_CHECK(engine_.CheckIntegrityForTest().ok() && fake_.violation().ok());
    PARROT_CHECK(result_.num_good + result_.num_refused + result_.num_dropped + result_.num_late ==
                 options_.num_requests);
    for (const auto& [key, arrival] : arrivals_) {
      result_.num_positions += executor_.num_positions(key);
      if (!good_.contains(key)) result_.num_wasted_positions += executor_.num_positions(key);
    }
    result_.num_expired_work = executor_.num_expired();
    if (latencies_.empty()) return;
    const auto p99 = latencies_.begin() + static_cast<int64_t>(latencies_.size()) * 99 / 100;
    std::nth_element(latencies_.begin(), p99, latencies_.end());
    result_.p99_latency = *p99;
  }

  const OverloadOptions options_;
  std::mt19937_64 random_;
  FakeClock clock_;
  const absl::Time start_ = clock_.Now();
  FakeModelExecutor fake_;
  PricedExecutor executor_;
  OverloadResult result_;
  absl::flat_hash_map<RequestKey, absl::Time> arrivals_;
  absl::flat_hash_set<RequestKey> good_;
  std::vector<absl::Duration> latencies_;
  Engine engine_;  // last: it uses everything above
};

}  // namespace

OverloadResult RunOverload(const OverloadOptions& options) { return OverloadRun(options).Run(); }

}  // namespace parrot
