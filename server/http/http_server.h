// HttpServer: HTTP/1.1 on Boost.Beast and Asio, for the routes that monitors and gateways call
// (health, metrics, version). Two threads serve any number of connections; nothing is a thread per
// connection. Headers, bodies, times and connections are bounded.
//
// Ownership: owns its threads and sockets. Handlers run on its threads, several at once; they must
// not block. A route that streams (Server-Sent Events) will be a second kind of handler.
//
//   ASSIGN_OR_RETURN(auto http, HttpServer::Start({.port = 8000}, MonitoringRoutes(source)));
#ifndef PARROT_SERVER_HTTP_HTTP_SERVER_H_
#define PARROT_SERVER_HTTP_HTTP_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace parrot {

struct HttpRequest {
  std::string method;  // "GET", "POST"; a HEAD arrives as GET
  std::string path;    // without the query
  std::string query;   // after '?', undecoded
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

struct HttpRoute {
  std::string method;
  std::string path;  // exact
  std::function<HttpResponse(const HttpRequest&)> handler;
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // an address, or "localhost"
  int32_t port = 8000;             // 0: any free port
  int32_t num_threads = 2;
  int32_t max_connections = 1024;                   // one more is closed at once
  uint32_t max_header_bytes = 16 << 10;             // more: 431
  uint64_t max_body_bytes = 64 << 10;               // more: 413
  absl::Duration read_timeout = absl::Seconds(10);  // for a whole request, from its first byte
  absl::Duration write_timeout = absl::Seconds(10);
  absl::Duration idle_timeout = absl::Seconds(60);  // between requests of one connection
};

class HttpServer {
 public:
  // Listens and serves. UNAVAILABLE naming the address when the port is taken, INVALID_ARGUMENT for
  // an address that is none.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const HttpServerOptions& options, std::vector<HttpRoute> routes);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Thread-safe.
  int32_t port() const;
  // Closes every connection and joins the threads. Idempotent; not from a handler.
  void Stop();

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_HTTP_HTTP_SERVER_H_
