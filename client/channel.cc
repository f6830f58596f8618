#include "client/channel.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/error_status.h"
#include "grpc/grpc.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace parrot {
namespace {

// A retry needs the request again, so the buffer holds the largest one (gRPC's default, 256 KiB,
// silently turns retries off for anything with a picture), and its frame.
constexpr int64_t kRetryBufferSlackBytes = 64 << 10;
constexpr int kMaxAttempts = 5;  // gRPC's own bound
// A server that restarts is found again soon; gRPC's default grows to two minutes.
constexpr int kFirstReconnectMs = 200;
constexpr int kSlowestReconnectMs = 5000;

absl::Status Invalid(const std::string& option, const std::string& what, std::string limit = "") {
  return WithField(ErrorStatus(absl::StatusCode::kInvalidArgument,
                               what,
                               {.reason = "INVALID_CLIENT_OPTION", .limit = std::move(limit)}),
                   option);
}

std::shared_ptr<grpc::ChannelCredentials> Credentials(const ClientTlsOptions& tls) {
  if (!tls.enabled) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = tls.ca_pem;
  ssl.pem_cert_chain = tls.cert_pem;
  ssl.pem_private_key = tls.key_pem;
  return grpc::SslCredentials(ssl);
}

int ClampedInt(int64_t value) {
  return static_cast<int>(std::min<int64_t>(value, std::numeric_limits<int>::max()));
}

int Milliseconds(absl::Duration duration) {
  return ClampedInt(absl::ToInt64Milliseconds(duration));
}

}  // namespace

bool IsMetadataValue(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

bool IsLocalTarget(std::string_view target) {
  for (const std::string_view prefix : {"dns:///", "ipv4:", "ipv6:"}) {
    if (target.starts_with(prefix)) target.remove_prefix(prefix.size());
  }
  for (const std::string_view local : {"127.", "localhost:", "[::1]:", "unix:", "unix-abstract:"}) {
    if (target.starts_with(local)) return true;
  }
  return target == "localhost";
}

absl::Status ValidateClientOptions(const ClientOptions& options) {
  if (options.target.empty()) return Invalid("target", "required");
  if (!IsMetadataValue(options.api_key)) {
    return Invalid("api_key", "has a character that is not printable ASCII");
  }
  if (options.tls.cert_pem.empty() != options.tls.key_pem.empty()) {
    return Invalid("tls", "a client certificate needs both the certificate and its key");
  }
  if (options.max_attempts < 1 || options.max_attempts > kMaxAttempts) {
    return Invalid("max_attempts",
                   absl::StrCat(options.max_attempts, " is not 1 .. ", kMaxAttempts),
                   absl::StrCat("1 .. ", kMaxAttempts));
  }
  if (options.max_send_message_bytes <= 0 || options.max_receive_message_bytes <= 0) {
    return Invalid("max_send_message_bytes", "message limits are positive");
  }
  if (options.default_timeout <= absl::ZeroDuration()) {
    return Invalid("default_timeout", "is not positive");
  }
  return absl::OkStatus();
}

std::string ServiceConfigJson(int32_t max_attempts) {
  const std::string balancing = R"("loadBalancingConfig":[{"round_robin":{}}])";
  if (max_attempts <= 1) return absl::StrCat("{", balancing, "}");
  return absl::StrCat("{",
                      balancing,
                      R"(,"methodConfig":[{"name":[{"service":"parrot.v1.ParrotService"}],)",
                      R"("retryPolicy":{"maxAttempts":)",
                      max_attempts,
                      R"(,"initialBackoff":"0.2s","maxBackoff":"5s","backoffMultiplier":2,)",
                      R"("retryableStatusCodes":["UNAVAILABLE","RESOURCE_EXHAUSTED"]}}],)",
                      R"("retryThrottling":{"maxTokens":10,"tokenRatio":0.1}})");
}

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxSendMessageSize(ClampedInt(options.max_send_message_bytes));
  arguments.SetMaxReceiveMessageSize(ClampedInt(options.max_receive_message_bytes));
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE,
                   ClampedInt(options.max_send_message_bytes + kRetryBufferSlackBytes));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.keepalive_timeout));
  // A stream that waits in a queue sends nothing for long: do not stop its pings after two.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kSlowestReconnectMs);
  // A connection of its own: a server bounds the streams of each.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Calls to this machine must not go through a proxy that the environment names for others.
  if (IsLocalTarget(options.target)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetServiceConfigJSON(ServiceConfigJson(options.max_attempts));
  return grpc::CreateCustomChannel(options.target, Credentials(options.tls), arguments);
}

}  // namespace parrot
