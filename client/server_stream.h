// The client's end of a server stream: a pull iterator whose call can be cancelled while it waits.
//
//   std::unique_ptr<GenerateStream> stream = client.Generate(request);
//   v1::GenerateResponse event;
//   while (stream->Next(&event)) Show(event);
//   absl::Status status = stream->Finish();
//
// The call starts when the stream is made; making it does not wait for the network. Messages that
// are not read wait in the transport's window, so a slow reader costs no memory here.
//
// Owns its call; independent of the ParrotClient that made it. Thread contract: Next and Finish
// from one thread at a time; Cancel from any thread while the stream lives.
#ifndef PARROT_CLIENT_SERVER_STREAM_H_
#define PARROT_CLIENT_SERVER_STREAM_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "client/cancellation.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_stream.h"

namespace parrot {

template <typename Response>
class ServerStream {
 public:
  using Reader = grpc::ClientAsyncReader<Response>;
  // Prepares, without starting it, the call of `context` on `queue`.
  using Prepare =
      std::function<std::unique_ptr<Reader>(grpc::ClientContext*, grpc::CompletionQueue*)>;

  // `cancellation` is borrowed and may be null.
  ServerStream(std::unique_ptr<grpc::ClientContext> context,
               Cancellation* cancellation,
               const Prepare& prepare);
  // A stream whose call failed before it began: Next is false, Finish is `error`.
  explicit ServerStream(absl::Status error);
  // Cancels the call unless it is over.
  ~ServerStream();
  ServerStream(const ServerStream&) = delete;
  ServerStream& operator=(const ServerStream&) = delete;

  // Blocks until a message is there (true) or the call is over (false).
  [[nodiscard]] bool Next(Response* response);
  // The call ends with CANCELLED soon. No effect on one that is over.
  void Cancel();
  // How the call ended. Before Next returned false: cancels it and throws its messages away.
  absl::Status Finish();
  // Metadata `x-request-id` of the server's answer; empty before the first message.
  std::string request_id() const;

 private:
  bool WaitForTag();
  void ReadStatus();

  // Null when the call failed before it began. Constant after construction.
  const std::unique_ptr<grpc::ClientContext> context_;
  Cancellation* const cancellation_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<Reader> reader_;
  bool started_ = false;   // the start of the call was acknowledged
  bool received_ = false;  // a message, and with it the initial metadata, came
  bool over_ = false;
  absl::Status status_;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_SERVER_STREAM_H_
