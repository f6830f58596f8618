#include "server/signals.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace parrot {
namespace {

// Ends the watcher's thread; nobody else sends it.
constexpr int kStopSignal = SIGUSR2;

sigset_t WatchedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, kStopSignal);
  return signals;
}

}  // namespace

SignalWatcher::SignalWatcher(Handler handler) {
  const sigset_t signals = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  thread_ = std::thread([handler = std::move(handler), signals] {
    int count = 0;
    int signal = 0;
    while (sigwait(&signals, &signal) == 0 && signal != kStopSignal) handler(signal, ++count);
  });
}

SignalWatcher::~SignalWatcher() {
  pthread_kill(thread_.native_handle(), kStopSignal);
  thread_.join();
}

}  // namespace parrot
