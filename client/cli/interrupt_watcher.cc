#include "client/cli/interrupt_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace parrot {
namespace {

void Raise(int event_fd) {
  const uint64_t one = 1;
  PARROT_CHECK(write(event_fd, &one, sizeof(one)) == sizeof(one));
}

}  // namespace

InterruptWatcher::InterruptWatcher() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  PARROT_CHECK(pthread_sigmask(SIG_BLOCK, &signals, &old_mask_) == 0);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  PARROT_CHECK(signal_fd_ >= 0 && event_fd_ >= 0 && stop_fd_ >= 0);
  thread_ = std::thread([this] { Watch(); });
}

InterruptWatcher::~InterruptWatcher() {
  Raise(stop_fd_);
  thread_.join();
  close(signal_fd_);
  close(event_fd_);
  close(stop_fd_);
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

void InterruptWatcher::SetAction(std::function<void()> action) {
  absl::MutexLock lock(&mutex_);
  action_ = std::move(action);
  action_signal_ = 0;
}

int InterruptWatcher::ClearAction() {
  absl::MutexLock lock(&mutex_);
  action_ = nullptr;
  return std::exchange(action_signal_, 0);
}

int InterruptWatcher::TakeSignal() {
  absl::MutexLock lock(&mutex_);
  uint64_t count = 0;
  // Nothing to read is as good as read: the descriptor is quiet afterwards.
  static_cast<void>(!read(event_fd_, &count, sizeof(count)));
  return std::exchange(noted_signal_, 0);
}

void InterruptWatcher::Watch() {
  std::array<pollfd, 2> fds = {{{.fd = signal_fd_, .events = POLLIN, .revents = 0},
                                {.fd = stop_fd_, .events = POLLIN, .revents = 0}}};
  while (true) {
    if (poll(fds.data(), fds.size(), /*timeout=*/-1) < 0) continue;
    if (fds[1].revents != 0) return;
    signalfd_siginfo info = {};
    if (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) {
      OnSignal(static_cast<int>(info.ssi_signo));
    }
  }
}

// The action runs with the lock held, so that ClearAction returns only when it is over: what it
// refers to may end then.
void InterruptWatcher::OnSignal(int signal) {
  absl::MutexLock lock(&mutex_);
  if (action_ == nullptr) {
    noted_signal_ = signal;
    Raise(event_fd_);
    return;
  }
  if (action_signal_ != 0) _exit(128 + signal);
  action_signal_ = signal;
  action_();
}

}  // namespace parrot
