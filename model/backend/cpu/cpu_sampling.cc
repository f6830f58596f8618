// Drawing tokens: rows are tasks, each with the memory of its thread.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "model/backend/cpu/cpu_backend.h"
#include "model/backend/cpu/cpu_workspace.h"
#include "model/kernels/sampling.h"

namespace parrot {

using cpu::CpuWorkspace;

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

void Edit(std::span<const LogitEdit> edits, std::vector<float>& logits) {
  for (const LogitEdit& edit : edits) {
    float& logit = logits[static_cast<size_t>(edit.token)];
    logit = (logit > 0.0f ? logit / edit.repetition : logit * edit.repetition) + edit.bias;
  }
}

// The bias of the row on what is not allowed, unless it would leave nothing.
void Lock(const SampleRow& row, std::vector<float>& logits) {
  const bool* allowed = row.allowed.const_data_ptr<bool>();
  bool leaves_any = false;
  for (size_t i = 0; i < logits.size() && !leaves_any; ++i) {
    leaves_any = (allowed[i] ? logits[i] : logits[i] + row.blocked_bias) > kMinusInfinity;
  }
  if (!leaves_any) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!allowed[i]) logits[i] += row.blocked_bias;
  }
}

struct Drawn {
  int64_t token = 0;
  bool blocked = false;
};

Drawn DrawRow(kernels::Isa isa,
              std::span<const float> logits,
              const SampleRow& row,
              const kernels::Largest& largest,
              CpuWorkspace::DrawMemory& memory) {
  Drawn drawn;
  kernels::Largest best = largest;
  if (!row.edits.empty() || row.allowed.defined()) {
    memory.logits.assign(logits.begin(), logits.end());
    Edit(row.edits, memory.logits);
    logits = memory.logits;
    best = kernels::FindLargest(isa, logits);
    if (row.allowed.defined()) {
      drawn.blocked = best.index >= 0 && !row.allowed.const_data_ptr<bool>()[best.index];
      Lock(row, memory.logits);
      best = kernels::FindLargest(isa, logits);
    }
  }
  drawn.token = std::max(best.index, 0);
  if (best.index < 0 || row.temperature == 0.0f) return drawn;
  drawn.token = kernels::Draw(isa,
                              logits,
                              {.temperature = row.temperature,
                               .top_k = row.top_k,
                               .top_p = row.top_p,
                               .min_p = row.min_p,
                               .uniform = row.uniform},
                              memory.scratch);
  return drawn;
}

}  // namespace

SampledRows CpuBackend::Sample(const at::Tensor& logits,
                               std::span<const SampleRow> rows,
                               int64_t vocab_size,
                               Workspace& workspace) const {
  auto& w = static_cast<CpuWorkspace&>(workspace);
  const int64_t count = static_cast<int64_t>(rows.size());
  const int64_t vocab = std::min(vocab_size, logits.size(1));
  int64_t max_top = 0;
  bool wants_logprobs = false, has_lock = false;
  for (const SampleRow& row : rows) {
    max_top = std::max<int64_t>(max_top, std::min<int64_t>(row.num_logprobs, vocab));
    wants_logprobs = wants_logprobs || row.num_logprobs >= 0 || row.score_target >= 0;
    has_lock = has_lock || row.allowed.defined();
  }
  SampledRows out = {.tokens = w.tensors.Take({count}, at::kLong),
                     .finite = w.tensors.Take({count}, at::kBool)};
  if (has_lock) out.blocked = w.tensors.Take({count}, at::kBool);
  if (wants_logprobs) out.logprobs = w.Floats({count});
  if (max_top > 0) {
    out.top_tokens = w.tensors.Take({count, max_top}, at::kLong);
    out.top_logprobs = w.Floats({count, max_top});
  }
  // Tasks allocate nothing: they must not throw.
  for (CpuWorkspace::DrawMemory& memory : w.draws) memory.Reserve(vocab, max_top);
  w.threads.Run(count, [&](int64_t i, int thread) {
    const SampleRow& row = rows[i];
    CpuWorkspace::DrawMemory& memory = w.draws[thread];
    const std::span<const float> values(logits.const_data_ptr<float>() + i * logits.size(1),
                                        static_cast<size_t>(vocab));
    const kernels::Largest largest = kernels::FindLargest(options_.isa, values);
    const Drawn drawn = row.score_target >= 0 ? Drawn{.token = row.score_target}
                                              : DrawRow(options_.isa, values, row, largest, memory);
    out.tokens.mutable_data_ptr<int64_t>()[i] = drawn.token;
    out.finite.mutable_data_ptr<bool>()[i] = largest.finite;
    if (has_lock) out.blocked.mutable_data_ptr<bool>()[i] = drawn.blocked;
    if (!wants_logprobs) return;
    out.logprobs.mutable_data_ptr<float>()[i] = 0.0f;
    if (row.num_logprobs < 0 && row.score_target < 0) return;
    const double total = kernels::LogSumExp(options_.isa, values, largest.value);
    out.logprobs.mutable_data_ptr<float>()[i] =
        static_cast<float>(values[static_cast<size_t>(drawn.token)] - total);
    const auto num_top = static_cast<int32_t>(std::min<int64_t>(row.num_logprobs, max_top));
    if (num_top <= 0) return;
    kernels::FindTop(values, num_top, memory.top);
    for (int32_t k = 0; k < num_top; ++k) {
      out.top_tokens.mutable_data_ptr<int64_t>()[i * max_top + k] = memory.top[k].token;
      out.top_logprobs.mutable_data_ptr<float>()[i * max_top + k] =
          static_cast<float>(memory.top[k].logit - total);
    }
  });
  return out;
}

}  // namespace parrot
