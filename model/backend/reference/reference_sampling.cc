// Drawing tokens in plain ATen: one row at a time, so that a row's draw never depends on others.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <tuple>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/argmax.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "ATen/ops/index.h"
#include "ATen/ops/log_softmax.h"
#include "ATen/ops/logical_not.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/sort.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/topk.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros.h"
#include "model/backend/reference/reference_backend.h"

namespace parrot {
namespace {

// logits [vocab] with the edits applied.
at::Tensor Edit(const at::Tensor& logits, std::span<const LogitEdit> edits) {
  const int64_t count = static_cast<int64_t>(edits.size());
  at::Tensor host_ids = at::empty({count}, at::kLong);
  at::Tensor host_values = at::empty({2, count}, at::kFloat);
  float* values = host_values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < count; ++i) {
    host_ids.mutable_data_ptr<int64_t>()[i] = edits[i].token;
    values[i] = edits[i].repetition;
    values[count + i] = edits[i].bias;
  }
  const at::Tensor ids = host_ids.to(logits.device());
  const at::Tensor factors = host_values.to(logits.device());
  const at::Tensor old = at::index(logits, {ids});
  const at::Tensor penalised = at::where(old > 0, old / factors[0], old * factors[0]) + factors[1];
  return logits.index_copy(0, ids, penalised);
}

// logits [vocab] with the bias of the row on what is not allowed.
at::Tensor Lock(const at::Tensor& logits, const SampleRow& row) {
  const at::Tensor locked = at::where(row.allowed, logits, logits + row.blocked_bias);
  return at::where(locked.max() > -std::numeric_limits<float>::infinity(), locked, logits);
}

// [] bool
at::Tensor IsBestBlocked(const at::Tensor& logits, const SampleRow& row) {
  return at::logical_not(at::index(row.allowed, {at::argmax(logits)}));
}

// logits [vocab] fp32 -> [] int64: the first token, by id, at which the cumulative probability of
// the kept set exceeds `uniform` of its total. By id, not by rank: two tokens that are about
// equally likely may change ranks with the last bit of a logit, and the draw would change with
// them.
at::Tensor Draw(const at::Tensor& logits, const SampleRow& row) {
  if (row.temperature == 0.0f) return at::argmax(logits);
  const int64_t vocab = logits.size(0);
  // Stable: equal logits keep the order of their ids.
  const auto [sorted, order] =
      at::sort(logits / row.temperature, /*stable=*/true, /*dim=*/-1, /*descending=*/true);
  at::Tensor probabilities = at::softmax(sorted.to(at::kDouble), -1);
  if (row.top_k > 0 && row.top_k < vocab) {
    probabilities = probabilities.narrow(0, 0, row.top_k);
    probabilities = probabilities / probabilities.sum();
  }
  if (row.top_p < 1.0f) {
    // Keeps the token that reaches top_p: what stands before it is less than top_p.
    const at::Tensor before = probabilities.cumsum(0) - probabilities;
    probabilities = probabilities * (before < row.top_p);
  }
  if (row.min_p > 0.0f) {
    probabilities = probabilities * (probabilities >= probabilities[0] * row.min_p);
  }
  const at::Tensor by_id =
      at::zeros({vocab}, probabilities.options())
          .index_copy(0, order.narrow(0, 0, probabilities.size(0)), probabilities);
  const at::Tensor cumulative = by_id.cumsum(0);
  const at::Tensor total = cumulative[-1];
  const at::Tensor below = (cumulative <= total * row.uniform) & (cumulative < total);
  return below.sum();
}

}  // namespace

SampledRows ReferenceBackend::Sample(const at::Tensor& logits,
                                     std::span<const SampleRow> rows,
                                     int64_t vocab_size,
                                     Workspace&) const {
  const at::Tensor real = logits.narrow(1, 0, std::min(vocab_size, logits.size(1)));
  SampledRows out;
  out.finite = (real - real).eq(0).all(1);  // x - x is a number only when x is
  int32_t max_top = 0;
  bool wants_logprobs = false;
  std::vector<at::Tensor> tokens;
  tokens.reserve(rows.size());
  bool has_lock = false;
  std::vector<at::Tensor> blocked(rows.size(), at::zeros({}, real.options().dtype(at::kBool)));
  for (size_t i = 0; i < rows.size(); ++i) {
    const SampleRow& row = rows[i];
    max_top = std::max(max_top, row.num_logprobs);
    wants_logprobs = wants_logprobs || row.num_logprobs >= 0 || row.score_target >= 0;
    if (row.score_target >= 0) {
      tokens.push_back(at::full({}, row.score_target, real.options().dtype(at::kLong)));
      continue;
    }
    at::Tensor logits = real[static_cast<int64_t>(i)];
    if (!row.edits.empty()) logits = Edit(logits, row.edits);
    if (row.allowed.defined()) {
      has_lock = true;
      blocked[i] = IsBestBlocked(logits, row);
      logits = Lock(logits, row);
    }
    tokens.push_back(Draw(logits, row));
  }
  out.tokens = at::stack(tokens);
  if (has_lock) out.blocked = at::stack(blocked);
  if (!wants_logprobs) return out;
  const at::Tensor logprobs = at::log_softmax(real.to(at::kDouble), -1).to(at::kFloat);
  out.logprobs = logprobs.gather(1, out.tokens.unsqueeze(1)).squeeze(1);
  if (max_top > 0) {
    const int64_t k = std::min<int64_t>(max_top, real.size(1));
    std::tie(out.top_logprobs, out.top_tokens) = at::topk(logprobs, k);
  }
  return out;
}

}  // namespace parrot
