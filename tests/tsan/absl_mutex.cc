// absl::Mutex and absl::CondVar over the standard library's, for ThreadSanitizer builds only; and
// absl::Notification, whose waiters otherwise pass by the Mutex when the event came first.
//
// The distribution's Abseil is not instrumented, so ThreadSanitizer does not see that a Mutex
// orders its holders and reports every correctly guarded field as a race. These definitions take
// the place of the shared library's in each binary that links `base` (an executable's symbols come
// first), and rest on std::mutex, which ThreadSanitizer knows. Slower and fair to nobody, but the
// same contract: conditions are evaluated under the lock and are checked again after every release.
//
// Shared locks are exclusive here. Timeouts are measured on the steady clock.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

// Keeps this file in the link: base asks for the symbol.
extern "C" void ParrotTsanAbslMutex() {}

namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

// What a Mutex is here; its one word holds the pointer.
struct Monitor {
  std::mutex mutex;
  std::condition_variable released;  // for those whose condition was false
  int num_waiting = 0;               // guarded by mutex
};

template <typename T, typename Word>
T& Lazy(Word* object) {
  static_assert(sizeof(Word) == sizeof(std::atomic<T*>));
  auto* slot = reinterpret_cast<std::atomic<T*>*>(object);
  T* current = slot->load(std::memory_order_acquire);
  if (current != nullptr) return *current;
  T* fresh = new T;
  if (slot->compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *current;
}

template <typename T, typename Word>
void DeleteLazy(Word* object) {
  delete reinterpret_cast<std::atomic<T*>*>(object)->load(std::memory_order_acquire);
}

Monitor& MonitorOf(const absl::Mutex* mutex) {
  return Lazy<Monitor>(const_cast<absl::Mutex*>(mutex));
}

// The holder is about to let others in.
void NotifyWaiting(Monitor& monitor) {
  if (monitor.num_waiting > 0) monitor.released.notify_all();
}

SteadyTime DeadlineAfter(absl::Duration timeout) {
  if (timeout > absl::Hours(24 * 365)) return SteadyTime::max();
  return std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
}

// REQUIRES: the calling thread holds the monitor. False if the condition is still false at the end.
bool AwaitUntil(Monitor& monitor, const absl::Condition& condition, SteadyTime deadline) {
  std::unique_lock<std::mutex> lock(monitor.mutex, std::adopt_lock);
  NotifyWaiting(monitor);
  bool reached = condition.Eval();
  ++monitor.num_waiting;
  while (!reached) {
    if (deadline == SteadyTime::max()) {
      monitor.released.wait(lock);
      reached = condition.Eval();
      continue;
    }
    const std::cv_status status = monitor.released.wait_until(lock, deadline);
    reached = condition.Eval();
    if (status == std::cv_status::timeout) break;
  }
  --monitor.num_waiting;
  lock.release();
  return reached;
}

// True on timeout.
bool WaitUntil(absl::CondVar* cond_var, absl::Mutex* mutex, SteadyTime deadline) {
  auto& condition = Lazy<std::condition_variable>(cond_var);
  Monitor& monitor = MonitorOf(mutex);
  std::unique_lock<std::mutex> lock(monitor.mutex, std::adopt_lock);
  NotifyWaiting(monitor);
  bool timed_out = false;
  if (deadline == SteadyTime::max()) {
    condition.wait(lock);
  } else {
    timed_out = condition.wait_until(lock, deadline) == std::cv_status::timeout;
  }
  lock.release();
  return timed_out;
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

// Thread-safety analysis cannot follow the adopted locks.
#define PARROT_UNCHECKED ABSL_NO_THREAD_SAFETY_ANALYSIS

Mutex::~Mutex() { DeleteLazy<Monitor>(this); }
void Mutex::Lock() PARROT_UNCHECKED { MonitorOf(this).mutex.lock(); }
bool Mutex::TryLock() PARROT_UNCHECKED { return MonitorOf(this).mutex.try_lock(); }
void Mutex::Unlock() PARROT_UNCHECKED {
  Monitor& monitor = MonitorOf(this);
  NotifyWaiting(monitor);
  monitor.mutex.unlock();
}
void Mutex::ReaderLock() PARROT_UNCHECKED { Lock(); }
bool Mutex::ReaderTryLock() PARROT_UNCHECKED { return TryLock(); }
void Mutex::ReaderUnlock() PARROT_UNCHECKED { Unlock(); }
void Mutex::AssertHeld() const {}
void Mutex::AssertReaderHeld() const {}
void Mutex::AssertNotHeld() const {}
void Mutex::EnableInvariantDebugging(void (*)(void*), void*) {}
void Mutex::EnableDebugLog(const char*) {}
void Mutex::ForgetDeadlockInfo() {}

void Mutex::Await(const Condition& condition) {
  AwaitUntil(MonitorOf(this), condition, SteadyTime::max());
}
bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  return AwaitUntil(MonitorOf(this), condition, DeadlineAfter(timeout));
}
bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  return AwaitWithTimeout(condition, deadline - Now());
}

void Mutex::LockWhen(const Condition& condition) PARROT_UNCHECKED {
  Lock();
  Await(condition);
}
bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) PARROT_UNCHECKED {
  Lock();
  return AwaitWithTimeout(condition, timeout);
}
bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) PARROT_UNCHECKED {
  Lock();
  return AwaitWithDeadline(condition, deadline);
}
void Mutex::ReaderLockWhen(const Condition& condition) PARROT_UNCHECKED { LockWhen(condition); }
bool Mutex::ReaderLockWhenWithTimeout(const Condition& condition,
                                      Duration timeout) PARROT_UNCHECKED {
  return LockWhenWithTimeout(condition, timeout);
}
bool Mutex::ReaderLockWhenWithDeadline(const Condition& condition, Time deadline) PARROT_UNCHECKED {
  return LockWhenWithDeadline(condition, deadline);
}

CondVar::~CondVar() { DeleteLazy<std::condition_variable>(this); }
void CondVar::Wait(Mutex* mutex) { WaitUntil(this, mutex, SteadyTime::max()); }
bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  return WaitUntil(this, mutex, DeadlineAfter(timeout));
}
bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  return WaitWithTimeout(mutex, deadline - Now());
}
void CondVar::Signal() { Lazy<std::condition_variable>(this).notify_one(); }
void CondVar::SignalAll() { Lazy<std::condition_variable>(this).notify_all(); }
void CondVar::EnableDebugLog(const char*) {}

void Notification::Notify() {
  MutexLock lock(&mutex_);
  notified_yet_.store(true, std::memory_order_release);
}
Notification::~Notification() { MutexLock lock(&mutex_); }  // Notify may still hold it
void Notification::WaitForNotification() const {
  MutexLock lock(&mutex_, Condition(&HasBeenNotifiedInternal, &notified_yet_));
}
bool Notification::WaitForNotificationWithTimeout(Duration timeout) const PARROT_UNCHECKED {
  const bool notified =
      mutex_.LockWhenWithTimeout(Condition(&HasBeenNotifiedInternal, &notified_yet_), timeout);
  mutex_.Unlock();
  return notified;
}
bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  return WaitForNotificationWithTimeout(deadline - Now());
}

#undef PARROT_UNCHECKED

ABSL_NAMESPACE_END
}  // namespace absl
