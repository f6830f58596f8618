#include <unistd.h>

#include <csignal>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/answer.h"
#include "client/cli/commands.h"
#include "client/cli/line_reader.h"
#include "client/cli/report.h"
#include "client/cli/request_builder.h"
#include "client/cli/session.h"
#include "client/conversation.h"
#include "client/messages/bounded_file.h"

namespace parrot {
namespace {

constexpr int kSignalBase = 128;
constexpr char kHelp[] =
    "/image PATH   attach a picture to the next message\n"
    "/system TEXT  set the system turn; without TEXT: the server's default\n"
    "/clear        forget the conversation\n"
    "/quit         leave (also Ctrl-D, or Ctrl-C twice)\n"
    "//TEXT        say /TEXT\n"
    "Ctrl-C stops the answer that is being written.\n";

std::string Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return "";
  text = text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
  const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
                      text.front() == text.back();
  return std::string(quoted ? text.substr(1, text.size() - 2) : text);
}

// One conversation. Confined to the main thread.
class Chat {
 public:
  Chat(Session& session, v1::GetModelInfoResponse info)
      : session_(session),
        console_(session.console()),
        info_(std::move(info)),
        system_(session.options().conversation.system),
        interactive_(isatty(STDIN_FILENO) == 1) {}

  // The exit code.
  int Run();

 private:
  // False: leave.
  bool OnLine(const std::string& line);
  bool OnCommand(std::string_view command, const std::string& argument);
  void AttachImage(const std::string& path);
  void Ask(const std::string& text);
  Answer Stream(const v1::GenerateRequest& request);
  void Keep(InputMessage question, const Answer& answer);
  v1::GenerateRequest RequestFor(const InputMessage& question) const;

  Session& session_;
  Console& console_;
  const v1::GetModelInfoResponse info_;
  std::optional<std::string> system_;
  const bool interactive_;
  std::vector<InputMessage> history_;
  std::vector<std::string> pending_images_;
  int32_t num_images_ = 0;  // in history_
  bool failed_ = false;     // some answer
};

int Chat::Run() {
  console_.Note(absl::StrCat(info_.model(),
                             " on ",
                             info_.device(),
                             ", ",
                             info_.num_experts(),
                             " experts. /help lists the commands.\n"));
  LineReader reader(STDIN_FILENO, session_.interrupts());
  bool interrupted_before = false;
  std::string line;
  while (true) {
    console_.Prompt(interactive_ ? "> " : "");
    const LineReader::Event event = reader.Next(&line);
    if (event == LineReader::Event::kEnd) break;
    if (event == LineReader::Event::kInterrupted) {
      const int signal = session_.interrupts().TakeSignal();
      if (signal == SIGTERM) return kSignalBase + signal;
      if (interrupted_before) break;
      interrupted_before = true;
      console_.Note("\nCtrl-C again, Ctrl-D or /quit leaves.\n");
      continue;
    }
    interrupted_before = false;
    if (!OnLine(line)) return kExitOk;
    if (session_.signal() == SIGTERM) return kSignalBase + SIGTERM;
  }
  console_.Prompt("\n");
  return failed_ && !interactive_ ? kExitFailure : kExitOk;
}

bool Chat::OnLine(const std::string& line) {
  const std::string text = Trimmed(line);
  if (text.empty()) return true;
  if (text.starts_with("//")) {
    Ask(text.substr(1));
    return true;
  }
  if (!text.starts_with("/")) {
    Ask(text);
    return true;
  }
  const size_t space = text.find_first_of(" \t");
  return OnCommand(text.substr(0, space),
                   space == std::string::npos ? "" : Trimmed(text.substr(space)));
}

bool Chat::OnCommand(std::string_view command, const std::string& argument) {
  if (command == "/quit" || command == "/exit") return false;
  if (command == "/help") {
    console_.Note(kHelp);
  } else if (command == "/clear") {
    history_.clear();
    pending_images_.clear();
    num_images_ = 0;
    console_.Note("New conversation.\n");
  } else if (command == "/system") {
    system_ = argument.empty() ? std::nullopt : std::optional<std::string>(argument);
    console_.Note(argument.empty() ? "The server's system turn.\n" : "System turn set.\n");
  } else if (command == "/image") {
    AttachImage(argument);
  } else {
    console_.Error(absl::StrCat("unknown command; /help lists them\n"));
  }
  return true;
}

void Chat::AttachImage(const std::string& path) {
  const int32_t limit = info_.limits().max_images();
  const auto num_images = num_images_ + static_cast<int32_t>(pending_images_.size()) + 1;
  if (limit > 0 && num_images > limit) {
    console_.Error(absl::StrCat(
        "the server takes ", limit, " picture(s) in a conversation; /clear starts a new one\n"));
    return;
  }
  absl::StatusOr<std::string> image = ReadBoundedFile(path, kMaxImageFileBytes);
  if (!image.ok()) {
    console_.Error(ErrorText(image.status(), session_.options().connection.target));
    return;
  }
  console_.Note(absl::StrCat("Picture of ", image->size(), " bytes goes with the next message.\n"));
  pending_images_.push_back(*std::move(image));
}

v1::GenerateRequest Chat::RequestFor(const InputMessage& question) const {
  v1::GenerateRequest request = GenerateRequestFrom(session_.options());
  if (system_.has_value()) AddMessage(SystemMessage(*system_), request.mutable_messages());
  AddMessages(history_, request.mutable_messages());
  AddMessage(question, request.mutable_messages());
  return request;
}

// Expert weights show above the answer when the server reports them early, else below it.
Answer Chat::Stream(const v1::GenerateRequest& request) {
  bool text_shown = false;
  bool weights_shown = false;
  const auto show_weights = [&](const std::vector<v1::ImageRouting>& routing) {
    if (text_shown) return;
    weights_shown = true;
    for (const v1::ImageRouting& image : routing) {
      const std::span<const float> weights(image.expert_weights().data(),
                                           static_cast<size_t>(image.expert_weights_size()));
      console_.Note(ExpertLine(weights, console_.note_style()) + "\n");
    }
  };
  AnswerCallbacks callbacks;
  callbacks.on_accepted = [&](const v1::Accepted& accepted) {
    console_.Status(absl::StrCat("reading ", accepted.usage().prompt_tokens(), " prompt tokens"));
  };
  callbacks.on_routing = show_weights;
  callbacks.on_text = [&](std::string_view text) {
    text_shown = true;
    console_.Result(text);
  };
  console_.Status("waiting");
  Answer answer = session_.Call<Answer>([&](const CallOptions& call) {
    return ReadAnswer(*session_.client().Generate(request, call), callbacks);
  });
  console_.ClearStatus();
  if (text_shown || answer.status.ok()) console_.Result("\n");
  text_shown = false;
  if (!weights_shown) show_weights(answer.routing);
  return answer;
}

void Chat::Ask(const std::string& text) {
  const InputMessage question = UserMessage(text, pending_images_);
  const Answer answer = Stream(RequestFor(question));
  const bool cancelled = session_.signal() != 0;
  if (!answer.status.ok() && !cancelled) {
    failed_ = true;
    // The message is not kept; its pictures wait for the next try.
    console_.Error(ErrorText(answer.status, session_.options().connection.target));
    return;
  }
  console_.Note(cancelled ? "(stopped)\n" : AnswerLine(answer));
  Keep(question, answer);
}

void Chat::Keep(InputMessage question, const Answer& answer) {
  if (answer.text.empty()) {
    console_.Note("(no text: the message is not kept)\n");
    return;
  }
  num_images_ += static_cast<int32_t>(pending_images_.size());
  pending_images_.clear();
  history_.push_back(std::move(question));
  history_.push_back(AssistantMessage(answer.text));
}

}  // namespace

int RunChat(const CliOptions& options, Console& console) {
  absl::StatusOr<std::unique_ptr<Session>> session = Session::Open(options, console);
  if (!session.ok()) return ReportEarlyError(session.status(), options, console);
  v1::GetModelInfoRequest request;
  if (options.connection.model.has_value()) request.set_model(*options.connection.model);
  using InfoOr = absl::StatusOr<v1::GetModelInfoResponse>;
  const InfoOr info = (*session)->Call<InfoOr>(
      [&](const CallOptions& call) { return (*session)->client().GetModelInfo(request, call); });
  if (!info.ok()) return (*session)->Fail(info.status());
  return Chat(**session, *info).Run();
}

}  // namespace parrot
