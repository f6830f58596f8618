// The gRPC channel of a ParrotClient: credentials, message limits, keepalive, retries, balancing.
// Stateless; thread-safe.
#ifndef PARROT_CLIENT_CHANNEL_H_
#define PARROT_CLIENT_CHANNEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client_options.h"
#include "grpcpp/channel.h"

namespace parrot {

// INVALID_ARGUMENT naming the option that cannot be meant.
absl::Status ValidateClientOptions(const ClientOptions& options);

// REQUIRES: ValidateClientOptions(options) is ok. Does not connect.
std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options);

// The channel's service config as JSON: round_robin over the addresses of the target, and for
// parrot.v1 up to `max_attempts` attempts under a retry budget (10 tokens, 0.1 back per success),
// so that retries cannot multiply an overload. No hedging.
std::string ServiceConfigJson(int32_t max_attempts);

// gRPC aborts the process on a metadata value that HTTP/2 does not allow: ask first.
bool IsMetadataValue(std::string_view value);

// Whether `target` can only be this machine.
bool IsLocalTarget(std::string_view target);

}  // namespace parrot

#endif  // PARROT_CLIENT_CHANNEL_H_
