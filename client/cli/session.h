// What every command that calls a server holds: the client, the outputs, and Ctrl-C.
#ifndef PARROT_CLIENT_CLI_SESSION_H_
#define PARROT_CLIENT_CLI_SESSION_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cancellation.h"
#include "client/cli/cli_options.h"
#include "client/cli/console.h"
#include "client/cli/interrupt_watcher.h"
#include "client/parrot_client.h"

namespace parrot {

class Session {
 public:
  // Takes over SIGINT and SIGTERM: read standard input to its end before. `options` and `console`
  // are borrowed and outlive the session.
  static absl::StatusOr<std::unique_ptr<Session>> Open(const CliOptions& options, Console& console);

  // Runs `call` with options that Ctrl-C cancels, and returns its result.
  template <typename Result>
  Result Call(const std::function<Result(const CallOptions&)>& call) {
    Cancellation cancellation;
    interrupts_.SetAction([&cancellation] { cancellation.Cancel(); });
    Result result = call({.request_id = options_.request_id, .cancellation = &cancellation});
    signal_ = interrupts_.ClearAction();
    return result;
  }

  // Shows `error`, on stdout too if JSON was asked for. Returns the exit code: 128 + signal if one
  // ended the last call, else 1.
  int Fail(const absl::Status& error);
  // The exit code of a failure that was already shown.
  int FailureCode() const;
  // The signal that ended the last call, 0 if none did.
  int signal() const { return signal_; }

  const CliOptions& options() const { return options_; }
  Console& console() { return console_; }
  ParrotClient& client() { return *client_; }
  InterruptWatcher& interrupts() { return interrupts_; }

 private:
  Session(const CliOptions& options, Console& console) : options_(options), console_(console) {}

  const CliOptions& options_;
  Console& console_;
  InterruptWatcher interrupts_;  // before the client: its threads inherit the blocked signals
  std::unique_ptr<ParrotClient> client_;
  int signal_ = 0;
};

// Shows an error that came before there was a session; the exit code.
int ReportEarlyError(const absl::Status& error, const CliOptions& options, Console& console);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_SESSION_H_
