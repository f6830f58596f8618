#include "client/cli/request_builder.h"

#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/conversation.h"
#include "client/messages/bounded_file.h"

namespace parrot {
namespace {

constexpr int64_t kMaxSecretBytes = 1 << 20;
constexpr char kStandardInput[] = "/dev/stdin";

absl::StatusOr<std::string> ReadFlagFile(const std::string& path, const std::string& flag) {
  if (path.empty()) return std::string();
  absl::StatusOr<std::string> text = ReadBoundedFile(path, kMaxSecretBytes);
  if (!text.ok()) return WithField(text.status(), flag);
  return text;
}

}  // namespace

absl::StatusOr<std::string> TextOrStandardInput(const std::optional<std::string>& given,
                                                const std::string& flag) {
  if (given.has_value()) return *given;
  if (isatty(STDIN_FILENO) == 1) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("give ", flag, " or pipe the text to standard input"),
                       {.reason = kUsageReason});
  }
  absl::StatusOr<std::string> text = ReadBoundedFile(kStandardInput, kMaxTextBytes);
  if (!text.ok()) return WithField(text.status(), "standard input");
  if (text->ends_with('\n')) text->pop_back();
  return text;
}

absl::StatusOr<std::vector<InputMessage>> ReadConversation(const ConversationFlags& flags) {
  if (!flags.messages_file.empty()) {
    return ReadMessagesFile(flags.messages_file, {.max_image_bytes = kMaxImageFileBytes});
  }
  std::vector<std::string> images;
  images.reserve(flags.images.size());
  for (const std::string& path : flags.images) {
    absl::StatusOr<std::string> image = ReadBoundedFile(path, kMaxImageFileBytes);
    if (!image.ok()) return WithField(image.status(), "--image");
    images.push_back(*std::move(image));
  }
  ASSIGN_OR_RETURN(std::string prompt, TextOrStandardInput(flags.prompt, "--prompt"));
  std::vector<InputMessage> messages;
  if (flags.system.has_value()) messages.push_back(SystemMessage(*flags.system));
  messages.push_back(UserMessage(std::move(prompt), std::move(images)));
  return messages;
}

void ApplySampling(const SamplingFlags& flags, v1::GenerateRequest* request) {
  v1::SamplingParams& sampling = *request->mutable_sampling();
  if (flags.temperature.has_value()) sampling.set_temperature(*flags.temperature);
  if (flags.top_k.has_value()) sampling.set_top_k(*flags.top_k);
  if (flags.top_p.has_value()) sampling.set_top_p(*flags.top_p);
  if (flags.seed.has_value()) sampling.set_seed(*flags.seed);
  if (flags.min_p.has_value()) sampling.set_min_p(*flags.min_p);
  if (flags.repetition_penalty.has_value()) {
    sampling.set_repetition_penalty(*flags.repetition_penalty);
  }
  if (flags.presence_penalty.has_value()) sampling.set_presence_penalty(*flags.presence_penalty);
  if (flags.frequency_penalty.has_value()) sampling.set_frequency_penalty(*flags.frequency_penalty);
  for (const auto& [token, bias] : flags.logit_bias) (*sampling.mutable_logit_bias())[token] = bias;
  if (flags.lock_language.has_value()) {
    v1::LanguageLock& lock = *sampling.mutable_language_lock();
    lock.set_language(*flags.lock_language);
    if (flags.lock_bias.has_value()) {
      lock.set_mode(v1::LOCK_MODE_SOFT);
      lock.set_bias(*flags.lock_bias);
    }
  }
  v1::StopConditions& stop = *request->mutable_stop();
  if (flags.max_tokens.has_value()) stop.set_max_tokens(*flags.max_tokens);
  for (const int32_t token_id : flags.stop_token_ids) stop.add_stop_token_ids(token_id);
  if (flags.min_tokens.has_value()) stop.set_min_tokens(*flags.min_tokens);
  if (flags.ignore_eos) stop.set_ignore_eos(true);
  for (const std::string& text : flags.stop) stop.add_stop(text);
  if (flags.include_stop) stop.set_include_stop(true);
  if (flags.num_answers.has_value()) request->set_n(*flags.num_answers);
  for (const std::string& choice : flags.choices) request->add_choices(choice);
  if (flags.logprobs.has_value()) request->mutable_output()->set_logprobs(*flags.logprobs);
  if (flags.prompt_logprobs.has_value()) {
    request->mutable_output()->set_prompt_logprobs(*flags.prompt_logprobs);
  }
}

v1::GenerateRequest GenerateRequestFrom(const CliOptions& options) {
  v1::GenerateRequest request;
  const ConversationFlags& conversation = options.conversation;
  if (options.connection.model.has_value()) request.set_model(*options.connection.model);
  if (conversation.prefix.has_value()) request.set_generation_prefix(*conversation.prefix);
  if (conversation.literal) request.set_image_placement(v1::IMAGE_PLACEMENT_LITERAL);
  if (conversation.pin_first_turn) request.set_routing(v1::ROUTING_MODE_PIN_FIRST_TURN);
  if (conversation.language.has_value()) request.set_language(*conversation.language);
  ApplySampling(options.sampling, &request);
  return request;
}

absl::StatusOr<ClientOptions> ClientOptionsFrom(const ConnectionFlags& flags) {
  ClientOptions options;
  options.target = flags.target;
  options.tls.enabled = flags.tls;
  ASSIGN_OR_RETURN(options.tls.ca_pem, ReadFlagFile(flags.tls_ca, "--tls-ca"));
  ASSIGN_OR_RETURN(options.tls.cert_pem, ReadFlagFile(flags.tls_cert, "--tls-cert"));
  ASSIGN_OR_RETURN(options.tls.key_pem, ReadFlagFile(flags.tls_key, "--tls-key"));
  ASSIGN_OR_RETURN(options.api_key, ReadFlagFile(flags.api_key_file, "--api-key-file"));
  if (flags.api_key_file.empty()) {
    const char* key = std::getenv("PARROT_API_KEY");
    if (key != nullptr) options.api_key = key;
  }
  absl::StripAsciiWhitespace(&options.api_key);
  if (flags.timeout.has_value()) options.default_timeout = *flags.timeout;
  return options;
}

}  // namespace parrot
