// Admission: whether there is room for one more request, decided before any work is done. It bounds
// what the front end holds (requests, image bytes); the engine bounds its own queue and is asked
// early, so that an overloaded server refuses without decoding an image.
//
// Thread-safe; never blocks.
#ifndef PARROT_SERVER_FRONTEND_ADMISSION_H_
#define PARROT_SERVER_FRONTEND_ADMISSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "scheduler/engine.h"
#include "server/frontend/lifecycle.h"
#include "server/frontend/limits.h"

namespace parrot {

struct AdmissionOptions {
  CapacityLimits capacity;
  int32_t max_engine_queue = 32;  // EngineOptions::max_queue_size
};

class Admission {
 public:
  // Room taken by one request; gives it back when destroyed. Must not outlive the Admission.
  class Ticket {
   public:
    Ticket(Admission* admission, int64_t image_bytes);
    ~Ticket();
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    // The encoded files were decoded: from now on it holds `image_bytes`. REQUIRES: not more than
    // before.
    void Shrink(int64_t image_bytes);

   private:
    Admission& admission_;
    int64_t image_bytes_;
  };

  Admission(const AdmissionOptions& options,
            const Lifecycle* lifecycle,
            std::function<EngineLoad()> load);

  // RESOURCE_EXHAUSTED with a retry_after when something is full. Whether the server is READY is
  // asked apart (CheckReady), because a warm-up request comes before.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Ticket>> Admit(int64_t image_bytes);
  // The status for a queue that turned out full after Admit.
  absl::Status Overloaded(std::string_view reason, std::string_view what) const;
  // UNAVAILABLE with the reason of the state; OK when READY.
  absl::Status CheckReady() const;

  int32_t live_requests() const;
  int64_t image_bytes() const;

 private:
  void Release(int32_t requests, int64_t image_bytes);

  const AdmissionOptions options_;
  const Lifecycle& lifecycle_;
  const std::function<EngineLoad()> load_;
  mutable absl::Mutex mutex_;
  int32_t live_requests_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t image_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_ADMISSION_H_
