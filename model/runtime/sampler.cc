#include "model/runtime/sampler.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>

#include "ATen/ops/empty.h"
#include "base/check.h"
#include "model/runtime/counter_rng.h"

namespace parrot {
namespace {

// Repetition looks at all tokens, presence and frequency at generated ones; biases come on top.
std::vector<LogitEdit> MakeEdits(const SamplerRequest& request, int32_t vocab_size) {
  const SamplingParams& sampling = *request.sampling;
  std::map<TokenId, LogitEdit> edits;
  if (sampling.repetition_penalty != 1.0f || sampling.presence_penalty != 0.0f ||
      sampling.frequency_penalty != 0.0f) {
    std::map<TokenId, int32_t> generated;
    for (size_t i = 0; i < request.tokens.size(); ++i) {
      const TokenId token = request.tokens[i];
      if (token < 0 || token >= vocab_size) continue;
      edits[token].repetition = sampling.repetition_penalty;
      if (static_cast<int32_t>(i) >= request.num_prompt_tokens) ++generated[token];
    }
    for (const auto& [token, count] : generated) {
      edits[token].bias =
          -sampling.presence_penalty - sampling.frequency_penalty * static_cast<float>(count);
    }
  }
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (token >= 0 && token < vocab_size) edits[token].bias += bias;
  }
  if (request.next_position < request.num_prompt_tokens + sampling.min_tokens) {
    for (const TokenId token : sampling.late_token_ids) {
      if (token < 0 || token >= vocab_size) continue;
      edits[token].bias = -std::numeric_limits<float>::infinity();
    }
  }
  std::vector<LogitEdit> result;
  result.reserve(edits.size());
  for (auto& [token, edit] : edits) {
    edit.token = token;
    result.push_back(edit);
  }
  return result;
}

SampleRow ToSampleRow(const SamplerRequest& request, std::span<const LogitEdit> edits) {
  const SamplingParams& sampling = *request.sampling;
  const int32_t answer_idx = request.next_position - request.num_prompt_tokens;
  if (answer_idx < static_cast<int32_t>(sampling.forced_token_ids.size())) {
    return {.num_logprobs = sampling.num_logprobs,
            .score_target = sampling.forced_token_ids[answer_idx]};
  }
  return {.temperature = sampling.temperature,
          .top_k = sampling.top_k,
          .top_p = sampling.top_p,
          .min_p = sampling.min_p,
          .uniform = CounterUniform(sampling.seed + static_cast<uint64_t>(sampling.sequence_idx),
                                    request.next_position),
          .num_logprobs = sampling.num_logprobs,
          .edits = edits};
}

}  // namespace

at::Tensor Sampler::AllowedTokens(const SamplerRequest& request) {
  PARROT_CHECK(scripts_ != nullptr);
  const Script script = request.sampling->language_lock->script;
  at::Tensor& between = allowed_[static_cast<size_t>(script)];
  const auto begin = std::min<size_t>(request.num_prompt_tokens, request.tokens.size());
  const std::string unfinished = scripts_->UnfinishedCodePoint(request.tokens.subspan(begin));
  if (unfinished.empty() && between.defined()) return between;
  const at::Tensor host = at::empty({vocab_size_}, at::kByte);
  const std::span<uint8_t> bytes(host.mutable_data_ptr<uint8_t>(), vocab_size_);
  if (!scripts_->FillAllowed(script, unfinished, bytes)) return at::Tensor();
  at::Tensor allowed = host.to(backend_.device(), at::kBool);
  if (unfinished.empty()) between = allowed;
  return allowed;
}

std::vector<RowResult> Sampler::Sample(const at::Tensor& logits,
                                       std::span<const SamplerRequest> requests,
                                       Workspace& workspace) {
  std::vector<SampleRow> rows;
  rows.reserve(requests.size());
  std::vector<std::vector<LogitEdit>> edits;
  edits.reserve(requests.size());
  for (const SamplerRequest& request : requests) {
    if (request.use == LogitsUse::kScore) {
      rows.push_back(
          {.num_logprobs = request.sampling->num_prompt_logprobs, .score_target = request.target});
      continue;
    }
    edits.push_back(MakeEdits(request, vocab_size_));
    SampleRow& row = rows.emplace_back(ToSampleRow(request, edits.back()));
    if (row.score_target >= 0 || !request.sampling->language_lock.has_value()) continue;
    row.allowed = AllowedTokens(request);
    row.blocked_bias = request.sampling->language_lock->blocked_bias;
  }
  const SampledRows sampled = backend_.Sample(logits, rows, vocab_size_, workspace);
  const at::Tensor tokens = sampled.tokens.cpu();
  const at::Tensor finite = sampled.finite.cpu();
  const at::Tensor blocked = sampled.blocked.defined() ? sampled.blocked.cpu() : at::Tensor();
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
    if (blocked.defined()) result.is_blocked = blocked.const_data_ptr<bool>()[i];
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
