#include "inspect/prompt_input.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/messages/bounded_file.h"
#include "client/messages/messages_json.h"
#include "model/image/clip_image_processor.h"

namespace parrot {
namespace {

ChatRole ToChatRole(MessageRole role) {
  switch (role) {
    case MessageRole::kSystem:
      return ChatRole::kSystem;
    case MessageRole::kUser:
      return ChatRole::kUser;
    case MessageRole::kAssistant:
      return ChatRole::kAssistant;
  }
  return ChatRole::kUser;
}

Conversation ToConversation(const std::vector<InputMessage>& messages, const RunOptions& options) {
  Conversation conversation;
  conversation.generation_prefix = options.prefix;
  conversation.placement = options.literal ? ImagePlacement::kLiteral : ImagePlacement::kCanonical;
  for (const InputMessage& message : messages) {
    ChatMessage chat{.role = ToChatRole(message.role)};
    for (const MessagePart& part : message.parts) {
      if (part.kind == MessagePart::Kind::kImage) {
        chat.parts.emplace_back(ChatImage());
      } else {
        chat.parts.emplace_back(part.text);
      }
    }
    conversation.messages.push_back(std::move(chat));
  }
  return conversation;
}

absl::StatusOr<std::shared_ptr<const ImagePixels>> Preprocess(const ClipImageProcessor& processor,
                                                              const std::string& encoded,
                                                              const std::string& mime_type,
                                                              const std::string& field) {
  auto image = processor.Preprocess(encoded, mime_type, /*tenant_salt=*/"");
  if (!image.ok()) return WithField(image.status(), field);
  return std::move(image->input.pixels);
}

using Images = std::vector<std::shared_ptr<const ImagePixels>>;

absl::StatusOr<Images> PreprocessAll(const std::vector<InputMessage>& messages,
                                     const RenderedPrompt& prompt,
                                     const ClipImageProcessor& processor,
                                     const RunOptions& options) {
  Images images;
  for (const ImagePartRef& ref : prompt.images) {
    const MessagePart& part = messages[ref.message_idx].parts[ref.part_idx];
    const std::string field =
        absl::StrCat("messages[", ref.message_idx, "].content[", ref.part_idx, "]");
    ASSIGN_OR_RETURN(auto pixels, Preprocess(processor, part.image_bytes, part.mime_type, field));
    images.push_back(std::move(pixels));
  }
  if (!options.extra_image_path.empty()) {
    const auto limit = static_cast<int64_t>(processor.limits().max_encoded_bytes);
    ASSIGN_OR_RETURN(const std::string encoded, ReadBoundedFile(options.extra_image_path, limit));
    ASSIGN_OR_RETURN(auto pixels, Preprocess(processor, encoded, "", "--extra-image"));
    images.push_back(std::move(pixels));
  }
  return images;
}

absl::StatusOr<RenderedPrompt> Render(const std::vector<InputMessage>& messages,
                                      const ModelConfig& config,
                                      const Tokenizer& tokenizer,
                                      const RunOptions& options) {
  const Conversation conversation = ToConversation(messages, options);
  RETURN_IF_ERROR(ValidateConversation(conversation));
  RenderOptions render{.parse_special = options.parse_special,
                       .tokens_per_image = config.vision.num_tokens()};
  if (!options.compat_reference) {
    render.max_tokens = config.language.max_position_embeddings - options.max_new_tokens;
  }
  return ChatTemplate(tokenizer).Render(conversation, render);
}

// What is sent to the model, from what was rendered.
PromptRequest MakeRequest(const RenderedPrompt& prompt,
                          Images images,
                          const ModelConfig& config,
                          const Tokenizer& tokenizer,
                          const RunOptions& options) {
  PromptRequest request{.ids = prompt.token_ids,
                        .images = std::move(images),
                        .max_new_tokens = options.max_new_tokens,
                        .stop_ids = {tokenizer.im_end_id()},
                        .vocab_size = tokenizer.num_tokens()};
  if (options.compat_reference) {
    // The reference's generate() masks the padding id wherever it stands in a prompt.
    std::erase(request.ids, tokenizer.end_of_text_id());
    request.zero_later_images = true;
    request.max_spliced_tokens = config.model_max_length;
  }
  return request;
}

}  // namespace

absl::StatusOr<PromptInput> ReadPrompt(const RunOptions& options,
                                       const ModelConfig& config,
                                       const Tokenizer& tokenizer) {
  ASSIGN_OR_RETURN(const std::vector<InputMessage> messages,
                   ReadMessagesFile(options.messages_path));
  ASSIGN_OR_RETURN(RenderedPrompt prompt, Render(messages, config, tokenizer, options));
  const ClipImageProcessor processor(config.image_processor, config.vision.image_size, {});
  ASSIGN_OR_RETURN(Images images, PreprocessAll(messages, prompt, processor, options));
  PromptRequest request = MakeRequest(prompt, std::move(images), config, tokenizer, options);
  return PromptInput{.prompt = std::move(prompt), .request = std::move(request)};
}

}  // namespace parrot
