#include "server/grpc/generate_call.h"

#include <string>
#include <utility>
#include <variant>

#include "grpc/grpc.h"
#include "parrot/v1/generation.pb.h"
#include "server/grpc/request_conversion.h"
#include "server/grpc/response_conversion.h"

namespace parrot {

AnswerReader::AbortTransport AbortCall(grpc::CallbackServerContext* context) {
  return [context](const absl::Status& status) {
    const std::string message(status.message());
    grpc_call_cancel_with_status(
        context->c_call(), static_cast<grpc_status_code>(status.code()), message.c_str(), nullptr);
  };
}

GenerateCall::GenerateCall(grpc::CallbackServerContext* context,
                           const RpcEnvironment* environment,
                           Frontend* frontend)
    : rpc_(context, "Generate", environment, frontend),
      reader_(frontend, this, AbortCall(context)) {}

GenerateCall* GenerateCall::Start(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer& bytes,
                                  const RpcEnvironment* environment,
                                  Frontend* frontend,
                                  absl::Duration stall_timeout) {
  auto* call = new GenerateCall(context, environment, frontend);
  v1::GenerateRequest request;
  const absl::StatusOr<Identity> identity = call->rpc_.Open(bytes, request);
  if (!identity.ok()) {
    call->OnEnd(identity.status());
    return call;
  }
  GenerateSpec spec = SpecFromGenerate(request);
  spec.header_request_id = call->rpc_.header_request_id();
  spec.arrival = call->rpc_.arrival();
  spec.deadline = call->rpc_.deadline();
  call->submitted_ = true;
  call->reader_.Submit(std::move(spec), *identity, StreamMode::kDeltas, stall_timeout);
  return call;
}

void GenerateCall::OnCancel() {
  if (submitted_) reader_.OnCancel();
}

bool GenerateCall::OnEvent(AnswerEvent& event) {
  v1::GenerateResponse response;
  if (auto* accepted = std::get_if<AcceptedEvent>(&event)) {
    FillAccepted(*accepted, response);
  } else if (auto* delta = std::get_if<DeltaEvent>(&event)) {
    FillDelta(*delta, response);
  } else if (const auto* finished = std::get_if<OutputFinishedEvent>(&event)) {
    rpc_.SetFinished(*finished);
    FillFinish(*finished, *response.mutable_finish());
  }
  if (!has_written_) {
    has_written_ = true;
    rpc_.SetRequestId(reader_.request_id());
    rpc_.AddInitialMetadata();
  }
  message_ = ToByteBuffer(response);
  StartWrite(&message_);
  return true;
}

void GenerateCall::OnEnd(const absl::Status& status) {
  if (submitted_) rpc_.SetRequestId(reader_.request_id());
  Finish(rpc_.Close(status));
}

}  // namespace parrot
