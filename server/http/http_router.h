// HttpRouter: finds the handler of a request by exact path and method. Immutable after
// construction, so thread-safe.
#ifndef PARROT_SERVER_HTTP_HTTP_ROUTER_H_
#define PARROT_SERVER_HTTP_HTTP_ROUTER_H_

#include <vector>

#include "server/http/http_server.h"

namespace parrot {

class HttpRouter {
 public:
  explicit HttpRouter(std::vector<HttpRoute> routes);
  // The handler's answer; 404 for an unknown path, 405 with `Allow` for another method. Every
  // answer gets `X-Content-Type-Options: nosniff` and `Cache-Control: no-store`.
  HttpResponse Handle(const HttpRequest& request) const;

 private:
  const std::vector<HttpRoute> routes_;
};

// {"error":{"code":404,"message":"not found"}} and the like.
HttpResponse PlainError(int status);

}  // namespace parrot

#endif  // PARROT_SERVER_HTTP_HTTP_ROUTER_H_
