// EngineClient: what the front end asks of whoever runs requests: an Engine now, a dispatcher over
// several later, a script in tests. The contracts are those of the functions of Engine with
// the same names; all of them are thread-safe and never block.
#ifndef PARROT_SERVER_FRONTEND_ENGINE_CLIENT_H_
#define PARROT_SERVER_FRONTEND_ENGINE_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "scheduler/engine.h"
#include "scheduler/request.h"

namespace parrot {

struct EngineClient {
  std::function<absl::Status(std::shared_ptr<const Request>)> add;
  std::function<void(RequestKey)> cancel;
  std::function<void(RequestKey, int32_t sequence_idx)> cancel_sequence;
  std::function<EngineLoad()> load;
  std::function<void()> pause;
  std::function<void()> resume;
  std::function<void()> flush_cache;
};

// `engine` is borrowed.
inline EngineClient EngineClientOf(Engine& engine) {
  return {
      .add = [&engine](
                 std::shared_ptr<const Request> request) { return engine.Add(std::move(request)); },
      .cancel = [&engine](RequestKey key) { engine.Cancel(key); },
      .cancel_sequence = [&engine](
                             RequestKey key,
                             int32_t sequence_idx) { engine.CancelSequence(key, sequence_idx); },
      .load = [&engine] { return engine.load(); },
      .pause = [&engine] { engine.Pause(); },
      .resume = [&engine] { engine.Resume(); },
      .flush_cache = [&engine] { engine.FlushCache(); }};
}

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_ENGINE_CLIENT_H_
