#include "server/grpc/request_conversion.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/repeated_ptr_field.h"

namespace parrot {
namespace {

ImageSpec FromImage(v1::Image& image) {
  ImageSpec spec;
  switch (image.source_case()) {
    case v1::Image::kData:
      spec.source = ImageSpec::Source::kBytes;
      spec.data = std::move(*image.mutable_data());
      break;
    case v1::Image::kDigestSha256:
      spec.source = ImageSpec::Source::kDigest;
      spec.data = std::move(*image.mutable_digest_sha256());
      break;
    case v1::Image::kDataUri:
      spec.source = ImageSpec::Source::kDataUri;
      spec.data = std::move(*image.mutable_data_uri());
      break;
    case v1::Image::SOURCE_NOT_SET:
      break;
  }
  if (image.has_mime_type()) spec.mime_type = std::move(*image.mutable_mime_type());
  spec.expert_weights.assign(image.expert_weights().begin(), image.expert_weights().end());
  return spec;
}

PartSpec FromPart(v1::Part& part) {
  switch (part.part_case()) {
    case v1::Part::kText:
      return TextSpec{std::move(*part.mutable_text())};
    case v1::Part::kImage:
      return FromImage(*part.mutable_image());
    case v1::Part::PART_NOT_SET:
      break;
  }
  return std::monostate();
}

std::vector<MessageSpec> FromMessages(google::protobuf::RepeatedPtrField<v1::Message>& messages) {
  std::vector<MessageSpec> specs;
  specs.reserve(static_cast<size_t>(messages.size()));
  for (v1::Message& message : messages) {
    MessageSpec spec;
    spec.role = static_cast<RoleSpec>(message.role());
    spec.parts.reserve(static_cast<size_t>(message.parts_size()));
    for (v1::Part& part : *message.mutable_parts()) spec.parts.push_back(FromPart(part));
    specs.push_back(std::move(spec));
  }
  return specs;
}

SamplingSpec FromSampling(const v1::SamplingParams& sampling) {
  SamplingSpec spec;
  if (sampling.has_temperature()) spec.temperature = sampling.temperature();
  if (sampling.has_top_k()) spec.top_k = sampling.top_k();
  if (sampling.has_top_p()) spec.top_p = sampling.top_p();
  if (sampling.has_min_p()) spec.min_p = sampling.min_p();
  if (sampling.has_seed()) spec.seed = sampling.seed();
  if (sampling.has_repetition_penalty()) spec.repetition_penalty = sampling.repetition_penalty();
  if (sampling.has_presence_penalty()) spec.presence_penalty = sampling.presence_penalty();
  if (sampling.has_frequency_penalty()) spec.frequency_penalty = sampling.frequency_penalty();
  spec.logit_bias.assign(sampling.logit_bias().begin(), sampling.logit_bias().end());
  // A protobuf map has no order; a request should have one meaning.
  std::sort(spec.logit_bias.begin(), spec.logit_bias.end());
  if (sampling.has_language_lock()) {
    const v1::LanguageLock& lock = sampling.language_lock();
    LanguageLockSpec& lock_spec = spec.language_lock.emplace();
    if (lock.has_language()) lock_spec.language = lock.language();
    if (lock.has_mode()) lock_spec.mode = static_cast<LockModeSpec>(lock.mode());
    if (lock.has_bias()) lock_spec.bias = lock.bias();
  }
  return spec;
}

StopSpec FromStop(v1::StopConditions& stop) {
  StopSpec spec;
  if (stop.has_max_tokens()) spec.max_tokens = stop.max_tokens();
  if (stop.has_min_tokens()) spec.min_tokens = stop.min_tokens();
  spec.stop_token_ids.assign(stop.stop_token_ids().begin(), stop.stop_token_ids().end());
  for (std::string& text : *stop.mutable_stop()) spec.stop.push_back(std::move(text));
  if (stop.has_ignore_eos()) spec.ignore_eos = stop.ignore_eos();
  if (stop.has_include_stop()) spec.include_stop = stop.include_stop();
  return spec;
}

// The fields that GenerateRequest, RouteRequest and CountTokensRequest share.
template <typename Request>
GenerateSpec FromConversation(Request& request) {
  GenerateSpec spec;
  if (request.has_model()) spec.model = std::move(*request.mutable_model());
  spec.messages = FromMessages(*request.mutable_messages());
  if (request.has_generation_prefix()) {
    spec.generation_prefix = std::move(*request.mutable_generation_prefix());
  }
  if (request.has_image_placement()) {
    spec.placement = static_cast<PlacementSpec>(request.image_placement());
  }
  return spec;
}

}  // namespace

GenerateSpec SpecFromGenerate(v1::GenerateRequest& request) {
  GenerateSpec spec = FromConversation(request);
  spec.sampling = FromSampling(request.sampling());
  spec.stop = FromStop(*request.mutable_stop());
  if (request.output().has_logprobs()) spec.output.logprobs = request.output().logprobs();
  if (request.output().has_prompt_logprobs()) {
    spec.output.prompt_logprobs = request.output().prompt_logprobs();
  }
  if (request.has_n()) spec.n = request.n();
  if (request.has_routing()) spec.routing = static_cast<RoutingSpec>(request.routing());
  if (request.has_priority()) spec.priority = request.priority();
  if (request.has_timeout_ms()) spec.timeout_ms = request.timeout_ms();
  if (request.has_language()) spec.language = std::move(*request.mutable_language());
  if (request.has_request_id()) spec.request_id = std::move(*request.mutable_request_id());
  for (std::string& choice : *request.mutable_choices()) spec.choices.push_back(std::move(choice));
  if (request.has_json_schema()) spec.json_schema = std::move(*request.mutable_json_schema());
  return spec;
}

GenerateSpec SpecFromRoute(v1::RouteRequest& request) {
  GenerateSpec spec = FromConversation(request);
  spec.kind = RequestKind::kRoute;
  if (request.has_routing()) spec.routing = static_cast<RoutingSpec>(request.routing());
  if (request.has_language()) spec.language = std::move(*request.mutable_language());
  if (request.has_request_id()) spec.request_id = std::move(*request.mutable_request_id());
  return spec;
}

GenerateSpec SpecFromCountTokens(v1::CountTokensRequest& request) {
  return FromConversation(request);
}

PutImageSpec SpecFromPutImage(v1::PutImageRequest& request) {
  PutImageSpec spec;
  if (request.has_model()) spec.model = std::move(*request.mutable_model());
  spec.data = std::move(*request.mutable_data());
  if (request.has_mime_type()) spec.mime_type = std::move(*request.mutable_mime_type());
  return spec;
}

}  // namespace parrot
