#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "base/error_status.h"
#include "client/call_status.h"
#include "client/cli/report.h"
#include "client/reply_names.h"

namespace parrot {
namespace {

std::string Seconds(double seconds) {
  if (seconds < 0.001) return absl::StrFormat("%.0f us", seconds * 1e6);
  if (seconds < 1) return absl::StrFormat("%.0f ms", seconds * 1e3);
  return absl::StrFormat("%.2f s", seconds);
}

std::string UsageText(const v1::Usage& usage) {
  std::string text = absl::StrCat(usage.prompt_tokens(), " prompt tokens");
  if (usage.image_tokens() > 0) {
    absl::StrAppend(&text, " (", usage.image_tokens(), " image, ", usage.text_tokens(), " text)");
  }
  if (usage.cached_tokens() > 0) absl::StrAppend(&text, ", ", usage.cached_tokens(), " cached");
  return text;
}

// "" without a language lock, or when it had nothing to do.
std::string BlockedText(const v1::Usage& usage) {
  return usage.blocked_tokens() > 0 ? absl::StrCat(usage.blocked_tokens(), " blocked, ") : "";
}

// "" when none was measured.
std::string StagesText(const v1::Timings& timings) {
  std::vector<std::string> texts;
  for (const auto& [name, seconds] : StageSeconds(timings)) {
    const std::string_view stage = name;
    if (seconds <= 0 || stage == "time_to_first_token" || stage == "total") continue;
    texts.push_back(absl::StrCat(absl::StrReplaceAll(name, {{"_", " "}}), " ", Seconds(seconds)));
  }
  return texts.empty() ? "" : absl::StrCat("stages: ", absl::StrJoin(texts, ", "), "\n");
}

// Tokens after the first over the time after the first; "" when there is no second one.
std::string RateText(const v1::Finish& finish) {
  const double seconds = finish.timings().decode();
  const int later_tokens = finish.usage().completion_tokens() - 1;
  if (later_tokens < 1 || seconds <= 0) return "";
  return absl::StrFormat(", %.1f tokens/s", later_tokens / seconds);
}

const char* CacheText(v1::CacheLevel level) {
  switch (level) {
    case v1::CACHE_LEVEL_FEATURES:
      return ", features reused";
    case v1::CACHE_LEVEL_EXPERTS:
      return ", expert outputs reused";
    case v1::CACHE_LEVEL_KV:
      return ", keys and values reused";
    default:
      return "";
  }
}

std::string ApproximationText(const v1::ImageRouting& image) {
  std::string text;
  switch (image.mode()) {
    case v1::ROUTING_MODE_PIN_FIRST_TURN:
      text = ", an approximation: weighed by the first turn";
      break;
    case v1::ROUTING_MODE_WEIGHTS:
      text = ", an approximation: weights as given";
      break;
    default:
      return text;
  }
  if (image.has_error_bound())
    absl::StrAppendFormat(&text, ", off by %.3g at most", image.error_bound());
  return text;
}

template <typename RoutingList>
std::string RoutingText(const RoutingList& routing, const TerminalStyle& style) {
  std::string text;
  for (const v1::ImageRouting& image : routing) {
    const std::vector<float> weights(image.expert_weights().begin(), image.expert_weights().end());
    absl::StrAppend(&text,
                    absl::StrFormat("image %d, entropy %.3f nats%s%s\n",
                                    image.image_index(),
                                    image.entropy(),
                                    CacheText(image.cache_level()),
                                    ApproximationText(image)),
                    ExpertBars(weights, style));
  }
  return text;
}

// What usually helps; "" when the message says all.
std::string Hint(absl::StatusCode code, const ErrorFacts& facts, const std::string& target) {
  // Found on this side: a file of the command line, a server that was waited for.
  if (facts.reason.starts_with("FILE_") || facts.reason == "NOT_SERVING") return "";
  switch (code) {
    case absl::StatusCode::kUnavailable:
      return absl::StrCat("is parrot-server running and ready at ",
                          target,
                          "? (parrot-cli health --wait 60s; TLS needs --tls or --tls-ca)");
    case absl::StatusCode::kUnauthenticated:
      return "give the key with --api-key-file or PARROT_API_KEY";
    case absl::StatusCode::kNotFound:
      return facts.reason == "MODEL_NOT_FOUND" ? "parrot-cli models lists what is served" : "";
    case absl::StatusCode::kDeadlineExceeded:
      return "a longer --timeout, or fewer --max-tokens";
    default:
      return "";
  }
}

}  // namespace

std::string AnswerLine(const Answer& answer) {
  if (!answer.finish.has_value()) return "";
  const v1::Finish& finish = *answer.finish;
  const int num_tokens = finish.usage().completion_tokens();
  return absl::StrCat(num_tokens,
                      num_tokens == 1 ? " token" : " tokens",
                      RateText(finish),
                      ", first after ",
                      Seconds(finish.timings().time_to_first_token()),
                      ", ",
                      FinishReasonName(finish.finish_reason()),
                      "\n");
}

std::string AnswerSummary(const Answer& answer, const TerminalStyle& style) {
  if (!answer.finish.has_value()) return "";
  const v1::Finish& finish = *answer.finish;
  return absl::StrCat("model ",
                      answer.model,
                      ", request ",
                      answer.request_id,
                      "\n",
                      UsageText(finish.usage()),
                      ", ",
                      finish.usage().completion_tokens(),
                      " generated, ",
                      BlockedText(finish.usage()),
                      FinishReasonName(finish.finish_reason()),
                      "\nfirst token ",
                      Seconds(finish.timings().time_to_first_token()),
                      ", total ",
                      Seconds(finish.timings().total()),
                      RateText(finish),
                      "\n",
                      StagesText(finish.timings()),
                      RoutingText(answer.routing, style));
}

std::string RouteText(const v1::RouteResponse& response, const TerminalStyle& style) {
  return RoutingText(response.routing(), style);
}

std::string CountText(const v1::CountTokensResponse& response) {
  return absl::StrCat(
      UsageText(response.usage()), ", limit ", response.max_model_len(), " with the answer\n");
}

std::string ModelText(const v1::GetModelInfoResponse& info) {
  const v1::Limits& limits = info.limits();
  return absl::StrCat(
      absl::StrFormat("%s\n", info.model()),
      absl::StrFormat("  names       %s\n", absl::StrJoin(info.served_names(), ", ")),
      absl::StrFormat("  parameters  %.1f M, %d layers, hidden %d, vocabulary %d\n",
                      static_cast<double>(info.num_parameters()) / 1e6,
                      info.num_layers(),
                      info.hidden_size(),
                      info.vocab_size()),
      absl::StrFormat("  images      %d x %d pixels, %d tokens each, %d experts\n",
                      info.image_size(),
                      info.image_size(),
                      info.image_tokens(),
                      info.num_experts()),
      absl::StrFormat("  languages   %s\n", absl::StrJoin(info.languages(), ", ")),
      absl::StrFormat("  runs on     %s, %s\n", info.device(), info.dtype()),
      absl::StrFormat("  limits      %d tokens, %d images, %d bytes an image, %d bytes of text\n",
                      limits.max_model_len(),
                      limits.max_images(),
                      limits.max_image_bytes(),
                      limits.max_text_bytes()),
      absl::StrFormat("  server      %s, schema %d, model revision %s\n",
                      info.server_version(),
                      info.schema_revision(),
                      info.model_revision()));
}

std::string ErrorText(const absl::Status& status, const std::string& target) {
  const ErrorFacts facts = GetErrorFacts(status);
  std::string text = absl::StrCat(
      "error: ", absl::StatusCodeToString(status.code()), ": ", status.message(), "\n");
  const std::string retry = facts.retry_after > absl::ZeroDuration()
                                ? Seconds(absl::ToDoubleSeconds(facts.retry_after))
                                : "";
  const std::string request_id = GetRequestId(status);
  const std::vector<std::pair<const char*, std::string>> lines = {
      {"reason", facts.reason},
      {"field", facts.field},
      {"value", facts.value},
      {"limit", facts.limit},
      {"retry after", retry},
      {"request id", request_id},
      {"hint", Hint(status.code(), facts, target)}};
  for (const auto& [name, value] : lines) {
    if (!value.empty()) absl::StrAppend(&text, "  ", name, ": ", value, "\n");
  }
  return text;
}

}  // namespace parrot
