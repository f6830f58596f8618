// Dispatcher: spreads requests over the engines of one process, one engine per worker. It picks the
// engine with the fewest outstanding tokens and keeps no state of its own. (The pick sees the whole
// request: affinity to a worker that holds an image's features joins here.)
//
// Thread-safe; never blocks.
#ifndef PARROT_SCHEDULER_DISPATCHER_H_
#define PARROT_SCHEDULER_DISPATCHER_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "scheduler/engine.h"
#include "scheduler/request.h"

namespace parrot {

class Dispatcher {
 public:
  // Borrows the engines, which outlive it. REQUIRES: at least one, none null.
  explicit Dispatcher(std::vector<Engine*> engines);

  // As Engine::Add, on the least loaded engine that takes it; the first refusal when none does.
  [[nodiscard]] absl::Status Add(const std::shared_ptr<const Request>& request);
  // As Engine::Cancel.
  void Cancel(RequestKey key);
  void CancelSequence(RequestKey key, int32_t sequence_idx);
  // As Engine's, of all engines.
  void Pause();
  void Resume();
  void FlushCache();
  // As Engine::Drain, of all engines; `done` runs on the thread of the last one to drain.
  void Drain(const std::function<void()>& done);

  int num_engines() const { return static_cast<int>(engines_.size()); }
  EngineLoad load(int engine_idx) const { return engines_[engine_idx]->load(); }
  // Sums over the engines; health is OK while one engine's is; of times and last step the latest,
  // of the step in flight the oldest.
  EngineLoad TotalLoad() const;

 private:
  // The engines' indexes, best first.
  std::vector<int> Rank(const Request& request) const;

  const std::vector<Engine*> engines_;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_DISPATCHER_H_
