// parrot-server: options -> log -> ports -> model -> engine and front end -> until a signal.
//
// Exit codes: 0 stopped as asked, 1 failure, 2 bad options, 3 bad model files.
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/mutex.h"
#include "model/runtime/openmp_policy.h"
#include "server/grpc/grpc_library_log.h"
#include "server/loading/model_loader.h"
#include "server/logging/logger.h"
#include "server/options/options_parser.h"
#include "server/options/options_text.h"
#include "server/server.h"
#include "server/signals.h"

namespace parrot {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitModel = 3;

int PrintAndExit(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  return EXIT_SUCCESS;
}

LoggerOptions MakeLoggerOptions(const Options& options) {
  LoggerOptions logger;
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (options.log_level == LogLevelName(level)) logger.level = level;
  }
  logger.format = options.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
  return logger;
}

// gRPC 1.51 never accepts again once it has run out of file descriptors, so take all there are.
void RaiseFileLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Shared with the signal thread.
struct SignalState {
  std::atomic<Server*> server{nullptr};  // while it exists
  std::atomic<bool> is_interrupt{false};
};

// The first signal asks for a shutdown, the second one ends the process at once. While the model
// loads there is nothing to finish.
void OnSignal(int signal, int count, SignalState& state) {
  Server* server = state.server.load();
  if (count > 1) std::_Exit(128 + signal);
  if (server == nullptr || server->state() == ServerState::kStarting) std::_Exit(EXIT_SUCCESS);
  state.is_interrupt.store(signal == SIGINT);
  server->RequestShutdown();
}

int Fail(Logger& logger, const char* event, const absl::Status& status, int code) {
  logger.Error(event, {{"error", std::string(status.message())}});
  return code;
}

int Run(const Options& options, Logger& logger, SignalState& signals) {
  for (const std::string& warning : OptionWarnings(options)) {
    logger.Warning("option_warning", {{"text", warning}});
  }
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Listen(options, {.logger = &logger});
  if (!server.ok()) return Fail(logger, "cannot_listen", server.status(), kExitFailure);
  signals.server.store(server->get());
  const absl::Cleanup forget_server = [&signals] { signals.server.store(nullptr); };
  absl::StatusOr<ServedModel> model = LoadServedModel(options, logger);
  if (!model.ok()) {
    return Fail(logger,
                "cannot_load_model",
                model.status(),
                IsModelFileError(model.status()) ? kExitModel : kExitFailure);
  }
  if (const absl::Status status = (*server)->Serve(*std::move(model)); !status.ok()) {
    return Fail(logger, "cannot_serve", status, kExitFailure);
  }
  if (const absl::Status status = (*server)->Wait(); !status.ok()) {
    // The engine is dead or hangs: end the clients' calls and leave, a restart is the cure.
    (*server)->Abandon();
    logger.Error("engine_failed", {{"error", std::string(status.message())}});
    logger.Flush();
    std::_Exit(kExitFailure);
  }
  // Ctrl-C comes from a person at a terminal, who waits for no load balancer.
  (*server)->Shutdown(signals.is_interrupt.load() ? absl::ZeroDuration() : options.lame_duck);
  return EXIT_SUCCESS;
}

int Main(int argc, char** argv) {
#ifdef NDEBUG
  // Debian's Abseil looks for deadlocks at every lock, under one lock for all threads.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  SignalState signals;
  SignalWatcher watcher([&signals](int signal, int count) { OnSignal(signal, count, signals); });
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const absl::StatusOr<ParsedCommandLine> line = ParseCommandLine(arguments, ProcessEnvironment());
  if (!line.ok()) {
    std::fprintf(stderr, "parrot-server: %s\n", std::string(line.status().message()).c_str());
    return kExitUsage;
  }
  switch (line->action) {
    case CommandLineAction::kHelp:
      return PrintAndExit(HelpText());
    case CommandLineAction::kHelpMarkdown:
      return PrintAndExit(ConfigurationPage());
    case CommandLineAction::kVersion:
      return PrintAndExit(std::string("parrot-server ") + ServerVersion() + "\n");
    case CommandLineAction::kPrintConfig:
      return PrintAndExit(ConfigText(line->options));
    case CommandLineAction::kCheckConfig:
      return PrintAndExit("the options are valid\n");
    case CommandLineAction::kServe:
      break;
  }
  RaiseFileLimit();
  Logger logger(MakeLoggerOptions(line->options));
  SetGrpcLibraryLogger(&logger);
  const int code = Run(line->options, logger, signals);
  SetGrpcLibraryLogger(nullptr);
  return code;
}

}  // namespace
}  // namespace parrot

int main(int argc, char** argv) {
  parrot::UseSleepingOpenMpThreads(argv);
  return parrot::Main(argc, argv);
}
