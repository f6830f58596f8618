// What was seen of one request of a benchmark, and the latencies that follow from it. Plain data
// and pure functions; thread-safe. docs/benchmarking.md holds the definitions for users.
#ifndef PARROT_CLIENT_BENCH_REQUEST_SAMPLE_H_
#define PARROT_CLIENT_BENCH_REQUEST_SAMPLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {

// One delta that held tokens.
struct TokenArrival {
  absl::Duration at;  // since the start of the run
  int32_t num_tokens = 0;
};

enum class RequestOutcome {
  kCompleted,    // status OK, finish reason STOP or LENGTH
  kFailed,       // anything else
  kInterrupted,  // cut off because the run was: neither a success nor a failure of the server
};

struct RequestSample {
  int64_t ordinal = 0;   // of the workload
  std::string language;  // label; may be empty
  int32_t num_images = 0;
  // Since the start of the run. Latencies count from `scheduled`, when the request was meant to be
  // sent: what a client waits because the load generator or the server's transport is behind is
  // not lost.
  absl::Duration scheduled;
  absl::Duration sent;
  absl::Duration end;  // the call's status
  std::vector<TokenArrival> arrivals;
  int64_t num_characters = 0;  // code points of the answer
  RequestOutcome outcome = RequestOutcome::kFailed;
  std::string error_code;     // "RESOURCE_EXHAUSTED"; empty when completed
  std::string error_reason;   // "QUEUE_FULL"; may be empty
  std::string error_message;  // as the server or the transport put it
  std::string request_id;
  // As the server reports them; zero when it did not.
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
  v1::Usage usage;
  v1::Timings timings;
  std::vector<v1::CacheLevel> cache_levels;  // per image
};

// Generated tokens: the server's count, else those that arrived.
int64_t OutputTokens(const RequestSample& sample);

// From `scheduled` to the first delta with a token; absent without one.
std::optional<absl::Duration> TimeToFirstToken(const RequestSample& sample);

// (last arrival - first arrival) / (tokens - tokens of the first arrival): what one more token
// costs, however the server groups tokens into deltas. Absent with fewer than two arrivals.
std::optional<absl::Duration> TimePerOutputToken(const RequestSample& sample);

// Between consecutive deltas with tokens, one for each but the first, as a reader sees them: a gap
// before several tokens counts once and whole.
std::vector<absl::Duration> InterTokenLatencies(const RequestSample& sample);

// From `scheduled` to the end of the call.
absl::Duration EndToEndLatency(const RequestSample& sample);

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_REQUEST_SAMPLE_H_
