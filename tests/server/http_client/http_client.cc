#include "tests/server/http_client/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace parrot {

std::string ExchangeRaw(int32_t port, const std::string& bytes) {
  const int socket_fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string received;
  if (::connect(socket_fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n = ::send(socket_fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<size_t>(n);
    }
    std::array<char, 4096> buffer;
    ssize_t n = 0;
    while ((n = ::recv(socket_fd, buffer.data(), buffer.size(), 0)) > 0) {
      received.append(buffer.data(), static_cast<size_t>(n));
    }
  }
  ::close(socket_fd);
  return received;
}

HttpResult ParseHttp(const std::string& bytes) {
  HttpResult result;
  const size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos || bytes.rfind("HTTP/1.1 ", 0) != 0) return result;
  result.head = bytes.substr(0, end);
  result.body = bytes.substr(end + 4);
  result.status = std::atoi(bytes.c_str() + 9);
  return result;
}

HttpResult HttpGet(int32_t port, const std::string& path) {
  return ParseHttp(ExchangeRaw(
      port, "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
}

}  // namespace parrot
