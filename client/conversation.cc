#include "client/conversation.h"

#include <utility>

namespace parrot {
namespace {

v1::Role ProtoRole(ChatRole role) {
  switch (role) {
    case ChatRole::kSystem:
      return v1::ROLE_SYSTEM;
    case ChatRole::kUser:
      return v1::ROLE_USER;
    case ChatRole::kAssistant:
      return v1::ROLE_ASSISTANT;
  }
  return v1::ROLE_UNSPECIFIED;
}

ChatMessage TextMessage(ChatRole role, std::string text) {
  ChatMessage message{.role = role};
  message.parts.push_back({.kind = ChatPart::Kind::kText, .text = std::move(text)});
  return message;
}

}  // namespace

ChatMessage SystemMessage(std::string text) {
  return TextMessage(ChatRole::kSystem, std::move(text));
}

ChatMessage UserMessage(std::string text, std::vector<std::string> images) {
  ChatMessage message{.role = ChatRole::kUser};
  message.parts.reserve(images.size() + 1);
  for (std::string& image : images) {
    message.parts.push_back({.kind = ChatPart::Kind::kImage, .image_bytes = std::move(image)});
  }
  message.parts.push_back({.kind = ChatPart::Kind::kText, .text = std::move(text)});
  return message;
}

ChatMessage AssistantMessage(std::string text) {
  return TextMessage(ChatRole::kAssistant, std::move(text));
}

void AddMessage(const ChatMessage& message, MessageList* list) {
  v1::Message* added = list->Add();
  added->set_role(ProtoRole(message.role));
  for (const ChatPart& part : message.parts) {
    if (part.kind == ChatPart::Kind::kText) {
      added->add_parts()->set_text(part.text);
      continue;
    }
    v1::Image* image = added->add_parts()->mutable_image();
    image->set_data(part.image_bytes);
    if (!part.mime_type.empty()) image->set_mime_type(part.mime_type);
  }
}

void AddMessages(const std::vector<ChatMessage>& messages, MessageList* list) {
  for (const ChatMessage& message : messages) AddMessage(message, list);
}

}  // namespace parrot
