#include "model/text/chat_template.h"

#include <cstddef>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

enum class Control { kImStart, kImEnd };
// A prompt is a sequence of texts, control tokens and images; no two texts are neighbours.
using Segment = std::variant<std::string, Control, ImagePartRef>;

// Collects segments, joining texts.
class Layout {
 public:
  void Add(std::string_view text) {
    if (text.empty()) return;
    if (segments_.empty() || !std::holds_alternative<std::string>(segments_.back())) {
      segments_.emplace_back(std::string());
    }
    std::get<std::string>(segments_.back()) += text;
  }
  void Add(Control control) { segments_.emplace_back(control); }
  void Add(ImagePartRef image) { segments_.emplace_back(image); }

  std::vector<Segment> Take() { return std::move(segments_); }

 private:
  std::vector<Segment> segments_;
};

void OpenTurn(ChatRole role, Layout* layout) {
  layout->Add(Control::kImStart);
  layout->Add(ChatRoleName(role));
  layout->Add("\n");
}

void CloseTurn(Layout* layout) {
  layout->Add(Control::kImEnd);
  layout->Add("\n");
}

void AddParts(const ChatMessage& message,
              int32_t message_idx,
              ImagePlacement placement,
              Layout* layout) {
  const bool canonical = placement == ImagePlacement::kCanonical;
  const auto image_at = [&](size_t part) {
    return ImagePartRef{message_idx, static_cast<int32_t>(part)};
  };
  for (size_t i = 0; canonical && i < message.parts.size(); ++i) {
    if (!std::holds_alternative<ChatImage>(message.parts[i])) continue;
    layout->Add(image_at(i));
    layout->Add("\n");
  }
  for (size_t i = 0; i < message.parts.size(); ++i) {
    if (const auto* text = std::get_if<std::string>(&message.parts[i])) {
      layout->Add(*text);
    } else if (!canonical) {
      layout->Add(image_at(i));
    }
  }
}

std::vector<Segment> LayOut(const Conversation& conversation) {
  Layout layout;
  const std::vector<ChatMessage>& messages = conversation.messages;
  if (messages.empty() || messages[0].role != ChatRole::kSystem) {
    OpenTurn(ChatRole::kSystem, &layout);
    layout.Add(kDefaultSystemText);
    CloseTurn(&layout);
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    OpenTurn(messages[i].role, &layout);
    AddParts(messages[i], static_cast<int32_t>(i), conversation.placement, &layout);
    CloseTurn(&layout);
  }
  OpenTurn(ChatRole::kAssistant, &layout);
  layout.Add(conversation.generation_prefix);
  return layout.Take();
}

std::string_view ControlText(Control control) {
  return control == Control::kImStart ? kImStartText : kImEndText;
}

std::string JoinSegments(const std::vector<Segment>& segments) {
  std::string text;
  for (const Segment& segment : segments) {
    if (const auto* plain = std::get_if<std::string>(&segment)) {
      text += *plain;
    } else if (const auto* control = std::get_if<Control>(&segment)) {
      text += ControlText(*control);
    } else {
      text += kImageText;
    }
  }
  return text;
}

std::string PartPath(size_t message, size_t part) {
  return absl::StrCat("messages[", message, "].parts[", part, "].text");
}

absl::Status CheckUtf8(const Conversation& conversation) {
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    const std::vector<ChatPart>& parts = conversation.messages[i].parts;
    for (size_t j = 0; j < parts.size(); ++j) {
      const auto* text = std::get_if<std::string>(&parts[j]);
      if (text == nullptr) continue;
      const absl::Status status = ValidateUtf8(*text);
      if (!status.ok()) return WithField(status, PartPath(i, j));
    }
  }
  return WithField(ValidateUtf8(conversation.generation_prefix), "generation_prefix");
}

// Appends to a prompt and holds its total, images at full size included, below the limit.
class PromptBuilder {
 public:
  // REQUIRES: num_image_slots is what the calls of AddImageSlot will come to.
  PromptBuilder(const Tokenizer& tokenizer, const RenderOptions& options, int32_t num_image_slots)
      : tokenizer_(tokenizer),
        options_(options),
        image_tokens_(int64_t{num_image_slots} * options.tokens_per_image) {}

  absl::Status CheckLimit() const {
    return CheckTotal(static_cast<int64_t>(ids_.size()) - slots_added_ + image_tokens_);
  }
  absl::Status AddText(std::string_view text);
  absl::Status AddControl(TokenId id) {
    ids_.push_back(id);
    return CheckLimit();
  }
  void AddImageSlot() {
    ids_.push_back(kVisualToken);
    ++slots_added_;
  }
  RenderedPrompt Take(std::vector<ImagePartRef> images) {
    const auto num_text_tokens = static_cast<int32_t>(ids_.size()) - slots_added_;
    return {std::move(ids_), std::move(images), slots_added_, num_text_tokens};
  }

 private:
  absl::Status CheckTotal(int64_t total) const;

  const Tokenizer& tokenizer_;
  const RenderOptions& options_;
  const int64_t image_tokens_;  // of all slots, added or not
  int32_t slots_added_ = 0;
  std::vector<TokenId> ids_;
};

absl::Status PromptBuilder::CheckTotal(int64_t total) const {
  if (total <= options_.max_tokens) return absl::OkStatus();
  return ErrorStatus(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("prompt has at least ", total, " tokens, limit ", options_.max_tokens),
      {.reason = "CONTEXT_LENGTH_EXCEEDED",
       .value = absl::StrCat(total),
       .limit = absl::StrCat(options_.max_tokens)});
}

absl::Status PromptBuilder::AddText(std::string_view text) {
  // The tokenizer bounds the size of ids_, in which a slot counts one and later slots nothing.
  const int64_t not_in_ids = image_tokens_ - slots_added_;
  absl::Status status = tokenizer_.AppendEncoded(
      text,
      {.parse_special = options_.parse_special, .max_tokens = options_.max_tokens - not_in_ids},
      &ids_);
  if (status.ok()) return status;
  const ErrorFacts facts = GetErrorFacts(status);
  int64_t num_ids = 0;
  if (facts.reason != "CONTEXT_LENGTH_EXCEEDED" || !absl::SimpleAtoi(facts.value, &num_ids)) {
    return status;
  }
  return CheckTotal(num_ids + not_in_ids);
}

int32_t CountImages(const std::vector<Segment>& segments) {
  int32_t count = 0;
  for (const Segment& segment : segments) count += std::holds_alternative<ImagePartRef>(segment);
  return count;
}

std::vector<ImagePartRef> ImageParts(const std::vector<Segment>& segments) {
  std::vector<ImagePartRef> images;
  for (const Segment& segment : segments) {
    if (const auto* image = std::get_if<ImagePartRef>(&segment)) images.push_back(*image);
  }
  return images;
}

// Control tokens from structure.
absl::StatusOr<RenderedPrompt> RenderStructure(const Tokenizer& tokenizer,
                                               const std::vector<Segment>& segments,
                                               const RenderOptions& options) {
  PromptBuilder builder(tokenizer, options, CountImages(segments));
  RETURN_IF_ERROR(builder.CheckLimit());
  for (const Segment& segment : segments) {
    if (const auto* text = std::get_if<std::string>(&segment)) {
      RETURN_IF_ERROR(builder.AddText(*text));
    } else if (const auto* control = std::get_if<Control>(&segment)) {
      RETURN_IF_ERROR(builder.AddControl(*control == Control::kImStart ? tokenizer.im_start_id()
                                                                       : tokenizer.im_end_id()));
    } else {
      builder.AddImageSlot();
    }
  }
  return builder.Take(ImageParts(segments));
}

// As the reference: the whole prompt is a text, split on "<image>", each chunk encoded by itself.
absl::StatusOr<RenderedPrompt> RenderParsing(const Tokenizer& tokenizer,
                                             const std::vector<Segment>& segments,
                                             const RenderOptions& options) {
  const std::string text = JoinSegments(segments);
  std::vector<std::string_view> chunks;
  for (size_t begin = 0; begin != std::string::npos;) {
    const size_t end = text.find(kImageText, begin);
    chunks.push_back(std::string_view(text).substr(begin, end - begin));
    begin = end == std::string::npos ? end : end + kImageText.size();
  }
  PromptBuilder builder(tokenizer, options, static_cast<int32_t>(chunks.size()) - 1);
  RETURN_IF_ERROR(builder.CheckLimit());
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (i > 0) builder.AddImageSlot();
    RETURN_IF_ERROR(builder.AddText(chunks[i]));
  }
  return builder.Take(ImageParts(segments));
}

absl::Status BadMessage(std::string_view reason, std::string_view what, std::string_view field) {
  return WithField(
      ErrorStatus(absl::StatusCode::kInvalidArgument, what, {.reason = std::string(reason)}),
      field);
}

absl::Status ValidateParts(const ChatMessage& message, const std::string& path) {
  if (message.parts.empty()) return BadMessage("EMPTY_PROMPT", "required", path + ".parts");
  bool has_content = false;
  for (size_t i = 0; i < message.parts.size(); ++i) {
    const auto* text = std::get_if<std::string>(&message.parts[i]);
    has_content = has_content || text == nullptr || !text->empty();
    if (text == nullptr && message.role != ChatRole::kUser) {
      return BadMessage("INVALID_ROLE",
                        "images belong to user messages",
                        absl::StrCat(path, ".parts[", i, "].image"));
    }
  }
  if (message.role == ChatRole::kUser && !has_content) {
    return BadMessage("EMPTY_PROMPT", "neither text nor image", path + ".parts");
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view ChatRoleName(ChatRole role) {
  switch (role) {
    case ChatRole::kSystem:
      return "system";
    case ChatRole::kUser:
      return "user";
    case ChatRole::kAssistant:
      return "assistant";
  }
  PARROT_CHECK(false) << "role " << static_cast<int>(role);
  return "";
}

absl::StatusOr<ChatRole> ParseChatRole(std::string_view name) {
  for (const ChatRole role : {ChatRole::kSystem, ChatRole::kUser, ChatRole::kAssistant}) {
    if (name == ChatRoleName(role)) return role;
  }
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     "role is none of system, user, assistant",
                     {.reason = "INVALID_ROLE", .limit = "system|user|assistant"});
}

absl::Status ValidateConversation(const Conversation& conversation) {
  const std::vector<ChatMessage>& messages = conversation.messages;
  if (messages.empty()) return BadMessage("EMPTY_PROMPT", "required", "messages");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string path = absl::StrCat("messages[", i, "]");
    if (messages[i].role == ChatRole::kSystem && i > 0) {
      return BadMessage("INVALID_ROLE", "system is the first message or none", path + ".role");
    }
    const bool first_turn = i == 0 || (i == 1 && messages[0].role == ChatRole::kSystem);
    if (messages[i].role == ChatRole::kAssistant && first_turn) {
      return BadMessage("INVALID_ROLE", "the first turn is the user's", path + ".role");
    }
    RETURN_IF_ERROR(ValidateParts(messages[i], path));
  }
  if (messages.back().role != ChatRole::kUser) {
    return BadMessage("INVALID_ROLE",
                      "the last message is the user's",
                      absl::StrCat("messages[", messages.size() - 1, "].role"));
  }
  return CheckUtf8(conversation);
}

absl::StatusOr<RenderedPrompt> ChatTemplate::Render(const Conversation& conversation,
                                                    const RenderOptions& options) const {
  RETURN_IF_ERROR(CheckUtf8(conversation));
  const std::vector<Segment> segments = LayOut(conversation);
  return options.parse_special ? RenderParsing(tokenizer_, segments, options)
                               : RenderStructure(tokenizer_, segments, options);
}

std::string ChatTemplate::Format(const Conversation& conversation) const {
  return JoinSegments(LayOut(conversation));
}

}  // namespace parrot
