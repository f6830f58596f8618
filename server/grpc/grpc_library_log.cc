#include "server/grpc/grpc_library_log.h"

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/clock.h"
#include "grpc/support/log.h"

namespace parrot {
namespace {

constexpr int64_t kMaxLinesPerSecond = 10;

std::atomic<Logger*> g_logger{nullptr};

// Counts lines of the current second. A race between two threads at the turn of a second may let a
// line more through, which does no harm.
bool WithinBudget() {
  static std::atomic<int64_t> second{0};
  static std::atomic<int64_t> count{0};
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  if (second.exchange(now) != now) count.store(0);
  return count.fetch_add(1) < kMaxLinesPerSecond;
}

void Forward(gpr_log_func_args* args) {
  Logger* logger = g_logger.load();
  if (logger == nullptr || !WithinBudget()) return;
  const std::string file = args->file;
  logger->Warning(
      "grpc_library",
      {{"file", file.substr(file.rfind('/') + 1)}, {"line", args->line}, {"text", args->message}});
}

}  // namespace

void SetGrpcLibraryLogger(Logger* logger) {
  g_logger.store(logger);
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
  gpr_set_log_function(Forward);
}

}  // namespace parrot
