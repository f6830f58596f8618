// Images by their digest, over the wire: put, asked for, named, forgotten, sent again.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/hash.h"
#include "client/conversation.h"
#include "client/parrot_client.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "parrot/v1/control.grpc.pb.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"

namespace parrot {
namespace {

using testing::ElementsAre;

std::string DigestOf(const std::string& image) { return std::string(Sha256Of(image).view()); }

v1::GenerateRequest DigestRequest(const std::string& text,
                                  const std::vector<std::string>& digests) {
  v1::GenerateRequest request = TextRequest(text);
  for (const std::string& digest : digests) {
    request.mutable_messages(0)->add_parts()->mutable_image()->set_digest_sha256(digest);
  }
  return request;
}

// Calls with the tenant that the front end would be told by a trusted proxy.
class TenantStub {
 public:
  TenantStub(TestServer& server, std::string tenant)
      : stub_(v1::ParrotService::NewStub(server.Channel())), tenant_(std::move(tenant)) {}

  grpc::Status Put(const std::string& image, v1::PutImageResponse* response) {
    grpc::ClientContext context;
    Prepare(context);
    v1::PutImageRequest request;
    request.set_data(image);
    return stub_->PutImage(&context, request, response);
  }
  std::vector<bool> Has(const std::vector<std::string>& digests) {
    grpc::ClientContext context;
    Prepare(context);
    v1::HasImageRequest request;
    for (const std::string& digest : digests) request.add_digests_sha256(digest);
    v1::HasImageResponse response;
    EXPECT_TRUE(stub_->HasImage(&context, request, &response).ok());
    return {response.present().begin(), response.present().end()};
  }
  Answer Ask(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    Prepare(context);
    return Generate(*stub_, request, &context);
  }

 private:
  void Prepare(grpc::ClientContext& context) {
    SetDeadline(context);
    context.AddMetadata("x-parrot-tenant", tenant_);
  }
  std::unique_ptr<v1::ParrotService::Stub> stub_;
  const std::string tenant_;
};

TestServerConfig TrustingConfig() {
  TestServerConfig config;
  config.options.trust_tenant_header = true;
  return config;
}

void Flush(TestServer& server) {
  const auto control = v1::ParrotControlService::NewStub(
      grpc::CreateChannel(server.admin_address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  SetDeadline(context);
  v1::FlushCacheResponse response;
  EXPECT_TRUE(control->FlushCache(&context, {}, &response).ok());
}

v1::GetLoadResponse Load(TestServer& server) {
  const auto control = v1::ParrotControlService::NewStub(
      grpc::CreateChannel(server.admin_address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  SetDeadline(context);
  v1::GetLoadResponse response;
  EXPECT_TRUE(control->GetLoad(&context, {}, &response).ok());
  return response;
}

int64_t NumDecoded(TestServer& server) {
  const std::string metrics = server.HttpGet("/metrics");
  const std::string series = "\nparrot_images_total ";
  int64_t value = -1;
  const size_t begin = metrics.find(series) + series.size();
  EXPECT_TRUE(absl::SimpleAtoi(metrics.substr(begin, metrics.find('\n', begin) - begin), &value));
  return value;
}

TEST(ImageDigestTest, AnAnswerByDigestEqualsTheAnswerByBytes) {
  TestServer server(TrustingConfig());
  TenantStub tenant(server, "team-a");
  const std::string image = GoldenImage();
  EXPECT_THAT(tenant.Has({DigestOf(image)}), ElementsAre(false));
  v1::PutImageResponse put;
  ASSERT_TRUE(tenant.Put(image, &put).ok());
  EXPECT_EQ(put.digest_sha256(), DigestOf(image));
  EXPECT_EQ(put.mime_type(), "image/png");
  EXPECT_EQ(put.width(), 47);
  EXPECT_EQ(put.height(), 31);
  EXPECT_EQ(put.model(), "nano-gqa");
  EXPECT_FALSE(put.was_known());
  EXPECT_THAT(tenant.Has({DigestOf(image), DigestOf("x")}), ElementsAre(true, false));

  const Answer by_digest = tenant.Ask(DigestRequest("What is it?", {put.digest_sha256()}));
  ASSERT_TRUE(by_digest.status.ok()) << by_digest.status.error_message();
  EXPECT_EQ(by_digest.finish->usage().image_tokens(), put.image_tokens());
  const Answer by_bytes = tenant.Ask(ImageRequest("What is it?"));
  EXPECT_EQ(by_bytes.token_ids, by_digest.token_ids);
  EXPECT_EQ(by_bytes.text, by_digest.text);
  EXPECT_EQ(by_bytes.finish->usage().prompt_tokens(), by_digest.finish->usage().prompt_tokens());
  EXPECT_EQ(NumDecoded(server), 1);
  const v1::GetLoadResponse load = Load(server);
  EXPECT_EQ(load.image_store_images(), 1);
  EXPECT_GT(load.image_store_bytes(), 0);
  EXPECT_EQ(load.image_store_evictions_total(), 0);
  server.ExpectIdle();
}

TEST(ImageDigestTest, EveryUnknownDigestOfARequestIsNamedInTrailersThatFit) {
  TestServerConfig config = TrustingConfig();
  config.options.max_images_per_prompt = 8;
  TestServer server(config);
  v1::PutImageResponse put;
  ASSERT_TRUE(TenantStub(server, "team-a").Put(GoldenImage(), &put).ok());
  // Another tenant's image is unknown like any other; the same digest twice is one image.
  std::vector<std::string> digests = {put.digest_sha256()};
  for (int i = 1; i < 7; ++i) digests.push_back(DigestOf(absl::StrCat("image ", i)));
  v1::GenerateRequest request = DigestRequest("What is it?", digests);
  request.mutable_messages(0)->add_parts()->mutable_image()->set_digest_sha256(digests[3]);
  const int64_t steps = Load(server).steps_total();
  const Answer answer = TenantStub(server, "team-b").Ask(request);
  ASSERT_EQ(answer.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(answer.num_messages, 0);
  const Details details = DetailsOf(answer.status);
  EXPECT_EQ(details.error->reason(), "IMAGE_NOT_FOUND");
  EXPECT_EQ(details.error->metadata().at("field"), "messages[0].parts[1].image.digest_sha256");
  ASSERT_TRUE(details.precondition.has_value());
  std::vector<std::string> subjects;
  for (const auto& violation : details.precondition->violations()) {
    EXPECT_EQ(violation.type(), "IMAGE_NOT_FOUND");
    subjects.push_back(violation.subject());
  }
  std::vector<std::string> expected;
  for (const std::string& digest : digests) {
    expected.push_back(Sha256Digest::FromBytes(digest)->ToHex());
  }
  EXPECT_EQ(subjects, expected);
  // In base64, with the other trailers: far below 8 KiB.
  EXPECT_LT(answer.status.error_details().size(), 2048u);
  EXPECT_EQ(Load(server).steps_total(), steps);
  server.ExpectIdle();
}

TEST(ImageDigestTest, TheClientSendsForgottenImagesAgainByItself) {
  TestServer server;
  const auto client = ParrotClient::Create({.target = server.address()});
  ASSERT_TRUE(client.ok()) << client.status();
  v1::GenerateRequest request;
  AddMessage(UserMessage("What is it?", {GoldenImage()}), request.mutable_messages());
  request.mutable_stop()->set_max_tokens(4);
  const auto ask = [&] {
    std::vector<int32_t> token_ids;
    const auto stream = (*client)->Generate(request);
    v1::GenerateResponse event;
    while (stream->Next(&event)) {
      token_ids.insert(
          token_ids.end(), event.delta().token_ids().begin(), event.delta().token_ids().end());
    }
    EXPECT_TRUE(stream->Finish().ok());
    return token_ids;
  };
  const std::vector<int32_t> first = ask();
  EXPECT_EQ(first.size(), 4u);
  EXPECT_EQ(ask(), first);
  EXPECT_EQ(NumDecoded(server), 1);
  const int64_t queries = Load(server).image_store_queries_total();
  Flush(server);
  EXPECT_EQ(ask(), first);
  EXPECT_EQ(NumDecoded(server), 2);
  // By digest, in vain; by its bytes then.
  EXPECT_EQ(Load(server).image_store_queries_total(), queries + 2);
  Flush(server);
  const auto unary = (*client)->GenerateUnary(request);
  ASSERT_TRUE(unary.ok()) << unary.status();
  EXPECT_THAT(unary->outputs(0).token_ids(), testing::ElementsAreArray(first));
  EXPECT_EQ(NumDecoded(server), 3);
  // What was put is named from the first question on.
  Flush(server);
  v1::PutImageRequest put;
  put.set_data(GoldenImage());
  ASSERT_TRUE((*client)->PutImage(put).ok());
  const int64_t hits = Load(server).image_store_hits_total();
  EXPECT_EQ(ask(), first);
  EXPECT_EQ(NumDecoded(server), 4);
  EXPECT_EQ(Load(server).image_store_hits_total(), hits + 1);
  server.ExpectIdle();
}

TEST(ImageDigestTest, AClientOfAServerWithoutAStoreAsksAsEver) {
  TestServerConfig config;
  config.options.image_store_memory_bytes = 0;
  TestServer server(config);
  const auto client = ParrotClient::Create({.target = server.address()});
  ASSERT_TRUE(client.ok()) << client.status();
  v1::GenerateRequest request;
  AddMessage(UserMessage("What is it?", {GoldenImage()}), request.mutable_messages());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE((*client)->GenerateUnary(request).ok());
  const auto info = (*client)->GetModelInfo({});
  EXPECT_THAT(info->unsupported_options(), testing::Contains("messages.parts.image.digest_sha256"));
  v1::PutImageRequest put;
  put.set_data(GoldenImage());
  EXPECT_EQ(GetErrorFacts((*client)->PutImage(put).status()).reason, "IMAGE_STORE_OFF");
}

TEST(ImageDigestTest, AnUploadWhoseClientGoesLeavesNothing) {
  TestServer server;
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    // From expired to long enough: the client goes in whatever stage the upload is.
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::microseconds(200 * i));
    v1::PutImageRequest request;
    request.set_data(GoldenImage());
    v1::PutImageResponse response;
    const grpc::Status status = server.stub().PutImage(&context, request, &response);
    EXPECT_THAT(status.error_code(),
                testing::AnyOf(grpc::StatusCode::OK, grpc::StatusCode::DEADLINE_EXCEEDED));
  }
  WaitUntil([&server] { return server.frontend().image_bytes() == 0; });
  server.ExpectIdle();
}

TEST(ImageDigestTest, AStoreTooSmallForOneImageIsRefusedAtTheStart) {
  TestServerConfig config;
  config.options.image_store_memory_bytes = 100;
  config.serve = false;
  TestServer server(config);
  const absl::Status status = server.server().Serve(
      GoldenModel(std::make_unique<FakeModelExecutor>(FakeExecutorOptions{})));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("--image-store-memory"));
}

}  // namespace
}  // namespace parrot
