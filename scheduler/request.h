// Request: one admitted call, as the engine sees it. Plain data, immutable after admission; shared
// by the call that made it and the engine that runs it.
#ifndef PARROT_SCHEDULER_REQUEST_H_
#define PARROT_SCHEDULER_REQUEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/live_count.h"
#include "model/api/image_input.h"
#include "model/api/sampling_params.h"
#include "model/api/step.h"
#include "model/api/token.h"

namespace parrot {

// Process-unique key of a request, minted by admission. The client's request id is only an
// attribute: it may repeat.
using RequestKey = uint64_t;

enum class RequestKind {
  kGenerate,
  kRoute,  // routing weights of each image; no token is generated
};

// One image of the prompt. Its visual tokens fill positions [position, position + num_tokens).
struct PlacedImage {
  ImageInput image;
  int32_t position = 0;
  int32_t num_tokens = 0;
  RoutingSource routing = RoutingSource::kText;
  std::vector<float> weights;  // kWeights only, [num_experts]
};

struct Request {
  RequestKey key = 0;
  std::string request_id;  // client's or minted; <= 128 printable bytes
  std::string tenant;      // authenticated identity; fair share and cache salt key
  RequestKind kind = RequestKind::kGenerate;

  // The prompt, visual tokens expanded: kVisualToken at each position of an image.
  std::vector<TokenId> token_ids;
  std::vector<PlacedImage> images;  // by position
  std::vector<TokenId> text_ids;    // all text tokens in order: what the router reads

  SamplingParams sampling;
  int32_t num_sequences = 1;  // n
  int32_t max_tokens = 0;     // generated tokens per sequence; >= 1 for kGenerate
  int32_t min_tokens = 0;
  bool ignore_eos = false;
  // Sorted; the model's own eos ids included unless ignore_eos. Those drawn before min_tokens are
  // ordinary tokens.
  std::vector<TokenId> stop_token_ids;

  // Empty, or what each of the num_sequences answers begins with
  // (SamplingParams::forced_token_ids).
  std::vector<std::vector<TokenId>> forced_token_ids;

  absl::Time arrival;
  absl::Time deadline = absl::InfiniteFuture();
  int32_t priority = 0;  // 0..9, larger is more urgent
  // False: every position is computed, and none of its blocks is kept for others.
  bool use_prefix_cache = true;
  LiveCount<LiveKind::kRequest> live_count;

  int32_t num_prompt_tokens() const { return static_cast<int32_t>(token_ids.size()); }
  int32_t num_image_tokens() const {
    int32_t count = 0;
    for (const PlacedImage& image : images) count += image.num_tokens;
    return count;
  }
  // Prompt and max_tokens of each of its answers: what it may cost at most.
  int64_t num_outstanding_tokens() const {
    const int32_t num_generated = kind == RequestKind::kGenerate ? max_tokens : 0;
    return int64_t{num_sequences} * (num_prompt_tokens() + num_generated);
  }
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_REQUEST_H_
