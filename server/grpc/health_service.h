// HealthService: grpc.health.v1 for probes and health-aware clients.
//
//   ""                         ready to serve
//   parrot.v1.ParrotService    the same
//   readiness                  the same (the name that endpoint pickers ask for)
//   liveness                   the engine is alive: never a matter of queues or of draining
//
// Check of any other name is NOT_FOUND; Watch of it reports SERVICE_UNKNOWN and stays open. It is
// our own and not gRPC's default service, which says SERVING from the moment the port opens until
// somebody says otherwise, and does not end its watches.
//
// Thread-safe.
#ifndef PARROT_SERVER_GRPC_HEALTH_SERVICE_H_
#define PARROT_SERVER_GRPC_HEALTH_SERVICE_H_

#include <set>
#include <string>

#include "absl/synchronization/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"

namespace parrot {

class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  HealthService();
  // REQUIRES: the server has shut down, so no watch is left.
  ~HealthService() override;

  // NOT_SERVING until told otherwise. Watches hear of each change.
  void SetReady(bool ready);
  // SERVING until told otherwise.
  void SetAlive(bool alive);
  // Ends every watch, the later ones too; nothing is SERVING any more. Idempotent.
  void Shutdown();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class WatchCall;

  Status StatusLocked(const std::string& service) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NotifyLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool alive_ ABSL_GUARDED_BY(mutex_) = true;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<WatchCall*> watches_ ABSL_GUARDED_BY(mutex_);  // each until its OnDone
};

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_HEALTH_SERVICE_H_
