// Lifecycle, identities, data URIs, admission, the preprocess pool: one small machine each.
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/error_status.h"
#include "gtest/gtest.h"
#include "server/frontend/admission.h"
#include "server/frontend/data_uri.h"
#include "server/frontend/identity.h"
#include "server/frontend/lifecycle.h"
#include "server/frontend/output_processor.h"
#include "server/frontend/preprocessor.h"

namespace parrot {
namespace {

TEST(LifecycleTest, AllowsOnlyTheArrowsOfThePicture) {
  const std::vector<ServerState> all = {
      ServerState::kStarting, ServerState::kReady, ServerState::kDraining, ServerState::kFailed};
  // [from] -> what it may become
  const std::vector<std::vector<bool>> legal = {
      {false, true, true, true},
      {false, false, true, true},
      {false, false, false, true},
      {false, false, false, false},
  };
  for (size_t from = 0; from < all.size(); ++from) {
    for (size_t to = 0; to < all.size(); ++to) {
      Lifecycle lifecycle;
      if (from != 0) {
        ASSERT_TRUE(lifecycle.Set(all[from]));
      }
      EXPECT_EQ(lifecycle.Set(all[to]), legal[from][to])
          << ServerStateName(all[from]) << " -> " << ServerStateName(all[to]);
    }
  }
}

TEST(LifecycleTest, ListenersHearTheStateNowAndEachChangeInOrder) {
  Lifecycle lifecycle;
  std::vector<ServerState> heard;
  lifecycle.AddListener([&](ServerState state) {
    heard.push_back(state);
    // A change from inside a listener is heard after this one.
    if (state == ServerState::kReady) lifecycle.Set(ServerState::kDraining);
  });
  lifecycle.Set(ServerState::kReady);
  EXPECT_EQ(heard,
            (std::vector<ServerState>{
                ServerState::kStarting, ServerState::kReady, ServerState::kDraining}));
}

class IdentityTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& text) {
    const std::string path = ::testing::TempDir() + "/parrot_keys_" +
                             ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
};

TEST_F(IdentityTest, KnowsTheTenantOfEachKey) {
  const auto authenticator = Authenticator::Create(
      {.api_key_file = Write("# keys\n\nteam-a:alpha\r\nteam-b:beta:with:colons\nlonely\n")});
  ASSERT_TRUE(authenticator.ok()) << authenticator.status();
  EXPECT_EQ((*authenticator)->num_keys(), 3u);
  const auto tenant = [&](std::string_view authorization) {
    const auto identity = (*authenticator)->Authenticate({.authorization = authorization});
    return identity.ok() ? identity->tenant : absl::StatusCodeToString(identity.status().code());
  };
  EXPECT_EQ(tenant("Bearer alpha"), "team-a");
  EXPECT_EQ(tenant("bearer beta:with:colons"), "team-b");
  EXPECT_EQ(tenant("Bearer lonely").substr(0, 4), "key-");
  for (const std::string_view wrong : {"",
                                       "alpha",
                                       "Bearer",
                                       "Bearer ",
                                       "Bearer alph",
                                       "Bearer alphaa",
                                       "Basic alpha",
                                       "Bearer team-a:alpha"}) {
    EXPECT_EQ(tenant(wrong), "UNAUTHENTICATED") << wrong;
  }
}

TEST_F(IdentityTest, RefusalIsConstantAndNamesNoKey) {
  const auto authenticator = Authenticator::Create({.api_key_file = Write("secret\n")});
  ASSERT_TRUE(authenticator.ok());
  const absl::Status none = (*authenticator)->Authenticate({}).status();
  const absl::Status wrong =
      (*authenticator)->Authenticate({.authorization = "Bearer nearly-secret"}).status();
  EXPECT_EQ(none, wrong);
  EXPECT_EQ(GetErrorFacts(none).reason, "UNAUTHENTICATED");
}

TEST_F(IdentityTest, BadFilesAreRefusedByLineWithoutQuotingIt) {
  const struct {
    const char* text;
    const char* part;
  } cases[] = {
      {"", "no key"},
      {"# nothing\n\n", "no key"},
      {"good\nhas space\n", "line 2"},
      {"ten ant:key\n", "line 1"},
      {":key\n", "line 1"},
      {"tenant:\n", "line 1"},
      {"a:same\nb:same\n", "line 2"},
  };
  for (const auto& test : cases) {
    const auto authenticator = Authenticator::Create({.api_key_file = Write(test.text)});
    ASSERT_FALSE(authenticator.ok()) << test.text;
    const std::string message(authenticator.status().message());
    EXPECT_NE(message.find(test.part), std::string::npos) << message;
    EXPECT_EQ(message.find("space"), message.find("spaces")) << message;
  }
  EXPECT_FALSE(Authenticator::Create({.api_key_file = "/nonexistent/keys"}).ok());
  EXPECT_FALSE(Authenticator::Create({.api_key_file = Write(std::string(2 << 20, 'x'))}).ok());
}

TEST_F(IdentityTest, ReloadTakesNewKeysAndKeepsTheOldOnesWhenItFails) {
  const std::string path = Write("old\n");
  const auto authenticator = Authenticator::Create({.api_key_file = path});
  ASSERT_TRUE(authenticator.ok());
  const auto accepts = [&](std::string_view header) {
    return (*authenticator)->Authenticate({.authorization = header}).ok();
  };
  Write("bad line\n");
  EXPECT_FALSE((*authenticator)->Reload().ok());
  EXPECT_TRUE(accepts("Bearer old"));
  Write("new\n");
  EXPECT_TRUE((*authenticator)->Reload().ok());
  EXPECT_FALSE(accepts("Bearer old"));
  EXPECT_TRUE(accepts("Bearer new"));
}

TEST_F(IdentityTest, WithoutKeysThePeerOrNobodyIsTheTenant) {
  const auto authenticator = Authenticator::Create({});
  ASSERT_TRUE(authenticator.ok());
  EXPECT_TRUE((*authenticator)->Reload().ok());
  EXPECT_EQ((*authenticator)->Authenticate({})->tenant, "anonymous");
  EXPECT_FALSE((*authenticator)->Authenticate({})->authenticated);
  const auto peer = (*authenticator)->Authenticate({.peer_identity = "CN=web"});
  EXPECT_EQ(peer->tenant, "CN=web");
  EXPECT_TRUE(peer->authenticated);
}

TEST_F(IdentityTest, TenantHeaderCountsOnlyWhenTrusted) {
  const auto distrusting = Authenticator::Create({});
  EXPECT_EQ((*distrusting)->Authenticate({.tenant_header = "team-x"})->tenant, "anonymous");
  const auto trusting = Authenticator::Create({.trust_tenant_header = true});
  EXPECT_EQ((*trusting)->Authenticate({.tenant_header = "team-x"})->tenant, "team-x");
  EXPECT_EQ((*trusting)->Authenticate({})->tenant, "anonymous");
  for (const std::string& bad : {std::string("a b"), std::string(65, 'x'), std::string("a\n")}) {
    EXPECT_EQ((*trusting)->Authenticate({.tenant_header = bad}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(DataUriTest, DecodesWhatItMeasured) {
  const struct {
    const char* uri;
    const char* mime;
    std::string bytes;
  } cases[] = {
      {"data:image/png;base64,AAEC", "image/png", std::string("\0\1\2", 3)},
      {"data:image/jpeg;base64,/+8=", "image/jpeg", "\xff\xef"},
      {"data:image/webp;base64,QQ==", "image/webp", "A"},
      {"data:image/png;charset=x;base64,QUJD", "image/png;charset=x", "ABC"},
  };
  for (const auto& test : cases) {
    const auto uri = ParseDataUri(test.uri);
    ASSERT_TRUE(uri.ok()) << uri.status();
    EXPECT_EQ(uri->mime_type, test.mime);
    EXPECT_EQ(uri->decoded_bytes, static_cast<int64_t>(test.bytes.size()));
    EXPECT_EQ(DecodeBase64(*uri).value(), test.bytes);
  }
}

TEST(DataUriTest, RefusesEverythingElse) {
  for (const char* uri : {"",
                          "data:",
                          "image/png;base64,QUJD",
                          "http://example.org/x.png",
                          "file:///etc/passwd",
                          "data:image/png;base64",
                          "data:image/png,QUJD",
                          "data:;base64,QUJD",
                          "data:image/png;base64,",
                          "data:image/png;base64,QUJ",
                          "data:image/png;base64,Q===",
                          "data:image/png;base64,QUJ*",
                          "data:image/png;base64,QU D",
                          "data:image/png;base64,QUJD\n",
                          "data:image/png;base64,QR==",
                          "data:image/png;base64,QQ==QUJD",
                          "data:image/png;base64,Q-_D",
                          "DATA:image/png;base64,QUJD"}) {
    const auto parsed = ParseDataUri(uri);
    const absl::Status status = parsed.ok() ? DecodeBase64(*parsed).status() : parsed.status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << uri;
    EXPECT_EQ(GetErrorFacts(status).reason, "INVALID_DATA_URI") << uri;
  }
}

class AdmissionTest : public ::testing::Test {
 protected:
  AdmissionTest() { lifecycle_.Set(ServerState::kReady); }
  Lifecycle lifecycle_;
  EngineLoad load_;
  Admission admission_{{.capacity = {.max_image_bytes_in_flight = 100, .max_live_requests = 2},
                        .max_engine_queue = 4},
                       &lifecycle_,
                       [this] { return load_; }};
};

TEST_F(AdmissionTest, TicketsHoldAndGiveBackRoom) {
  auto first = admission_.Admit(60);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(admission_.Admit(41).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorFacts(admission_.Admit(41).status()).reason, "IMAGE_MEMORY");
  (*first)->Shrink(10);
  EXPECT_EQ(admission_.image_bytes(), 10);
  auto second = admission_.Admit(90);
  ASSERT_TRUE(second.ok());
  const absl::Status third = admission_.Admit(0).status();
  EXPECT_EQ(GetErrorFacts(third).reason, "TOO_MANY_REQUESTS");
  EXPECT_GT(GetErrorFacts(third).retry_after, absl::ZeroDuration());
  first->reset();
  second->reset();
  EXPECT_EQ(admission_.image_bytes(), 0);
  EXPECT_EQ(admission_.live_requests(), 0);
}

TEST_F(AdmissionTest, RefusesEarlyWhenTheEnginesQueueIsFull) {
  load_.num_waiting = 3;
  EXPECT_TRUE(admission_.Admit(0).ok());
  load_.num_waiting = 4;
  const absl::Status status = admission_.Admit(0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorFacts(status).reason, "QUEUE_FULL");
}

TEST_F(AdmissionTest, RetryTimesAreTheEnginesEstimate) {
  load_.num_running = 2;
  load_.mean_completion_tokens = 100;
  for (int i = 0; i < 20; ++i) load_.predictor.Observe(2, 0, absl::Milliseconds(40));
  const absl::Status refused = admission_.Overloaded("QUEUE_FULL", "queue");
  EXPECT_NEAR(absl::ToDoubleSeconds(GetErrorFacts(refused).retry_after), 2.0, 0.1);
}

TEST_F(AdmissionTest, OnlyReadyServersTakeRequests) {
  EXPECT_TRUE(admission_.CheckReady().ok());
  lifecycle_.Set(ServerState::kDraining);
  const absl::Status draining = admission_.CheckReady();
  EXPECT_EQ(draining.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorFacts(draining).reason, "DRAINING");
  EXPECT_GT(GetErrorFacts(draining).retry_after, absl::ZeroDuration());
  lifecycle_.Set(ServerState::kFailed);
  EXPECT_EQ(GetErrorFacts(admission_.CheckReady()).reason, "ENGINE_FAILED");
}

TEST(PreprocessorTest, RefusesWhenFullAndRunsAllThatItTook) {
  Preprocessor pool(/*num_threads=*/1, /*queue_capacity=*/2);
  absl::Notification started;
  absl::Notification go;
  pool.Start();
  ASSERT_TRUE(pool.TryPost([&] {
    started.Notify();
    go.WaitForNotification();
  }));
  started.WaitForNotification();
  int num_run = 0;
  EXPECT_TRUE(pool.TryPost([&] { ++num_run; }));
  EXPECT_TRUE(pool.TryPost([&] { ++num_run; }));
  EXPECT_FALSE(pool.TryPost([&] { ++num_run; }));
  go.Notify();
  pool.Stop();
  EXPECT_EQ(num_run, 2);
  EXPECT_FALSE(pool.TryPost([] {}));
}

TEST(EntropyTest, IsZeroForOneExpertAndLogNForAll) {
  EXPECT_FLOAT_EQ(Entropy({}), 0.0f);
  EXPECT_FLOAT_EQ(Entropy({0.0f, 1.0f, 0.0f}), 0.0f);
  EXPECT_NEAR(Entropy({0.25f, 0.25f, 0.25f, 0.25f}), 1.3862944, 1e-6);
}

}  // namespace
}  // namespace parrot
