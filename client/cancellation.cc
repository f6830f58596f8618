#include "client/cancellation.h"

namespace parrot {

// TryCancel is called with the lock held: it does not block, and Detach, which ends a context's
// life, must not overtake it.
void Cancellation::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
}

bool Cancellation::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

void Cancellation::Attach(grpc::ClientContext& context) {
  absl::MutexLock lock(&mutex_);
  contexts_.insert(&context);
  if (cancelled_) context.TryCancel();
}

void Cancellation::Detach(grpc::ClientContext& context) {
  absl::MutexLock lock(&mutex_);
  contexts_.erase(&context);
}

}  // namespace parrot
