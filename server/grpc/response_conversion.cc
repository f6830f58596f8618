#include "server/grpc/response_conversion.h"

#include <string>
#include <utility>

#include "absl/time/time.h"

namespace parrot {
namespace {

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case FinishReason::kDeadline:
      return v1::FINISH_REASON_DEADLINE;
    case FinishReason::kError:
      return v1::FINISH_REASON_ERROR;
  }
  return v1::FINISH_REASON_ERROR;
}

v1::CacheLevel ToProto(CacheLevel level) {
  switch (level) {
    case CacheLevel::kNone:
      return v1::CACHE_LEVEL_NONE;
    case CacheLevel::kFeatures:
      return v1::CACHE_LEVEL_FEATURES;
    case CacheLevel::kExperts:
      return v1::CACHE_LEVEL_EXPERTS;
    case CacheLevel::kKv:
      return v1::CACHE_LEVEL_KV;
  }
  return v1::CACHE_LEVEL_UNSPECIFIED;
}

v1::RoutingMode ToProto(RoutingMode mode) {
  switch (mode) {
    case RoutingMode::kExact:
      return v1::ROUTING_MODE_EXACT;
    case RoutingMode::kPinFirstTurn:
      return v1::ROUTING_MODE_PIN_FIRST_TURN;
    case RoutingMode::kWeights:
      return v1::ROUTING_MODE_WEIGHTS;
  }
  return v1::ROUTING_MODE_UNSPECIFIED;
}

void FillToken(ScoredToken& token, v1::TokenLogprob& out) {
  out.set_token_id(token.token);
  out.set_logprob(token.logprob);
  out.set_token(std::move(token.bytes));
}

void FillLimits(const FrontendLimits& limits, v1::Limits& out) {
  out.set_max_model_len(limits.max_model_len);
  out.set_max_tokens_default(limits.max_tokens_default);
  out.set_max_images(limits.max_images);
  out.set_max_image_bytes(limits.max_image_bytes);
  out.set_max_total_image_bytes(limits.max_total_image_bytes);
  out.set_max_image_pixels(limits.max_image_pixels);
  out.set_max_image_side(limits.max_image_side);
  out.set_max_text_bytes(limits.max_text_bytes);
  out.set_max_messages(limits.max_messages);
  out.set_max_receive_message_bytes(limits.max_receive_message_bytes);
  out.set_max_wire_fields(limits.max_wire_fields);
  out.set_max_stop_token_ids(limits.max_stop_token_ids);
  out.set_max_stop_strings(limits.max_stop_strings);
  out.set_max_stop_string_bytes(limits.max_stop_string_bytes);
  out.set_max_logit_bias(limits.max_logit_bias);
  out.set_max_logprobs(limits.max_logprobs);
  out.set_max_n(limits.max_n);
  out.set_max_choices(limits.max_choices);
  out.set_max_choice_bytes(limits.max_choice_bytes);
  out.set_max_prompt_logprobs(limits.max_prompt_logprobs);
  out.set_max_digests(limits.max_digests);
}

}  // namespace

void FillUsage(const Usage& usage, v1::Usage& out) {
  out.set_prompt_tokens(usage.prompt_tokens());
  out.set_text_tokens(usage.text_tokens);
  out.set_image_tokens(usage.image_tokens);
  out.set_completion_tokens(usage.completion_tokens);
  out.set_cached_tokens(usage.cached_tokens);
  out.set_blocked_tokens(usage.blocked_tokens);
}

void FillTimings(const AnswerTimings& timings, v1::Timings& out) {
  out.set_decode_image(absl::ToDoubleSeconds(timings.decode_image));
  out.set_preprocess(absl::ToDoubleSeconds(timings.preprocess));
  out.set_tokenize(absl::ToDoubleSeconds(timings.tokenize));
  out.set_queue(absl::ToDoubleSeconds(timings.queue));
  out.set_clip(absl::ToDoubleSeconds(timings.clip));
  out.set_projector(absl::ToDoubleSeconds(timings.projector));
  out.set_router(absl::ToDoubleSeconds(timings.router));
  out.set_experts(absl::ToDoubleSeconds(timings.experts));
  out.set_prefill(absl::ToDoubleSeconds(timings.prefill));
  out.set_decode(absl::ToDoubleSeconds(timings.decode));
  out.set_detokenize(absl::ToDoubleSeconds(timings.detokenize));
  out.set_time_to_first_token(absl::ToDoubleSeconds(timings.time_to_first_token));
  out.set_total(absl::ToDoubleSeconds(timings.total));
}

void FillRouting(const std::vector<ImageRouting>& routing,
                 google::protobuf::RepeatedPtrField<v1::ImageRouting>& out) {
  for (const ImageRouting& image : routing) {
    v1::ImageRouting* entry = out.Add();
    entry->set_image_index(image.image_idx);
    entry->mutable_expert_weights()->Add(image.expert_weights.begin(), image.expert_weights.end());
    entry->set_entropy(image.entropy);
    entry->set_cache_level(ToProto(image.cache_level));
    entry->set_mode(ToProto(image.mode));
    if (image.error_bound.has_value()) entry->set_error_bound(*image.error_bound);
  }
}

void FillAccepted(AcceptedEvent& event, v1::GenerateResponse& response) {
  v1::Accepted* accepted = response.mutable_accepted();
  accepted->set_request_id(event.request_id);
  accepted->set_model(event.model);
  FillUsage(event.usage, *accepted->mutable_usage());
  FillPromptLogprobs(event.prompt_logprobs, *accepted->mutable_prompt_logprobs());
}

void FillPromptLogprobs(std::vector<PromptTokenLogprobs>& logprobs,
                        google::protobuf::RepeatedPtrField<v1::PromptTokenLogprobs>& out) {
  for (PromptTokenLogprobs& token : logprobs) {
    v1::PromptTokenLogprobs* entry = out.Add();
    entry->set_position(token.position);
    FillToken(token.logprobs.chosen, *entry->mutable_token());
    for (ScoredToken& top : token.logprobs.top) FillToken(top, *entry->add_top());
  }
}

void FillLogprobs(std::vector<TokenLogprobs>& logprobs,
                  google::protobuf::RepeatedPtrField<v1::TokenLogprobs>& out) {
  for (TokenLogprobs& token : logprobs) {
    v1::TokenLogprobs* entry = out.Add();
    FillToken(token.chosen, *entry->mutable_chosen());
    for (ScoredToken& top : token.top) FillToken(top, *entry->add_top());
  }
}

void FillDelta(DeltaEvent& event, v1::GenerateResponse& response) {
  v1::Delta* delta = response.mutable_delta();
  delta->set_output_index(event.output_idx);
  delta->set_text(std::move(event.piece.text));
  delta->mutable_token_ids()->Add(event.piece.token_ids.begin(), event.piece.token_ids.end());
  FillLogprobs(event.piece.logprobs, *delta->mutable_logprobs());
  FillRouting(event.routing, *delta->mutable_routing());
}

void FillFinish(const OutputFinishedEvent& event, v1::Finish& finish) {
  finish.set_output_index(event.output_idx);
  finish.set_finish_reason(ToProto(event.reason));
  if (event.reason == FinishReason::kStop && event.stop_token >= 0) {
    finish.set_stop_token_id(event.stop_token);
  } else if (!event.stop_text.empty()) {
    finish.set_stop_text(event.stop_text);
  }
  for (const ChoiceProbability& choice : event.choices) {
    v1::ChoiceProbability* entry = finish.add_choices();
    entry->set_text(choice.text);
    entry->set_probability(choice.probability);
    entry->set_logprob(choice.logprob);
  }
  FillUsage(event.usage, *finish.mutable_usage());
  FillTimings(event.timings, *finish.mutable_timings());
  FillRouting(event.routing, *finish.mutable_routing());
}

void FillPutImage(const PutImageResult& result, v1::PutImageResponse& out) {
  out.set_model(result.model);
  out.set_digest_sha256(std::string(result.digest.view()));
  out.set_mime_type(result.mime_type);
  out.set_width(result.width);
  out.set_height(result.height);
  out.set_image_tokens(result.image_tokens);
  out.set_was_known(result.was_known);
}

void FillModelInfo(const ModelInfo& info, v1::GetModelInfoResponse& out) {
  out.set_model(info.model);
  out.mutable_served_names()->Add(info.served_names.begin(), info.served_names.end());
  out.set_schema_revision(kSchemaRevision);
  out.set_server_version(info.server_version);
  out.set_model_revision(info.model_revision);
  out.mutable_languages()->Add(info.languages.begin(), info.languages.end());
  out.set_image_tokens(info.image_tokens);
  out.set_image_size(info.image_size);
  out.set_num_experts(info.num_experts);
  out.set_vocab_size(info.vocab_size);
  out.set_num_layers(info.num_layers);
  out.set_hidden_size(info.hidden_size);
  out.set_num_parameters(info.num_parameters);
  out.set_dtype(info.dtype);
  out.set_device(info.device);
  FillLimits(info.limits, *out.mutable_limits());
  out.mutable_unsupported_options()->Add(info.unsupported_options.begin(),
                                         info.unsupported_options.end());
}

}  // namespace parrot
