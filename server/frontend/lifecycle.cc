#include "server/frontend/lifecycle.h"

#include <utility>

namespace parrot {
namespace {

bool IsLegal(ServerState from, ServerState to) {
  switch (to) {
    case ServerState::kStarting:
      return false;
    case ServerState::kReady:
      return from == ServerState::kStarting;
    case ServerState::kDraining:
      return from == ServerState::kStarting || from == ServerState::kReady;
    case ServerState::kFailed:
      return from != ServerState::kFailed;
  }
  return false;
}

}  // namespace

const char* ServerStateName(ServerState state) {
  switch (state) {
    case ServerState::kStarting:
      return "starting";
    case ServerState::kReady:
      return "ready";
    case ServerState::kDraining:
      return "draining";
    case ServerState::kFailed:
      return "failed";
  }
  return "failed";
}

void Lifecycle::AddListener(Listener listener) {
  {
    absl::MutexLock lock(&mutex_);
    notices_.push_back({listener, state_});
    listeners_.push_back(std::move(listener));
  }
  Notify();
}

ServerState Lifecycle::state() const {
  absl::MutexLock lock(&mutex_);
  return state_;
}

bool Lifecycle::Set(ServerState next) {
  {
    absl::MutexLock lock(&mutex_);
    if (!IsLegal(state_, next)) return false;
    state_ = next;
    for (const Listener& listener : listeners_) notices_.push_back({listener, next});
  }
  Notify();
  return true;
}

void Lifecycle::Notify() {
  {
    absl::MutexLock lock(&mutex_);
    if (notifying_) return;
    notifying_ = true;
  }
  while (true) {
    Notice notice;
    {
      absl::MutexLock lock(&mutex_);
      if (notices_.empty()) {
        notifying_ = false;
        return;
      }
      notice = std::move(notices_.front());
      notices_.pop_front();
    }
    notice.listener(notice.state);
  }
}

}  // namespace parrot
