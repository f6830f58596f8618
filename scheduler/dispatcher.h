// Dispatcher: spreads requests over the engines of one process, one engine per worker.
//
// Each worker has caches of its own, so a request is best off where its image, or its prompt, has
// been before. Where that is needs no memory: a rendezvous hash of the first image's content key
// (of the tenant and the prompt's beginning, when there is no image) orders the engines, the same
// way after a restart and whichever other engines there are. Requests that ask about one image at
// the same time thus meet in one queue and share one pass of the vision tower. The hash gives way
// to the load, which is counted in outstanding tokens (prompt and max_tokens of live requests):
//
//   with an image   the first engine by hash whose load is at most 1.25 times the mean of the live
//                   engines plus what the request itself adds (a tower pass takes seconds on a CPU:
//                   that is worth a wait, a bounded one; and two may meet while others are idle)
//   without         the least loaded engine; among equals, the first by hash
//
// Then come the engines over that bound, least loaded first, and dead ones last.
//
// Thread-safe; never blocks. Two callers at once may see the same loads.
#ifndef PARROT_SCHEDULER_DISPATCHER_H_
#define PARROT_SCHEDULER_DISPATCHER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "scheduler/engine.h"
#include "scheduler/request.h"

namespace parrot {

class Dispatcher {
 public:
  // Borrows the engines, which outlive it. REQUIRES: at least one, none null.
  explicit Dispatcher(std::vector<Engine*> engines);

  // As Engine::Add, on the best engine that takes it: one that is full, dead or too slow for the
  // request's deadline has neighbours. The first refusal when none takes it.
  [[nodiscard]] absl::Status Add(const std::shared_ptr<const Request>& request);
  // While an engine is named, every request goes to it alone: so a warm-up reaches each worker.
  void SendAllTo(std::optional<int> engine_idx);
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
  std::vector<EngineLoad> loads() const;
  // Sums over the engines, with these exceptions. Health is OK while one engine's is, and paused
  // means all of them. Blocks of dead engines do not count. The last step is the latest, the step
  // in flight the oldest. The predictor is that of the live engine with most experience: workers of
  // one process are alike. The mean answer is weighted by the tokens that each engine generated.
  EngineLoad TotalLoad() const;

 private:
  // The engines' indexes, best first.
  std::vector<int> Rank(const Request& request) const;

  static constexpr int kAnyEngine = -1;

  const std::vector<Engine*> engines_;
  std::atomic<int> only_engine_{kAnyEngine};
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_DISPATCHER_H_
