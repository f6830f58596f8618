// GenerationService: parrot.v1.ParrotService on gRPC's callback API. Every method is raw: it gets
// the bytes of the request and bounds them (ScanWire) before anything is parsed.
//
// Serves from the moment its server starts; until SetFrontend it answers UNAVAILABLE (the model
// loads). Handlers never block: they run on gRPC's few threads.
#ifndef PARROT_SERVER_GRPC_GENERATION_SERVICE_H_
#define PARROT_SERVER_GRPC_GENERATION_SERVICE_H_

#include <atomic>

#include "absl/time/time.h"
#include "parrot/v1/generation.grpc.pb.h"
#include "server/frontend/frontend.h"
#include "server/grpc/rpc_call.h"

namespace parrot {

using RawParrotService = v1::ParrotService::WithRawCallbackMethod_Generate<
    v1::ParrotService::WithRawCallbackMethod_GenerateUnary<
        v1::ParrotService::WithRawCallbackMethod_Route<
            v1::ParrotService::WithRawCallbackMethod_Tokenize<
                v1::ParrotService::WithRawCallbackMethod_CountTokens<
                    v1::ParrotService::WithRawCallbackMethod_PutImage<
                        v1::ParrotService::WithRawCallbackMethod_HasImage<
                            v1::ParrotService::WithRawCallbackMethod_GetModelInfo<
                                v1::ParrotService::Service>>>>>>>>;

struct GenerationServiceOptions {
  WireLimits wire_limits;
  absl::Duration stall_timeout = absl::Seconds(10);
  bool log_requests = false;
};

// Thread-safe.
class GenerationService final : public RawParrotService {
 public:
  // Borrows both, which outlive the server; `logger` may be null.
  GenerationService(const GenerationServiceOptions& options,
                    const Authenticator* authenticator,
                    Logger* logger);

  // Call once, when requests can be served. The front end outlives the last call.
  void SetFrontend(Frontend* frontend) { frontend_.store(frontend); }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* GenerateUnary(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Route(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* PutImage(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* HasImage(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;

 private:
  const GenerationServiceOptions options_;
  const RpcEnvironment environment_;
  std::atomic<Frontend*> frontend_{nullptr};
};

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_GENERATION_SERVICE_H_
