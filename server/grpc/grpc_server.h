// GrpcServer: one gRPC listener with the limits of a server that faces clients it does not know.
// The public port carries the generation and health services, the admin port the control service;
// each is a GrpcServer of its own.
//
// gRPC 1.51's own defaults are no limits, or two hours; every one that matters is set here.
// Reflection is on only where it is asked for. Compressed messages are refused: pictures are
// compressed already, and 16 MiB of gzip may hold 16 GiB.
#ifndef PARROT_SERVER_GRPC_GRPC_SERVER_H_
#define PARROT_SERVER_GRPC_GRPC_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/server.h"
#include "server/grpc/tls_credentials.h"

namespace parrot {

struct GrpcServerOptions {
  std::string host = "127.0.0.1";
  int32_t port = 0;  // 0: any free port
  TlsOptions tls;
  bool enable_reflection = false;
  int64_t max_receive_message_bytes = int64_t{16} << 20;
  int32_t max_metadata_bytes = 8 << 10;
  int32_t max_concurrent_streams = 100;  // per connection
  absl::Duration keepalive_time = absl::Seconds(30);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  absl::Duration min_ping_interval = absl::Seconds(10);  // clients that ping faster are cut off
  absl::Duration max_connection_idle = absl::Minutes(5);
  absl::Duration max_connection_age = absl::Minutes(10);  // zero: unlimited
  absl::Duration max_connection_age_grace = absl::Minutes(10);
  absl::Duration handshake_timeout = absl::Seconds(10);
  int64_t memory_quota_bytes = 0;  // of the library's buffers; 0: a quarter of the memory
};

class GrpcServer {
 public:
  // Listens and serves. Borrows the services, which outlive Shutdown. UNAVAILABLE naming the
  // address when it cannot listen, INVALID_ARGUMENT for bad TLS files.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const GrpcServerOptions& options, const std::vector<grpc::Service*>& services);
  // Shuts down at once if nobody has.
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  int32_t port() const { return port_; }
  // Refuses new calls, waits for those that run, cancels what is left at `deadline`. Idempotent.
  void Shutdown(absl::Time deadline);

 private:
  GrpcServer(std::unique_ptr<grpc::Server> server, int32_t port);
  std::unique_ptr<grpc::Server> server_;
  const int32_t port_;
};

// A quarter of the memory that this process may use.
int64_t DefaultMemoryQuotaBytes();

// "127.0.0.1:8001", "[::1]:8001".
std::string JoinHostPort(const std::string& host, int32_t port);

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_GRPC_SERVER_H_
