// What the tool prints: JSON objects for programs, lines for people. Stateless; thread-safe.
// docs/cli.md holds the schema; a field is never renamed or given another meaning.
#ifndef PARROT_CLIENT_CLI_REPORT_H_
#define PARROT_CLIENT_CLI_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "client/cli/answer.h"
#include "client/cli/terminal.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {

// One object of the whole answer; with an `error` beside what had arrived if the call failed.
std::string AnswerJson(const Answer& answer);
std::string RouteJson(const v1::RouteResponse& response);
std::string TokenizeJson(const v1::TokenizeResponse& response);
std::string CountJson(const v1::CountTokensResponse& response);
std::string ModelJson(const v1::GetModelInfoResponse& response);
std::string HealthJson(const std::string& service, const std::string& state);
std::string ErrorJson(const absl::Status& status);

// For people: what was used, how long it took, how each image was routed.
std::string AnswerSummary(const Answer& answer, const TerminalStyle& style);
// One line: tokens, tokens/s, time to the first token.
std::string AnswerLine(const Answer& answer);
std::string RouteText(const v1::RouteResponse& response, const TerminalStyle& style);
std::string CountText(const v1::CountTokensResponse& response);
std::string ModelText(const v1::GetModelInfoResponse& response);
// "error: CODE: message", then field, value, limit, reason, retry and request id where known, and
// what to do about the common ones. `target` is where the call went.
std::string ErrorText(const absl::Status& status, const std::string& target);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_REPORT_H_
