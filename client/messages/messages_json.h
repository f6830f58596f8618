// Reads an OpenAI-style list of chat messages, for the tools that take --messages FILE.json.
//
//   [{"role": "system", "content": "Answer briefly."},
//    {"role": "user", "content": [
//       {"type": "image_url", "image_url": {"url": "file:bird.jpg"}},
//       {"type": "text", "text": "What colour is the bird?"}]}]
//
// `content` is a string (one text part) or an ordered list of parts:
//   {"type": "text", "text": TEXT}
//   {"type": "image_url", "image_url": {"url": SOURCE}}   (or "image_url": SOURCE)
//   {"type": "image", "image": SOURCE}                    SOURCE may also be a plain path
// SOURCE is "data:image/png;base64,..." or "file:PATH" (also "file:///PATH"; no %-escapes).
// Relative paths start at MessagesJsonOptions::base_folder. Nothing is fetched: other schemes are
// refused. Keys that other tools write and that change nothing here ("name", "detail") are
// accepted; any other unknown key is an error, so that a misspelt one is not lost in silence.
//
// The list is read, not judged: order of roles, number of images and such are the server's rules.
// Stateless; thread-safe.
#ifndef PARROT_CLIENT_MESSAGES_MESSAGES_JSON_H_
#define PARROT_CLIENT_MESSAGES_MESSAGES_JSON_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace parrot {

// Not the chat types of model/text: a program that links both must not have two types of one name.
enum class MessageRole { kSystem, kUser, kAssistant };

struct MessagePart {
  enum class Kind { kText, kImage };
  Kind kind = Kind::kText;
  std::string text;         // kText: UTF-8
  std::string image_bytes;  // kImage: the encoded file
  std::string mime_type;    // kImage: what a data URI states, else empty
};

struct InputMessage {
  MessageRole role = MessageRole::kUser;
  std::vector<MessagePart> parts;
};

struct MessagesJsonOptions {
  // Relative `file:` paths start here; empty: the working directory.
  std::string base_folder;
  // Each image, encoded; the server's default limit.
  int64_t max_image_bytes = 10 << 20;
};

// Largest messages file that the tools read: a dozen images as data URIs.
inline constexpr int64_t kMaxMessagesJsonBytes = 64 << 20;

// INVALID_ARGUMENT whose field is the JSON path, e.g. "messages[1].content[0].image_url.url"; for
// text that is not JSON, the byte where it stops being so. Errors of files keep their code.
absl::StatusOr<std::vector<InputMessage>> ParseMessagesJson(std::string_view json,
                                                            const MessagesJsonOptions& options);

// The same from a file, which also sets base_folder to the file's folder.
absl::StatusOr<std::vector<InputMessage>> ReadMessagesFile(const std::string& path,
                                                           MessagesJsonOptions options = {});

}  // namespace parrot

#endif  // PARROT_CLIENT_MESSAGES_MESSAGES_JSON_H_
