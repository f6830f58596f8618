// Cancels calls from another thread than the one that waits for them. Thread-safe.
//
//   Cancellation cancellation;
//   std::thread watcher([&] { WaitForCtrlC(); cancellation.Cancel(); });
//   client.Route(request, {.cancellation = &cancellation});   // CANCELLED after Cancel()
#ifndef PARROT_CLIENT_CANCELLATION_H_
#define PARROT_CLIENT_CANCELLATION_H_

#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/client_context.h"

namespace parrot {

class Cancellation {
 public:
  Cancellation() = default;
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Cancels every call in flight that names this object, and every later one at its start.
  // Never blocks; idempotent.
  void Cancel();
  bool cancelled() const;

  // For the client's calls: `context` is cancelled by Cancel() between Attach and Detach.
  void Attach(grpc::ClientContext& context);
  void Detach(grpc::ClientContext& context);

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace parrot

#endif  // PARROT_CLIENT_CANCELLATION_H_
