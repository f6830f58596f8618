// States that an object is confined to one thread: the one that first calls. A CHECK, so for bugs.
#ifndef PARROT_BASE_THREAD_CHECKER_H_
#define PARROT_BASE_THREAD_CHECKER_H_

#include <atomic>
#include <thread>

namespace parrot {

class ThreadChecker {
 public:
  // True on the thread that called first (or first after Detach).
  bool CalledOnValidThread() const {
    const std::thread::id self = std::this_thread::get_id();
    std::thread::id none;
    return owner_.compare_exchange_strong(none, self) || owner_.load() == self;
  }
  // The next caller becomes the owner, e.g. after construction elsewhere.
  void Detach() { owner_.store(std::thread::id()); }

 private:
  mutable std::atomic<std::thread::id> owner_{};
};

}  // namespace parrot

#endif  // PARROT_BASE_THREAD_CHECKER_H_
