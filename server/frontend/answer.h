// What a client gets back, in the words of no protocol: the events of one ResponseStream.
// Plain data.
#ifndef PARROT_SERVER_FRONTEND_ANSWER_H_
#define PARROT_SERVER_FRONTEND_ANSWER_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/api/token.h"
#include "scheduler/event.h"

namespace parrot {

struct Usage {
  int32_t text_tokens = 0;        // of the prompt
  int32_t image_tokens = 0;       // of the prompt
  int32_t completion_tokens = 0;  // generated; the stop token is not counted
  int32_t cached_tokens = 0;      // of the prompt, whose keys and values were reused
  int32_t blocked_tokens = 0;     // of the generated: TokenEvent::is_blocked
  int32_t prompt_tokens() const { return text_tokens + image_tokens; }
};

// A stage that did not run is zero. A step shared with other requests counts in full for each.
struct AnswerTimings {
  absl::Duration decode_image;
  absl::Duration preprocess;  // pad, resize
  absl::Duration tokenize;
  absl::Duration queue;  // arrival at the engine to the first step
  absl::Duration clip;
  absl::Duration projector;
  absl::Duration router;
  absl::Duration experts;
  absl::Duration prefill;  // first step to first token
  absl::Duration decode;   // first token to last
  absl::Duration detokenize;
  absl::Duration time_to_first_token;  // arrival at the server to the first token
  absl::Duration total;                // arrival at the server to the terminal event
};

// What weighed the experts for one image. Only kExact is what the model was trained with.
enum class RoutingMode {
  kExact,         // the router, by all text of the prompt
  kPinFirstTurn,  // the router, by the prompt as the first user turn with an image left it
  kWeights,       // the client
};

// How the experts were weighed for one image.
struct ImageRouting {
  int32_t image_idx = 0;              // in the order of the prompt
  std::vector<float> expert_weights;  // [num_experts], sum 1
  float entropy = 0.0f;               // Shannon, nats, 0 .. ln(num_experts)
  CacheLevel cache_level = CacheLevel::kNone;
  RoutingMode mode = RoutingMode::kExact;
  std::optional<float> error_bound;  // of anything but kExact (RouteDone::error_bound)
};

struct ScoredToken {
  TokenId token = -1;
  float logprob = 0.0f;  // natural; of the model's own distribution: no penalty, no temperature
  std::string bytes;     // of the token; perhaps a part of a code point
};

// What the model thought where it drew one token.
struct TokenLogprobs {
  ScoredToken chosen;
  std::vector<ScoredToken> top;  // the most probable ones, best first; as many as asked for
};

// The same of one text token of the prompt.
struct PromptTokenLogprobs {
  int32_t position = 0;  // in the prompt, image tokens counted
  TokenLogprobs logprobs;
};

// First event of a successful stream. It comes together with the first output, so that everything
// before can still fail as a plain status.
struct AcceptedEvent {
  std::string request_id;
  std::string model;
  Usage usage;                                       // of the prompt
  std::vector<PromptTokenLogprobs> prompt_logprobs;  // by position; empty unless asked for
};

// What some tokens add to one answer.
struct AnswerPiece {
  std::string text;  // whole code points; may be empty while one is incomplete
  std::vector<TokenId> token_ids;
  std::vector<TokenLogprobs> logprobs;  // of each token id; empty unless asked for
  int32_t num_blocked = 0;              // of the token ids: TokenEvent::is_blocked
  bool empty() const { return text.empty() && token_ids.empty(); }
  void Append(AnswerPiece piece);
};

// One piece of an answer; never empty.
struct DeltaEvent {
  int32_t output_idx = 0;
  AnswerPiece piece;
  std::vector<ImageRouting> routing;  // in the first delta only, when the prompt has images
};

// How probable one of the given answers is among all of them.
struct ChoiceProbability {
  std::string text;
  float probability = 0.0f;
  float logprob = 0.0f;  // of its tokens and the end of the turn after them, summed
};

// The end of one output. Each output of a stream has exactly one, unless the stream fails before
// anything was output (then EndEvent's status says all).
struct OutputFinishedEvent {
  int32_t output_idx = 0;
  FinishReason reason = FinishReason::kError;
  TokenId stop_token = -1;                 // kStop: which one, or
  std::string stop_text;                   // which stop string
  std::vector<ChoiceProbability> choices;  // in the order in which they were given
  Usage usage;
  AnswerTimings timings;
  std::vector<ImageRouting> routing;
};

// The last event of every stream: the status of the call. Errors carry ErrorFacts.
struct EndEvent {
  absl::Status status;
};

using AnswerEvent = std::variant<AcceptedEvent, DeltaEvent, OutputFinishedEvent, EndEvent>;

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_ANSWER_H_
