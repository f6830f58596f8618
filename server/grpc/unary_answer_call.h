// UnaryAnswerCall: the reactor of GenerateUnary and Route, which send the answer as one message.
// Lifetime and threads are those of GenerateCall.
#ifndef PARROT_SERVER_GRPC_UNARY_ANSWER_CALL_H_
#define PARROT_SERVER_GRPC_UNARY_ANSWER_CALL_H_

#include <optional>
#include <vector>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/grpc/answer_reader.h"
#include "server/grpc/rpc_call.h"

namespace parrot {

class UnaryAnswerCall final : public grpc::ServerUnaryReactor, private AnswerReader::Delegate {
 public:
  enum class Method { kGenerateUnary, kRoute };

  // Parses, submits or fails. `response` is gRPC's, filled before Finish. The call owns itself.
  static UnaryAnswerCall* Start(Method method,
                                grpc::CallbackServerContext* context,
                                const grpc::ByteBuffer& bytes,
                                grpc::ByteBuffer* response,
                                const RpcEnvironment* environment,
                                Frontend* frontend,
                                absl::Duration stall_timeout);

  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  UnaryAnswerCall(Method method,
                  grpc::CallbackServerContext* context,
                  grpc::ByteBuffer* response,
                  const RpcEnvironment* environment,
                  Frontend* frontend);
  ~UnaryAnswerCall() override = default;
  absl::StatusOr<GenerateSpec> Parse(const grpc::ByteBuffer& bytes, Identity& identity);
  bool OnEvent(AnswerEvent& event) override;
  void OnEnd(const absl::Status& status) override;
  grpc::ByteBuffer GenerateResponse();
  grpc::ByteBuffer RouteResponse() const;

  const Method method_;
  grpc::ByteBuffer* const response_;
  RpcCall rpc_;
  AnswerReader reader_;
  bool submitted_ = false;
  // Collected by the actor.
  AcceptedEvent accepted_;
  std::vector<DeltaEvent> deltas_;             // one per output
  std::vector<OutputFinishedEvent> finished_;  // one per output
};

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_UNARY_ANSWER_CALL_H_
