// Turns the outcome of a gRPC call into an absl::Status that keeps what the server said: the facts
// of its google.rpc details (reason, field, value, limit, retry delay: base/error_status.h) and the
// id under which the server knows the request. Stateless; thread-safe.
//
//   absl::StatusOr<v1::RouteResponse> routed = client.Route(request);
//   if (!routed.ok()) {
//     const ErrorFacts facts = GetErrorFacts(routed.status());   // facts.field, facts.limit, ...
//     Report(routed.status(), GetRequestId(routed.status()));
//   }
#ifndef PARROT_CLIENT_CALL_STATUS_H_
#define PARROT_CLIENT_CALL_STATUS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"

namespace parrot {

// REQUIRES: the call that `context` belongs to is over.
absl::Status CallStatus(const grpc::Status& status, const grpc::ClientContext& context);

// `status` with the request id attached; unchanged when ok or when the id is empty.
absl::Status WithRequestId(absl::Status status, std::string_view request_id);

// The id that the server gave or echoed; empty when it never answered.
std::string GetRequestId(const absl::Status& status);

}  // namespace parrot

#endif  // PARROT_CLIENT_CALL_STATUS_H_
