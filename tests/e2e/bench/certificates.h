// Certificates for TLS tests, made on the spot.
#ifndef PARROT_TESTS_E2E_BENCH_CERTIFICATES_H_
#define PARROT_TESTS_E2E_BENCH_CERTIFICATES_H_

#include <memory>
#include <string>

namespace parrot {

struct KeyAndCertificate {
  std::string key_pem;
  std::string certificate_pem;
};

// Signs certificates for "localhost" and 127.0.0.1.
class CertificateAuthority {
 public:
  explicit CertificateAuthority(const std::string& name);
  ~CertificateAuthority();
  CertificateAuthority(const CertificateAuthority&) = delete;
  CertificateAuthority& operator=(const CertificateAuthority&) = delete;

  const std::string& certificate_pem() const { return own_.certificate_pem; }
  // Valid from yesterday until `valid_days` from now; negative: expired.
  KeyAndCertificate Issue(const std::string& name, int valid_days = 2) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  KeyAndCertificate own_;
};

}  // namespace parrot

#endif  // PARROT_TESTS_E2E_BENCH_CERTIFICATES_H_
