// Builds the messages of a request from what a program has at hand. Stateless; thread-safe.
//
//   AddMessage(SystemMessage("Answer briefly."), request.mutable_messages());
//   AddMessage(UserMessage("What is in the picture?", {png_bytes}), request.mutable_messages());
#ifndef PARROT_CLIENT_CONVERSATION_H_
#define PARROT_CLIENT_CONVERSATION_H_

#include <string>
#include <string_view>
#include <vector>

#include "client/messages/messages_json.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {

using MessageList = google::protobuf::RepeatedPtrField<v1::Message>;

InputMessage SystemMessage(std::string text);
// The images, encoded files, come before the text.
InputMessage UserMessage(std::string text, std::vector<std::string> images = {});
InputMessage AssistantMessage(std::string text);

// Images are sent as bytes, with the MIME type when one is known.
void AddMessage(const InputMessage& message, MessageList* list);
void AddMessages(const std::vector<InputMessage>& messages, MessageList* list);

}  // namespace parrot

#endif  // PARROT_CLIENT_CONVERSATION_H_
