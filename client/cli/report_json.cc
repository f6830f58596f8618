#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/error_status.h"
#include "client/call_status.h"
#include "client/cli/report.h"
#include "client/reply_names.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

// Keys in the order in which they are written here.
using json = nlohmann::ordered_json;

// Messages may hold bytes that are not UTF-8; the object must not fail for it.
std::string Dump(const json& object) {
  return object.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace) +
         "\n";
}

// The shortest decimal that reads back as the same float, instead of the float's 17-digit double.
double Shortest(float value) {
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size() - 1, value);
  return error == std::errc() && std::isfinite(value) ? std::strtod(buffer.data(), nullptr) : 0.0;
}

const char* RoutingModeText(v1::RoutingMode mode) {
  switch (mode) {
    case v1::ROUTING_MODE_PIN_FIRST_TURN:
      return "pin_first_turn";
    case v1::ROUTING_MODE_WEIGHTS:
      return "weights";
    default:
      return "exact";
  }
}

json UsageObject(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},
          {"text_tokens", usage.text_tokens()},
          {"image_tokens", usage.image_tokens()},
          {"completion_tokens", usage.completion_tokens()},
          {"cached_tokens", usage.cached_tokens()},
          {"blocked_tokens", usage.blocked_tokens()}};
}

json TimingsObject(const v1::Timings& timings) {
  json object = json::object();
  for (const auto& [stage, seconds] : StageSeconds(timings)) object[stage] = seconds;
  return object;
}

// `routing` is the list per image of the expert weights; the rest stands beside it.
template <typename RoutingList>
void AddRouting(const RoutingList& routing, json* object) {
  json weights = json::array();
  json entropy = json::array();
  json cache_levels = json::array();
  json modes = json::array();
  json error_bounds = json::array();
  for (const v1::ImageRouting& image : routing) {
    json row = json::array();
    for (const float weight : image.expert_weights()) row.push_back(Shortest(weight));
    weights.push_back(std::move(row));
    entropy.push_back(Shortest(image.entropy()));
    cache_levels.push_back(CacheLevelName(image.cache_level()));
    modes.push_back(RoutingModeText(image.mode()));
    error_bounds.push_back(image.has_error_bound() ? json(Shortest(image.error_bound())) : json());
  }
  (*object)["routing"] = std::move(weights);
  (*object)["routing_entropy"] = std::move(entropy);
  (*object)["cache_levels"] = std::move(cache_levels);
  (*object)["routing_modes"] = std::move(modes);
  (*object)["routing_error_bounds"] = std::move(error_bounds);
}

json ErrorObject(const absl::Status& status) {
  const ErrorFacts facts = GetErrorFacts(status);
  json error = {{"code", absl::StatusCodeToString(status.code())},
                {"message", std::string(status.message().data(), status.message().size())}};
  if (!facts.reason.empty()) error["reason"] = facts.reason;
  if (!facts.field.empty()) error["field"] = facts.field;
  if (!facts.value.empty()) error["value"] = facts.value;
  if (!facts.limit.empty()) error["limit"] = facts.limit;
  if (facts.retry_after > absl::ZeroDuration()) {
    error["retry_after_seconds"] = absl::ToDoubleSeconds(facts.retry_after);
  }
  const std::string request_id = GetRequestId(status);
  if (!request_id.empty()) error["request_id"] = request_id;
  return error;
}

json LimitsObject(const v1::Limits& limits) {
  return {{"max_model_len", limits.max_model_len()},
          {"max_tokens_default", limits.max_tokens_default()},
          {"max_images", limits.max_images()},
          {"max_image_bytes", limits.max_image_bytes()},
          {"max_total_image_bytes", limits.max_total_image_bytes()},
          {"max_image_pixels", limits.max_image_pixels()},
          {"max_image_side", limits.max_image_side()},
          {"max_text_bytes", limits.max_text_bytes()},
          {"max_messages", limits.max_messages()},
          {"max_receive_message_bytes", limits.max_receive_message_bytes()},
          {"max_wire_fields", limits.max_wire_fields()},
          {"max_stop_token_ids", limits.max_stop_token_ids()},
          {"max_stop_strings", limits.max_stop_strings()},
          {"max_stop_string_bytes", limits.max_stop_string_bytes()},
          {"max_logit_bias", limits.max_logit_bias()},
          {"max_logprobs", limits.max_logprobs()},
          {"max_n", limits.max_n()},
          {"max_choices", limits.max_choices()},
          {"max_choice_bytes", limits.max_choice_bytes()},
          {"max_prompt_logprobs", limits.max_prompt_logprobs()},
          {"max_digests", limits.max_digests()}};
}

// Tokens that are a part of a code point are no text: their bytes are given as numbers.
json TokenObject(const v1::TokenLogprob& token) {
  return {{"token_id", token.token_id()},
          {"logprob", Shortest(token.logprob())},
          {"token", token.token()},
          {"bytes", std::vector<uint8_t>(token.token().begin(), token.token().end())}};
}

// A TokenLogprob with the most probable ones in its place.
template <typename TopList>
json TokenWithTop(const v1::TokenLogprob& token, const TopList& top_list) {
  json entry = TokenObject(token);
  entry["top"] = json::array();
  for (const v1::TokenLogprob& top : top_list) entry["top"].push_back(TokenObject(top));
  return entry;
}

// What one answer holds.
void AddOutput(const AnswerOutput& output, json* object) {
  (*object)["text"] = output.text;
  (*object)["token_ids"] = output.token_ids;
  (*object)["finish_reason"] = nullptr;
  if (!output.logprobs.empty()) {
    json list = json::array();
    for (const v1::TokenLogprobs& logprobs : output.logprobs) {
      list.push_back(TokenWithTop(logprobs.chosen(), logprobs.top()));
    }
    (*object)["logprobs"] = std::move(list);
  }
  if (!output.finish.has_value()) return;
  (*object)["finish_reason"] = FinishReasonName(output.finish->finish_reason());
  if (output.finish->has_stop_token_id()) {
    (*object)["stop_token_id"] = output.finish->stop_token_id();
  }
  if (output.finish->has_stop_text()) (*object)["stop_text"] = output.finish->stop_text();
  for (const v1::ChoiceProbability& choice : output.finish->choices()) {
    (*object)["choices"].push_back({{"text", choice.text()},
                                    {"probability", Shortest(choice.probability())},
                                    {"logprob", Shortest(choice.logprob())}});
  }
  (*object)["usage"] = UsageObject(output.finish->usage());
  (*object)["timings"] = TimingsObject(output.finish->timings());
}

template <typename Repeated>
json ListOf(const Repeated& values) {
  json list = json::array();
  for (const auto& value : values) list.push_back(value);
  return list;
}

}  // namespace

std::string AnswerJson(const Answer& answer) {
  json object = {{"request_id", answer.request_id}, {"model", answer.model}};
  AddOutput(answer, &object);
  if (!answer.others.empty()) {
    json others = json::array();
    for (const AnswerOutput& output : answer.others) {
      AddOutput(output, &others.emplace_back(json::object()));
    }
    object["other_answers"] = std::move(others);
  }
  for (const v1::PromptTokenLogprobs& token : answer.prompt_logprobs) {
    json entry = TokenWithTop(token.token(), token.top());
    entry["position"] = token.position();
    object["prompt_logprobs"].push_back(std::move(entry));
  }
  AddRouting(answer.routing, &object);
  if (!answer.status.ok()) object["error"] = ErrorObject(answer.status);
  return Dump(object);
}

std::string RouteJson(const v1::RouteResponse& response) {
  json object = {{"request_id", response.request_id()}, {"model", response.model()}};
  AddRouting(response.routing(), &object);
  object["usage"] = UsageObject(response.usage());
  object["timings"] = TimingsObject(response.timings());
  return Dump(object);
}

std::string TokenizeJson(const v1::TokenizeResponse& response) {
  return Dump({{"model", response.model()},
               {"token_ids", ListOf(response.token_ids())},
               {"count", response.token_ids_size()}});
}

std::string CountJson(const v1::CountTokensResponse& response) {
  return Dump({{"model", response.model()},
               {"usage", UsageObject(response.usage())},
               {"max_model_len", response.max_model_len()}});
}

std::string ModelJson(const v1::GetModelInfoResponse& response) {
  return Dump({{"model", response.model()},
               {"served_names", ListOf(response.served_names())},
               {"schema_revision", response.schema_revision()},
               {"server_version", response.server_version()},
               {"model_revision", response.model_revision()},
               {"languages", ListOf(response.languages())},
               {"image_tokens", response.image_tokens()},
               {"image_size", response.image_size()},
               {"num_experts", response.num_experts()},
               {"vocab_size", response.vocab_size()},
               {"num_layers", response.num_layers()},
               {"hidden_size", response.hidden_size()},
               {"num_parameters", response.num_parameters()},
               {"dtype", response.dtype()},
               {"device", response.device()},
               {"limits", LimitsObject(response.limits())},
               {"unsupported_options", ListOf(response.unsupported_options())}});
}

std::string HealthJson(const std::string& service, const std::string& state) {
  return Dump({{"service", service}, {"status", state}});
}

std::string ErrorJson(const absl::Status& status) { return Dump({{"error", ErrorObject(status)}}); }

}  // namespace parrot
