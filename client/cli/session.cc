#include "client/cli/session.h"

#include <string>
#include <utility>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/channel.h"
#include "client/cli/report.h"
#include "client/cli/request_builder.h"

namespace parrot {
namespace {

constexpr int kSignalBase = 128;

void Show(const absl::Status& error, const CliOptions& options, Console& console) {
  if (options.json) console.Result(ErrorJson(error));
  console.Error(ErrorText(error, options.connection.target));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Session>> Session::Open(const CliOptions& options,
                                                       Console& console) {
  ASSIGN_OR_RETURN(const ClientOptions client_options, ClientOptionsFrom(options.connection));
  if (!client_options.api_key.empty() && !client_options.tls.enabled &&
      !IsLocalTarget(client_options.target)) {
    console.Error("warning: the API key travels in the clear; use --tls or --tls-ca\n");
  }
  std::unique_ptr<Session> session(new Session(options, console));
  ASSIGN_OR_RETURN(session->client_, ParrotClient::Create(client_options));
  return session;
}

int Session::Fail(const absl::Status& error) {
  Show(error, options_, console_);
  return FailureCode();
}

int Session::FailureCode() const { return signal_ != 0 ? kSignalBase + signal_ : kExitFailure; }

int ReportEarlyError(const absl::Status& error, const CliOptions& options, Console& console) {
  if (GetErrorFacts(error).reason == kUsageReason) {
    console.Error("usage: " + std::string(error.message().data(), error.message().size()) + "\n");
    return kExitUsage;
  }
  Show(error, options, console);
  return kExitFailure;
}

}  // namespace parrot
