#include "server/http/http_router.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace parrot {
namespace {

const char* StatusText(int status) {
  switch (status) {
    case 400:
      return "bad request";
    case 404:
      return "not found";
    case 405:
      return "method not allowed";
    case 413:
      return "body too large";
    case 431:
      return "header too large";
    case 503:
      return "unavailable";
  }
  return "error";
}

}  // namespace

HttpResponse PlainError(int status) {
  HttpResponse response;
  response.status = status;
  response.body = absl::StrCat(
      "{\"error\":{\"code\":", status, ",\"message\":\"", StatusText(status), "\"}}\n");
  return response;
}

HttpRouter::HttpRouter(std::vector<HttpRoute> routes) : routes_(std::move(routes)) {}

HttpResponse HttpRouter::Handle(const HttpRequest& request) const {
  HttpResponse response = PlainError(404);
  std::string allowed;
  for (const HttpRoute& route : routes_) {
    if (route.path != request.path) continue;
    if (route.method == request.method) {
      response = route.handler(request);
      allowed.clear();
      break;
    }
    absl::StrAppend(&allowed, allowed.empty() ? "" : ", ", route.method);
    if (route.method == "GET") absl::StrAppend(&allowed, ", HEAD");
  }
  if (!allowed.empty()) {
    response = PlainError(405);
    response.headers.emplace_back("Allow", allowed);
  }
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

}  // namespace parrot
