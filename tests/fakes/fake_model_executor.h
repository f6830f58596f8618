// FakeModelExecutor: a ModelExecutor without a model, for tests of everything above it.
//
// It checks every StepInput like a strict runtime (FakeModelState), answers with deterministic
// tokens, and fails where it is told to. Two ways to run:
//   by hand      the test calls RunStep(); nothing happens otherwise. For simulations.
//   own thread   steps run one after another, each taking `step_time` of real time.
//
//   FakeModelExecutor executor({.model = {.capacity = {.num_blocks = 64, .max_slots = 4, ...}},
//                               .own_thread = true, .step_time = absl::Milliseconds(1)});
//   ... run the server on it ...
//   EXPECT_EQ(executor.violation(), absl::OkStatus());
//
// A step that breaks the contract fails with INTERNAL and is remembered in violation().
//
// Thread-safe. `done` runs on the executor's thread, or inside RunStep. REQUIRES at destruction:
// nothing submits any more; steps that wait are still finished, so that no `done` is lost.
#ifndef PARROT_TESTS_FAKES_FAKE_MODEL_EXECUTOR_H_
#define PARROT_TESTS_FAKES_FAKE_MODEL_EXECUTOR_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <set>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/api/model_executor.h"
#include "model/api/step.h"
#include "tests/fakes/fake_model_state.h"

namespace parrot {

struct FakeExecutorOptions {
  FakeModelOptions model;
  bool own_thread = false;
  absl::Duration step_time = absl::ZeroDuration();  // own thread only
  // Reported in StepOutput::times, each stage that ran in the step.
  absl::Duration stage_time = absl::Milliseconds(1);
  // Called once per step before it is computed; not OK fails the step with that status.
  std::function<absl::Status(const StepInput&)> fail_step;
  // Called once per span of a step that did not fail; not OK puts the slot into failed_slots.
  std::function<absl::Status(const StepInput&, SlotId)> fail_slot;
};

class FakeModelExecutor final : public ModelExecutor {
 public:
  struct Counts {
    int64_t num_steps = 0;
    int64_t num_failed_steps = 0;
    int64_t num_failed_slots = 0;
    int64_t num_tokens = 0;       // positions computed
    int64_t num_encodes = 0;      // begun
    int64_t num_cut_encodes = 0;  // jobs that go on with a tower
    int64_t num_block_copies = 0;
    int64_t num_routes = 0;
    int64_t num_retired_slots = 0;
    int32_t max_step_tokens = 0;  // largest step
    int32_t max_step_spans = 0;   // most sequences in one step
    int32_t max_step_images = 0;  // most EncodeJobs in one step
    int32_t max_in_flight = 0;    // most steps submitted and unfinished
  };

  explicit FakeModelExecutor(FakeExecutorOptions options);
  ~FakeModelExecutor() override;

  const ExecutorCapacity& capacity() const override { return options_.model.capacity; }
  void Submit(StepResult buffers, StepDone done) override;

  // Runs the oldest waiting step on this thread; false if none waits. REQUIRES: not own_thread.
  bool RunStep();
  int num_waiting_steps() const;

  // Own thread: holds the next step back until resumed; a held step is in flight.
  void SetPaused(bool paused);
  // The next `count` steps fail with `status`; comes before Options::fail_step.
  void FailNextSteps(int count, const absl::Status& status);

  // OK, or the first contract violation.
  absl::Status violation() const;
  Counts counts() const;
  // Slots and image features that the runtime still holds. REQUIRES: no step is being run.
  int num_live_slots() const;
  int num_features() const;

 private:
  struct Job {
    StepResult buffers;
    StepDone done;
  };

  void ThreadMain();
  bool CanRun() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closing_ || (!jobs_.empty() && !paused_);
  }
  void Run(Job job);
  absl::Status Prepare(const StepInput& input);
  void FailSlots(const StepInput& input, StepOutput* output);
  void FillTimes(const StepInput& input, StepOutput* output) const;
  void CheckSubmitted(const StepInput& input) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const FakeExecutorOptions options_;

  mutable absl::Mutex mutex_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  int num_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  int num_steps_to_fail_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status next_failure_ ABSL_GUARDED_BY(mutex_);
  absl::Status violation_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  // Slots whose failure was reported: no step submitted later may compute them.
  std::set<SlotId> reported_slots_ ABSL_GUARDED_BY(mutex_);

  FakeModelState state_;  // touched only by whoever runs steps
  std::thread thread_;    // last: it uses everything above
};

}  // namespace parrot

#endif  // PARROT_TESTS_FAKES_FAKE_MODEL_EXECUTOR_H_
