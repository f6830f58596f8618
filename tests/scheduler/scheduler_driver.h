// Driver: a scheduler and a fake runtime (FakeModelState, which refuses every step that breaks the
// contract) on one thread, step by step. For tests that look at the steps themselves.
//
//   Driver driver;
//   driver.Add(RequestBuilder(1).Text(6).MaxTokens(5));
//   const StepInput* step = driver.Submit();   // look at it
//   driver.Finish();
//   driver.RunAll();
//   EXPECT_EQ(driver.sink().Tokens(1), ...);
#ifndef PARROT_TESTS_SCHEDULER_SCHEDULER_DRIVER_H_
#define PARROT_TESTS_SCHEDULER_SCHEDULER_DRIVER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/api/model_executor.h"
#include "model/api/step.h"
#include "scheduler/event.h"
#include "scheduler/request.h"
#include "scheduler/scheduler.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_state.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {

// No limit but the executor's capacity, and a queue timeout of 30 s.
SchedulerOptions WideOptions();
// SmallCapacity with two steps in flight.
ExecutorCapacity TwoInFlight();

class Driver {
 public:
  explicit Driver(const ExecutorCapacity& capacity = SmallCapacity(),
                  int32_t job_delay_steps = 0,
                  const SchedulerOptions& options = WideOptions());

  void Add(const RequestBuilder& request) { Add(request.Build()); }
  void Add(std::shared_ptr<const Request> request);
  // Adds the request, and steps until nothing is left to do.
  void Answer(const RequestBuilder& request);
  void Cancel(RequestKey key, int32_t sequence_idx = kAllSequences);
  void Expire();

  // Submits one step; null when there is nothing to do. The step stays valid until its Finish.
  const StepInput* Submit();
  // Runs and finishes the oldest step.
  void Finish();
  // In place of Finish, for tests that change the output: Run or Fail, then Update.
  StepOutput Run();
  StepOutput Fail(const absl::Status& status);
  void Update(StepOutput* output);
  // Steps until nothing is left to do.
  void RunAll();

  // Sees, and may change, each step on its way to the runtime.
  void set_on_step(std::function<void(StepInput*)> on_step) { on_step_ = std::move(on_step); }

  Scheduler& scheduler() { return scheduler_; }
  FakeModelState& model() { return model_; }
  FakeClock& clock() { return clock_; }
  const RecordingSink& sink() const { return sink_; }
  // Of all steps that ran.
  int64_t num_computed_tokens() const { return num_computed_tokens_; }
  int64_t num_encodes() const { return num_encodes_; }

 private:
  void Deliver();

  FakeClock clock_;
  FakeModelState model_;
  Scheduler scheduler_;
  std::function<void(StepInput*)> on_step_;
  std::deque<std::unique_ptr<StepInput>> in_flight_;
  std::vector<EngineEvent> events_;
  RecordingSink sink_;
  int64_t num_computed_tokens_ = 0;
  int64_t num_encodes_ = 0;
};

// (slot, start, count) of each span.
std::vector<std::vector<int32_t>> Spans(const StepInput& input);
// Requests in the order in which their first tokens came.
std::vector<RequestKey> OrderOfFirstTokens(const RecordingSink& sink);

}  // namespace parrot

#endif  // PARROT_TESTS_SCHEDULER_SCHEDULER_DRIVER_H_
