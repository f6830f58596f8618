#include "client/parrot_client.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/error_status.h"
#include "base/hash.h"
#include "client/call_status.h"
#include "client/cancellation.h"
#include "client/channel.h"
#include "client/conversation.h"
#include "fake_parrot_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "self_signed_certificate.h"

namespace parrot {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string MessageOf(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

std::unique_ptr<ParrotClient> Connect(const FakeParrotServer& server, ClientOptions options = {}) {
  options.target = server.target();
  auto client = ParrotClient::Create(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

v1::GenerateRequest Question(std::vector<std::string> images = {"PNG"}) {
  v1::GenerateRequest request;
  AddMessage(UserMessage("What is in the picture?", std::move(images)), request.mutable_messages());
  return request;
}

std::string ReadText(GenerateStream& stream) {
  std::string text;
  v1::GenerateResponse event;
  while (stream.Next(&event)) text += event.delta().text();
  return text;
}

TEST(ParrotClient, GenerateStreamsEventsInOrder) {
  FakeParrotServer server;
  const auto client = Connect(server);
  const auto stream = client->Generate(Question());
  std::vector<int> cases;
  std::string text;
  v1::GenerateResponse event;
  while (stream->Next(&event)) {
    cases.push_back(event.event_case());
    text += event.delta().text();
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(text, "A blue bird.");
  EXPECT_EQ(stream->request_id(), "req-1");
  EXPECT_THAT(cases,
              ElementsAre(v1::GenerateResponse::kAccepted,
                          v1::GenerateResponse::kDelta,
                          v1::GenerateResponse::kDelta,
                          v1::GenerateResponse::kDelta,
                          v1::GenerateResponse::kFinish));
  EXPECT_FALSE(stream->Next(&event));
  const v1::GenerateRequest request = server.seen()[0].request;
  ASSERT_EQ(request.messages(0).parts_size(), 2);
  EXPECT_EQ(request.messages(0).parts(0).image().data(), "PNG");
  EXPECT_EQ(request.messages(0).parts(1).text(), "What is in the picture?");
}

TEST(ParrotClient, UnaryCallsReturnTheirResponses) {
  FakeParrotServer server;
  const auto client = Connect(server);
  const auto answer = client->GenerateUnary(Question());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->outputs(0).text(), "A blue bird.");
  const auto routed = client->Route({});
  ASSERT_TRUE(routed.ok()) << routed.status();
  EXPECT_EQ(routed->routing(0).expert_weights_size(), 6);
  v1::TokenizeRequest text;
  text.set_text("AB");
  const auto tokens = client->Tokenize(text);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_THAT(tokens->token_ids(), ElementsAre(65, 66));
  const auto count = client->CountTokens({});
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(count->usage().prompt_tokens(), 600);
  const auto info = client->GetModelInfo({});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->model(), "nano");
}

TEST(ParrotClient, ErrorsKeepTheServersDetails) {
  FakeParrotServer server;
  const grpc::Status error = DetailedStatus(grpc::StatusCode::INVALID_ARGUMENT,
                                            "sampling.top_p: 7 is not in (0, 1]",
                                            {.reason = "OUT_OF_RANGE",
                                             .field = "sampling.top_p",
                                             .value = "7",
                                             .limit = "(0, 1]",
                                             .retry_after = absl::Milliseconds(1200)},
                                            "req-9");
  server.SetScripts({{.status = error}});
  server.FailUnaryCalls({error});
  const auto client = Connect(server);
  const auto stream = client->Generate(Question());
  v1::GenerateResponse event;
  EXPECT_FALSE(stream->Next(&event));
  for (const absl::Status& status : {stream->Finish(), client->Route({}).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(MessageOf(status), "sampling.top_p: 7 is not in (0, 1]");
    const ErrorFacts facts = GetErrorFacts(status);
    EXPECT_EQ(facts.reason, "OUT_OF_RANGE");
    EXPECT_EQ(facts.field, "sampling.top_p");
    EXPECT_EQ(facts.value, "7");
    EXPECT_EQ(facts.limit, "(0, 1]");
    EXPECT_EQ(facts.retry_after, absl::Milliseconds(1200));
    EXPECT_EQ(GetRequestId(status), "req-9");
  }
}

TEST(ParrotClient, DetailsThatDoNotParseKeepCodeAndMessage) {
  FakeParrotServer server;
  server.FailUnaryCalls({{grpc::StatusCode::INTERNAL, "broken", "\xff\xff\xff"}});
  const absl::Status status = Connect(server)->Route({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(MessageOf(status), "broken");
  EXPECT_EQ(GetErrorFacts(status).reason, "");
}

TEST(ParrotClient, ErrorAfterDeltasComesAfterThem) {
  FakeParrotServer server;
  auto events = AnswerEvents({"half "});
  events.pop_back();
  server.SetScripts({{.events = events, .status = {grpc::StatusCode::INTERNAL, "step failed"}}});
  const auto client = Connect(server);
  const auto stream = client->Generate(Question());
  EXPECT_EQ(ReadText(*stream), "half ");
  EXPECT_EQ(stream->Finish().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(GetRequestId(stream->Finish()), "req-1");
  // A response had arrived: nothing is tried again.
  EXPECT_EQ(server.seen().size(), 1u);
}

TEST(ParrotClient, StreamWithoutTerminalEventIsAnError) {
  FakeParrotServer server;
  auto events = AnswerEvents({"x"});
  events.pop_back();
  server.SetScripts({{.events = events}});
  const auto client = Connect(server);
  const auto stream = client->Generate(Question());
  EXPECT_EQ(ReadText(*stream), "x");
  EXPECT_EQ(stream->Finish().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(GetErrorFacts(stream->Finish()).reason, "STREAM_INCOMPLETE");
}

TEST(ParrotClient, UnavailableAndExhaustedAreTriedThreeTimes) {
  const std::vector<grpc::StatusCode> codes = {grpc::StatusCode::UNAVAILABLE,
                                               grpc::StatusCode::RESOURCE_EXHAUSTED};
  for (const grpc::StatusCode code : codes) {
    FakeParrotServer server;
    server.SetScripts({{.status = {code, "busy"}},
                       {.status = {code, "busy"}},
                       {.events = AnswerEvents({"at last"})}});
    const auto client = Connect(server);
    const auto stream = client->Generate(Question());
    EXPECT_EQ(ReadText(*stream), "at last");
    EXPECT_TRUE(stream->Finish().ok()) << stream->Finish();
    EXPECT_EQ(server.seen().size(), 3u);
  }
}

TEST(ParrotClient, FourthAttemptIsNotMade) {
  FakeParrotServer server;
  server.SetScripts({{.status = DetailedStatus(
                          grpc::StatusCode::UNAVAILABLE, "draining", {.reason = "DRAINING"})}});
  const auto client = Connect(server);
  const auto stream = client->Generate(Question());
  EXPECT_EQ(ReadText(*stream), "");
  EXPECT_EQ(stream->Finish().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorFacts(stream->Finish()).reason, "DRAINING");
  EXPECT_EQ(server.seen().size(), 3u);
}

TEST(ParrotClient, RequestsWithLargePicturesAreRetriedToo) {
  FakeParrotServer server;
  server.SetScripts(
      {{.status = {grpc::StatusCode::UNAVAILABLE, "busy"}}, {.events = AnswerEvents({"ok"})}});
  const auto client = Connect(server);
  const auto stream = client->Generate(Question({std::string(10 << 20, 'x')}));
  EXPECT_EQ(ReadText(*stream), "ok");
  EXPECT_TRUE(stream->Finish().ok()) << stream->Finish();
  EXPECT_EQ(server.seen().size(), 2u);
}

TEST(ParrotClient, OtherCodesAreNotRetried) {
  const std::vector<grpc::StatusCode> codes = {
      grpc::StatusCode::INTERNAL, grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::ABORTED};
  for (const grpc::StatusCode code : codes) {
    FakeParrotServer server;
    server.SetScripts({{.status = {code, "no"}}});
    const auto client = Connect(server);
    const auto stream = client->Generate(Question());
    EXPECT_EQ(ReadText(*stream), "");
    EXPECT_EQ(stream->Finish().code(), static_cast<absl::StatusCode>(code));
    EXPECT_EQ(server.seen().size(), 1u);
  }
}

TEST(ParrotClient, OversizeRequestFailsBeforeItIsSent) {
  FakeParrotServer server;
  const auto client = Connect(server);
  const v1::GenerateRequest request = Question({std::string(16 << 20, 'x')});
  const auto stream = client->Generate(request);
  EXPECT_EQ(ReadText(*stream), "");
  for (const absl::Status& status : {stream->Finish(), client->GenerateUnary(request).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(MessageOf(status), HasSubstr("larger than max 16777216"));
    EXPECT_EQ(GetErrorFacts(status).reason, "MESSAGE_TOO_LARGE");
    EXPECT_EQ(GetErrorFacts(status).limit, "16777216");
  }
  EXPECT_TRUE(server.seen().empty());
}

TEST(ParrotClient, LargestRequestIsSent) {
  FakeParrotServer server;
  const auto client = Connect(server);
  const v1::GenerateRequest small = Question({""});
  const size_t room = (16 << 20) - small.ByteSizeLong() - 16;
  const auto stream = client->Generate(Question({std::string(room, 'x')}));
  EXPECT_EQ(ReadText(*stream), "A blue bird.");
  EXPECT_TRUE(stream->Finish().ok()) << stream->Finish();
}

TEST(ParrotClient, DeadlineEndsACallThatWaits) {
  FakeParrotServer server;
  server.SetScripts({{.hang = true}});
  const auto client = Connect(server);
  const auto stream = client->Generate(Question(), {.timeout = absl::Milliseconds(100)});
  EXPECT_EQ(ReadText(*stream), "");
  EXPECT_EQ(stream->Finish().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ParrotClient, DeadlineTravelsToTheServer) {
  FakeParrotServer server;
  const auto client = Connect(server);
  ASSERT_TRUE(client->Route({}).ok());
  ASSERT_TRUE(client->Route({}, {.timeout = absl::Seconds(5)}).ok());
  ASSERT_TRUE(client->Route({}, {.timeout = absl::InfiniteDuration()}).ok());
  const auto seen = server.seen();
  EXPECT_GT(seen[0].time_left, absl::Seconds(30));
  EXPECT_LT(seen[0].time_left, absl::Seconds(70));
  EXPECT_LT(seen[1].time_left, absl::Seconds(10));
  EXPECT_EQ(seen[2].time_left, absl::InfiniteDuration());
}

TEST(ParrotClient, CancelFromAnotherThreadEndsTheStream) {
  FakeParrotServer server;
  auto events = AnswerEvents({"tick "});
  events.pop_back();
  server.SetScripts({{.events = events, .hang = true}});
  const auto client = Connect(server);
  const auto stream = client->Generate(Question());
  v1::GenerateResponse event;
  ASSERT_TRUE(stream->Next(&event));
  ASSERT_TRUE(stream->Next(&event));
  std::thread canceller([&] { stream->Cancel(); });
  EXPECT_FALSE(stream->Next(&event));
  canceller.join();
  EXPECT_EQ(stream->Finish().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(server.WaitForCancelled(1));
}

TEST(ParrotClient, DestroyingAStreamCancelsTheCall) {
  FakeParrotServer server;
  server.SetScripts({{.hang = true}});
  const auto client = Connect(server);
  auto stream = client->Generate(Question());
  ASSERT_TRUE(server.WaitForCalls(1));
  stream.reset();
  EXPECT_TRUE(server.WaitForCancelled(1));
}

TEST(ParrotClient, FinishBeforeTheEndCancelsTheCall) {
  FakeParrotServer server;
  server.SetScripts({{.events = AnswerEvents({}), .hang = true}});
  const auto client = Connect(server);
  const auto stream = client->Generate(Question());
  v1::GenerateResponse event;
  ASSERT_TRUE(stream->Next(&event));
  EXPECT_EQ(stream->Finish().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(server.WaitForCancelled(1));
}

TEST(ParrotClient, CancellationReachesCallsInFlightAndLaterOnes) {
  FakeParrotServer server;
  server.SetScripts({{.hang = true}});
  const auto client = Connect(server);
  Cancellation cancellation;
  const auto stream = client->Generate(Question(), {.cancellation = &cancellation});
  std::thread canceller([&] {
    ASSERT_TRUE(server.WaitForCalls(1));
    cancellation.Cancel();
  });
  EXPECT_EQ(ReadText(*stream), "");
  canceller.join();
  EXPECT_EQ(stream->Finish().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(client->Route({}, {.cancellation = &cancellation}).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_TRUE(client->Route({}).ok());
}

TEST(ParrotClient, StreamOutlivesItsClient) {
  FakeParrotServer server;
  auto client = Connect(server);
  const auto stream = client->Generate(Question());
  client.reset();
  EXPECT_EQ(ReadText(*stream), "A blue bird.");
}

TEST(ParrotClient, ManyThreadsShareOneClient) {
  FakeParrotServer server;
  const auto client = Connect(server);
  std::vector<std::thread> threads;
  std::vector<std::string> texts(8);
  for (std::string& text : texts) {
    threads.emplace_back([&client, &text] { text = ReadText(*client->Generate(Question())); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, "A blue bird.");
}

TEST(ParrotClient, SendsKeyAndRequestIdAsMetadata) {
  FakeParrotServer server;
  const auto client = Connect(server, {.api_key = "secret"});
  ASSERT_TRUE(client->Route({}, {.request_id = "mine-1"}).ok());
  EXPECT_THAT(server.seen()[0].metadata, Contains(Pair("authorization", "Bearer secret")));
  EXPECT_THAT(server.seen()[0].metadata, Contains(Pair("x-request-id", "mine-1")));
}

TEST(ParrotClient, OptionsThatCannotBeMeantAreErrors) {
  std::vector<ClientOptions> options(5);
  options[0].api_key = "line\nbreak";
  options[1].tls = {.enabled = true, .cert_pem = "certificate alone"};
  options[2].target = "";
  options[3].max_attempts = 6;
  options[4].max_send_message_bytes = 0;
  for (const ClientOptions& bad : options) {
    EXPECT_EQ(ParrotClient::Create(bad).status().code(), absl::StatusCode::kInvalidArgument);
  }
  FakeParrotServer server;
  const auto client = Connect(server);
  const CallOptions call = {.request_id = std::string("\r\n")};
  EXPECT_EQ(client->Route({}, call).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(client->Generate(Question(), call)->Finish().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ParrotClient, UnreachableServerIsUnavailable) {
  int port = 0;
  {
    FakeParrotServer gone;
    port = gone.port();
  }
  const auto client = ParrotClient::Create({.target = "127.0.0.1:" + std::to_string(port)});
  EXPECT_EQ((*client)->CheckHealth("").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*client)->Generate(Question())->Finish().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ((*client)->Route({}).status().code(), absl::StatusCode::kUnavailable);
}

TEST(ParrotClient, HealthIsCheckedAndWatched) {
  FakeParrotServer server;
  const auto client = Connect(server);
  server.SetServing("", false);
  ASSERT_TRUE(client->CheckHealth("").ok());
  EXPECT_EQ(*client->CheckHealth(""), HealthState::NOT_SERVING);
  EXPECT_EQ(client->CheckHealth("nobody").status().code(), absl::StatusCode::kNotFound);
  const auto watch = client->WatchHealth("", WhenUnreachable::kFail);
  HealthState state;
  ASSERT_TRUE(watch->Next(&state));
  EXPECT_EQ(state.status(), HealthState::NOT_SERVING);
  server.SetServing("", true);
  ASSERT_TRUE(watch->Next(&state));
  EXPECT_EQ(state.status(), HealthState::SERVING);
}

TEST(ParrotClient, TlsChecksTheServersCertificate) {
  const SelfSignedCertificate identity = MakeSelfSignedCertificate("localhost");
  grpc::SslServerCredentialsOptions ssl;
  ssl.pem_key_cert_pairs.push_back({identity.key_pem, identity.cert_pem});
  FakeParrotServer server(grpc::SslServerCredentials(ssl));
  const ClientTlsOptions trusted = {.enabled = true, .ca_pem = identity.cert_pem};
  EXPECT_TRUE(Connect(server, {.tls = trusted})->Route({}).ok());
  const ClientTlsOptions stranger = {.enabled = true,
                                     .ca_pem = MakeSelfSignedCertificate("localhost").cert_pem};
  EXPECT_EQ(Connect(server, {.tls = stranger})->Route({}).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(ParrotClient, MutualTlsShowsTheClientsCertificate) {
  const SelfSignedCertificate identity = MakeSelfSignedCertificate("localhost");
  const SelfSignedCertificate caller = MakeSelfSignedCertificate("caller");
  grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  ssl.pem_root_certs = caller.cert_pem;
  ssl.pem_key_cert_pairs.push_back({identity.key_pem, identity.cert_pem});
  FakeParrotServer server(grpc::SslServerCredentials(ssl));
  ClientTlsOptions tls = {.enabled = true, .ca_pem = identity.cert_pem};
  EXPECT_EQ(Connect(server, {.tls = tls})->Route({}).status().code(),
            absl::StatusCode::kUnavailable);
  tls.cert_pem = caller.cert_pem;
  tls.key_pem = caller.key_pem;
  EXPECT_TRUE(Connect(server, {.tls = tls})->Route({}).ok());
}

TEST(Channel, ServiceConfigStatesThePolicy) {
  const std::string config = ServiceConfigJson(3);
  for (const char* part : {"round_robin", "\"maxAttempts\":3", "UNAVAILABLE", "0.2s", "5s"}) {
    EXPECT_THAT(config, HasSubstr(part));
  }
  EXPECT_THAT(ServiceConfigJson(1), ::testing::Not(HasSubstr("retryPolicy")));
}

// -- Images that the server knows ----------------------------------------------------------------

grpc::Status UnknownImages(const std::vector<std::string>& images) {
  ErrorFacts facts{.reason = "IMAGE_NOT_FOUND",
                   .field = "messages[0].parts[0].image.digest_sha256"};
  for (const std::string& image : images) facts.subjects.push_back(Sha256Of(image).ToHex());
  return DetailedStatus(grpc::StatusCode::FAILED_PRECONDITION, "not known here", facts);
}

// "=BYTES" or "#image", the digest's name, of each image of a request.
std::vector<std::string> ImagesOf(const v1::GenerateRequest& request,
                                  const std::vector<std::string>& named) {
  std::vector<std::string> images;
  for (const v1::Message& message : request.messages()) {
    for (const v1::Part& part : message.parts()) {
      if (part.image().has_data()) images.push_back("=" + part.image().data());
      for (const std::string& image : named) {
        if (part.image().digest_sha256() == Sha256Of(image).view()) images.push_back("#" + image);
      }
    }
  }
  return images;
}

// One list for each call that the server saw.
std::vector<std::vector<std::string>> AllImages(const FakeParrotServer& server) {
  std::vector<std::vector<std::string>> all;
  for (const FakeParrotServer::Seen& seen : server.seen()) {
    all.push_back(ImagesOf(seen.request, {"PNG", "JPG"}));
  }
  return all;
}

TEST(ParrotClientImages, GoAsBytesOnceAndByTheirDigestFromThenOn) {
  FakeParrotServer server;
  const auto client = Connect(server);
  v1::GenerateRequest question = Question({"PNG"});
  question.mutable_messages(0)->mutable_parts(0)->mutable_image()->set_mime_type("image/png");
  EXPECT_EQ(ReadText(*client->Generate(question)), "A blue bird.");
  EXPECT_EQ(ReadText(*client->Generate(question)), "A blue bird.");
  EXPECT_TRUE(client->GenerateUnary(Question({"JPG", "PNG"})).ok());
  v1::RouteRequest route;
  *route.mutable_messages() = Question({"PNG", "JPG"}).messages();
  EXPECT_TRUE(client->Route(route).ok());
  EXPECT_THAT(AllImages(server),
              ElementsAre(ElementsAre("=PNG"),
                          ElementsAre("#PNG"),
                          ElementsAre("=JPG", "#PNG"),
                          ElementsAre("#PNG", "#JPG")));
  // A type is not allowed beside a digest.
  EXPECT_FALSE(server.seen()[1].request.messages(0).parts(0).image().has_mime_type());
  EXPECT_TRUE(question.messages(0).parts(0).image().has_data());  // the caller's stays as it was
}

TEST(ParrotClientImages, AreNotKnownFromCallsThatFailedOrLookedAtNone) {
  FakeParrotServer server;
  const auto client = Connect(server);
  server.FailUnaryCalls(
      {DetailedStatus(grpc::StatusCode::INVALID_ARGUMENT, "broken", {.reason = "IMAGE_FORMAT"})});
  EXPECT_FALSE(client->GenerateUnary(Question({"PNG"})).ok());
  v1::CountTokensRequest count;
  *count.mutable_messages() = Question({"PNG"}).messages();
  EXPECT_TRUE(client->CountTokens(count).ok());
  EXPECT_TRUE(client->GenerateUnary(Question({"PNG"})).ok());
  EXPECT_TRUE(client->CountTokens(count).ok());
  EXPECT_THAT(
      AllImages(server),
      ElementsAre(
          ElementsAre("=PNG"), ElementsAre("=PNG"), ElementsAre("=PNG"), ElementsAre("#PNG")));
}

TEST(ParrotClientImages, ThatTheServerForgotAreSentAgainOnceAndNobodyNotices) {
  FakeParrotServer server;
  const auto client = Connect(server);
  ASSERT_TRUE(client->GenerateUnary(Question({"PNG", "JPG"})).ok());
  server.FailUnaryCalls({UnknownImages({"PNG"})});
  EXPECT_TRUE(client->GenerateUnary(Question({"PNG", "JPG"}), {.request_id = "mine"}).ok());
  server.SetScripts(
      {{.status = UnknownImages({"JPG"})}, {.events = AnswerEvents({"A blue bird."})}});
  const auto stream = client->Generate(Question({"JPG"}), {.request_id = "other"});
  EXPECT_EQ(ReadText(*stream), "A blue bird.");
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(ReadText(*client->Generate(Question({"PNG"}))), "A blue bird.");
  EXPECT_THAT(AllImages(server),
              ElementsAre(ElementsAre("=PNG", "=JPG"),
                          ElementsAre("#PNG", "#JPG"),
                          ElementsAre("=PNG", "=JPG"),
                          ElementsAre("#JPG"),
                          ElementsAre("=JPG"),
                          ElementsAre("#PNG")));
  const std::vector<FakeParrotServer::Seen> seen = server.seen();
  for (const size_t i : {1, 2})
    EXPECT_THAT(seen[i].metadata, Contains(Pair("x-request-id", "mine")));
  for (const size_t i : {3, 4}) {
    EXPECT_THAT(seen[i].metadata, Contains(Pair("x-request-id", "other")));
  }
}

TEST(ParrotClientImages, AreNotSentAThirdTimeAndOtherErrorsStand) {
  FakeParrotServer server;
  const auto client = Connect(server);
  ASSERT_TRUE(client->GenerateUnary(Question({"PNG"})).ok());
  server.FailUnaryCalls({UnknownImages({"PNG"}), UnknownImages({"PNG"})});
  EXPECT_EQ(client->GenerateUnary(Question({"PNG"})).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(server.seen().size(), 3u);

  ASSERT_TRUE(client->GenerateUnary(Question({"PNG"})).ok());
  server.SetScripts({{.status = DetailedStatus(
                          grpc::StatusCode::FAILED_PRECONDITION, "other", {.reason = "OTHER"})}});
  const auto stream = client->Generate(Question({"PNG"}));
  EXPECT_EQ(ReadText(*stream), "");
  EXPECT_EQ(GetErrorFacts(stream->Finish()).reason, "OTHER");
  EXPECT_EQ(server.seen().size(), 5u);
}

TEST(ParrotClientImages, ThatTheCallerNamedAreTheCallersToSend) {
  FakeParrotServer server;
  const auto client = Connect(server);
  v1::GenerateRequest request = Question({"JPG"});
  request.mutable_messages(0)->mutable_parts(0)->mutable_image()->set_digest_sha256(
      std::string(Sha256Of("JPG").view()));
  server.FailUnaryCalls({UnknownImages({"JPG"})});
  const absl::Status status = client->GenerateUnary(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(GetErrorFacts(status).subjects, ElementsAre(Sha256Of("JPG").ToHex()));
  EXPECT_EQ(server.seen().size(), 1u);
}

TEST(ParrotClientImages, GoAsBytesToAServerThatKeepsNoneOrWhenAskedTo) {
  FakeParrotServer server;
  const auto client = Connect(server);
  ASSERT_TRUE(client->GenerateUnary(Question({"PNG"})).ok());
  server.FailUnaryCalls({DetailedStatus(
      grpc::StatusCode::UNIMPLEMENTED,
      "not supported",
      {.reason = "UNSUPPORTED_OPTION", .field = "messages[0].parts[0].image.digest_sha256"})});
  EXPECT_TRUE(client->GenerateUnary(Question({"PNG"})).ok());
  EXPECT_TRUE(client->GenerateUnary(Question({"PNG"})).ok());
  const auto plain = Connect(server, {.name_known_images = false});
  EXPECT_TRUE(plain->GenerateUnary(Question({"PNG"})).ok());
  EXPECT_TRUE(plain->GenerateUnary(Question({"PNG"})).ok());
  EXPECT_THAT(AllImages(server),
              ElementsAre(ElementsAre("=PNG"),
                          ElementsAre("#PNG"),
                          ElementsAre("=PNG"),
                          ElementsAre("=PNG"),
                          ElementsAre("=PNG"),
                          ElementsAre("=PNG")));
}

TEST(ParrotClientImages, AStreamMayOutliveItsClientAndBeCancelledWhileItCallsAgain) {
  FakeParrotServer server;
  auto client = Connect(server);
  ASSERT_TRUE(client->GenerateUnary(Question({"PNG"})).ok());
  server.SetScripts({{.status = UnknownImages({"PNG"})}, {.hang = true}});
  const auto stream = client->Generate(Question({"PNG"}));
  client.reset();
  std::thread canceller([&] {
    EXPECT_TRUE(server.WaitForCalls(3));
    stream->Cancel();
  });
  EXPECT_EQ(ReadText(*stream), "");
  canceller.join();
  EXPECT_EQ(stream->Finish().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace parrot
