// The routes of monitors: GET /health, /metrics, /version.
#ifndef PARROT_SERVER_HTTP_MONITORING_ROUTES_H_
#define PARROT_SERVER_HTTP_MONITORING_ROUTES_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/http/http_server.h"

namespace parrot {

// What the routes report. The functions are called on the HTTP threads, at any time after start,
// also while the model still loads.
struct MonitoringSource {
  struct Health {
    bool ready = false;
    std::string state;  // "starting", "ready", "draining", "failed": a fixed word
  };
  std::function<Health()> health;
  // Prometheus text; nullopt while there is none yet (answered with 503).
  std::function<std::optional<std::string>()> metrics;
  std::string version;
};

std::vector<HttpRoute> MonitoringRoutes(const MonitoringSource& source);

}  // namespace parrot

#endif  // PARROT_SERVER_HTTP_MONITORING_ROUTES_H_
