// What a request may ask for and what the front end holds at most. Defaults are those of the
// operations page; server/options sets them, metrics export them, GetModelInfo reports them.
// Plain data, fixed once the Frontend is built.
#ifndef PARROT_SERVER_FRONTEND_LIMITS_H_
#define PARROT_SERVER_FRONTEND_LIMITS_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace parrot {

// Per request. "max" is inclusive.
struct FrontendLimits {
  int32_t max_model_len = 2048;      // prompt + answer, tokens; <= the engine's
  int32_t max_tokens_default = 512;  // when the client names none, and the context has room
  int32_t max_messages = 64;
  int64_t max_text_bytes = 256 << 10;        // messages and generation_prefix together
  int32_t max_images = 1;                    // 8 at most makes sense: each takes hundreds of tokens
  int64_t max_image_bytes = 10 << 20;        // each, encoded
  int64_t max_total_image_bytes = 12 << 20;  // together, encoded
  int64_t max_image_pixels = 33554432;       // each
  int32_t max_image_side = 16384;            // pixels
  int32_t max_stop_token_ids = 64;
  int32_t max_stop_strings = 4;
  int32_t max_stop_string_bytes = 64;
  int32_t max_logit_bias = 128;       // token ids
  float max_abs_logit_bias = 100.0f;  // of one; enough to force or to ban a token
  int32_t max_logprobs = 20;
  // Text tokens of the prompt times (k + 1). They travel in one message, about 20 bytes each: well
  // below the 4 MiB that gRPC clients accept by default.
  int32_t max_prompt_logprobs = 65536;
  int32_t max_n = 128;
  int32_t max_choices = 32;
  int32_t max_choice_bytes = 256;  // each
  int32_t max_digests = 64;        // of one HasImage
  int32_t max_request_id_bytes = 128;
  int32_t max_language_bytes = 16;
  absl::Duration default_timeout = absl::Seconds(60);
  absl::Duration max_timeout = absl::Seconds(600);
  // Work stops so long before the transport's deadline: what is there still reaches the client.
  absl::Duration deadline_margin = absl::Milliseconds(50);

  // Checked by the protocol before it parses; here so that one place states every limit.
  int64_t max_receive_message_bytes = 16 << 20;
  int32_t max_wire_fields = 4096;
};

// When work on a call has to end. `transport_deadline` InfiniteFuture: none; with no timeout
// either, default_timeout holds.
absl::Time WorkDeadline(const FrontendLimits& limits,
                        absl::Time arrival,
                        absl::Time transport_deadline,
                        std::optional<int64_t> timeout_ms);

// Of the whole front end.
struct CapacityLimits {
  int32_t num_preprocess_threads = 0;                      // 0: one per two cores, at least one
  int32_t max_preprocess_queue = 64;                       // requests that wait for such a thread
  int64_t max_image_bytes_in_flight = int64_t{256} << 20;  // encoded files and their pixels
  int32_t max_live_requests = 1024;                  // admitted and not yet ended, in every stage
  absl::Duration stall_timeout = absl::Seconds(10);  // a reader that takes nothing is ABORTED
  int64_t image_store_bytes = int64_t{128} << 20;    // of images kept to be named; 0: none are
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_LIMITS_H_
