// Certificates for TLS tests, made on the spot: valid for 127.0.0.1 and `name`, for a day.
#ifndef PARROT_TESTS_CLIENT_SELF_SIGNED_CERTIFICATE_H_
#define PARROT_TESTS_CLIENT_SELF_SIGNED_CERTIFICATE_H_

#include <string>

namespace parrot {

struct SelfSignedCertificate {
  std::string cert_pem;
  std::string key_pem;
};

SelfSignedCertificate MakeSelfSignedCertificate(const std::string& name);

}  // namespace parrot

#endif  // PARROT_TESTS_CLIENT_SELF_SIGNED_CERTIFICATE_H_
