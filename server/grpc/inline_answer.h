// A unary method that is answered on the calling thread, because it computes for milliseconds at
// most: parse, answer, finish. What differs between methods is one function.
//
//   return AnswerInline<v1::FooRequest, v1::FooResponse>(
//       RpcCall(context, "Foo", &environment_, frontend), context, *request, response,
//       [frontend](v1::FooRequest& in, v1::FooResponse& out) { return frontend->Foo(in, out); });
//
// A function that wants to know who calls takes the Identity first.
#ifndef PARROT_SERVER_GRPC_INLINE_ANSWER_H_
#define PARROT_SERVER_GRPC_INLINE_ANSWER_H_

#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/grpc/rpc_call.h"

namespace parrot {

// `answer` turns a parsed Request into a Response and returns absl::Status; it is not called when
// the front end is absent.
template <typename Request, typename Response, typename Answer>
grpc::ServerUnaryReactor* AnswerInline(RpcCall rpc,
                                       grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer& bytes,
                                       grpc::ByteBuffer* out,
                                       Answer answer) {
  Request request;
  Response response;
  const absl::StatusOr<Identity> identity = rpc.Open(bytes, request);
  absl::Status status = identity.status();
  if constexpr (std::is_invocable_v<Answer, const Identity&, Request&, Response&>) {
    if (status.ok()) status = answer(*identity, request, response);
  } else {
    if (status.ok()) status = answer(request, response);
  }
  if (status.ok()) {
    *out = ToByteBuffer(response);
    rpc.AddInitialMetadata();
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(rpc.Close(status));
  return reactor;
}

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_INLINE_ANSWER_H_
