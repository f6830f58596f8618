#include "client/bench/request_sample.h"

#include <algorithm>

namespace parrot {
namespace {

int64_t ArrivedTokens(const RequestSample& sample) {
  int64_t num_tokens = 0;
  for (const TokenArrival& arrival : sample.arrivals) num_tokens += arrival.num_tokens;
  return num_tokens;
}

}  // namespace

int64_t OutputTokens(const RequestSample& sample) {
  return std::max<int64_t>(sample.usage.completion_tokens(), ArrivedTokens(sample));
}

std::optional<absl::Duration> TimeToFirstToken(const RequestSample& sample) {
  if (sample.arrivals.empty()) return std::nullopt;
  return sample.arrivals.front().at - sample.scheduled;
}

std::optional<absl::Duration> TimePerOutputToken(const RequestSample& sample) {
  if (sample.arrivals.size() < 2) return std::nullopt;
  const TokenArrival& first = sample.arrivals.front();
  return (sample.arrivals.back().at - first.at) / (ArrivedTokens(sample) - first.num_tokens);
}

std::vector<absl::Duration> InterTokenLatencies(const RequestSample& sample) {
  std::vector<absl::Duration> gaps;
  gaps.reserve(sample.arrivals.size());
  for (size_t i = 1; i < sample.arrivals.size(); ++i) {
    gaps.push_back(sample.arrivals[i].at - sample.arrivals[i - 1].at);
  }
  return gaps;
}

absl::Duration EndToEndLatency(const RequestSample& sample) {
  return sample.end - sample.scheduled;
}

}  // namespace parrot
