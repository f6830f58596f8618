#include "scheduler/request_limits.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "scheduler/block_table.h"

namespace parrot {
namespace {

absl::Status Invalid(const std::string& message,
                     const std::string& reason,
                     int64_t value,
                     int64_t limit) {
  return ErrorStatus(
      absl::StatusCode::kInvalidArgument,
      message,
      {.reason = reason, .value = std::to_string(value), .limit = std::to_string(limit)});
}

absl::Status Malformed(const std::string& message) {
  return ErrorStatus(absl::StatusCode::kInternal, message, {.reason = "MALFORMED_REQUEST"});
}

absl::Status CheckLength(const Request& request, const RequestLimits& limits) {
  const int64_t num_prompt = request.num_prompt_tokens();
  if (num_prompt < 1) return Invalid("the prompt is empty", "EMPTY_PROMPT", 0, 1);
  int64_t num_tokens = num_prompt;
  if (request.kind == RequestKind::kGenerate) {
    if (request.max_tokens < 1) {
      return Invalid("max_tokens is below 1", "MAX_TOKENS_OUT_OF_RANGE", request.max_tokens, 1);
    }
    num_tokens += request.max_tokens;
  }
  if (num_tokens > limits.max_model_len) {
    return Invalid(absl::StrCat("prompt of ",
                                num_prompt,
                                " tokens and ",
                                num_tokens - num_prompt,
                                " to generate exceed the context of ",
                                limits.max_model_len),
                   "CONTEXT_LENGTH_EXCEEDED",
                   num_tokens,
                   limits.max_model_len);
  }
  const int64_t num_blocks = NumBlocksNeeded(request, limits.block_size);
  if (num_blocks > limits.num_blocks) {
    return Invalid(absl::StrCat("the request needs ",
                                num_blocks,
                                " KV blocks of ",
                                limits.block_size,
                                " tokens; the worker has ",
                                limits.num_blocks),
                   "KV_CACHE_TOO_SMALL",
                   num_blocks,
                   limits.num_blocks);
  }
  return absl::OkStatus();
}

absl::Status CheckImages(const Request& request, const RequestLimits& limits) {
  int64_t end = 0;
  int64_t num_visual = 0;
  for (const PlacedImage& image : request.images) {
    if (image.num_tokens < 1 || image.num_tokens != limits.image_tokens) {
      return Malformed("an image has a wrong number of visual tokens");
    }
    if (image.position < end || image.position > request.num_prompt_tokens() - image.num_tokens) {
      return Malformed("an image lies outside of the prompt or over another");
    }
    end = int64_t{image.position} + image.num_tokens;
    num_visual += image.num_tokens;
    const auto first = request.token_ids.begin() + image.position;
    if (!std::all_of(
            first, first + image.num_tokens, [](TokenId id) { return id == kVisualToken; })) {
      return Malformed("an image covers a text token");
    }
    if (image.image.pixels == nullptr) return Malformed("an image has no pixels");
    if (image.routing == RoutingSource::kWeights &&
        static_cast<int32_t>(image.weights.size()) != limits.num_experts) {
      return Invalid("wrong number of expert weights",
                     "EXPERT_WEIGHTS_LENGTH",
                     static_cast<int64_t>(image.weights.size()),
                     limits.num_experts);
    }
  }
  const auto num_marked =
      std::count(request.token_ids.begin(), request.token_ids.end(), kVisualToken);
  if (num_marked != num_visual) return Malformed("a visual token belongs to no image");
  return absl::OkStatus();
}

}  // namespace

int64_t NumBlocksNeeded(const Request& request, int32_t block_size) {
  if (request.kind == RequestKind::kRoute) return 0;
  return BlockTable::NumBlocksFor(int64_t{request.num_prompt_tokens()} + request.max_tokens - 1,
                                  block_size);
}

absl::Status CheckRequest(const Request& request, const RequestLimits& limits) {
  if (request.num_sequences < 1) return Malformed("a request without a sequence");
  if (request.kind == RequestKind::kRoute && request.num_sequences != 1) {
    return Malformed("routing has one answer");
  }
  if (!request.forced_token_ids.empty() &&
      static_cast<int32_t>(request.forced_token_ids.size()) != request.num_sequences) {
    return Malformed("forced tokens for another number of answers");
  }
  RETURN_IF_ERROR(CheckLength(request, limits));
  RETURN_IF_ERROR(CheckImages(request, limits));
  if (request.kind == RequestKind::kRoute && request.images.empty()) {
    return Invalid("routing needs an image", "NO_IMAGE", 0, 1);
  }
  if (!std::is_sorted(request.stop_token_ids.begin(), request.stop_token_ids.end())) {
    return Malformed("stop token ids are not sorted");
  }
  return absl::OkStatus();
}

absl::Status DeadlineUnreachable(absl::Duration predicted, absl::Duration left) {
  return ErrorStatus(
      absl::StatusCode::kDeadlineExceeded,
      "the answer would come after the deadline",
      {.reason = "DEADLINE_UNREACHABLE",
       .value = absl::StrCat(absl::ToInt64Milliseconds(predicted), " ms"),
       .limit = absl::StrCat(std::max<int64_t>(absl::ToInt64Milliseconds(left), 0), " ms")});
}

}  // namespace parrot
