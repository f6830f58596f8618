#include "server/grpc/put_image_call.h"

#include <string>
#include <utility>

#include "parrot/v1/generation.pb.h"
#include "server/grpc/request_conversion.h"
#include "server/grpc/response_conversion.h"

namespace parrot {

PutImageCall::PutImageCall(grpc::CallbackServerContext* context,
                           grpc::ByteBuffer* response,
                           const RpcEnvironment* environment,
                           Frontend* frontend)
    : response_(response), frontend_(frontend), rpc_(context, "PutImage", environment, frontend) {}

PutImageCall* PutImageCall::Start(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer& bytes,
                                  grpc::ByteBuffer* response,
                                  const RpcEnvironment* environment,
                                  Frontend* frontend) {
  auto* call = new PutImageCall(context, response, environment, frontend);
  v1::PutImageRequest request;
  const absl::StatusOr<Identity> identity = call->rpc_.Open(bytes, request);
  if (!identity.ok()) {
    call->End(identity.status());
    return call;
  }
  PutImageSpec spec = SpecFromPutImage(request);
  spec.arrival = call->rpc_.arrival();
  spec.deadline = call->rpc_.deadline();
  // The answer may come first: gRPC takes it, and keeps the call until it knows the reactor.
  call->upload_ = frontend->PutImage(
      std::move(spec), *identity, [call](const absl::StatusOr<PutImageResult>& result) {
        call->End(result);
      });
  return call;
}

void PutImageCall::OnCancel() {
  if (upload_ != nullptr) frontend_->CancelPutImage(*upload_);
}

void PutImageCall::End(const absl::StatusOr<PutImageResult>& result) {
  if (result.ok()) {
    v1::PutImageResponse response;
    FillPutImage(*result, response);
    *response_ = ToByteBuffer(response);
    rpc_.AddInitialMetadata();
  }
  Finish(rpc_.Close(result.status()));
}

}  // namespace parrot
