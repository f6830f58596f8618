#include "server/grpc/tls_credentials.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace parrot {
namespace {

constexpr unsigned kReloadSeconds = 1;

using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;
using X509Ptr = std::unique_ptr<X509, decltype(&X509_free)>;
using KeyPtr = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

absl::Status BadFile(const std::string& path, const std::string& what) {
  // The queue of OpenSSL's errors belongs to the thread and would confuse the next caller.
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(BaseName(path), ": ", what));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) return BadFile(path, "cannot be read or is empty");
  return text.str();
}

absl::StatusOr<X509Ptr> FirstCertificate(const std::string& path, const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  X509Ptr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
  if (certificate == nullptr) return BadFile(path, "holds no PEM certificate");
  if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0) {
    return BadFile(path, "the certificate has expired");
  }
  return certificate;
}

absl::StatusOr<KeyPtr> PrivateKey(const std::string& path, const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  // The callback answers a passphrase prompt with none: a server has nobody to ask.
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr), EVP_PKEY_free);
  if (key == nullptr) return BadFile(path, "holds no PEM private key without a passphrase");
  return key;
}

}  // namespace

absl::Status CheckTlsFiles(const TlsOptions& options) {
  ASSIGN_OR_RETURN(const std::string certificate_pem, ReadFile(options.certificate_file));
  ASSIGN_OR_RETURN(const std::string key_pem, ReadFile(options.key_file));
  ASSIGN_OR_RETURN(const X509Ptr certificate,
                   FirstCertificate(options.certificate_file, certificate_pem));
  ASSIGN_OR_RETURN(const KeyPtr key, PrivateKey(options.key_file, key_pem));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return BadFile(
        options.key_file,
        absl::StrCat("is not the key of the certificate in ", BaseName(options.certificate_file)));
  }
  if (options.client_ca_file.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string ca_pem, ReadFile(options.client_ca_file));
  return FirstCertificate(options.client_ca_file, ca_pem).status();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsOptions& options) {
  if (options.certificate_file.empty()) return grpc::InsecureServerCredentials();
  RETURN_IF_ERROR(CheckTlsFiles(options));
  std::shared_ptr<grpc::experimental::CertificateProviderInterface> provider;
  const bool is_mutual = !options.client_ca_file.empty();
  if (options.reload) {
    provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
        options.key_file, options.certificate_file, options.client_ca_file, kReloadSeconds);
  } else {
    ASSIGN_OR_RETURN(const std::string certificate, ReadFile(options.certificate_file));
    ASSIGN_OR_RETURN(const std::string key, ReadFile(options.key_file));
    std::string ca;
    if (is_mutual) {
      ASSIGN_OR_RETURN(ca, ReadFile(options.client_ca_file));
    }
    provider = std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
        ca, std::vector<grpc::experimental::IdentityKeyCertPair>{{key, certificate}});
  }
  grpc::experimental::TlsServerCredentialsOptions tls(provider);
  tls.watch_identity_key_cert_pairs();
  if (is_mutual) {
    tls.watch_root_certs();
    tls.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(tls);
}

}  // namespace parrot
