#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/error_status.h"
#include "client/cli/commands.h"
#include "client/cli/report.h"
#include "client/cli/session.h"

namespace parrot {
namespace {

// Spares a server that takes connections and then hangs up.
constexpr absl::Duration kRewatchPause = absl::Milliseconds(200);

// Ends of a watch after which the server may still come: it restarts, or a proxy stands in for it.
bool MayComeBack(const absl::Status& ended) {
  switch (ended.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:  // by a server that shuts down
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

using StateOr = absl::StatusOr<HealthState::ServingStatus>;

// Watches until SERVING, through restarts of the server; DEADLINE_EXCEEDED when `deadline` passes.
StateOr WaitForServing(Session& session, absl::Time deadline, const CallOptions& call) {
  Console& console = session.console();
  const std::string& service = session.options().service;
  console.Status(absl::StrCat("waiting for ", session.options().connection.target));
  while (true) {
    CallOptions watch_call = call;
    watch_call.timeout = deadline - absl::Now();
    if (watch_call.timeout <= absl::ZeroDuration()) break;
    const std::unique_ptr<HealthStream> watch =
        session.client().WatchHealth(service, WhenUnreachable::kWait, watch_call);
    HealthState state;
    while (watch->Next(&state)) {
      if (state.status() == HealthState::SERVING) return HealthState::SERVING;
      console.Status(
          absl::StrCat("server is up, ", HealthState::ServingStatus_Name(state.status())));
    }
    const absl::Status ended = watch->Finish();
    if (ended.code() == absl::StatusCode::kDeadlineExceeded) break;
    if (!MayComeBack(ended) || call.cancellation->cancelled()) return ended;
    absl::SleepFor(kRewatchPause);
  }
  return ErrorStatus(absl::StatusCode::kDeadlineExceeded,
                     "the server did not become SERVING in time",
                     {.reason = "NOT_SERVING"});
}

}  // namespace

int RunHealth(const CliOptions& options, Console& console) {
  absl::StatusOr<std::unique_ptr<Session>> opened = Session::Open(options, console);
  if (!opened.ok()) return ReportEarlyError(opened.status(), options, console);
  Session& session = **opened;
  const StateOr state = session.Call<StateOr>([&](const CallOptions& call) -> StateOr {
    if (options.wait.has_value()) {
      return WaitForServing(session, absl::Now() + *options.wait, call);
    }
    return session.client().CheckHealth(options.service, call);
  });
  if (!state.ok()) return session.Fail(state.status());
  const std::string name = HealthState::ServingStatus_Name(*state);
  console.Result(options.json ? HealthJson(options.service, name) : absl::StrCat(name, "\n"));
  return *state == HealthState::SERVING ? kExitOk : kExitFailure;
}

}  // namespace parrot
