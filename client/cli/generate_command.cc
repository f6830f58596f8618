#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/answer.h"
#include "client/cli/commands.h"
#include "client/cli/report.h"
#include "client/cli/request_builder.h"
#include "client/cli/session.h"
#include "client/conversation.h"

namespace parrot {
namespace {

Answer Ask(Session& session, const v1::GenerateRequest& request) {
  Console& console = session.console();
  const bool json = session.options().json;
  console.Status(absl::StrCat("waiting for ", session.options().connection.target));
  AnswerCallbacks callbacks;
  callbacks.on_accepted = [&console](const v1::Accepted& accepted) {
    console.Status(absl::StrCat("reading ", accepted.usage().prompt_tokens(), " prompt tokens"));
  };
  if (!json) callbacks.on_text = [&console](std::string_view text) { console.Result(text); };
  Answer answer = session.Call<Answer>([&](const CallOptions& call) {
    return ReadAnswer(*session.client().Generate(request, call), callbacks);
  });
  console.ClearStatus();
  return answer;
}

}  // namespace

int RunGenerate(const CliOptions& options, Console& console) {
  absl::StatusOr<std::vector<InputMessage>> messages = ReadConversation(options.conversation);
  if (!messages.ok()) return ReportEarlyError(messages.status(), options, console);
  v1::GenerateRequest request = GenerateRequestFrom(options);
  AddMessages(*messages, request.mutable_messages());
  absl::StatusOr<std::unique_ptr<Session>> session = Session::Open(options, console);
  if (!session.ok()) return ReportEarlyError(session.status(), options, console);

  const Answer answer = Ask(**session, request);
  if (options.json) {
    console.Result(AnswerJson(answer));
  } else if (answer.status.ok() || !answer.text.empty()) {
    console.Result("\n");
  }
  for (size_t i = 0; !options.json && i < answer.others.size(); ++i) {
    console.Result(absl::StrCat("\n", answer.others[i].text, "\n"));
  }
  if (!answer.status.ok()) {
    console.Error(ErrorText(answer.status, options.connection.target));
    return (*session)->FailureCode();
  }
  if (!options.json) console.Note(AnswerSummary(answer, console.note_style()));
  return kExitOk;
}

}  // namespace parrot
