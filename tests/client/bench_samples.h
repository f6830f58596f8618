// Samples of a benchmark as its tests make them.
#ifndef PARROT_TESTS_CLIENT_BENCH_SAMPLES_H_
#define PARROT_TESTS_CLIENT_BENCH_SAMPLES_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/bench/request_sample.h"

namespace parrot {

// Completed, due at 1 s and sent 2 ms later; `arrivals` are (milliseconds after it was due,
// tokens); it ends 10 ms after the last one.
inline RequestSample CompletedSample(const std::string& language,
                                     const std::vector<std::pair<int, int>>& arrivals) {
  RequestSample sample{.language = language, .outcome = RequestOutcome::kCompleted};
  sample.scheduled = absl::Seconds(1);
  sample.sent = sample.scheduled + absl::Milliseconds(2);
  sample.end = sample.sent;
  int num_tokens = 0;
  for (const auto& [at_ms, tokens] : arrivals) {
    const absl::Duration at = sample.scheduled + absl::Milliseconds(at_ms);
    sample.arrivals.push_back({.at = at, .num_tokens = tokens});
    sample.end = at + absl::Milliseconds(10);
    num_tokens += tokens;
  }
  sample.num_characters = 3 * num_tokens;
  sample.request_id = "req";
  sample.finish_reason = v1::FINISH_REASON_LENGTH;
  sample.usage.set_prompt_tokens(100);
  sample.usage.set_cached_tokens(32);
  sample.usage.set_completion_tokens(num_tokens);
  sample.timings.set_queue(0.25);
  sample.timings.set_total(0.5);
  return sample;
}

inline RequestSample FailedSample(const std::string& language,
                                  const std::string& code,
                                  const std::string& reason,
                                  const std::string& message) {
  RequestSample sample{.language = language, .outcome = RequestOutcome::kFailed};
  sample.end = absl::Milliseconds(5);
  sample.error_code = code;
  sample.error_reason = reason;
  sample.error_message = message;
  return sample;
}

}  // namespace parrot

#endif  // PARROT_TESTS_CLIENT_BENCH_SAMPLES_H_
