// Attention of the reference backend: softmax(q k^T) v sequence by sequence, over rows of the call
// (dense) or over keys and values gathered from the paged store.
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/index.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/pow.h"
#include "ATen/ops/scaled_dot_product_attention.h"
#include "ATen/ops/softmax.h"
#include "c10/util/Exception.h"
#include "model/backend/reference/reference_backend.h"
#include "model/backend/reference/reference_handles.h"

namespace parrot {

using reference::QkvImpl;

namespace {

// [num_blocks * block_size, kv_heads, head_dim] per layer: slot = block * block_size + offset.
class ReferenceKvStore : public KvStore {
 public:
  ReferenceKvStore(const KvStoreSpec& spec, at::TensorOptions options)
      : block_size_(spec.block_size) {
    const std::vector<int64_t> shape = {
        int64_t{spec.num_blocks} * spec.block_size, spec.num_kv_heads, spec.head_dim};
    for (int32_t layer = 0; layer < spec.num_layers; ++layer) {
      keys_.push_back(at::empty(shape, options));
      values_.push_back(at::empty(shape, options));
    }
  }

  void CopyBlock(BlockId source, BlockId destination) override {
    const int64_t from = int64_t{source} * block_size_;
    const int64_t to = int64_t{destination} * block_size_;
    for (size_t layer = 0; layer < keys_.size(); ++layer) {
      for (at::Tensor* tensor : {&keys_[layer], &values_[layer]}) {
        tensor->narrow(0, to, block_size_).copy_(tensor->narrow(0, from, block_size_));
      }
    }
  }

  int32_t block_size() const { return block_size_; }
  at::Tensor& keys(int32_t layer) { return keys_[layer]; }
  at::Tensor& values(int32_t layer) { return values_[layer]; }

 private:
  const int32_t block_size_;
  std::vector<at::Tensor> keys_;
  std::vector<at::Tensor> values_;
};

struct PlannedSequence {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t start_position = 0;
  at::Tensor slots;  // [start_position + num_rows] int64: where its keys are; paged only
};

// cos and sin of every row's rotation, [rows, 1, head_dim]; made by the first layer of a step.
struct RotaryTable {
  float theta = 0.0f;
  int64_t head_dim = 0;
  at::Tensor cos, sin;
};

class ReferenceContext : public AttentionContext {
 public:
  explicit ReferenceContext(ReferenceKvStore* store) : store(store) {}

  ReferenceKvStore* const store;  // null: dense
  bool causal = true;
  std::vector<PlannedSequence> sequences;
  at::Tensor positions;  // [rows] fp32, device
  at::Tensor new_slots;  // [rows] int64, device: where the rows' keys and values go; paged only
  RotaryTable rotary;
};

at::Tensor Int64Tensor(const std::vector<int64_t>& values, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<int64_t>());
  return host.to(device);
}

// Angles as the reference makes them: position * theta^(-2i/d) in float32, each half of the head
// uses the same angles; cast to the dtype of the queries.
void PrepareRotary(float theta, int64_t head_dim, at::ScalarType dtype, ReferenceContext& context) {
  RotaryTable& table = context.rotary;
  if (table.cos.defined() && table.theta == theta && table.head_dim == head_dim) return;
  const at::Tensor exponent = at::arange(0, head_dim, 2, at::kFloat) / static_cast<float>(head_dim);
  const at::Tensor inverse = at::pow(at::Scalar(theta), exponent).reciprocal();
  const at::Tensor angles =
      context.positions.unsqueeze(1) * inverse.to(context.positions.device()).unsqueeze(0);
  const at::Tensor both = at::cat({angles, angles}, 1).unsqueeze(1);
  table = {.theta = theta,
           .head_dim = head_dim,
           .cos = both.cos().to(dtype),
           .sin = both.sin().to(dtype)};
}

// x [rows, heads, head_dim]: x * cos + rotate_half(x) * sin.
at::Tensor Rotate(const at::Tensor& x, const RotaryTable& table) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor rotated = at::cat({-x.narrow(2, half, half), x.narrow(2, 0, half)}, 2);
  return x * table.cos + rotated * table.sin;
}

// One sequence: query [rows, heads, d]; key and value [context, kv_heads, d]; row i is at position
// `start` + i. Returns [rows, heads * d].
at::Tensor AttendSequence(const at::Tensor& query,
                          const at::Tensor& key,
                          const at::Tensor& value,
                          bool causal,
                          int64_t start) {
  const int64_t rows = query.size(0), heads = query.size(1), head_dim = query.size(2);
  const int64_t context = key.size(0), kv_heads = key.size(1);
  const int64_t group = heads / kv_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  // Queries of one key head side by side: [kv_heads, group * rows, d].
  const at::Tensor q = (query * scale)
                           .view({rows, kv_heads, group, head_dim})
                           .permute({1, 2, 0, 3})
                           .reshape({kv_heads, group * rows, head_dim});
  at::Tensor scores = at::matmul(q, key.permute({1, 2, 0}));  // [kv_heads, group * rows, context]
  if (causal && rows > 1) {
    const at::Tensor future =
        at::ones({rows, context}, scores.options().dtype(at::kBool)).triu(start + 1);
    scores = scores.view({kv_heads, group, rows, context})
                 .masked_fill(future, -std::numeric_limits<float>::infinity())
                 .view({kv_heads, group * rows, context});
  }
  const at::Tensor weights = at::softmax(scores, -1);
  return at::matmul(weights, value.permute({1, 0, 2}))
      .view({kv_heads, group, rows, head_dim})
      .permute({2, 0, 1, 3})
      .reshape({rows, heads * head_dim});
}

// The same of a whole sequence, for training: torch's fused operation keeps no scores for the
// backward pass, which halves the time of attention. Its rounding is its own, so inference does
// without.
at::Tensor AttendWithGradient(const at::Tensor& query,
                              const at::Tensor& key,
                              const at::Tensor& value,
                              bool causal) {
  const int64_t rows = query.size(0), heads = query.size(1), head_dim = query.size(2);
  const auto by_head = [&](const at::Tensor& x) {
    return x.unsqueeze(2)
        .expand({rows, x.size(1), heads / x.size(1), head_dim})
        .reshape({1, rows, heads, head_dim})
        .transpose(1, 2);
  };
  return at::scaled_dot_product_attention(
             by_head(query), by_head(key), by_head(value), {}, /*dropout_p=*/0.0, causal)
      .transpose(1, 2)
      .reshape({rows, heads * head_dim});
}

}  // namespace

int64_t ReferenceBackend::KvBlockBytes(const KvStoreSpec& spec) const {
  return int64_t{2} * spec.num_layers * spec.num_kv_heads * spec.head_dim * spec.block_size *
         static_cast<int64_t>(c10::elementSize(compute_dtype()));
}

std::unique_ptr<KvStore> ReferenceBackend::MakeKvStore(const KvStoreSpec& spec) const {
  return std::make_unique<ReferenceKvStore>(
      spec, at::TensorOptions().dtype(compute_dtype()).device(device()));
}

std::unique_ptr<AttentionContext> ReferenceBackend::MakeDenseContext() const {
  return std::make_unique<ReferenceContext>(nullptr);
}

std::unique_ptr<AttentionContext> ReferenceBackend::MakePagedContext(KvStore& store) const {
  return std::make_unique<ReferenceContext>(&static_cast<ReferenceKvStore&>(store));
}

void ReferenceBackend::PlanDense(const DenseSequences& dense,
                                 Workspace&,
                                 AttentionContext& context) const {
  auto& plan = static_cast<ReferenceContext&>(context);
  plan.causal = dense.causal;
  plan.sequences.clear();
  plan.rotary = {};
  std::vector<at::Tensor> positions;
  for (size_t i = 0; i + 1 < dense.cu_seqlens.size(); ++i) {
    const int64_t rows = dense.cu_seqlens[i + 1] - dense.cu_seqlens[i];
    plan.sequences.push_back({.first_row = dense.cu_seqlens[i], .num_rows = rows});
    positions.push_back(at::arange(rows, at::kFloat));
  }
  plan.positions = at::cat(positions).to(device());
}

void ReferenceBackend::PlanPaged(std::span<const PagedSpan> spans,
                                 Workspace&,
                                 AttentionContext& context) const {
  auto& plan = static_cast<ReferenceContext&>(context);
  const int64_t block_size = plan.store->block_size();
  plan.causal = true;
  plan.sequences.clear();
  plan.rotary = {};
  std::vector<int64_t> slots;
  std::vector<at::Tensor> positions, new_slots;
  for (const PagedSpan& span : spans) {
    const int64_t context_length = int64_t{span.start_position} + span.num_tokens;
    slots.clear();
    for (int64_t p = 0; p < context_length; ++p) {
      slots.push_back(span.blocks[p / block_size] * block_size + p % block_size);
    }
    PlannedSequence sequence = {.first_row = span.first_row,
                                .num_rows = span.num_tokens,
                                .start_position = span.start_position,
                                .slots = Int64Tensor(slots, device())};
    new_slots.push_back(sequence.slots.narrow(0, span.start_position, span.num_tokens));
    positions.push_back(at::arange(span.start_position, context_length, at::kFloat));
    plan.sequences.push_back(std::move(sequence));
  }
  plan.positions = at::cat(positions).to(device());
  plan.new_slots = at::cat(new_slots);
}

Qkv ReferenceBackend::NormQkv(const QkvHandle& handle, const at::Tensor& hidden, Workspace&) const {
  const auto& impl = static_cast<const QkvImpl&>(handle);
  const at::Tensor x = impl.norm.Apply(hidden);
  const int64_t d = impl.head_dim();
  return {.query = impl.query.Apply(x).view({-1, impl.num_heads(), d}),
          .key = impl.key.Apply(x).view({-1, impl.num_kv_heads(), d}),
          .value = impl.value.Apply(x).view({-1, impl.num_kv_heads(), d})};
}

at::Tensor ReferenceBackend::Attend(const QkvHandle& handle,
                                    const Qkv& qkv,
                                    AttentionContext& context,
                                    Workspace& workspace) const {
  const auto& impl = static_cast<const QkvImpl&>(handle);
  auto& plan = static_cast<ReferenceContext&>(context);
  at::Tensor query = qkv.query, key = qkv.key;
  if (impl.rope_theta != 0.0f) {
    PrepareRotary(impl.rope_theta, impl.head_dim(), query.scalar_type(), plan);
    query = Rotate(query, plan.rotary);
    key = Rotate(key, plan.rotary);
  }
  if (plan.store != nullptr) {
    plan.store->keys(impl.layer_idx).index_copy_(0, plan.new_slots, key);
    plan.store->values(impl.layer_idx).index_copy_(0, plan.new_slots, qkv.value);
  }
  std::vector<at::Tensor> outputs;
  outputs.reserve(plan.sequences.size());
  for (const PlannedSequence& s : plan.sequences) {
    at::Tensor k, v;
    if (plan.store != nullptr) {
      k = at::index(plan.store->keys(impl.layer_idx), {s.slots});
      v = at::index(plan.store->values(impl.layer_idx), {s.slots});
    } else {
      k = key.narrow(0, s.first_row, s.num_rows);
      v = qkv.value.narrow(0, s.first_row, s.num_rows);
    }
    const at::Tensor q = query.narrow(0, s.first_row, s.num_rows);
    outputs.push_back(plan.store == nullptr && q.requires_grad()
                          ? AttendWithGradient(q, k, v, plan.causal)
                          : AttendSequence(q, k, v, plan.causal, s.start_position));
  }
  return ConcatRows(outputs, workspace);
}

}  // namespace parrot
