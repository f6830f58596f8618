// TLS and mTLS of the gRPC port from files, and their reload.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "server/grpc/tls_credentials.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/certificates.h"
#include "tests/e2e/bench/test_server.h"

namespace parrot {
namespace {

using grpc::StatusCode;

class TlsTest : public testing::Test {
 protected:
  TlsTest()
      : dir_(testing::TempDir() + "/parrot_tls_" + std::to_string(getpid())),
        authority_("test CA") {
    std::filesystem::create_directories(dir_);
    options_.certificate_file = dir_ + "/cert.pem";
    options_.key_file = dir_ + "/key.pem";
    Install(authority_.Issue("server"));
    Write("ca.pem", authority_.certificate_pem());
  }
  ~TlsTest() override { std::filesystem::remove_all(dir_); }

  // Each file is replaced in one piece.
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/new") << text;
    std::filesystem::rename(dir_ + "/new", dir_ + "/" + name);
  }
  void Install(const KeyAndCertificate& pair) {
    Write("key.pem", pair.key_pem);
    Write("cert.pem", pair.certificate_pem);
  }
  TestServerConfig Config() const {
    TestServerConfig config;
    config.options.ssl_certfile = options_.certificate_file;
    config.options.ssl_keyfile = options_.key_file;
    config.options.log_requests = true;
    return config;
  }
  static grpc::Status Call(TestServer& server, const grpc::SslCredentialsOptions& options) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel =
        grpc::CreateCustomChannel(server.address(), grpc::SslCredentials(options), arguments);
    const auto stub = v1::ParrotService::NewStub(channel);
    return Generate(*stub, TextRequest("hello", 2)).status;
  }

  const std::string dir_;
  const CertificateAuthority authority_;
  TlsOptions options_;
};

TEST_F(TlsTest, ServesClientsThatTrustItsAuthorityAndNoOthers) {
  TestServer server(Config());
  grpc::SslCredentialsOptions trusting;
  trusting.pem_root_certs = authority_.certificate_pem();
  const grpc::Status status = Call(server, trusting);
  EXPECT_TRUE(status.ok()) << status.error_message();
  grpc::SslCredentialsOptions other;
  const CertificateAuthority stranger("other CA");
  other.pem_root_certs = stranger.certificate_pem();
  EXPECT_EQ(Call(server, other).error_code(), StatusCode::UNAVAILABLE);
  // Plaintext on a TLS port.
  EXPECT_EQ(Generate(server.stub(), TextRequest("hello")).status.error_code(),
            StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Call(server, trusting).ok());
}

TEST_F(TlsTest, MutualTlsTakesCertificatesOfItsAuthorityOnlyAndNamesTheTenant) {
  TestServerConfig config = Config();
  config.options.ssl_ca_certs = dir_ + "/ca.pem";
  TestServer server(config);
  grpc::SslCredentialsOptions client;
  client.pem_root_certs = authority_.certificate_pem();
  EXPECT_EQ(Call(server, client).error_code(), StatusCode::UNAVAILABLE) << "no certificate";
  const auto call_as = [&](const KeyAndCertificate& pair) {
    grpc::SslCredentialsOptions options = client;
    options.pem_private_key = pair.key_pem;
    options.pem_cert_chain = pair.certificate_pem;
    return Call(server, options);
  };
  EXPECT_TRUE(call_as(authority_.Issue("carol")).ok());
  EXPECT_EQ(call_as(CertificateAuthority("other CA").Issue("carol")).error_code(),
            StatusCode::UNAVAILABLE);
  EXPECT_EQ(call_as(authority_.Issue("carol", /*valid_days=*/-1)).error_code(),
            StatusCode::UNAVAILABLE);
  ASSERT_TRUE(server.Shutdown());
  EXPECT_FALSE(server.log().Contains("tenant=anonymous"));
}

TEST_F(TlsTest, ChangedFilesAreUsedWithoutARestart) {
  TestServerConfig config = Config();
  config.options.enable_ssl_refresh = true;
  TestServer server(config);
  grpc::SslCredentialsOptions old_trust;
  old_trust.pem_root_certs = authority_.certificate_pem();
  EXPECT_TRUE(Call(server, old_trust).ok());
  const CertificateAuthority next("next CA");
  Install(next.Issue("server"));
  grpc::SslCredentialsOptions new_trust;
  new_trust.pem_root_certs = next.certificate_pem();
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  bool is_new = false;
  while (!is_new && absl::Now() < limit) is_new = Call(server, new_trust).ok();
  EXPECT_TRUE(is_new);
  EXPECT_EQ(Call(server, old_trust).error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, BadFilesAreNamedBeforeAnythingStarts) {
  const auto error = [this] { return std::string(CheckTlsFiles(options_).message()); };
  EXPECT_EQ(error(), "");
  Write("key.pem", authority_.Issue("another").key_pem);
  EXPECT_EQ(error(), "key.pem: is not the key of the certificate in cert.pem");
  Write("key.pem", "no key");
  EXPECT_EQ(error(), "key.pem: holds no PEM private key without a passphrase");
  Install(authority_.Issue("late", /*valid_days=*/-1));
  EXPECT_EQ(error(), "cert.pem: the certificate has expired");
  Write("cert.pem", "no certificate");
  EXPECT_EQ(error(), "cert.pem: holds no PEM certificate");
  Write("cert.pem", "");
  EXPECT_EQ(error(), "cert.pem: cannot be read or is empty");
}

}  // namespace
}  // namespace parrot
