// ControlService: parrot.v1.ParrotControlService, for whoever runs the server. It belongs on the
// admin address alone: it asks for no credentials. What changes the server is logged.
//
// Thread-safe. Every method answers on the calling thread except Drain, which waits on a thread of
// its own; the destructor joins those, so the front end must be drained or ended by then.
#ifndef PARROT_SERVER_GRPC_CONTROL_SERVICE_H_
#define PARROT_SERVER_GRPC_CONTROL_SERVICE_H_

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "parrot/v1/control.grpc.pb.h"
#include "server/frontend/frontend.h"
#include "server/grpc/rpc_call.h"
#include "server/logging/logger.h"

namespace parrot {

struct ControlServiceOptions {
  std::string server_version;
  std::map<std::string, std::string> config;  // option name -> value; no secret among them
  int32_t kv_block_size = 0;
  int32_t max_num_seqs = 0;
  int32_t max_num_batched_tokens = 0;
  absl::Duration drain_timeout = absl::Seconds(120);  // when a Drain names none
  // Read at every call; also before SetFrontend.
  std::function<ServerState()> state;
};

using RawControlService = v1::ParrotControlService::WithRawCallbackMethod_GetServerInfo<
    v1::ParrotControlService::WithRawCallbackMethod_GetLoad<
        v1::ParrotControlService::WithRawCallbackMethod_Abort<
            v1::ParrotControlService::WithRawCallbackMethod_Drain<
                v1::ParrotControlService::WithRawCallbackMethod_Pause<
                    v1::ParrotControlService::WithRawCallbackMethod_Resume<
                        v1::ParrotControlService::WithRawCallbackMethod_FlushCache<
                            v1::ParrotControlService::Service>>>>>>>;

class ControlService final : public RawControlService {
 public:
  using Reactor = grpc::ServerUnaryReactor;
  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;

  // Borrows `logger`, which may be null.
  ControlService(ControlServiceOptions options, Logger* logger);
  ~ControlService() override;

  void SetFrontend(Frontend* frontend) { frontend_.store(frontend); }

  Reactor* GetServerInfo(Context* context, const Bytes* request, Bytes* response) override;
  Reactor* GetLoad(Context* context, const Bytes* request, Bytes* response) override;
  Reactor* Abort(Context* context, const Bytes* request, Bytes* response) override;
  Reactor* Drain(Context* context, const Bytes* request, Bytes* response) override;
  Reactor* Pause(Context* context, const Bytes* request, Bytes* response) override;
  Reactor* Resume(Context* context, const Bytes* request, Bytes* response) override;
  Reactor* FlushCache(Context* context, const Bytes* request, Bytes* response) override;

 private:
  struct DrainThread {
    std::atomic<bool> is_done{false};
    std::thread thread;
  };

  void FillServerInfo(v1::GetServerInfoResponse& info) const;
  void FillLoad(const Frontend& frontend, v1::GetLoadResponse& response) const;
  // RESOURCE_EXHAUSTED when too many drains wait already.
  absl::Status WaitApart(std::function<void()> drain);
  void Log(const char* action) const;

  const ControlServiceOptions options_;
  const RpcEnvironment environment_;
  const absl::Time start_;
  std::atomic<Frontend*> frontend_{nullptr};
  absl::Mutex mutex_;
  std::list<DrainThread> drains_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_CONTROL_SERVICE_H_
