#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/report.h"
#include "client/cli/request_builder.h"
#include "client/cli/session.h"
#include "client/conversation.h"

namespace parrot {
namespace {

// Opens a session, makes one unary call and shows its response.
template <typename Response>
int RunUnary(const CliOptions& options,
             Console& console,
             const std::function<absl::StatusOr<Response>(ParrotClient&, const CallOptions&)>& call,
             const std::function<std::string(const Response&)>& text,
             const std::function<std::string(const Response&)>& json) {
  absl::StatusOr<std::unique_ptr<Session>> opened = Session::Open(options, console);
  if (!opened.ok()) return ReportEarlyError(opened.status(), options, console);
  Session& session = **opened;
  console.Status(absl::StrCat("waiting for ", options.connection.target));
  const auto response = session.Call<absl::StatusOr<Response>>(
      [&](const CallOptions& call_options) { return call(session.client(), call_options); });
  if (!response.ok()) return session.Fail(response.status());
  console.Result(options.json ? json(*response) : text(*response));
  return kExitOk;
}

}  // namespace

int RunRoute(const CliOptions& options, Console& console) {
  absl::StatusOr<std::vector<InputMessage>> messages = ReadConversation(options.conversation);
  if (!messages.ok()) return ReportEarlyError(messages.status(), options, console);
  v1::RouteRequest request;
  AddMessages(*messages, request.mutable_messages());
  const ConversationFlags& flags = options.conversation;
  if (options.connection.model.has_value()) request.set_model(*options.connection.model);
  if (flags.prefix.has_value()) request.set_generation_prefix(*flags.prefix);
  if (flags.literal) request.set_image_placement(v1::IMAGE_PLACEMENT_LITERAL);
  if (flags.pin_first_turn) request.set_routing(v1::ROUTING_MODE_PIN_FIRST_TURN);
  if (flags.language.has_value()) request.set_language(*flags.language);
  return RunUnary<v1::RouteResponse>(
      options,
      console,
      [&](ParrotClient& client, const CallOptions& call) { return client.Route(request, call); },
      [&](const v1::RouteResponse& r) { return RouteText(r, console.result_style()); },
      RouteJson);
}

int RunTokenize(const CliOptions& options, Console& console) {
  absl::StatusOr<std::string> text = TextOrStandardInput(options.text, "--text");
  if (!text.ok()) return ReportEarlyError(text.status(), options, console);
  v1::TokenizeRequest request;
  request.set_text(*text);
  if (options.connection.model.has_value()) request.set_model(*options.connection.model);
  return RunUnary<v1::TokenizeResponse>(
      options,
      console,
      [&](ParrotClient& client, const CallOptions& call) { return client.Tokenize(request, call); },
      [](const v1::TokenizeResponse& r) {
        return absl::StrCat("[", absl::StrJoin(r.token_ids(), ", "), "]\n");
      },
      TokenizeJson);
}

int RunCount(const CliOptions& options, Console& console) {
  absl::StatusOr<std::vector<InputMessage>> messages = ReadConversation(options.conversation);
  if (!messages.ok()) return ReportEarlyError(messages.status(), options, console);
  v1::CountTokensRequest request;
  AddMessages(*messages, request.mutable_messages());
  const ConversationFlags& flags = options.conversation;
  if (options.connection.model.has_value()) request.set_model(*options.connection.model);
  if (flags.prefix.has_value()) request.set_generation_prefix(*flags.prefix);
  if (flags.literal) request.set_image_placement(v1::IMAGE_PLACEMENT_LITERAL);
  return RunUnary<v1::CountTokensResponse>(
      options,
      console,
      [&](ParrotClient& client, const CallOptions& call) {
        return client.CountTokens(request, call);
      },
      CountText,
      CountJson);
}

int RunModels(const CliOptions& options, Console& console) {
  v1::GetModelInfoRequest request;
  if (options.connection.model.has_value()) request.set_model(*options.connection.model);
  return RunUnary<v1::GetModelInfoResponse>(
      options,
      console,
      [&](ParrotClient& client, const CallOptions& call) {
        return client.GetModelInfo(request, call);
      },
      ModelText,
      ModelJson);
}

}  // namespace parrot
