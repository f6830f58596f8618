#include "server/http/http_server.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/http/monitoring_routes.h"
#include "tests/server/http_client/http_client.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;

class HttpServerTest : public testing::Test {
 protected:
  void Start(HttpServerOptions options = {}) {
    options.port = 0;
    MonitoringSource source;
    source.version = "1.2.3";
    source.health = [this] {
      return MonitoringSource::Health{.ready = ready_.load(),
                                      .state = ready_ ? "ready" : "starting"};
    };
    source.metrics = [this]() -> std::optional<std::string> {
      if (!ready_) return std::nullopt;
      return "# HELP a_total a\n# TYPE a_total counter\na_total 1\n";
    };
    std::vector<HttpRoute> routes = MonitoringRoutes(source);
    routes.push_back({"POST", "/echo", [](const HttpRequest& request) {
                        HttpResponse response;
                        response.content_type = "text/plain";
                        response.body = absl::StrCat(request.query, "|", request.body);
                        return response;
                      }});
    auto server = HttpServer::Start(options, std::move(routes));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  HttpResult Raw(const std::string& bytes) {
    return ParseHttp(ExchangeRaw(server_->port(), bytes));
  }
  HttpResult Get(const std::string& path) { return HttpGet(server_->port(), path); }

  std::atomic<bool> ready_{true};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, ReportsHealthMetricsAndVersion) {
  Start();
  EXPECT_EQ(Get("/health").status, 200);
  EXPECT_EQ(Get("/health").body, "{\"status\":\"ready\"}\n");
  EXPECT_EQ(Get("/version").body, "{\"version\":\"1.2.3\"}\n");
  const HttpResult metrics = Get("/metrics");
  EXPECT_EQ(metrics.status, 200);
  EXPECT_THAT(metrics.head, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(metrics.body, HasSubstr("a_total 1\n"));
  EXPECT_THAT(metrics.head, HasSubstr("X-Content-Type-Options: nosniff"));
}

TEST_F(HttpServerTest, WhileStartingHealthAndMetricsAreUnavailable) {
  Start();
  ready_ = false;
  EXPECT_EQ(Get("/health").status, 503);
  EXPECT_THAT(Get("/health").head, HasSubstr("Retry-After: 1"));
  EXPECT_EQ(Get("/metrics").status, 503);
}

TEST_F(HttpServerTest, UnknownPathsAndMethodsAreNamedSo) {
  Start();
  EXPECT_EQ(Get("/nothing").status, 404);
  EXPECT_EQ(Get("/health/").status, 404);
  const HttpResult post =
      Raw("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(post.status, 405);
  EXPECT_THAT(post.head, HasSubstr("Allow: GET, HEAD"));
}

TEST_F(HttpServerTest, AHeadRequestGetsTheHeadersAlone) {
  Start();
  const HttpResult head = Raw("HEAD /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(head.status, 200);
  EXPECT_THAT(head.head, HasSubstr("Content-Length: 19"));
  EXPECT_EQ(head.body, "");
}

TEST_F(HttpServerTest, KeepsAConnectionForTheNextRequest) {
  Start();
  const std::string answers = ExchangeRaw(server_->port(),
                                          "GET /version HTTP/1.1\r\nHost: a\r\n\r\n"
                                          "POST /echo?x=1 HTTP/1.1\r\nHost: a\r\n"
                                          "Content-Length: 4\r\nConnection: close\r\n\r\nbody");
  EXPECT_THAT(answers, HasSubstr("1.2.3"));
  EXPECT_THAT(answers, HasSubstr("x=1|body"));
}

TEST_F(HttpServerTest, WhatIsTooLargeOrNoHttpIsRefusedAndTheServerGoesOn) {
  Start();
  EXPECT_EQ(Raw("GET /health HTTP/1.1\r\nX: " + std::string(20000, 'a') + "\r\n\r\n").status, 431);
  EXPECT_EQ(Raw("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").status, 413);
  EXPECT_EQ(Raw("nonsense\r\n\r\n").status, 400);
  EXPECT_EQ(Raw(std::string("\x16\x03\x01\x00\xa5", 5) + "tls\r\n\r\n").status, 400);
  EXPECT_EQ(Get("/health").status, 200);
}

TEST_F(HttpServerTest, ASilentClientIsClosed) {
  HttpServerOptions options;
  options.read_timeout = absl::Milliseconds(100);
  options.idle_timeout = absl::Milliseconds(100);
  Start(options);
  EXPECT_EQ(ExchangeRaw(server_->port(), ""), "");
  EXPECT_EQ(ExchangeRaw(server_->port(), "GET /heal"), "");
  // After an answer, and in the middle of the next request.
  EXPECT_THAT(ExchangeRaw(server_->port(), "GET /version HTTP/1.1\r\nHost: a\r\n\r\nGET /"),
              HasSubstr("1.2.3"));
}

TEST_F(HttpServerTest, OneConnectionTooManyIsClosedAtOnce) {
  HttpServerOptions options;
  options.max_connections = 0;
  Start(options);
  EXPECT_EQ(Get("/health").status, 0);
}

TEST_F(HttpServerTest, ManyClientsAtOnceAreServedByTwoThreads) {
  Start();
  std::atomic<int> num_ok{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([&] {
      for (int j = 0; j < 20; ++j) num_ok += Get("/metrics").status == 200 ? 1 : 0;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(num_ok.load(), 320);
}

TEST_F(HttpServerTest, StopClosesThePortWithConnectionsOpen) {
  Start();
  const int32_t port = server_->port();
  std::string received = "none";
  std::thread client([&] { received = ExchangeRaw(port, "GET /heal"); });
  EXPECT_EQ(Get("/health").status, 200);
  server_->Stop();
  client.join();
  EXPECT_EQ(received, "");
  EXPECT_EQ(HttpGet(port, "/health").status, 0);
}

TEST_F(HttpServerTest, APortInUseAndABadAddressAreErrors) {
  Start();
  HttpServerOptions options;
  options.port = server_->port();
  const auto second = HttpServer::Start(options, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("Address already in use"));
  options.host = "not an address";
  EXPECT_EQ(HttpServer::Start(options, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace parrot
