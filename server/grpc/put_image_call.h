// PutImageCall: the reactor of PutImage. The answer comes from a thread of the preprocess pool; a
// client that goes before has its upload dropped at once.
//
// Lifetime as GenerateCall's. Thread contract: the front end answers once, from any thread, and
// then the call is finished; OnCancel may come from another at the same time.
#ifndef PARROT_SERVER_GRPC_PUT_IMAGE_CALL_H_
#define PARROT_SERVER_GRPC_PUT_IMAGE_CALL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/frontend/frontend.h"
#include "server/grpc/rpc_call.h"

namespace parrot {

class PutImageCall final : public grpc::ServerUnaryReactor {
 public:
  // Parses, submits or fails. `response` is gRPC's, filled before Finish. The call owns itself.
  static PutImageCall* Start(grpc::CallbackServerContext* context,
                             const grpc::ByteBuffer& bytes,
                             grpc::ByteBuffer* response,
                             const RpcEnvironment* environment,
                             Frontend* frontend);

  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  PutImageCall(grpc::CallbackServerContext* context,
               grpc::ByteBuffer* response,
               const RpcEnvironment* environment,
               Frontend* frontend);
  ~PutImageCall() override = default;
  // The last thing; gRPC deletes the call afterwards.
  void End(const absl::StatusOr<PutImageResult>& result);

  grpc::ByteBuffer* const response_;
  Frontend* const frontend_;  // null only while loading, and then nothing is submitted
  RpcCall rpc_;
  std::shared_ptr<ImageUpload> upload_;  // set before gRPC knows the reactor; null if refused
};

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_PUT_IMAGE_CALL_H_
