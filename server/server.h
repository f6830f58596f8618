// Server: the wiring of parrot-server without its main: ports, front end, engines, life cycle.
// Tests start it in their own process on free ports with a fake executor.
//
//   ASSIGN_OR_RETURN(auto server, Server::Listen(options, {.logger = &logger}));  // NOT_SERVING
//   RETURN_IF_ERROR(server->Serve(std::move(model)));      // engine, warm-up, then SERVING
//   const absl::Status status = server->Wait();            // until RequestShutdown or a failure
//   server->Shutdown(options.lame_duck);
//
// The ports open before the model is loaded: a port in use is known at once, and probes see a
// process that is alive and not ready.
//
// Shutdown: 1. health says NOT_SERVING, requests are still served (lame duck: load balancers need
// time to notice); 2. new requests get UNAVAILABLE, running ones finish; 3. the ports close, what
// is left at the end of shutdown_timeout is cut.
//
// One engine for each of the model's executors. A worker that dies fails its own requests; the
// others serve on, and the server has failed when the last one is dead, or when a step of any
// hangs: its requests would have no end otherwise.
//
// Ownership: owns everything it makes and the model; borrows the logger. Destruction order is the
// reverse of the path of a request. Thread-safe where stated.
#ifndef PARROT_SERVER_SERVER_H_
#define PARROT_SERVER_SERVER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/image/clip_image_processor.h"
#include "model/text/chat_template.h"
#include "scheduler/dispatcher.h"
#include "scheduler/engine.h"
#include "server/frontend/frontend.h"
#include "server/frontend/identity.h"
#include "server/grpc/control_service.h"
#include "server/grpc/generation_service.h"
#include "server/grpc/grpc_server.h"
#include "server/grpc/health_service.h"
#include "server/http/http_server.h"
#include "server/logging/logger.h"
#include "server/options/options.h"
#include "server/served_model.h"

namespace parrot {

// Version of this program: "0.1.0".
const char* ServerVersion();

struct ServerEnvironment {
  Logger* logger = nullptr;  // required; outlives the server
};

class Server {
 public:
  // Opens the ports. Errors name the option and the cause, for the operator.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Server>> Listen(
      const Options& options, const ServerEnvironment& environment);
  // Shuts down without waiting if nobody has.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Builds engines and front end on the model, sends a warm-up request through each worker, turns
  // READY. Call once. INVALID_ARGUMENT for options that do not fit the model.
  [[nodiscard]] absl::Status Serve(ServedModel model);

  // Thread-safe; idempotent. Wait returns OK.
  void RequestShutdown();
  // Until RequestShutdown (OK) or until the engines are dead or one hangs (the error).
  [[nodiscard]] absl::Status Wait();
  // Blocks as described above; once. True if every accepted request finished.
  bool Shutdown(absl::Duration lame_duck);
  // After Wait returned an error: tells every client UNAVAILABLE and closes the ports, within two
  // seconds. The destructor then waits for the engine's thread; a process whose engine hangs exits
  // without it.
  void Abandon();

  // Thread-safe. -1: no such port.
  int32_t http_port() const { return http_ == nullptr ? -1 : http_->port(); }
  int32_t grpc_port() const { return grpc_ == nullptr ? -1 : grpc_->port(); }
  int32_t admin_port() const { return admin_ == nullptr ? -1 : admin_->port(); }
  // STARTING before Serve; DRAINING from the first moment of Shutdown.
  ServerState state() const;
  // Null before Serve. For tests.
  Frontend* frontend() const { return serving_.load(); }

 private:
  Server(const Options& options, const ServerEnvironment& environment);

  absl::Status OpenPorts();
  absl::Status OpenHttp();
  absl::Status OpenGrpc();
  absl::Status OpenAdmin();
  absl::Status BuildEngines();
  absl::Status WarmUp();
  EngineOptions MakeEngineOptions() const;
  FrontendOptions MakeFrontendOptions() const;
  void Watch();
  absl::Status EngineFailure();
  void ReloadKeys();
  void ClosePorts(absl::Time deadline);
  void StopThreads();
  int32_t num_workers() const { return static_cast<int32_t>(model_.executors.size()); }
  // They are alike. REQUIRES: the model is there.
  const ExecutorCapacity& worker_capacity() const { return model_.executors.front()->capacity(); }
  int32_t max_queue_size() const;  // of all workers

  const Options options_;
  Logger& logger_;
  std::atomic<bool> lame_duck_{false};
  std::atomic<Frontend*> serving_{nullptr};  // frontend_, once it may be used

  ServedModel model_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::unique_ptr<ClipImageProcessor> image_processor_;
  std::unique_ptr<Frontend> frontend_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<GenerationService> generation_service_;
  std::unique_ptr<HealthService> health_service_;
  std::unique_ptr<ControlService> control_service_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<GrpcServer> admin_;
  std::unique_ptr<HttpServer> http_;

  absl::Mutex mutex_;
  bool shutdown_requested_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_watching_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  bool is_shut_down_ = false;     // of the thread that calls Shutdown
  absl::Status last_key_reload_;  // of the watcher, as the next
  std::set<int> dead_workers_;    // that were logged
  std::thread watcher_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_SERVER_H_
