// RpcCall: the bookkeeping of one call, the same for every method: what the metadata say, who
// calls, the id that is echoed, the trailers, one count and perhaps one log line at the end. Owned
// by the call's reactor; its functions are called by one thread at a time.
#ifndef PARROT_SERVER_GRPC_RPC_CALL_H_
#define PARROT_SERVER_GRPC_RPC_CALL_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "server/frontend/answer.h"
#include "server/frontend/frontend.h"
#include "server/frontend/identity.h"
#include "server/grpc/wire_scan.h"
#include "server/logging/logger.h"

namespace parrot {

// What a service lends to its calls; outlives them.
struct RpcEnvironment {
  const char* service = "";                      // full name, for metrics
  const Authenticator* authenticator = nullptr;  // null: nobody is asked
  Logger* logger = nullptr;
  WireLimits wire_limits;
  bool log_requests = false;
};

class RpcCall {
 public:
  // `frontend` is null while the model loads. `method` is a literal: "Generate".
  RpcCall(grpc::CallbackServerContext* context,
          const char* method,
          const RpcEnvironment* environment,
          Frontend* frontend);

  // Who calls, bounds and parses: everything that comes before the front end. UNAUTHENTICATED
  // before anything else is looked at, UNAVAILABLE while loading, INVALID_ARGUMENT for bytes that
  // are not `request`.
  [[nodiscard]] absl::StatusOr<Identity> Open(const grpc::ByteBuffer& bytes,
                                              google::protobuf::Message& request);
  // The last part of it alone: for services that ask nobody and work while loading.
  [[nodiscard]] absl::Status Parse(const grpc::ByteBuffer& bytes,
                                   google::protobuf::Message& request) const;

  absl::Time arrival() const { return arrival_; }
  // InfiniteFuture: none.
  absl::Time deadline() const;
  // The x-request-id of the metadata, as it came.
  const std::optional<std::string>& header_request_id() const { return header_request_id_; }
  // The id to echo once it is known; before that the header's, if it is a good one, or a minted
  // one.
  void SetRequestId(const std::string& request_id) { request_id_ = request_id; }
  const std::string& request_id();
  // For the log line: the last of them, with the completion tokens of all.
  void SetFinished(const OutputFinishedEvent& finished);

  // Call before the first message is written. Errors that come before it have no initial metadata
  // of their own, so that gRPC sends them as Trailers-Only and clients may retry.
  void AddInitialMetadata();
  // Adds the trailers, counts, logs. The status to finish the call with.
  grpc::Status Close(const absl::Status& status);

 private:
  [[nodiscard]] absl::StatusOr<Identity> Identify();
  void LogEnd(grpc::StatusCode code, const absl::Status& status);

  grpc::CallbackServerContext& context_;
  const char* const method_;
  const RpcEnvironment& environment_;
  Frontend* const frontend_;
  const absl::Time arrival_;
  std::optional<std::string> header_request_id_;
  std::string request_id_;
  std::string tenant_;
  std::optional<OutputFinishedEvent> finished_;
};

// One message as bytes for a raw method.
grpc::ByteBuffer ToByteBuffer(const google::protobuf::Message& message);

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_RPC_CALL_H_
