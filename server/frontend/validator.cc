#include "server/frontend/validator.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/text/utf8.h"
#include "server/frontend/data_uri.h"
#include "server/frontend/language_lock_check.h"
#include "server/frontend/option_checks.h"

namespace parrot {
namespace {

constexpr float kGreedyBelow = 1e-5f;
constexpr size_t kMaxShownNameBytes = 64;
// Of the sum of explicit expert weights: room for weights that were printed with three digits.
constexpr double kWeightSumTolerance = 1e-3;

absl::Status CheckPenalties(const SamplingSpec& spec) {
  RETURN_IF_ERROR(CheckRange("repetition_penalty",
                             spec.repetition_penalty,
                             {.min = 0.0f, .max = 10.0f, .min_excluded = true}));
  RETURN_IF_ERROR(CheckRange("presence_penalty", spec.presence_penalty, {-2.0f, 2.0f}));
  return CheckRange("frequency_penalty", spec.frequency_penalty, {-2.0f, 2.0f});
}

absl::Status CheckLogitBias(const std::vector<std::pair<uint32_t, float>>& logit_bias,
                            const FrontendLimits& limits,
                            int32_t vocab_size) {
  RETURN_IF_ERROR(
      CheckRange("logit_bias", static_cast<int64_t>(logit_bias.size()), 0, limits.max_logit_bias));
  for (const auto& [token, bias] : logit_bias) {
    RETURN_IF_ERROR(CheckRange("logit_bias", int64_t{token}, 0, vocab_size - 1));
    RETURN_IF_ERROR(CheckRange(Indexed("logit_bias", token),
                               bias,
                               {-limits.max_abs_logit_bias, limits.max_abs_logit_bias}));
  }
  return absl::OkStatus();
}

absl::Status CheckStopStrings(const std::vector<std::string>& stop, const FrontendLimits& limits) {
  RETURN_IF_ERROR(
      CheckRange("stop", static_cast<int64_t>(stop.size()), 0, limits.max_stop_strings));
  for (size_t i = 0; i < stop.size(); ++i) {
    RETURN_IF_ERROR(CheckRange(
        Indexed("stop", i), static_cast<int64_t>(stop[i].size()), 1, limits.max_stop_string_bytes));
    RETURN_IF_ERROR(WithField(ValidateUtf8(stop[i]), Indexed("stop", i)));
  }
  return absl::OkStatus();
}

absl::Status CheckPlacement(const std::optional<PlacementSpec>& placement, bool& literal) {
  switch (placement.value_or(PlacementSpec::kUnspecified)) {
    case PlacementSpec::kUnspecified:
    case PlacementSpec::kCanonical:
      literal = false;
      return absl::OkStatus();
    case PlacementSpec::kLiteral:
      literal = true;
      return absl::OkStatus();
  }
  return InvalidOption("UNKNOWN_ENUM",
                       "image_placement",
                       "unknown value",
                       absl::StrCat(static_cast<int32_t>(*placement)));
}

absl::Status CheckRouting(const std::optional<RoutingSpec>& routing, bool& pin_first_turn) {
  switch (routing.value_or(RoutingSpec::kUnspecified)) {
    case RoutingSpec::kUnspecified:
    case RoutingSpec::kExact:
      pin_first_turn = false;
      return absl::OkStatus();
    case RoutingSpec::kPinFirstTurn:
      pin_first_turn = true;
      return absl::OkStatus();
    case RoutingSpec::kWeights:
      return InvalidOption(
          "ROUTING_BY_WEIGHTS", "routing", "weights stand with the image, in expert_weights");
  }
  return InvalidOption(
      "UNKNOWN_ENUM", "routing", "unknown value", absl::StrCat(static_cast<int32_t>(*routing)));
}

absl::Status NoExperts(std::string_view message) {
  return ErrorStatus(absl::StatusCode::kUnimplemented, message, {.reason = "NO_EXPERTS"});
}

absl::Status NoImageStore() {
  return ErrorStatus(absl::StatusCode::kUnimplemented,
                     "this server keeps no images",
                     {.reason = "IMAGE_STORE_OFF"});
}

absl::StatusOr<Sha256Digest> ToDigest(std::string_view raw, std::string_view field) {
  const std::optional<Sha256Digest> digest = Sha256Digest::FromBytes(raw);
  if (digest.has_value()) return *digest;
  return InvalidOption("INVALID_DIGEST",
                       field,
                       absl::StrCat(raw.size(), " bytes, a SHA-256 has 32"),
                       absl::StrCat(raw.size()),
                       "32");
}

absl::Status CheckLanguage(const std::string& language, const FrontendLimits& limits) {
  bool valid =
      !language.empty() && language.size() <= static_cast<size_t>(limits.max_language_bytes);
  for (char c : language) {
    valid = valid && (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-');
  }
  if (valid) return absl::OkStatus();
  return InvalidOption(
      "INVALID_LANGUAGE",
      "language",
      absl::StrCat("a BCP 47 tag of 1 to ", limits.max_language_bytes, " letters, digits and '-'"));
}

// System at most once and first, then the user; the user last. Turns may repeat: the model was
// trained on strict turns, yet nothing breaks without.
absl::Status CheckRole(const std::vector<MessageSpec>& messages, size_t idx) {
  const RoleSpec role = messages[idx].role;
  if (role != RoleSpec::kSystem && role != RoleSpec::kUser && role != RoleSpec::kAssistant) {
    return InvalidOption("INVALID_ROLE",
                         "role",
                         "must be system, user or assistant",
                         absl::StrCat(static_cast<int32_t>(role)));
  }
  if (role == RoleSpec::kSystem && idx != 0) {
    return InvalidOption("INVALID_ROLE", "role", "a system message can only be the first");
  }
  const bool first_turn = idx == 0 || (idx == 1 && messages[0].role == RoleSpec::kSystem);
  if (role == RoleSpec::kAssistant && first_turn) {
    return InvalidOption("INVALID_ROLE", "role", "the first turn must be the user's");
  }
  if (idx + 1 == messages.size() && role != RoleSpec::kUser) {
    return InvalidOption("INVALID_ROLE", "role", "the last message must be the user's");
  }
  return absl::OkStatus();
}

bool IsRequestId(std::string_view id, const FrontendLimits& limits) {
  if (id.empty() || id.size() > static_cast<size_t>(limits.max_request_id_bytes)) return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isprint(static_cast<unsigned char>(c));
  });
}

}  // namespace

Validator::Validator(const ValidatorOptions& options) : options_(options) {
  PARROT_CHECK(!options_.served_names.empty());
}

absl::StatusOr<std::string> Validator::ResolveModel(const std::optional<std::string>& model) const {
  if (!model.has_value()) return options_.served_names.front();
  for (const std::string& name : options_.served_names) {
    if (name == *model) return name;
  }
  const std::string shown = Printable(*model, kMaxShownNameBytes);
  return ErrorStatus(absl::StatusCode::kNotFound,
                     "model '" + shown + "' not served",
                     {.reason = "MODEL_NOT_FOUND", .field = "model", .value = shown});
}

absl::StatusOr<std::string> Validator::ResolveRequestId(const GenerateSpec& spec) const {
  const std::string rule = absl::StrCat(
      "must be 1 to ", options_.limits.max_request_id_bytes, " printable ASCII characters");
  if (spec.request_id.has_value() && !IsRequestId(*spec.request_id, options_.limits)) {
    return InvalidOption("INVALID_REQUEST_ID", "request_id", rule);
  }
  if (spec.header_request_id.has_value() &&
      !IsRequestId(*spec.header_request_id, options_.limits)) {
    return InvalidOption("INVALID_REQUEST_ID", "x-request-id", rule);
  }
  if (spec.request_id.has_value() && spec.header_request_id.has_value() &&
      *spec.request_id != *spec.header_request_id) {
    return InvalidOption("INVALID_REQUEST_ID", "request_id", "differs from x-request-id");
  }
  if (spec.request_id.has_value()) return *spec.request_id;
  return spec.header_request_id.value_or("");
}

absl::Status Validator::ValidateText(std::string_view text) const {
  const auto size = static_cast<int64_t>(text.size());
  if (size > options_.limits.max_text_bytes) {
    return InvalidOption(
        "TEXT_TOO_LONG",
        "text",
        absl::StrCat(size, " bytes of text, limit ", options_.limits.max_text_bytes),
        absl::StrCat(size),
        absl::StrCat(options_.limits.max_text_bytes));
  }
  return WithField(ValidateUtf8(text), "text");
}

absl::Status Validator::CheckText(std::string_view text, ValidRequest& request) const {
  request.text_bytes += static_cast<int64_t>(text.size());
  const int64_t limit = options_.limits.max_text_bytes;
  if (request.text_bytes > limit) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("more than ", limit, " bytes of text in the request"),
                       {.reason = "TEXT_TOO_LONG",
                        .value = absl::StrCat(request.text_bytes),
                        .limit = absl::StrCat(limit)});
  }
  return ValidateUtf8(text);
}

absl::Status Validator::CheckImage(const ImageSpec& image, ValidRequest& request) const {
  int64_t size = static_cast<int64_t>(image.data.size());
  switch (image.source) {
    case ImageSpec::Source::kNone:
      return InvalidOption("IMAGE_MISSING", "source", "required");
    case ImageSpec::Source::kDigest:
      if (!options_.has_image_store) return UnsupportedOption("digest_sha256");
      RETURN_IF_ERROR(ToDigest(image.data, "digest_sha256").status());
      if (image.mime_type.has_value()) {
        return InvalidOption("INVALID_DIGEST", "mime_type", "not allowed beside digest_sha256");
      }
      size = 0;
      break;
    case ImageSpec::Source::kBytes:
      break;
    case ImageSpec::Source::kDataUri: {
      const absl::StatusOr<DataUri> uri = ParseDataUri(image.data);
      if (!uri.ok()) return WithField(uri.status(), "data_uri");
      if (image.mime_type.has_value()) {
        return InvalidOption("INVALID_DATA_URI", "mime_type", "not allowed beside data_uri");
      }
      size = uri->decoded_bytes;
      break;
    }
  }
  if (!image.expert_weights.empty()) RETURN_IF_ERROR(CheckExpertWeights(image.expert_weights));
  ++request.num_images;
  request.encoded_image_bytes += size;
  return CheckImageSize(size);
}

absl::Status Validator::CheckImageSize(int64_t size_bytes) const {
  const int64_t limit = options_.limits.max_image_bytes;
  if (size_bytes <= limit) return absl::OkStatus();
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(size_bytes, " encoded bytes, limit ", limit),
                     {.reason = "IMAGE_TOO_LARGE",
                      .value = absl::StrCat(size_bytes),
                      .limit = absl::StrCat(limit)});
}

absl::StatusOr<std::string> Validator::ValidateUpload(const std::optional<std::string>& model,
                                                      std::string_view data) const {
  if (!options_.has_image_store) return NoImageStore();
  ASSIGN_OR_RETURN(std::string name, ResolveModel(model));
  if (data.empty()) return InvalidOption("IMAGE_MISSING", "data", "required");
  RETURN_IF_ERROR(WithField(CheckImageSize(static_cast<int64_t>(data.size())), "data"));
  return name;
}

absl::StatusOr<std::vector<Sha256Digest>> Validator::ValidateDigests(
    const std::vector<std::string>& digests) const {
  if (!options_.has_image_store) return NoImageStore();
  RETURN_IF_ERROR(CheckRange(
      "digests_sha256", static_cast<int64_t>(digests.size()), 1, options_.limits.max_digests));
  std::vector<Sha256Digest> parsed;
  parsed.reserve(digests.size());
  for (size_t i = 0; i < digests.size(); ++i) {
    ASSIGN_OR_RETURN(parsed.emplace_back(), ToDigest(digests[i], Indexed("digests_sha256", i)));
  }
  return parsed;
}

absl::Status Validator::CheckExpertWeights(const std::vector<float>& weights) const {
  if (options_.num_experts == 0) {
    return WithField(NoExperts("the model has no experts to weigh"), "expert_weights");
  }
  if (weights.size() != static_cast<size_t>(options_.num_experts)) {
    return InvalidOption("EXPERT_WEIGHTS_LENGTH",
                         "expert_weights",
                         absl::StrCat(weights.size(), " weights, experts ", options_.num_experts),
                         absl::StrCat(weights.size()),
                         absl::StrCat(options_.num_experts));
  }
  double sum = 0.0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto max = static_cast<float>(1.0 + kWeightSumTolerance);
    RETURN_IF_ERROR(CheckRange(Indexed("expert_weights", i), weights[i], {0.0f, max}));
    sum += weights[i];
  }
  if (std::abs(sum - 1.0) <= kWeightSumTolerance) return absl::OkStatus();
  return InvalidOption("EXPERT_WEIGHTS_SUM",
                       "expert_weights",
                       absl::StrCat("sum ", sum, ", must be 1 within ", kWeightSumTolerance),
                       absl::StrCat(sum),
                       "1");
}

absl::Status Validator::CheckParts(const MessageSpec& message, ValidRequest& request) const {
  bool has_content = false;
  for (size_t i = 0; i < message.parts.size(); ++i) {
    const PartSpec& part = message.parts[i];
    const std::string field = Indexed("parts", i);
    if (const auto* text = std::get_if<TextSpec>(&part)) {
      RETURN_IF_ERROR(WithField(WithField(CheckText(text->text, request), "text"), field));
      has_content = has_content || !text->text.empty();
    } else if (const auto* image = std::get_if<ImageSpec>(&part)) {
      if (message.role != RoleSpec::kUser) {
        return InvalidOption(
            "INVALID_ROLE", field + ".image", "images are allowed in user messages only");
      }
      RETURN_IF_ERROR(WithField(WithField(CheckImage(*image, request), "image"), field));
      has_content = true;
    } else {
      return InvalidOption("PART_MISSING", field, "text or image required");
    }
  }
  if (!has_content) return InvalidOption("EMPTY_PROMPT", "parts", "empty message");
  return absl::OkStatus();
}

absl::Status Validator::CheckMessages(const std::vector<MessageSpec>& messages,
                                      ValidRequest& request) const {
  if (messages.empty()) return InvalidOption("EMPTY_PROMPT", "messages", "required");
  const FrontendLimits& limits = options_.limits;
  if (messages.size() > static_cast<size_t>(limits.max_messages)) {
    return InvalidOption("TOO_MANY_MESSAGES",
                         "messages",
                         absl::StrCat(messages.size(), " messages, limit ", limits.max_messages),
                         absl::StrCat(messages.size()),
                         absl::StrCat(limits.max_messages));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string field = Indexed("messages", i);
    RETURN_IF_ERROR(WithField(CheckRole(messages, i), field));
    RETURN_IF_ERROR(WithField(CheckParts(messages[i], request), field));
  }
  if (request.num_images > limits.max_images) {
    return InvalidOption("IMAGE_COUNT",
                         "messages",
                         absl::StrCat(request.num_images, " images, limit ", limits.max_images),
                         absl::StrCat(request.num_images),
                         absl::StrCat(limits.max_images));
  }
  if (request.encoded_image_bytes > limits.max_total_image_bytes) {
    return InvalidOption(
        "IMAGE_TOO_LARGE",
        "messages",
        absl::StrCat(
            request.encoded_image_bytes, " bytes of images, limit ", limits.max_total_image_bytes),
        absl::StrCat(request.encoded_image_bytes),
        absl::StrCat(limits.max_total_image_bytes));
  }
  if (request.kind == RequestKind::kRoute && request.num_images == 0) {
    return InvalidOption("IMAGE_MISSING", "messages", "routing needs at least one image");
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckSampling(const SamplingSpec& spec, ValidRequest& request) const {
  RETURN_IF_ERROR(CheckRange("temperature", spec.temperature, {0.0f, 2.0f}));
  RETURN_IF_ERROR(
      CheckRange("top_p", spec.top_p, {.min = 0.0f, .max = 1.0f, .min_excluded = true}));
  RETURN_IF_ERROR(CheckRange("top_k", spec.top_k, 1, INT32_MAX));
  RETURN_IF_ERROR(CheckRange("min_p", spec.min_p, {0.0f, 1.0f}));
  RETURN_IF_ERROR(CheckPenalties(spec));
  RETURN_IF_ERROR(CheckLogitBias(spec.logit_bias, options_.limits, options_.vocab_size));
  SamplingParams& sampling = request.sampling;
  if (spec.language_lock.has_value()) {
    RETURN_IF_ERROR(CheckLanguageLock(*spec.language_lock,
                                      options_.limits.max_abs_logit_bias,
                                      &sampling.language_lock.emplace(),
                                      &request.lock_language));
  }
  const float temperature = spec.temperature.value_or(0.0f);
  sampling.temperature = temperature < kGreedyBelow ? 0.0f : temperature;
  sampling.top_k = std::min(spec.top_k.value_or(0), options_.vocab_size);
  sampling.top_p = spec.top_p.value_or(1.0f);
  sampling.min_p = spec.min_p.value_or(0.0f);
  sampling.repetition_penalty = spec.repetition_penalty.value_or(1.0f);
  sampling.presence_penalty = spec.presence_penalty.value_or(0.0f);
  sampling.frequency_penalty = spec.frequency_penalty.value_or(0.0f);
  sampling.logit_bias.reserve(spec.logit_bias.size());
  for (const auto& [token, bias] : spec.logit_bias) {
    sampling.logit_bias.emplace_back(static_cast<TokenId>(token), bias);
  }
  sampling.seed = spec.seed.value_or(options_.default_seed);
  return absl::OkStatus();
}

absl::Status Validator::CheckStop(const StopSpec& spec, ValidRequest& request) const {
  const FrontendLimits& limits = options_.limits;
  RETURN_IF_ERROR(CheckRange("max_tokens", spec.max_tokens, 1, limits.max_model_len));
  RETURN_IF_ERROR(
      CheckRange("min_tokens", spec.min_tokens, 0, spec.max_tokens.value_or(limits.max_model_len)));
  RETURN_IF_ERROR(CheckRange("stop_token_ids",
                             static_cast<int64_t>(spec.stop_token_ids.size()),
                             0,
                             limits.max_stop_token_ids));
  for (size_t i = 0; i < spec.stop_token_ids.size(); ++i) {
    RETURN_IF_ERROR(CheckRange(
        Indexed("stop_token_ids", i), int64_t{spec.stop_token_ids[i]}, 0, options_.vocab_size - 1));
  }
  RETURN_IF_ERROR(CheckStopStrings(spec.stop, limits));
  request.max_tokens = spec.max_tokens;
  request.min_tokens = spec.min_tokens.value_or(0);
  request.ignore_eos = spec.ignore_eos.value_or(false);
  request.stop = {.stop = spec.stop,
                  .include_stop = spec.include_stop.value_or(false),
                  .min_tokens = request.min_tokens};
  request.stop_token_ids = spec.stop_token_ids;
  std::sort(request.stop_token_ids.begin(), request.stop_token_ids.end());
  return absl::OkStatus();
}

// Nothing is drawn, so an option of drawing or stopping would be ignored.
absl::Status Validator::CheckChoices(const GenerateSpec& spec) const {
  if (spec.choices.empty()) return absl::OkStatus();
  const FrontendLimits& limits = options_.limits;
  RETURN_IF_ERROR(
      CheckRange("choices", static_cast<int64_t>(spec.choices.size()), 1, limits.max_choices));
  std::set<std::string_view> seen;
  for (size_t i = 0; i < spec.choices.size(); ++i) {
    const std::string& choice = spec.choices[i];
    const std::string field = Indexed("choices", i);
    RETURN_IF_ERROR(
        CheckRange(field, static_cast<int64_t>(choice.size()), 1, limits.max_choice_bytes));
    RETURN_IF_ERROR(WithField(ValidateUtf8(choice), field));
    if (!seen.insert(choice).second) {
      return InvalidOption("DUPLICATE_CHOICE", field, "is given twice");
    }
  }
  const std::pair<const char*, bool> others[] = {
      {"sampling", !(spec.sampling == SamplingSpec{})},
      {"stop", !(spec.stop == StopSpec{})},
      {"output.logprobs", spec.output.logprobs.has_value()},
      {"n", spec.n.value_or(1) != 1}};
  for (const auto& [field, is_given] : others) {
    if (is_given) return InvalidOption("CONFLICTING_OPTIONS", field, "not allowed beside choices");
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckOtherOptions(const GenerateSpec& spec) const {
  const FrontendLimits& limits = options_.limits;
  RETURN_IF_ERROR(CheckRange("output.logprobs", spec.output.logprobs, 0, limits.max_logprobs));
  RETURN_IF_ERROR(
      CheckRange("output.prompt_logprobs", spec.output.prompt_logprobs, 0, limits.max_logprobs));
  RETURN_IF_ERROR(CheckRange("n", spec.n, 1, limits.max_n));
  RETURN_IF_ERROR(CheckRange("priority", spec.priority, 0, 9));
  RETURN_IF_ERROR(
      CheckRange("timeout_ms", spec.timeout_ms, 1, absl::ToInt64Milliseconds(limits.max_timeout)));
  RETURN_IF_ERROR(CheckChoices(spec));
  if (spec.json_schema.has_value()) return UnsupportedOption("json_schema");
  if (spec.language.has_value()) return CheckLanguage(*spec.language, limits);
  return absl::OkStatus();
}

absl::StatusOr<ValidRequest> Validator::Validate(GenerateSpec&& spec) const {
  ValidRequest request;
  request.kind = spec.kind;
  if (spec.kind == RequestKind::kRoute && options_.num_experts == 0) {
    return NoExperts("the model has no experts to route");
  }
  ASSIGN_OR_RETURN(request.model, ResolveModel(spec.model));
  RETURN_IF_ERROR(CheckMessages(spec.messages, request));
  if (spec.generation_prefix.has_value()) {
    RETURN_IF_ERROR(WithField(CheckText(*spec.generation_prefix, request), "generation_prefix"));
    request.generation_prefix = std::move(*spec.generation_prefix);
  }
  RETURN_IF_ERROR(CheckPlacement(spec.placement, request.literal_placement));
  RETURN_IF_ERROR(CheckRouting(spec.routing, request.pin_first_turn));
  RETURN_IF_ERROR(WithField(CheckSampling(spec.sampling, request), "sampling"));
  RETURN_IF_ERROR(WithField(CheckStop(spec.stop, request), "stop"));
  RETURN_IF_ERROR(CheckOtherOptions(spec));
  request.priority = spec.priority.value_or(0);
  request.num_outputs = spec.n.value_or(1);
  request.sampling.num_logprobs = spec.output.logprobs.value_or(-1);
  request.sampling.num_prompt_logprobs = spec.output.prompt_logprobs.value_or(-1);
  request.choices = std::move(spec.choices);
  request.language = spec.language.value_or("");
  request.messages = std::move(spec.messages);
  return request;
}

absl::StatusOr<int32_t> Validator::CheckLength(RequestKind kind,
                                               int32_t num_prompt_tokens,
                                               std::optional<int32_t> max_tokens,
                                               int32_t min_tokens) const {
  const int32_t limit = options_.limits.max_model_len;
  const int32_t fewest =
      kind == RequestKind::kRoute ? 0 : max_tokens.value_or(std::max(1, min_tokens));
  const int64_t total = int64_t{num_prompt_tokens} + fewest;
  if (total > limit) {
    const bool is_asked = max_tokens.has_value() || min_tokens > 1;
    const std::string message =
        is_asked && num_prompt_tokens < limit
            ? absl::StrCat("prompt has ",
                           num_prompt_tokens,
                           " tokens, with ",
                           max_tokens.has_value() ? "max_tokens " : "min_tokens ",
                           fewest,
                           " it needs ",
                           total,
                           ", limit ",
                           limit)
            : absl::StrCat("prompt has ", num_prompt_tokens, " tokens, limit ", limit);
    return InvalidOption("CONTEXT_LENGTH_EXCEEDED",
                         "messages",
                         message,
                         absl::StrCat(is_asked ? total : num_prompt_tokens),
                         absl::StrCat(limit));
  }
  if (kind == RequestKind::kRoute) return 0;
  return max_tokens.value_or(std::max(
      min_tokens, std::min(options_.limits.max_tokens_default, limit - num_prompt_tokens)));
}

absl::Status Validator::CheckPromptLogprobs(const SamplingParams& sampling,
                                            int32_t num_text_tokens) const {
  const int64_t total = int64_t{num_text_tokens} * (sampling.num_prompt_logprobs + 1);
  const int32_t limit = options_.limits.max_prompt_logprobs;
  if (total <= limit) return absl::OkStatus();
  return InvalidOption("TOO_MANY_LOGPROBS",
                       "output.prompt_logprobs",
                       absl::StrCat(total, " log-probabilities, limit ", limit),
                       absl::StrCat(total),
                       absl::StrCat(limit));
}

std::vector<std::string> Validator::UnsupportedOptions() const {
  std::vector<std::string> options = {"json_schema"};
  if (!options_.has_image_store) options.emplace_back("messages.parts.image.digest_sha256");
  return options;
}

}  // namespace parrot
