// GenerateCall: the reactor of one Generate stream.
//
//   OnEvent  one event -> one message -> StartWrite; the next one waits for OnWriteDone, meanwhile
//            the ResponseStream merges what comes
//   OnEnd    Finish: errors before the first message are Trailers-Only
//   OnCancel the front end frees the request at once, in whatever stage it is; nothing waits for
//            the last write (a proxy may hold that back for minutes)
//   OnDone   delete this
//
// Thread contract: gRPC and the front end call from any thread; AnswerReader lets one in at a time.
#ifndef PARROT_SERVER_GRPC_GENERATE_CALL_H_
#define PARROT_SERVER_GRPC_GENERATE_CALL_H_

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/grpc/answer_reader.h"
#include "server/grpc/rpc_call.h"

namespace parrot {

class GenerateCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                           private AnswerReader::Delegate {
 public:
  // Parses, submits or fails. Hand the pointer to gRPC at once; the call owns itself.
  static GenerateCall* Start(grpc::CallbackServerContext* context,
                             const grpc::ByteBuffer& bytes,
                             const RpcEnvironment* environment,
                             Frontend* frontend,
                             absl::Duration stall_timeout);

  void OnWriteDone(bool ok) override { reader_.OnWriteDone(ok); }
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  GenerateCall(grpc::CallbackServerContext* context,
               const RpcEnvironment* environment,
               Frontend* frontend);
  ~GenerateCall() override = default;
  bool OnEvent(AnswerEvent& event) override;
  void OnEnd(const absl::Status& status) override;

  RpcCall rpc_;
  AnswerReader reader_;
  bool submitted_ = false;    // set before gRPC knows the reactor
  bool has_written_ = false;  // the actor's
  grpc::ByteBuffer message_;  // being written; the actor's
};

// Ends the call with `status` although the client may take no data: the status travels in a frame
// that flow control does not hold back.
AnswerReader::AbortTransport AbortCall(grpc::CallbackServerContext* context);

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_GENERATE_CALL_H_
