// The smallest HTTP client that tests need: blocking, one request per connection, raw bytes
// allowed.
#ifndef PARROT_TESTS_SERVER_HTTP_CLIENT_HTTP_CLIENT_H_
#define PARROT_TESTS_SERVER_HTTP_CLIENT_HTTP_CLIENT_H_

#include <cstdint>
#include <string>

namespace parrot {

struct HttpResult {
  int status = 0;  // 0: the connection broke before an answer
  std::string head;
  std::string body;
};

HttpResult HttpGet(int32_t port, const std::string& path);
// Sends `bytes` to 127.0.0.1:port and returns everything until the peer closes.
std::string ExchangeRaw(int32_t port, const std::string& bytes);
HttpResult ParseHttp(const std::string& bytes);

}  // namespace parrot

#endif  // PARROT_TESTS_SERVER_HTTP_CLIENT_HTTP_CLIENT_H_
