// Preprocessor: the pool of threads that prepares requests (image decode, tokenise), behind a
// bounded queue. One thread per two cores by default: a decode may take 300 MB for a moment, and
// the model needs the other cores.
//
// Thread-safe.
#ifndef PARROT_SERVER_FRONTEND_PREPROCESSOR_H_
#define PARROT_SERVER_FRONTEND_PREPROCESSOR_H_

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace parrot {

class Preprocessor {
 public:
  using Work = std::function<void()>;

  // num_threads 0: one per two cores, at least one.
  Preprocessor(int32_t num_threads, int32_t queue_capacity);
  ~Preprocessor();
  Preprocessor(const Preprocessor&) = delete;
  Preprocessor& operator=(const Preprocessor&) = delete;

  void Start();
  // Takes no more work, runs what is queued and joins. Idempotent.
  void Stop();
  // False when the queue is full or closed. Never blocks.
  [[nodiscard]] bool TryPost(Work work);
  size_t queue_size() const { return queue_.size(); }

 private:
  const int32_t num_threads_;
  BoundedQueue<Work> queue_;
  std::vector<std::thread> threads_;  // touched by Start and Stop alone
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_PREPROCESSOR_H_
