#include "server/frontend/prompt_builder.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "server/frontend/data_uri.h"
#include "server/frontend/option_checks.h"

namespace parrot {
namespace {

ChatRole ToChatRole(RoleSpec role) {
  switch (role) {
    case RoleSpec::kSystem:
      return ChatRole::kSystem;
    case RoleSpec::kAssistant:
      return ChatRole::kAssistant;
    case RoleSpec::kUnspecified:
    case RoleSpec::kUser:
      break;
  }
  return ChatRole::kUser;
}

// Moves the texts out of `request`; its images stay where they are.
Conversation ToConversation(ValidRequest& request) {
  Conversation conversation;
  conversation.generation_prefix = std::move(request.generation_prefix);
  conversation.placement =
      request.literal_placement ? ImagePlacement::kLiteral : ImagePlacement::kCanonical;
  conversation.messages.reserve(request.messages.size());
  for (MessageSpec& message : request.messages) {
    ChatMessage& target = conversation.messages.emplace_back();
    target.role = ToChatRole(message.role);
    target.parts.reserve(message.parts.size());
    for (PartSpec& part : message.parts) {
      if (auto* text = std::get_if<TextSpec>(&part)) {
        target.parts.emplace_back(std::move(text->text));
      } else {
        target.parts.emplace_back(ChatImage{});
      }
    }
  }
  return conversation;
}

// The messages up to the one that answered the first user turn with an image; nullopt if none did,
// or there is no image. (Several user messages in a row are one turn.)
std::optional<Conversation> FirstImageTurn(const Conversation& conversation) {
  const std::vector<ChatMessage>& messages = conversation.messages;
  const auto has_image = [](const ChatMessage& message) {
    return std::any_of(message.parts.begin(), message.parts.end(), [](const ChatPart& part) {
      return std::holds_alternative<ChatImage>(part);
    });
  };
  const auto question = std::find_if(messages.begin(), messages.end(), has_image);
  const auto answer = std::find_if(question, messages.end(), [](const ChatMessage& message) {
    return message.role == ChatRole::kAssistant;
  });
  if (question == messages.end()) return std::nullopt;
  if (answer == messages.end() && conversation.generation_prefix.empty()) return std::nullopt;
  return Conversation{.messages = {messages.begin(), answer}, .placement = conversation.placement};
}

// CONTEXT_LENGTH_EXCEEDED has no field of its own; errors of a text part have.
absl::Status WithPromptField(const absl::Status& status) {
  return GetErrorFacts(status).field.empty() ? WithField(status, "messages") : status;
}

}  // namespace

PromptBuilder::PromptBuilder(const Options& options,
                             const ChatTemplate& chat_template,
                             const ImageIntake& image_intake,
                             Clock& clock)
    : options_(options),
      chat_template_(chat_template),
      image_intake_(image_intake),
      clock_(clock) {}

absl::StatusOr<PlacedImage> PromptBuilder::PrepareImage(ImageSpec image,
                                                        std::string_view tenant,
                                                        PreparedPrompt& prompt) const {
  const bool has_weights = !image.expert_weights.empty();
  PlacedImage placed{.num_tokens = options_.tokens_per_image,
                     .routing = has_weights ? RoutingSource::kWeights : RoutingSource::kText,
                     .weights = std::move(image.expert_weights)};
  if (image.source == ImageSpec::Source::kDigest) {
    placed.image = std::move(image.kept);
    return placed;
  }
  const absl::Time start = clock_.Now();
  std::string mime_type = image.mime_type.value_or("");
  if (image.source == ImageSpec::Source::kDataUri) {
    absl::StatusOr<DataUri> uri = ParseDataUri(image.data);
    if (!uri.ok()) return WithField(uri.status(), "data_uri");
    mime_type = std::string(uri->mime_type);
    absl::StatusOr<std::string> bytes = DecodeBase64(*uri);
    if (!bytes.ok()) return WithField(bytes.status(), "data_uri");
    image.data = *std::move(bytes);
  }
  const absl::Duration decode_uri = clock_.Now() - start;
  ASSIGN_OR_RETURN(TakenImage taken, image_intake_.Take(image.data, mime_type, tenant));
  prompt.decode_image += decode_uri + taken.decode_time;
  prompt.preprocess += taken.preprocess_time;
  if (!taken.was_known) {
    ++prompt.num_decoded_images;
    prompt.decoded_image_bytes += static_cast<int64_t>(image.data.size());
  }
  placed.image = std::move(taken.image.input);
  return placed;
}

absl::StatusOr<PreparedPrompt> PromptBuilder::Build(
    ValidRequest& request,
    std::string_view tenant,
    const std::function<absl::Status()>& keep_going) const {
  PreparedPrompt prompt;
  const absl::Time start = clock_.Now();
  RETURN_IF_ERROR(keep_going());
  const Conversation conversation = ToConversation(request);
  absl::StatusOr<RenderedPrompt> rendered = chat_template_.Render(
      conversation,
      {.max_tokens = options_.max_prompt_tokens, .tokens_per_image = options_.tokens_per_image});
  if (!rendered.ok()) return WithPromptField(rendered.status());
  std::optional<Conversation> pinned;
  prompt.pin_first_turn = request.pin_first_turn;
  if (request.pin_first_turn) pinned = FirstImageTurn(conversation);
  if (pinned.has_value()) {
    ASSIGN_OR_RETURN(prompt.text_ids, PinnedText(*pinned));
  }
  prompt.tokenize = clock_.Now() - start;

  for (const ImagePartRef& ref : rendered->images) {
    RETURN_IF_ERROR(keep_going());
    PartSpec& part = request.messages[ref.message_idx].parts[ref.part_idx];
    absl::StatusOr<PlacedImage> image =
        PrepareImage(std::move(std::get<ImageSpec>(part)), tenant, prompt);
    if (!image.ok()) {
      const std::string field =
          Indexed("messages", ref.message_idx) + "." + Indexed("parts", ref.part_idx) + ".image";
      return WithField(image.status(), field);
    }
    prompt.images.push_back(*std::move(image));
  }

  PARROT_CHECK(static_cast<size_t>(rendered->num_image_slots) == prompt.images.size());
  prompt.num_text_tokens = rendered->num_text_tokens;
  prompt.num_image_tokens = rendered->num_image_slots * options_.tokens_per_image;
  prompt.token_ids.reserve(static_cast<size_t>(rendered->num_text_tokens) +
                           static_cast<size_t>(prompt.num_image_tokens));
  std::vector<TokenId> text_ids;
  text_ids.reserve(static_cast<size_t>(rendered->num_text_tokens));
  size_t image_idx = 0;
  for (const TokenId id : rendered->token_ids) {
    if (id != kVisualToken) {
      prompt.token_ids.push_back(id);
      text_ids.push_back(id);
      continue;
    }
    prompt.images[image_idx++].position = static_cast<int32_t>(prompt.token_ids.size());
    prompt.token_ids.insert(
        prompt.token_ids.end(), static_cast<size_t>(options_.tokens_per_image), kVisualToken);
  }
  const bool is_approximate =
      prompt.pin_first_turn ||
      std::any_of(prompt.images.begin(), prompt.images.end(), [](const PlacedImage& image) {
        return image.routing == RoutingSource::kWeights;
      });
  if (is_approximate && !prompt.images.empty()) prompt.exact_text_ids = text_ids;
  if (!pinned.has_value()) prompt.text_ids = std::move(text_ids);
  RETURN_IF_ERROR(keep_going());
  return prompt;
}

// Rendered by itself: the tokens of a text that goes on may be other ones at the joint.
absl::StatusOr<std::vector<TokenId>> PromptBuilder::PinnedText(const Conversation& pinned) const {
  absl::StatusOr<RenderedPrompt> rendered = chat_template_.Render(pinned);
  if (!rendered.ok()) return WithPromptField(rendered.status());
  std::vector<TokenId> ids = std::move(rendered->token_ids);
  ids.erase(std::remove(ids.begin(), ids.end(), kVisualToken), ids.end());
  return ids;
}

absl::StatusOr<PromptBuilder::TokenCounts> PromptBuilder::Count(ValidRequest request) const {
  absl::StatusOr<RenderedPrompt> rendered = chat_template_.Render(
      ToConversation(request), {.tokens_per_image = options_.tokens_per_image});
  if (!rendered.ok()) return WithPromptField(rendered.status());
  return TokenCounts{.text_tokens = rendered->num_text_tokens,
                     .image_tokens = rendered->num_image_slots * options_.tokens_per_image};
}

}  // namespace parrot
