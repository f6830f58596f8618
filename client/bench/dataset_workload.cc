#include "client/bench/dataset_workload.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/conversation.h"
#include "client/messages/bounded_file.h"
#include "client/messages/messages_json.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using nlohmann::json;

absl::Status Invalid(const std::string& field, const std::string& what) {
  const absl::Status error =
      ErrorStatus(absl::StatusCode::kInvalidArgument, what, {.reason = "INVALID_DATASET"});
  return field.empty() ? error : WithField(error, field);
}

// The facts of a line that is an object; `messages` is taken out of it.
absl::Status ReadObject(json* line, json* messages, BenchRequest* made) {
  for (const auto& [key, value] : line->items()) {
    if (key == "messages") {
      *messages = std::move(value);
    } else if (key == "language" && value.is_string()) {
      made->language = value.get<std::string>();
    } else if (key == "max_tokens" && value.is_number_unsigned() && value <= INT32_MAX) {
      made->request.mutable_stop()->set_max_tokens(value.get<int32_t>());
    } else {
      return Invalid("",
                     "a line is a list of messages, or an object of messages, language (text) "
                     "and max_tokens (number)");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<BenchRequest> ReadLine(std::string_view text,
                                      const MessagesJsonOptions& reading,
                                      const DatasetOptions& options) {
  BenchRequest made;
  json line = json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (line.is_discarded()) return Invalid("", "not valid JSON");
  json messages;
  if (line.is_object()) {
    RETURN_IF_ERROR(ReadObject(&line, &messages, &made));
  } else {
    messages = std::move(line);
  }
  ASSIGN_OR_RETURN(const std::vector<InputMessage> parsed,
                   ParseMessagesJson(messages.dump(), reading));
  v1::GenerateRequest& request = made.request;
  for (const InputMessage& message : parsed) {
    made.num_images += static_cast<int32_t>(
        std::count_if(message.parts.begin(), message.parts.end(), [](const MessagePart& part) {
          return part.kind == MessagePart::Kind::kImage;
        }));
  }
  AddMessages(parsed, request.mutable_messages());
  if (options.model.has_value()) request.set_model(*options.model);
  if (!made.language.empty()) request.set_language(made.language);
  if (options.output_tokens.has_value() && !request.stop().has_max_tokens()) {
    request.mutable_stop()->set_max_tokens(*options.output_tokens);
  }
  if (options.ignore_eos) request.mutable_stop()->set_ignore_eos(true);
  return made;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DatasetWorkload>> DatasetWorkload::Read(
    const std::string& path, const DatasetOptions& options) {
  ASSIGN_OR_RETURN(const std::string file, ReadBoundedFile(path, kMaxBytes));
  const MessagesJsonOptions reading = {.base_folder =
                                           std::filesystem::path(path).parent_path().string()};
  std::vector<BenchRequest> requests;
  int64_t num_bytes = 0;
  std::string_view rest = file;
  for (int line_number = 1; !rest.empty(); ++line_number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (std::all_of(line.begin(), line.end(), absl::ascii_isspace)) continue;
    absl::StatusOr<BenchRequest> made = ReadLine(line, reading, options);
    if (!made.ok()) return WithField(made.status(), absl::StrCat("line ", line_number));
    num_bytes += static_cast<int64_t>(made->request.ByteSizeLong());
    if (num_bytes > kMaxBytes) {
      return Invalid(absl::StrCat("line ", line_number),
                     absl::StrCat("the requests take more than ", kMaxBytes, " bytes"));
    }
    requests.push_back(*std::move(made));
  }
  if (requests.empty()) return Invalid("", "no request in it");
  return std::unique_ptr<DatasetWorkload>(new DatasetWorkload(std::move(requests)));
}

}  // namespace parrot
