// What the engine reports of a request. Each admitted request gets any number of routing and token
// events and exactly one FinishEvent per sequence, the last thing said of it.
#ifndef PARROT_SCHEDULER_EVENT_H_
#define PARROT_SCHEDULER_EVENT_H_

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/api/step.h"
#include "scheduler/request.h"

namespace parrot {

enum class FinishReason {
  kStop,       // a stop token; it was not counted as output. kRoute: all images are routed
  kLength,     // max_tokens
  kCancelled,  // Engine::Cancel
  kDeadline,   // Request::deadline passed
  kError,      // `status` says what
};
const char* FinishReasonName(FinishReason reason);  // "stop", "length", "cancelled", ...

// How much of an image's way to the language model was reused.
enum class CacheLevel {
  kNone,      // computed for this request, or together with one that asked at the same time
  kFeatures,  // the projected features
  kExperts,   // the experts' outputs
  kKv,        // the keys and values of all its positions
};

// Expert weights of one image, [num_experts], sum 1. Before the first token. None for an image that
// is not routed (kZeros, or a model without experts).
struct RoutingEvent {
  RequestKey key = 0;
  int32_t image_idx = 0;
  std::vector<float> weights;
  CacheLevel cache_level = CacheLevel::kNone;
  std::optional<float> error_bound;  // RouteDone::error_bound
};

// The log-probability of one text token of the prompt, given everything before it; for requests
// with num_prompt_logprobs >= 0. By position, each once, all before the first TokenEvent; the first
// position and those of images have none.
struct PromptLogprobEvent {
  RequestKey key = 0;
  int32_t position = 0;  // of the prompt
  TokenId token = -1;
  float logprob = 0.0f;
  std::vector<TokenLogprob> top;  // the num_prompt_logprobs largest
};

struct TokenEvent {
  RequestKey key = 0;
  int32_t sequence_idx = 0;
  TokenId token = -1;
  float logprob = 0.0f;           // valid when num_logprobs >= 0
  std::vector<TokenLogprob> top;  // empty unless asked for
  bool is_blocked = false;        // RowResult::is_blocked
};

// Durations of one request. Stages that several requests share in one step count in full for each.
struct RequestTimes {
  absl::Duration queue;    // arrival to the first step
  absl::Duration prefill;  // first step to the first token
  absl::Duration decode;   // first token to the last
  StageTimes stages;       // clip, projector, router, experts: of the steps that worked for it
};

struct FinishEvent {
  RequestKey key = 0;
  int32_t sequence_idx = 0;
  FinishReason reason = FinishReason::kError;
  TokenId stop_token = -1;    // kStop: which one
  float stop_logprob = 0.0f;  // of stop_token; valid when num_logprobs >= 0
  // kError: why (INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE; DEADLINE_EXCEEDED: refused while it
  // waited).
  absl::Status status;
  int32_t num_completion_tokens = 0;  // TokenEvents sent for this sequence
  int32_t num_cached_tokens = 0;      // prompt tokens whose KV was reused
  RequestTimes times;
};

using EngineEvent = std::variant<RoutingEvent, PromptLogprobEvent, TokenEvent, FinishEvent>;

// Where events go: one vector per step.
// Thread contract: called on the engine thread, and on each of them when several engines share a
// sink (one request's events then still come from one); must not block and must not call an
// engine's destructor. Engine::Cancel may be called from inside.
class EventSink {
 public:
  virtual ~EventSink() = default;
  // The sink may move the events out; the engine clears and reuses the vector.
  virtual void OnEvents(std::vector<EngineEvent>& events) = 0;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_EVENT_H_
