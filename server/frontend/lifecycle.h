// Lifecycle: the one place that says whether the server accepts work. Health services listen to it,
// admission asks it.
//
//   STARTING -> READY -> DRAINING,   any of them -> FAILED;   STARTING -> DRAINING
//
// Thread-safe.
#ifndef PARROT_SERVER_FRONTEND_LIFECYCLE_H_
#define PARROT_SERVER_FRONTEND_LIFECYCLE_H_

#include <deque>
#include <functional>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace parrot {

enum class ServerState {
  kStarting,  // loading or warming up
  kReady,
  kDraining,  // finishes what runs, accepts nothing
  kFailed,    // all workers are dead, or one hangs
};
const char* ServerStateName(ServerState state);  // "starting", ...

class Lifecycle {
 public:
  using Listener = std::function<void(ServerState)>;

  // Called with the state now and then once per change, in order, one call at a time, never under a
  // lock. Listeners are never removed: they outlive the changes.
  void AddListener(Listener listener);
  ServerState state() const;
  bool ready() const { return state() == ServerState::kReady; }
  // False, and nothing happens, when the change is not in the picture above (a second SIGTERM, a
  // worker that dies twice).
  bool Set(ServerState next);

 private:
  struct Notice {
    Listener listener;
    ServerState state = ServerState::kStarting;
  };
  // Delivers the queued notices, unless another thread is at it (which then delivers these too).
  void Notify();

  mutable absl::Mutex mutex_;
  ServerState state_ ABSL_GUARDED_BY(mutex_) = ServerState::kStarting;
  std::vector<Listener> listeners_ ABSL_GUARDED_BY(mutex_);
  std::deque<Notice> notices_ ABSL_GUARDED_BY(mutex_);  // at most 3 changes x listeners
  bool notifying_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_LIFECYCLE_H_
