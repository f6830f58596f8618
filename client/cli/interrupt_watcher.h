// Ctrl-C as an event instead of a death: SIGINT and SIGTERM are blocked and read by a thread of
// this object, which either runs the action of the moment (cancel the call in flight) or notes the
// signal for whoever waits at a prompt.
//
// Make it before any other thread exists (gRPC starts some with the first channel): threads inherit
// the blocked signals. The previous signal mask returns with the destructor.
// Thread-safe.
#ifndef PARROT_CLIENT_CLI_INTERRUPT_WATCHER_H_
#define PARROT_CLIENT_CLI_INTERRUPT_WATCHER_H_

#include <csignal>
#include <functional>
#include <thread>

#include "absl/synchronization/mutex.h"

namespace parrot {

class InterruptWatcher {
 public:
  InterruptWatcher();
  ~InterruptWatcher();
  InterruptWatcher(const InterruptWatcher&) = delete;
  InterruptWatcher& operator=(const InterruptWatcher&) = delete;

  // From now on the first signal runs `action` on the watcher's thread; it must not block. A second
  // one means that the first did not help: the process exits with 128 + signal.
  void SetAction(std::function<void()> action);
  // Removes the action and returns the signal that ran it, or 0.
  int ClearAction();

  // Readable while a signal is noted that no action took.
  int event_fd() const { return event_fd_; }
  // The noted signal, once; 0 if none.
  int TakeSignal();

 private:
  void Watch();
  void OnSignal(int signal);

  // Constant after construction.
  int signal_fd_ = -1;
  int event_fd_ = -1;
  int stop_fd_ = -1;
  sigset_t old_mask_;
  absl::Mutex mutex_;
  std::function<void()> action_ ABSL_GUARDED_BY(mutex_);
  int action_signal_ ABSL_GUARDED_BY(mutex_) = 0;
  int noted_signal_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_INTERRUPT_WATCHER_H_
