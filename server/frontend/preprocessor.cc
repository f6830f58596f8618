#include "server/frontend/preprocessor.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"

namespace parrot {
namespace {

int32_t ThreadsOr(int32_t num_threads) {
  if (num_threads > 0) return num_threads;
  return std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()) / 2);
}

}  // namespace

Preprocessor::Preprocessor(int32_t num_threads, int32_t queue_capacity)
    : num_threads_(ThreadsOr(num_threads)), queue_(static_cast<size_t>(queue_capacity)) {}

Preprocessor::~Preprocessor() { Stop(); }

void Preprocessor::Start() {
  PARROT_CHECK(threads_.empty());
  threads_.reserve(static_cast<size_t>(num_threads_));
  for (int32_t i = 0; i < num_threads_; ++i) {
    threads_.emplace_back([this] {
      while (std::optional<Work> work = queue_.Pop()) (*work)();
    });
  }
}

void Preprocessor::Stop() {
  queue_.Close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool Preprocessor::TryPost(Work work) { return queue_.TryPush(std::move(work)); }

}  // namespace parrot
