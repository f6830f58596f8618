// TLS of the gRPC port from PEM files, with client certificates (mTLS) if a CA file is given, and
// with the files read again when they change if asked for.
#ifndef PARROT_SERVER_GRPC_TLS_CREDENTIALS_H_
#define PARROT_SERVER_GRPC_TLS_CREDENTIALS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"

namespace parrot {

struct TlsOptions {
  std::string certificate_file;  // PEM chain, leaf first; empty: plaintext
  std::string key_file;          // PEM
  std::string client_ca_file;    // PEM; set: a client must present a certificate of these
  bool reload = false;           // look at the files every second
};

// Plaintext credentials for empty options. The files are checked first, with an error that names
// file and cause for the operator: not PEM, key of another certificate, expired.
[[nodiscard]] absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsOptions& options);

// The checks alone.
[[nodiscard]] absl::Status CheckTlsFiles(const TlsOptions& options);

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_TLS_CREDENTIALS_H_
