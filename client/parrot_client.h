// A client of Parrot Server over gRPC: answers about pictures, streamed or whole, and what goes
// with them. Every call has a deadline, can be cancelled, and fails with a status that keeps the
// server's details (client/call_status.h).
//
//   ASSIGN_OR_RETURN(std::unique_ptr<ParrotClient> client, ParrotClient::Create({}));
//   v1::GenerateRequest request;
//   AddMessage(UserMessage("What is in the picture?", {png_bytes}), request.mutable_messages());
//   std::unique_ptr<GenerateStream> stream = client->Generate(request);
//   v1::GenerateResponse event;
//   while (stream->Next(&event)) {
//     if (event.has_delta()) std::cout << event.delta().text();
//   }
//   RETURN_IF_ERROR(stream->Finish());
//
// Calls that fail with UNAVAILABLE or RESOURCE_EXHAUSTED before any response are made again (see
// ClientOptions::max_attempts), and a call that named an image which the server has forgotten is
// made again with its bytes (ClientOptions::name_known_images); nothing else is. A request over
// max_send_message_bytes fails here with RESOURCE_EXHAUSTED, reason MESSAGE_TOO_LARGE, and is not
// retried.
//
// Owns its channel and its connection. Thread-safe; calls of several threads share them. Streams
// may outlive the client.
#ifndef PARROT_CLIENT_PARROT_CLIENT_H_
#define PARROT_CLIENT_PARROT_CLIENT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/client_options.h"
#include "client/generate_stream.h"
#include "client/server_stream.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_stream.h"
#include "parrot/v1/generation.grpc.pb.h"

namespace parrot {

using HealthState = grpc::health::v1::HealthCheckResponse;
using HealthStream = ServerStream<HealthState>;

// How Watch meets a server that cannot be reached.
enum class WhenUnreachable {
  kFail,  // UNAVAILABLE at once
  kWait,  // until it can be, or the deadline
};

class ParrotClient {
 public:
  // INVALID_ARGUMENT for options that cannot be meant (a key that is not printable, half of a
  // client certificate). Does not connect: the first call does.
  static absl::StatusOr<std::unique_ptr<ParrotClient>> Create(const ClientOptions& options);

  // Never null; an error before the call is what Finish returns.
  std::unique_ptr<GenerateStream> Generate(const v1::GenerateRequest& request,
                                           const CallOptions& call = {});
  // For programs that keep many calls in flight on few threads: a call on the caller's queue, not
  // started. The same errors, sizes and metadata; CallOptions::cancellation is the caller's to
  // attach, and images go as the request has them. `context` outlives `reader`, `queue` both.
  struct PreparedGenerate {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientAsyncReader<v1::GenerateResponse>> reader;
  };
  absl::StatusOr<PreparedGenerate> PrepareGenerate(const v1::GenerateRequest& request,
                                                   grpc::CompletionQueue& queue,
                                                   const CallOptions& call = {});
  absl::StatusOr<v1::GenerateUnaryResponse> GenerateUnary(const v1::GenerateRequest& request,
                                                          const CallOptions& call = {});
  absl::StatusOr<v1::RouteResponse> Route(const v1::RouteRequest& request,
                                          const CallOptions& call = {});
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request,
                                                const CallOptions& call = {});
  absl::StatusOr<v1::CountTokensResponse> CountTokens(const v1::CountTokensRequest& request,
                                                      const CallOptions& call = {});
  // Sends an image ahead of the questions about it. OK: requests of this client name it.
  absl::StatusOr<v1::PutImageResponse> PutImage(const v1::PutImageRequest& request,
                                                const CallOptions& call = {});
  absl::StatusOr<v1::HasImageResponse> HasImage(const v1::HasImageRequest& request,
                                                const CallOptions& call = {});
  absl::StatusOr<v1::GetModelInfoResponse> GetModelInfo(const v1::GetModelInfoRequest& request,
                                                        const CallOptions& call = {});

  // The standard health service; "" asks for the whole server. NOT_FOUND for an unknown service.
  absl::StatusOr<HealthState::ServingStatus> CheckHealth(const std::string& service,
                                                         const CallOptions& call = {});
  // The state now and each time it changes. Its default deadline is none.
  std::unique_ptr<HealthStream> WatchHealth(const std::string& service,
                                            WhenUnreachable when_unreachable,
                                            const CallOptions& call = {});

 private:
  class Connection;
  explicit ParrotClient(std::shared_ptr<Connection> connection);

  // With streams that may have to call again.
  const std::shared_ptr<Connection> connection_;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_PARROT_CLIENT_H_
