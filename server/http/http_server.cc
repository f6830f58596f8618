#include "server/http/http_server.h"

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/address.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/strand.hpp"
#include "boost/beast/core/flat_buffer.hpp"
#include "boost/beast/core/tcp_stream.hpp"
#include "boost/beast/http.hpp"
#include "server/http/http_router.h"

namespace parrot {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;

// How long accepting pauses when the process is out of file descriptors.
constexpr std::chrono::milliseconds kAcceptPause(100);

std::chrono::nanoseconds ToChrono(absl::Duration duration) {
  return absl::ToChronoNanoseconds(duration);
}

// What all connections share; outlives them.
struct Shared {
  const HttpServerOptions options;
  const HttpRouter router;
  std::atomic<int32_t> num_connections{0};
};

// One connection: reads a request, answers it, and so on until one side closes. All of it runs on
// the socket's strand. Owned by the operation in progress.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, Shared& shared) : stream_(std::move(socket)), shared_(shared) {
    shared_.num_connections.fetch_add(1);
  }
  ~Connection() { shared_.num_connections.fetch_sub(1); }

  // First the header of the next request may take its time (idle), then the rest may not.
  void ReadRequest() {
    parser_.emplace();
    parser_->header_limit(shared_.options.max_header_bytes);
    parser_->body_limit(shared_.options.max_body_bytes);
    stream_.expires_after(
        ToChrono(is_first_ ? shared_.options.read_timeout : shared_.options.idle_timeout));
    is_first_ = false;
    http::async_read_some(
        stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) {
          self->OnFirstBytes(error);
        });
  }

 private:
  void OnFirstBytes(error_code error) {
    if (error || parser_->is_done()) return OnRequest(error);
    stream_.expires_after(ToChrono(shared_.options.read_timeout));
    http::async_read(
        stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) {
          self->OnRequest(error);
        });
  }

  void OnRequest(error_code error) {
    if (error == http::error::end_of_stream) return Close();
    if (error) {
      if (error == http::error::header_limit) return Answer(PlainError(431), false, false);
      if (error == http::error::body_limit) return Answer(PlainError(413), false, false);
      // Only a syntax error deserves an answer; for a timeout or a reset nobody listens.
      if (error.category() == make_error_code(http::error::bad_method).category()) {
        return Answer(PlainError(400), false, false);
      }
      return;
    }
    const http::request<http::string_body>& message = parser_->get();
    HttpRequest request;
    const bool is_head = message.method() == http::verb::head;
    request.method = is_head ? "GET" : std::string(message.method_string());
    const std::string target(message.target());
    const size_t query = target.find('?');
    request.path = target.substr(0, query);
    if (query != std::string::npos) request.query = target.substr(query + 1);
    request.body = message.body();
    Answer(shared_.router.Handle(request), message.keep_alive(), is_head);
  }

  void Answer(const HttpResponse& answer, bool keep_alive, bool is_head) {
    response_ = {};
    response_.version(11);
    response_.result(static_cast<unsigned>(answer.status));
    response_.set(http::field::content_type, answer.content_type);
    for (const auto& [name, value] : answer.headers) response_.set(name, value);
    response_.keep_alive(keep_alive);
    response_.body() = answer.body;
    response_.prepare_payload();
    if (is_head) response_.body().clear();
    stream_.expires_after(ToChrono(shared_.options.write_timeout));
    http::async_write(
        stream_, response_, [self = shared_from_this(), keep_alive](error_code error, size_t) {
          if (error) return;
          if (!keep_alive) return self->Close();
          self->ReadRequest();
        });
  }

  void Close() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

  beast::tcp_stream stream_;
  Shared& shared_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  bool is_first_ = true;
};

absl::StatusOr<tcp::endpoint> ParseEndpoint(const std::string& host, int32_t port) {
  error_code error;
  const asio::ip::address address =
      asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat("'", host, "' is not an IP address"));
  }
  return tcp::endpoint(address, static_cast<uint16_t>(port));
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const HttpServerOptions& options, std::vector<HttpRoute> routes)
      : shared_{options, HttpRouter(std::move(routes))},
        io_(std::make_unique<Io>(options.num_threads)) {}

  absl::Status Listen() {
    const absl::StatusOr<tcp::endpoint> endpoint =
        ParseEndpoint(shared_.options.host, shared_.options.port);
    if (!endpoint.ok()) return endpoint.status();
    tcp::acceptor& acceptor = io_->acceptor;
    error_code error;
    acceptor.open(endpoint->protocol(), error);
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor.bind(*endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      return absl::UnavailableError(absl::StrCat("cannot listen on ",
                                                 shared_.options.host,
                                                 ":",
                                                 shared_.options.port,
                                                 ": ",
                                                 error.message()));
    }
    port_ = acceptor.local_endpoint(error).port();
    Accept();
    for (int32_t i = 0; i < shared_.options.num_threads; ++i) {
      threads_.emplace_back([io = io_.get()] { io->context.run(); });
    }
    return absl::OkStatus();
  }

  int32_t port() const { return port_; }

  void Stop() {
    if (io_ == nullptr) return;
    io_->context.stop();
    for (std::thread& thread : threads_) thread.join();
    // Closes the port, and with the operations in progress their connections.
    io_.reset();
  }

 private:
  struct Io {
    explicit Io(int num_threads)
        : context(num_threads), acceptor(asio::make_strand(context)), pause(context) {}
    asio::io_context context;
    tcp::acceptor acceptor;
    asio::steady_timer pause;  // of accepting
  };

  void Accept() {
    io_->acceptor.async_accept(
        asio::make_strand(io_->context), [this](error_code error, tcp::socket socket) {
          if (error == asio::error::operation_aborted) return;
          if (error) {
            io_->pause.expires_after(kAcceptPause);
            io_->pause.async_wait([this](error_code) { Accept(); });
            return;
          }
          if (shared_.num_connections.load() < shared_.options.max_connections) {
            std::make_shared<Connection>(std::move(socket), shared_)->ReadRequest();
          }
          Accept();
        });
  }

  Shared shared_;
  int32_t port_ = 0;
  std::unique_ptr<Io> io_;  // destroyed before shared_, which its connections use
  std::vector<std::thread> threads_;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options,
                                                              std::vector<HttpRoute> routes) {
  auto impl = std::make_unique<Impl>(options, std::move(routes));
  if (const absl::Status status = impl->Listen(); !status.ok()) return status;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(); }
int32_t HttpServer::port() const { return impl_->port(); }
void HttpServer::Stop() { impl_->Stop(); }

}  // namespace parrot
