#include "self_signed_certificate.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>

#include "base/check.h"

namespace parrot {
namespace {

constexpr long kDaySeconds = 24 * 3600;

struct Deleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* cert) const { X509_free(cert); }
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
};
template <typename T>
using Owned = std::unique_ptr<T, Deleter>;

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

void AddExtension(X509* cert, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, cert, cert, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  PARROT_CHECK(extension != nullptr && X509_add_ext(cert, extension.get(), -1) == 1);
}

}  // namespace

SelfSignedCertificate MakeSelfSignedCertificate(const std::string& name) {
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  const Owned<X509> cert(X509_new());
  PARROT_CHECK(key != nullptr && cert != nullptr);
  X509_set_version(cert.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), -kDaySeconds);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), kDaySeconds);
  X509_set_pubkey(cert.get(), key.get());
  X509_NAME* subject = X509_get_subject_name(cert.get());
  X509_NAME_add_entry_by_txt(subject,
                             "CN",
                             MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()),
                             /*len=*/-1,
                             /*loc=*/-1,
                             /*set=*/0);
  X509_set_issuer_name(cert.get(), subject);
  AddExtension(cert.get(), NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(cert.get(), NID_subject_alt_name, "DNS:" + name + ",IP:127.0.0.1");
  PARROT_CHECK(X509_sign(cert.get(), key.get(), EVP_sha256()) > 0);

  const Owned<BIO> cert_bio(BIO_new(BIO_s_mem()));
  const Owned<BIO> key_bio(BIO_new(BIO_s_mem()));
  PARROT_CHECK(PEM_write_bio_X509(cert_bio.get(), cert.get()) == 1);
  PARROT_CHECK(PEM_write_bio_PrivateKey(
                   key_bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return {.cert_pem = Contents(cert_bio.get()), .key_pem = Contents(key_bio.get())};
}

}  // namespace parrot
