#include "server/http/monitoring_routes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/http/http_router.h"

namespace parrot {

std::vector<HttpRoute> MonitoringRoutes(const MonitoringSource& source) {
  std::vector<HttpRoute> routes;
  routes.push_back({"GET", "/health", [source](const HttpRequest&) {
                      const MonitoringSource::Health health = source.health();
                      HttpResponse response;
                      response.status = health.ready ? 200 : 503;
                      response.body = absl::StrCat("{\"status\":\"", health.state, "\"}\n");
                      if (!health.ready) response.headers.emplace_back("Retry-After", "1");
                      return response;
                    }});
  routes.push_back({"GET", "/metrics", [source](const HttpRequest&) {
                      std::optional<std::string> text = source.metrics();
                      if (!text.has_value()) return PlainError(503);
                      HttpResponse response;
                      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
                      response.body = *std::move(text);
                      return response;
                    }});
  routes.push_back({"GET", "/version", [source](const HttpRequest&) {
                      HttpResponse response;
                      response.body = absl::StrCat("{\"version\":\"", source.version, "\"}\n");
                      return response;
                    }});
  return routes;
}

}  // namespace parrot
