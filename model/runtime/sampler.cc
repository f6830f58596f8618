#include "model/runtime/sampler.h"

#include <algorithm>

#include "model/runtime/counter_rng.h"

namespace parrot {
namespace {

SampleRow ToSampleRow(const SamplerRequest& request) {
  if (request.use == LogitsUse::kScore) return {.score_target = request.target};
  const SamplingParams& sampling = *request.sampling;
  return {.temperature = sampling.temperature,
          .top_k = sampling.top_k,
          .top_p = sampling.top_p,
          .min_p = sampling.min_p,
          .uniform = CounterUniform(sampling.seed, sampling.sequence_idx, request.next_position),
          .num_logprobs = sampling.num_logprobs};
}

}  // namespace

std::vector<RowResult> Sampler::Sample(const at::Tensor& logits,
                                       std::span<const SamplerRequest> requests,
                                       Workspace& workspace) const {
  std::vector<SampleRow> rows;
  rows.reserve(requests.size());
  for (const SamplerRequest& request : requests) rows.push_back(ToSampleRow(request));
  const SampledRows sampled = backend_.Sample(logits, rows, vocab_size_, workspace);
  const at::Tensor tokens = sampled.tokens.cpu();
  const at::Tensor finite = sampled.finite.cpu();
  const at::Tensor logprobs = sampled.logprobs.defined() ? sampled.logprobs.cpu() : at::Tensor();
  const bool has_top = sampled.top_tokens.defined();
  const at::Tensor top_tokens = has_top ? sampled.top_tokens.cpu() : at::Tensor();
  const at::Tensor top_logprobs = has_top ? sampled.top_logprobs.cpu() : at::Tensor();

  std::vector<RowResult> results(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    RowResult& result = results[i];
    result.slot = requests[i].slot;
    result.use = requests[i].use;
    if (!finite.const_data_ptr<bool>()[i]) continue;  // token stays -1
    result.token = static_cast<TokenId>(tokens.const_data_ptr<int64_t>()[i]);
    if (logprobs.defined()) result.logprob = logprobs.const_data_ptr<float>()[i];
    if (!has_top) continue;
    const int64_t width = top_tokens.size(1);
    const int64_t count = std::min<int64_t>(std::max(rows[i].num_logprobs, 0), width);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t at = static_cast<int64_t>(i) * width + k;
      result.top.push_back({.token = static_cast<TokenId>(top_tokens.const_data_ptr<int64_t>()[at]),
                            .logprob = top_logprobs.const_data_ptr<float>()[at]});
    }
  }
  return results;
}

}  // namespace parrot
