#include "server/grpc/unary_answer_call.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "base/status_macros.h"
#include "parrot/v1/generation.pb.h"
#include "server/grpc/generate_call.h"
#include "server/grpc/request_conversion.h"
#include "server/grpc/response_conversion.h"

namespace parrot {

UnaryAnswerCall::UnaryAnswerCall(Method method,
                                 grpc::CallbackServerContext* context,
                                 grpc::ByteBuffer* response,
                                 const RpcEnvironment* environment,
                                 Frontend* frontend)
    : method_(method),
      response_(response),
      rpc_(context, method == Method::kRoute ? "Route" : "GenerateUnary", environment, frontend),
      reader_(frontend, this, AbortCall(context)) {}

UnaryAnswerCall* UnaryAnswerCall::Start(Method method,
                                        grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer& bytes,
                                        grpc::ByteBuffer* response,
                                        const RpcEnvironment* environment,
                                        Frontend* frontend,
                                        absl::Duration stall_timeout) {
  auto* call = new UnaryAnswerCall(method, context, response, environment, frontend);
  Identity identity;
  absl::StatusOr<GenerateSpec> spec = call->Parse(bytes, identity);
  if (!spec.ok()) {
    call->OnEnd(spec.status());
    return call;
  }
  spec->header_request_id = call->rpc_.header_request_id();
  spec->arrival = call->rpc_.arrival();
  spec->deadline = call->rpc_.deadline();
  call->submitted_ = true;
  call->reader_.Submit(*std::move(spec), identity, StreamMode::kWhole, stall_timeout);
  return call;
}

absl::StatusOr<GenerateSpec> UnaryAnswerCall::Parse(const grpc::ByteBuffer& bytes,
                                                    Identity& identity) {
  if (method_ == Method::kRoute) {
    v1::RouteRequest request;
    ASSIGN_OR_RETURN(identity, rpc_.Open(bytes, request));
    return SpecFromRoute(request);
  }
  v1::GenerateRequest request;
  ASSIGN_OR_RETURN(identity, rpc_.Open(bytes, request));
  return SpecFromGenerate(request);
}

void UnaryAnswerCall::OnCancel() {
  if (submitted_) reader_.OnCancel();
}

bool UnaryAnswerCall::OnEvent(AnswerEvent& event) {
  if (auto* accepted = std::get_if<AcceptedEvent>(&event)) {
    accepted_ = std::move(*accepted);
  } else if (auto* delta = std::get_if<DeltaEvent>(&event)) {
    deltas_.push_back(std::move(*delta));
  } else if (auto* finished = std::get_if<OutputFinishedEvent>(&event)) {
    rpc_.SetFinished(*finished);
    finished_.push_back(std::move(*finished));
  }
  return false;
}

void UnaryAnswerCall::OnEnd(const absl::Status& status) {
  if (submitted_) rpc_.SetRequestId(reader_.request_id());
  if (status.ok()) {
    *response_ = method_ == Method::kRoute ? RouteResponse() : GenerateResponse();
    rpc_.AddInitialMetadata();
  }
  Finish(rpc_.Close(status));
}

grpc::ByteBuffer UnaryAnswerCall::GenerateResponse() {
  v1::GenerateUnaryResponse response;
  response.set_request_id(accepted_.request_id);
  response.set_model(accepted_.model);
  FillPromptLogprobs(accepted_.prompt_logprobs, *response.mutable_prompt_logprobs());
  std::vector<AnswerPiece> pieces(finished_.size());
  for (DeltaEvent& delta : deltas_) pieces.at(delta.output_idx).Append(std::move(delta.piece));
  std::sort(finished_.begin(), finished_.end(), [](const auto& a, const auto& b) {
    return a.output_idx < b.output_idx;
  });
  for (const OutputFinishedEvent& finished : finished_) {
    AnswerPiece& piece = pieces.at(finished.output_idx);
    v1::Output* output = response.add_outputs();
    output->set_output_index(finished.output_idx);
    output->set_text(std::move(piece.text));
    output->mutable_token_ids()->Add(piece.token_ids.begin(), piece.token_ids.end());
    FillLogprobs(piece.logprobs, *output->mutable_logprobs());
    FillFinish(finished, *output->mutable_finish());
  }
  return ToByteBuffer(response);
}

grpc::ByteBuffer UnaryAnswerCall::RouteResponse() const {
  v1::RouteResponse response;
  response.set_request_id(accepted_.request_id);
  response.set_model(accepted_.model);
  for (const OutputFinishedEvent& finished : finished_) {
    FillRouting(finished.routing, *response.mutable_routing());
    FillUsage(finished.usage, *response.mutable_usage());
    FillTimings(finished.timings, *response.mutable_timings());
  }
  return ToByteBuffer(response);
}

}  // namespace parrot
