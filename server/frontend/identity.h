// Who calls: API keys from a file, and the tenant that a call runs for.
//
// The file has one key per line, `tenant:key` or `key`; blank lines and lines that begin with '#'
// are skipped. Keys are held as SHA-256 and compared in constant time, all of them at every call,
// so that timing tells nothing. A key without a tenant names its own: "key-" and the first eight
// hexadecimal digits of its hash.
//
//   ASSIGN_OR_RETURN(auto authenticator, Authenticator::Create({.api_key_file = path}));
//   ASSIGN_OR_RETURN(Identity who, authenticator->Authenticate({.authorization = header}));
#ifndef PARROT_SERVER_FRONTEND_IDENTITY_H_
#define PARROT_SERVER_FRONTEND_IDENTITY_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/hash.h"

namespace parrot {

struct Identity {
  std::string tenant = "anonymous";
  bool authenticated = false;  // by key or by TLS certificate
};

// What the transport knows of a caller; empty: absent.
struct Credentials {
  std::string_view authorization;  // "Bearer KEY"
  std::string_view tenant_header;  // x-parrot-tenant; read only with trust_tenant_header
  std::string_view peer_identity;  // subject of the verified client certificate
};

struct AuthenticatorOptions {
  std::string api_key_file;          // empty: no key is asked for
  bool trust_tenant_header = false;  // the gateway in front has authenticated and names the tenant
};

// Thread-safe.
class Authenticator {
 public:
  // Fails when the file cannot be read or has a bad line (named by number; never quoted).
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(const AuthenticatorOptions& options);

  // UNAUTHENTICATED with a constant text. With a key file every call needs a key of it, a client
  // certificate does not replace it.
  [[nodiscard]] absl::StatusOr<Identity> Authenticate(const Credentials& credentials) const;
  // Reads the file again; when that fails, the old keys stay. No-op without a file.
  [[nodiscard]] absl::Status Reload();
  bool requires_key() const { return !options_.api_key_file.empty(); }
  size_t num_keys() const;

 private:
  struct Key {
    Sha256Digest hash;
    std::string tenant;
  };
  explicit Authenticator(const AuthenticatorOptions& options) : options_(options) {}
  static absl::StatusOr<std::vector<Key>> Parse(std::string_view text);
  static absl::StatusOr<std::vector<Key>> ReadFile(const std::string& path);

  const AuthenticatorOptions options_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const std::vector<Key>> keys_ ABSL_GUARDED_BY(mutex_);  // and calls in progress
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_IDENTITY_H_
