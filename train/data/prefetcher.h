// Prefetcher: makes the items 0, 1, 2, ... of a sequence ahead of time on threads of its own, and
// hands them out in order. What an item is depends on its number alone, so neither the number of
// threads nor their timing shows in the result. One consumer.
#ifndef PARROT_TRAIN_DATA_PREFETCHER_H_
#define PARROT_TRAIN_DATA_PREFETCHER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace parrot {

template <typename T>
class Prefetcher {
 public:
  // `make(i)` runs on the threads, several at once. At most `window` items are made and not yet
  // taken; the sequence ends before `end`.
  Prefetcher(
      int64_t begin, int64_t end, int64_t window, int num_threads, std::function<T(int64_t)> make)
      : end_(end), window_(window), make_(std::move(make)), next_made_(begin), next_taken_(begin) {
    for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Run(); });
  }

  ~Prefetcher() {
    {
      const absl::MutexLock lock(&mutex_);
      stopped_ = true;
    }
    for (std::thread& thread : threads_) thread.join();
  }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // The next item. REQUIRES: it is before `end`.
  T Take() {
    const absl::MutexLock lock(&mutex_);
    const auto is_there = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return ready_.contains(next_taken_);
    };
    mutex_.Await(absl::Condition(&is_there));
    auto node = ready_.extract(next_taken_++);
    return std::move(node.mapped());
  }

 private:
  void Run() {
    const auto may_go_on = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stopped_ || next_made_ == end_ || next_made_ < next_taken_ + window_;
    };
    for (;;) {
      int64_t index = 0;
      {
        const absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(&may_go_on));
        if (stopped_ || next_made_ == end_) return;
        index = next_made_++;
      }
      T item = make_(index);
      const absl::MutexLock lock(&mutex_);
      ready_.emplace(index, std::move(item));
    }
  }

  const int64_t end_;
  const int64_t window_;
  const std::function<T(int64_t)> make_;
  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t next_made_ ABSL_GUARDED_BY(mutex_);
  int64_t next_taken_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, T> ready_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_DATA_PREFETCHER_H_
