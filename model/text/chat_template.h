// The chat format of the model (ChatML), as the reference's formatter writes it, straight to token
// ids. One turn is <|im_start|>role\n + text + <|im_end|>\n; a default system turn comes first if
// the conversation has none; the prompt ends inside the assistant's turn, after the generation
// prefix (default empty).
//
// Control tokens come from the structure of the conversation only: strings such as "<|im_start|>"
// or
// "<image>" in a message are plain text. (The reference parses them; RenderOptions::parse_special
// does as it does.) The text between two control tokens or images is encoded in one piece, role
// header included, as the reference does: the split into tokens may cross the joint.
//
//   ChatTemplate chat_template(*tokenizer);
//   ASSIGN_OR_RETURN(RenderedPrompt prompt, chat_template.Render(conversation, {.max_tokens =
//   2048}));
#ifndef PARROT_MODEL_TEXT_CHAT_TEMPLATE_H_
#define PARROT_MODEL_TEXT_CHAT_TEMPLATE_H_

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/token.h"
#include "model/text/tokenizer.h"

namespace parrot {

inline constexpr std::string_view kDefaultSystemText = "You are a helpful assistant.";
// The reference's spelling of an image's place in a formatted prompt.
inline constexpr std::string_view kImageText = "<image>";

enum class ChatRole { kSystem, kUser, kAssistant };

// "system", "user", "assistant".
std::string_view ChatRoleName(ChatRole role);
// INVALID_ARGUMENT with reason INVALID_ROLE for any other name.
absl::StatusOr<ChatRole> ParseChatRole(std::string_view name);

// Where the images of a message stand.
enum class ImagePlacement {
  // As the model was trained: the images of a message first, each followed by a newline, then its
  // text, in whatever order the parts came.
  kCanonical,
  // The parts in their order, nothing added.
  kLiteral,
};

struct ChatImage {};  // the picture itself travels beside the conversation
using ChatPart = std::variant<std::string, ChatImage>;

struct ChatMessage {
  ChatRole role = ChatRole::kUser;
  std::vector<ChatPart> parts;  // text parts follow each other with nothing between
};

struct Conversation {
  std::vector<ChatMessage> messages;
  std::string generation_prefix;  // opens the assistant's turn
  ImagePlacement placement = ImagePlacement::kCanonical;
};

// The rules of a request: at least one message; system first or not at all, then the user's
// turn, the user's last; each message has a part, each of a user's an image or some text; images in
// user messages only; valid UTF-8. INVALID_ARGUMENT with a field path such as "messages[3].role".
// Render needs the UTF-8 alone, and checks it itself.
absl::Status ValidateConversation(const Conversation& conversation);

struct RenderOptions {
  // True: as the reference, strings of control tokens in messages become control tokens, and a
  // literal "<image>" becomes an image slot.
  bool parse_special = false;
  // Inclusive limit of the whole prompt: text tokens plus tokens_per_image for each image.
  int64_t max_tokens = std::numeric_limits<int32_t>::max();
  int32_t tokens_per_image = 1;
};

struct ImagePartRef {
  int32_t message_idx = 0;
  int32_t part_idx = 0;

  friend bool operator==(const ImagePartRef&, const ImagePartRef&) = default;
};

struct RenderedPrompt {
  // ONE kVisualToken for each image slot; whoever knows the vision tower expands it.
  std::vector<TokenId> token_ids;
  // The image parts in the order of their slots.
  std::vector<ImagePartRef> images;
  // Equals images.size(), but with parse_special it counts the literal "<image>" of messages too:
  // slot i then takes image i, and slots beyond the images have none.
  int32_t num_image_slots = 0;
  int32_t num_text_tokens = 0;
};

// Immutable, thread-safe; borrows the tokenizer, which outlives it.
class ChatTemplate {
 public:
  explicit ChatTemplate(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // INVALID_ARGUMENT: invalid UTF-8 (with its field); reason CONTEXT_LENGTH_EXCEEDED ("prompt has
  // at least 2311 tokens, limit 2048"; no field) as soon as the limit is certain to be passed.
  absl::StatusOr<RenderedPrompt> Render(const Conversation& conversation,
                                        const RenderOptions& options = {}) const;

  // The whole prompt as the text that the reference's formatter makes of it.
  std::string Format(const Conversation& conversation) const;

 private:
  const Tokenizer& tokenizer_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_CHAT_TEMPLATE_H_
