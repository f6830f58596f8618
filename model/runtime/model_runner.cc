#include "model/runtime/model_runner.h"

#include <optional>
#include <utility>

#include "ATen/Parallel.h"
#include "absl/synchronization/notification.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "c10/core/InferenceMode.h"
#include "model/runtime/device.h"
#include "model/runtime/step_runner.h"

namespace parrot {
namespace {

// Steps in flight, with room for the one that is being taken out.
constexpr size_t kQueueCapacity = 4;

}  // namespace

struct ModelRunner::Startup {
  const LoadWeights& load;
  absl::Status status;
  ExecutorCapacity capacity;
  absl::Notification done;
};

ModelRunner::ModelRunner(const ModelRunnerOptions& options)
    : options_(options), queue_(kQueueCapacity) {}

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Create(const ModelRunnerOptions& options,
                                                                 const LoadWeights& load) {
  auto runner = std::unique_ptr<ModelRunner>(new ModelRunner(options));
  Startup startup = {.load = load};
  runner->worker_ =
      std::thread([&runner_ref = *runner, &startup] { runner_ref.WorkerMain(&startup); });
  startup.done.WaitForNotification();
  RETURN_IF_ERROR(startup.status);
  runner->capacity_ = startup.capacity;
  return runner;
}

ModelRunner::~ModelRunner() {
  queue_.Close();
  worker_.join();
}

void ModelRunner::Submit(StepResult buffers, StepDone done) {
  PARROT_CHECK(buffers.input != nullptr && buffers.output != nullptr) << "buffers are missing";
  const bool queued = queue_.TryPush({.buffers = std::move(buffers), .done = std::move(done)});
  PARROT_CHECK(queued) << "more steps in flight than capacity().max_steps_in_flight";
}

void ModelRunner::WorkerMain(Startup* startup) {
  // The size of this thread's own OpenMP team; other threads keep theirs. Asked for first, because
  // torch sets a thread's size when it first needs it, to what any thread set last.
  at::get_num_threads();
  if (options_.num_threads > 0) at::set_num_threads(options_.num_threads);
  const c10::InferenceMode inference_mode;
  std::shared_ptr<const ModelWeights> weights;
  std::unique_ptr<StepRunner> steps;
  startup->status = CatchTorchErrors("starting the worker", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(weights, startup->load());
    ASSIGN_OR_RETURN(steps, StepRunner::Create(*weights, options_));
    startup->capacity = steps->capacity();
    return absl::OkStatus();
  });
  const bool started = startup->status.ok();
  startup->done.Notify();  // `startup` is gone from here on
  if (!started) return;
  while (std::optional<Job> job = queue_.Pop()) {
    steps->Run(*job->buffers.input, job->buffers.output.get());
    job->done(std::move(job->buffers));
  }
}

}  // namespace parrot
