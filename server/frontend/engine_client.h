// EngineClient: what the front end asks of whoever runs requests: a Dispatcher over one engine or
// several, a script in tests. The contracts are those of the functions of Dispatcher and Engine
// with the same names; all of them are thread-safe and never block.
#ifndef PARROT_SERVER_FRONTEND_ENGINE_CLIENT_H_
#define PARROT_SERVER_FRONTEND_ENGINE_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "scheduler/dispatcher.h"
#include "scheduler/engine.h"
#include "scheduler/request.h"

namespace parrot {

struct EngineClient {
  std::function<absl::Status(std::shared_ptr<const Request>)> add;
  std::function<void(RequestKey)> cancel;
  std::function<void(RequestKey, int32_t sequence_idx)> cancel_sequence;
  std::function<EngineLoad()> load;                       // of all workers together
  std::function<std::vector<EngineLoad>()> worker_loads;  // of each
  std::function<void()> pause;
  std::function<void()> resume;
  std::function<void()> flush_cache;
};

// `dispatcher` is borrowed.
inline EngineClient EngineClientOf(Dispatcher& dispatcher) {
  return {
      .add = [&dispatcher](
                 const std::shared_ptr<const Request>& request) { return dispatcher.Add(request); },
      .cancel = [&dispatcher](RequestKey key) { dispatcher.Cancel(key); },
      .cancel_sequence =
          [&dispatcher](RequestKey key, int32_t sequence_idx) {
            dispatcher.CancelSequence(key, sequence_idx);
          },
      .load = [&dispatcher] { return dispatcher.TotalLoad(); },
      .worker_loads = [&dispatcher] { return dispatcher.loads(); },
      .pause = [&dispatcher] { dispatcher.Pause(); },
      .resume = [&dispatcher] { dispatcher.Resume(); },
      .flush_cache = [&dispatcher] { dispatcher.FlushCache(); }};
}

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_ENGINE_CLIENT_H_
