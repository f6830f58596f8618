#include "server/frontend/identity.h"

#include <cstdint>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "base/error_status.h"
#include "base/status_macros.h"

namespace parrot {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kMaxTenantBytes = 64;
constexpr std::string_view kScheme = "bearer ";

// What a tenant may be called: it ends up in logs and cache salts.
bool IsTenantName(std::string_view name) {
  if (name.empty() || name.size() > kMaxTenantBytes) return false;
  for (char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') {
      return false;
    }
  }
  return true;
}

bool IsKey(std::string_view key) {
  if (key.empty() || key.size() > kMaxKeyBytes) return false;
  for (char c : key) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && absl::ascii_isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  while (!text.empty() && absl::ascii_isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return text;
}

absl::Status BadLine(int line, const char* rule) {
  return absl::InvalidArgumentError("API key file, line " + std::to_string(line) + ": " + rule);
}

// The key of "Bearer KEY"; empty when it is nothing of the sort.
std::string_view BearerKey(std::string_view authorization) {
  if (authorization.size() <= kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i) {
    if (absl::ascii_tolower(static_cast<unsigned char>(authorization[i])) != kScheme[i]) return {};
  }
  return Trim(authorization.substr(kScheme.size()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(
    const AuthenticatorOptions& options) {
  // The constructor is private, so make_unique cannot reach it.
  std::unique_ptr<Authenticator> authenticator(new Authenticator(options));
  RETURN_IF_ERROR(authenticator->Reload());
  return authenticator;
}

absl::StatusOr<std::vector<Authenticator::Key>> Authenticator::Parse(std::string_view text) {
  std::vector<Key> keys;
  for (int line_number = 1; !text.empty(); ++line_number) {
    const size_t end = text.find('\n');
    const std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty() || line.front() == '#') continue;
    const size_t colon = line.find(':');
    const bool has_tenant = colon != std::string_view::npos;
    const std::string_view key = has_tenant ? line.substr(colon + 1) : line;
    if (!IsKey(key)) {
      return BadLine(line_number, "a key is 1 to 512 printable characters without spaces");
    }
    Key entry{.hash = Sha256Of(key)};
    entry.tenant =
        has_tenant ? std::string(line.substr(0, colon)) : "key-" + entry.hash.ToHex().substr(0, 8);
    if (!IsTenantName(entry.tenant)) {
      return BadLine(line_number, "a tenant is 1 to 64 letters, digits, '.', '_' or '-'");
    }
    for (const Key& other : keys) {
      if (other.hash == entry.hash) return BadLine(line_number, "the key occurs twice");
    }
    keys.push_back(std::move(entry));
  }
  if (keys.empty()) return absl::InvalidArgumentError("API key file: no key in it");
  return keys;
}

absl::StatusOr<std::vector<Authenticator::Key>> Authenticator::ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError("API key file: cannot be opened");
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad()) return absl::UnavailableError("API key file: cannot be read");
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError("API key file: larger than 1 MiB");
  }
  return Parse(text);
}

absl::Status Authenticator::Reload() {
  if (!requires_key()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<Key> keys, ReadFile(options_.api_key_file));
  auto shared = std::make_shared<const std::vector<Key>>(std::move(keys));
  absl::MutexLock lock(&mutex_);
  keys_ = std::move(shared);
  return absl::OkStatus();
}

size_t Authenticator::num_keys() const {
  absl::MutexLock lock(&mutex_);
  return keys_ == nullptr ? 0 : keys_->size();
}

absl::StatusOr<Identity> Authenticator::Authenticate(const Credentials& credentials) const {
  Identity identity;
  if (requires_key()) {
    std::shared_ptr<const std::vector<Key>> keys;
    {
      absl::MutexLock lock(&mutex_);
      keys = keys_;
    }
    const Sha256Digest presented = Sha256Of(BearerKey(credentials.authorization));
    // No early exit: the time does not tell which key is near.
    const Key* match = nullptr;
    for (const Key& key : *keys) {
      if (ConstantTimeEquals(key.hash.view(), presented.view())) match = &key;
    }
    if (match == nullptr) {
      return ErrorStatus(absl::StatusCode::kUnauthenticated,
                         "a valid API key is required",
                         {.reason = "UNAUTHENTICATED"});
    }
    identity = {.tenant = match->tenant, .authenticated = true};
  } else if (!credentials.peer_identity.empty()) {
    identity = {.tenant = std::string(credentials.peer_identity), .authenticated = true};
  }
  if (options_.trust_tenant_header && !credentials.tenant_header.empty()) {
    if (!IsTenantName(credentials.tenant_header)) {
      return ErrorStatus(absl::StatusCode::kInvalidArgument,
                         "x-parrot-tenant: 1 to 64 letters, digits, '.', '_' or '-'",
                         {.reason = "INVALID_TENANT", .field = "x-parrot-tenant"});
    }
    identity.tenant = std::string(credentials.tenant_header);
  }
  return identity;
}

}  // namespace parrot
