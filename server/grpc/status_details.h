// From absl::Status with ErrorFacts to what gRPC clients get: a code of the status table, a short
// message and google.rpc details in `grpc-status-details-bin`. Thread-safe (pure functions).
//
// | code                | details besides ErrorInfo{reason, domain "parrot", metadata}        |
// |---------------------|----------------------------------------------------------------------|
// | INVALID_ARGUMENT    | BadRequest with the field, if there is one                           |
// | NOT_FOUND           | ResourceInfo                                                         |
// | RESOURCE_EXHAUSTED  | RetryInfo and the trailer grpc-retry-pushback-ms, if a retry helps   |
// | UNAVAILABLE         | the same                                                             |
// | all                 | RequestInfo with the request id, once there is one                   |
#ifndef PARROT_SERVER_GRPC_STATUS_DETAILS_H_
#define PARROT_SERVER_GRPC_STATUS_DETAILS_H_

#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace parrot {

// REQUIRES: !status.ok(). Codes outside the status table become INTERNAL. Messages are cut at 512
// bytes. `request_id` may be empty.
grpc::Status ToGrpcStatus(const absl::Status& status, const std::string& request_id);

// "OK", "INVALID_ARGUMENT", ...: canonical names, for metrics and logs.
const char* GrpcCodeName(grpc::StatusCode code);

// Value of grpc-retry-pushback-ms; empty if the client should not retry after a stated time.
std::string RetryPushbackMs(const absl::Status& status);

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_STATUS_DETAILS_H_
