// ControlService: parrot.v1.ParrotControlService, for whoever runs the server. It belongs on the
// admin address alone: it asks for no credentials. Thread-safe.
#ifndef PARROT_SERVER_GRPC_CONTROL_SERVICE_H_
#define PARROT_SERVER_GRPC_CONTROL_SERVICE_H_

#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "absl/time/time.h"
#include "parrot/v1/control.grpc.pb.h"
#include "server/frontend/frontend.h"
#include "server/grpc/rpc_call.h"

namespace parrot {

struct ControlServiceOptions {
  std::string server_version;
  std::map<std::string, std::string> config;  // option name -> value; no secret among them
  int32_t kv_block_size = 0;
  int32_t max_num_seqs = 0;
  int32_t max_num_batched_tokens = 0;
  // Read at every call; also before SetFrontend.
  std::function<ServerState()> state;
};

class ControlService final : public v1::ParrotControlService::WithRawCallbackMethod_GetServerInfo<
                                 v1::ParrotControlService::Service> {
 public:
  // Borrows `logger`, which may be null.
  ControlService(ControlServiceOptions options, Logger* logger);

  void SetFrontend(Frontend* frontend) { frontend_.store(frontend); }

  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;

 private:
  void Fill(v1::GetServerInfoResponse& info) const;

  const ControlServiceOptions options_;
  const RpcEnvironment environment_;
  const absl::Time start_;
  std::atomic<Frontend*> frontend_{nullptr};
};

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_CONTROL_SERVICE_H_
