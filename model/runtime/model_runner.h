// ModelRunner: a worker. Owns its thread, and on it the caches, a share in the weights and every
// torch call of the process that is made for them: loading, steps and destruction. One thread, so
// one OpenMP team, however many threads the server has. Workers of one device share the weights,
// and each has its own thread, team and caches.
//
// Submit queues; the worker runs steps in order and calls `done` exactly once for each, also when
// the step failed. The destructor finishes what was submitted. Thread-safe.
#ifndef PARROT_MODEL_RUNTIME_MODEL_RUNNER_H_
#define PARROT_MODEL_RUNTIME_MODEL_RUNNER_H_

#include <functional>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "model/api/model_executor.h"
#include "model/runtime/model_runner_factory.h"
#include "model/runtime/model_weights.h"

namespace parrot {

class ModelRunner : public ModelExecutor {
 public:
  // Runs on the worker's thread. The weights live as long as a worker, or whoever made them, has
  // them.
  using LoadWeights = std::function<absl::StatusOr<std::shared_ptr<const ModelWeights>>()>;

  // Blocks until `load` and the caches are done. `load` is called once, before Create returns.
  static absl::StatusOr<std::unique_ptr<ModelRunner>> Create(const ModelRunnerOptions& options,
                                                             const LoadWeights& load);
  ~ModelRunner() override;

  const ExecutorCapacity& capacity() const override { return capacity_; }
  void Submit(StepResult buffers, StepDone done) override;

 private:
  struct Job {
    StepResult buffers;
    StepDone done;
  };
  struct Startup;

  explicit ModelRunner(const ModelRunnerOptions& options);
  void WorkerMain(Startup* startup);

  const ModelRunnerOptions options_;
  ExecutorCapacity capacity_;  // constant once Create has returned
  BoundedQueue<Job> queue_;
  std::thread worker_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_MODEL_RUNNER_H_
