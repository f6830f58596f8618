#include "client/conversation.h"

#include <utility>

namespace parrot {
namespace {

v1::Role ProtoRole(MessageRole role) {
  switch (role) {
    case MessageRole::kSystem:
      return v1::ROLE_SYSTEM;
    case MessageRole::kUser:
      return v1::ROLE_USER;
    case MessageRole::kAssistant:
      return v1::ROLE_ASSISTANT;
  }
  return v1::ROLE_UNSPECIFIED;
}

InputMessage TextMessage(MessageRole role, std::string text) {
  InputMessage message{.role = role};
  message.parts.push_back({.kind = MessagePart::Kind::kText, .text = std::move(text)});
  return message;
}

}  // namespace

InputMessage SystemMessage(std::string text) {
  return TextMessage(MessageRole::kSystem, std::move(text));
}

InputMessage UserMessage(std::string text, std::vector<std::string> images) {
  InputMessage message{.role = MessageRole::kUser};
  message.parts.reserve(images.size() + 1);
  for (std::string& image : images) {
    message.parts.push_back({.kind = MessagePart::Kind::kImage, .image_bytes = std::move(image)});
  }
  message.parts.push_back({.kind = MessagePart::Kind::kText, .text = std::move(text)});
  return message;
}

InputMessage AssistantMessage(std::string text) {
  return TextMessage(MessageRole::kAssistant, std::move(text));
}

void AddMessage(const InputMessage& message, MessageList* list) {
  v1::Message* added = list->Add();
  added->set_role(ProtoRole(message.role));
  for (const MessagePart& part : message.parts) {
    if (part.kind == MessagePart::Kind::kText) {
      added->add_parts()->set_text(part.text);
      continue;
    }
    v1::Image* image = added->add_parts()->mutable_image();
    image->set_data(part.image_bytes);
    if (!part.mime_type.empty()) image->set_mime_type(part.mime_type);
  }
}

void AddMessages(const std::vector<InputMessage>& messages, MessageList* list) {
  for (const InputMessage& message : messages) AddMessage(message, list);
}

}  // namespace parrot
