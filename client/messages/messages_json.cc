#include "client/messages/messages_json.h"

#include <filesystem>
#include <initializer_list>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/messages/bounded_file.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using nlohmann::json;

constexpr size_t kMaxQuotedBytes = 64;

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

// At most 64 bytes of a string of the file, for a message to the user who wrote it.
std::string Quoted(std::string_view text) {
  return absl::StrCat("'", ToAbsl(text.substr(0, kMaxQuotedBytes)), "'");
}

absl::Status Invalid(const std::string& path,
                     const std::string& what,
                     std::string reason = "INVALID_MESSAGES_JSON") {
  return WithField(
      ErrorStatus(absl::StatusCode::kInvalidArgument, what, {.reason = std::move(reason)}), path);
}

absl::Status CheckKeys(const json& object,
                       const std::string& path,
                       std::initializer_list<std::string_view> known) {
  if (!object.is_object())
    return Invalid(path, std::string("is ") + object.type_name() + ", not an object");
  for (const auto& item : object.items()) {
    bool found = false;
    for (const std::string_view key : known) found = found || item.key() == key;
    if (!found) return Invalid(path, "unknown key " + Quoted(item.key()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> StringAt(const json& object, const std::string& path, const char* key) {
  const std::string full_path = path + "." + key;
  const auto found = object.find(key);
  if (found == object.end()) return Invalid(full_path, "required");
  if (!found->is_string()) {
    return Invalid(full_path, std::string("is ") + found->type_name() + ", not a string");
  }
  return found->get<std::string>();
}

bool ConsumePrefix(std::string_view* text, std::string_view prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

// data:[<type>];base64,<data>
absl::Status ReadDataUri(std::string_view rest,
                         const std::string& path,
                         const MessagesJsonOptions& options,
                         MessagePart* part) {
  const size_t comma = rest.find(',');
  std::string_view header = rest.substr(0, comma);
  if (comma == std::string_view::npos || !header.ends_with(";base64")) {
    return Invalid(path, "a data URI has the form data:image/png;base64,...");
  }
  header.remove_suffix(std::string_view(";base64").size());
  const std::string_view encoded = rest.substr(comma + 1);
  if (encoded.size() / 4 * 3 > static_cast<size_t>(options.max_image_bytes) + 2) {
    const std::string limit = std::to_string(options.max_image_bytes);
    const std::string value = std::to_string(encoded.size() / 4 * 3);
    return WithField(ErrorStatus(absl::StatusCode::kInvalidArgument,
                                 "the image has about " + value + " bytes, limit " + limit,
                                 {.reason = "FILE_TOO_LARGE", .value = value, .limit = limit}),
                     path);
  }
  if (!absl::Base64Unescape(ToAbsl(encoded), &part->image_bytes)) {
    return Invalid(path, "the data URI's base64 is not valid");
  }
  part->mime_type = std::string(header.substr(0, header.find(';')));
  return absl::OkStatus();
}

absl::Status ReadImageFile(std::string_view file,
                           const std::string& path,
                           const MessagesJsonOptions& options,
                           MessagePart* part) {
  const std::filesystem::path full = std::filesystem::path(options.base_folder) / file;
  absl::StatusOr<std::string> bytes = ReadBoundedFile(full.string(), options.max_image_bytes);
  if (!bytes.ok()) return WithField(bytes.status(), path);
  part->image_bytes = *std::move(bytes);
  return absl::OkStatus();
}

absl::StatusOr<MessagePart> ReadImage(std::string_view source,
                                      const std::string& path,
                                      bool plain_path_allowed,
                                      const MessagesJsonOptions& options) {
  MessagePart part{.kind = MessagePart::Kind::kImage};
  std::string_view rest = source;
  if (ConsumePrefix(&rest, "data:")) {
    RETURN_IF_ERROR(ReadDataUri(rest, path, options, &part));
    return part;
  }
  if (ConsumePrefix(&rest, "file://") || ConsumePrefix(&rest, "file:")) {
    RETURN_IF_ERROR(ReadImageFile(rest, path, options, &part));
    return part;
  }
  if (!plain_path_allowed || source.find("://") != std::string_view::npos) {
    return Invalid(path,
                   "images are data:image/...;base64,... or file:PATH; nothing is fetched",
                   "IMAGE_SOURCE_NOT_SUPPORTED");
  }
  RETURN_IF_ERROR(ReadImageFile(source, path, options, &part));
  return part;
}

absl::StatusOr<MessagePart> ReadImageUrl(const json& object,
                                         const std::string& path,
                                         const MessagesJsonOptions& options) {
  RETURN_IF_ERROR(CheckKeys(object, path, {"type", "image_url"}));
  const auto found = object.find("image_url");
  if (found != object.end() && found->is_string()) {
    return ReadImage(found->get<std::string>(), path + ".image_url", false, options);
  }
  if (found == object.end()) return Invalid(path + ".image_url", "required");
  RETURN_IF_ERROR(CheckKeys(*found, path + ".image_url", {"url", "detail"}));
  ASSIGN_OR_RETURN(const std::string url, StringAt(*found, path + ".image_url", "url"));
  return ReadImage(url, path + ".image_url.url", false, options);
}

absl::StatusOr<MessagePart> ReadPart(const json& object,
                                     const std::string& path,
                                     const MessagesJsonOptions& options) {
  if (!object.is_object()) {
    return Invalid(path, std::string("is ") + object.type_name() + ", not an object");
  }
  ASSIGN_OR_RETURN(const std::string type, StringAt(object, path, "type"));
  if (type == "text") {
    RETURN_IF_ERROR(CheckKeys(object, path, {"type", "text"}));
    ASSIGN_OR_RETURN(std::string text, StringAt(object, path, "text"));
    return MessagePart{.kind = MessagePart::Kind::kText, .text = std::move(text)};
  }
  if (type == "image_url") return ReadImageUrl(object, path, options);
  if (type == "image") {
    RETURN_IF_ERROR(CheckKeys(object, path, {"type", "image"}));
    ASSIGN_OR_RETURN(const std::string source, StringAt(object, path, "image"));
    return ReadImage(source, path + ".image", true, options);
  }
  return Invalid(path + ".type", Quoted(type) + " is not text, image_url or image");
}

absl::StatusOr<MessageRole> ReadRole(const std::string& name, const std::string& path) {
  if (name == "system") return MessageRole::kSystem;
  if (name == "user") return MessageRole::kUser;
  if (name == "assistant") return MessageRole::kAssistant;
  return Invalid(path, Quoted(name) + " is not system, user or assistant");
}

absl::StatusOr<InputMessage> ReadMessage(const json& object,
                                         const std::string& path,
                                         const MessagesJsonOptions& options) {
  RETURN_IF_ERROR(CheckKeys(object, path, {"role", "content", "name"}));
  InputMessage message;
  ASSIGN_OR_RETURN(const std::string role, StringAt(object, path, "role"));
  ASSIGN_OR_RETURN(message.role, ReadRole(role, path + ".role"));
  const auto content = object.find("content");
  const std::string content_path = path + ".content";
  if (content == object.end()) return Invalid(content_path, "required");
  if (content->is_string()) {
    message.parts.push_back({.text = content->get<std::string>()});
    return message;
  }
  if (!content->is_array()) {
    return Invalid(content_path,
                   std::string("is ") + content->type_name() + ", not a string or a list of parts");
  }
  message.parts.reserve(content->size());
  for (size_t i = 0; i < content->size(); ++i) {
    ASSIGN_OR_RETURN(
        MessagePart part,
        ReadPart((*content)[i], content_path + "[" + std::to_string(i) + "]", options));
    message.parts.push_back(std::move(part));
  }
  return message;
}

}  // namespace

absl::StatusOr<std::vector<InputMessage>> ParseMessagesJson(std::string_view text,
                                                            const MessagesJsonOptions& options) {
  json root;
  try {
    root = json::parse(text);
  } catch (const json::parse_error& error) {
    return Invalid("messages", "not valid JSON at byte " + std::to_string(error.byte));
  }
  if (!root.is_array()) {
    return Invalid("messages", std::string("is ") + root.type_name() + ", not a list");
  }
  std::vector<InputMessage> messages;
  messages.reserve(root.size());
  for (size_t i = 0; i < root.size(); ++i) {
    ASSIGN_OR_RETURN(InputMessage message,
                     ReadMessage(root[i], "messages[" + std::to_string(i) + "]", options));
    messages.push_back(std::move(message));
  }
  return messages;
}

absl::StatusOr<std::vector<InputMessage>> ReadMessagesFile(const std::string& path,
                                                           MessagesJsonOptions options) {
  ASSIGN_OR_RETURN(const std::string text, ReadBoundedFile(path, kMaxMessagesJsonBytes));
  options.base_folder = std::filesystem::path(path).parent_path().string();
  return ParseMessagesJson(text, options);
}

}  // namespace parrot
