// Attention of the CPU backend. Dense sequences use the paged kernels too: their keys and values
// pass through blocks of the context's own.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "model/backend/cpu/cpu_backend.h"
#include "model/backend/cpu/cpu_handles.h"
#include "model/backend/cpu/cpu_workspace.h"
#include "model/kernels/attention.h"

namespace parrot {

using cpu::CpuWorkspace;
using cpu::QkvImpl;
using kernels::AlignedBuffer;
using kernels::AttentionSpan;
using kernels::KvFormat;
using kernels::KvLayout;

namespace {

constexpr int32_t kDenseBlockSize = 32;

KvLayout LayoutOf(const KvStoreSpec& spec, KvFormat format) {
  return {.num_kv_heads = spec.num_kv_heads,
          .head_dim = spec.head_dim,
          .block_size = spec.block_size,
          .format = format};
}

// [layer][block]; pages of blocks that were never written are never touched.
class CpuKvStore : public KvStore {
 public:
  CpuKvStore(const KvStoreSpec& spec, KvFormat format)
      : spec_(spec),
        layout_(LayoutOf(spec, format)),
        memory_(static_cast<size_t>(spec.num_layers * spec.num_blocks * layout_.block_bytes())) {}

  void CopyBlock(BlockId source, BlockId destination) override {
    const int64_t bytes = layout_.block_bytes();
    for (int32_t i = 0; i < spec_.num_layers; ++i) {
      std::memcpy(
          layer(i) + destination * bytes, layer(i) + source * bytes, static_cast<size_t>(bytes));
    }
  }

  const KvLayout& layout() const { return layout_; }
  std::byte* layer(int32_t layer_idx) {
    return memory_.as<std::byte>() + int64_t{layer_idx} * spec_.num_blocks * layout_.block_bytes();
  }

 private:
  const KvStoreSpec spec_;
  const KvLayout layout_;
  AlignedBuffer memory_;
};

// cos and sin of the positions seen so far; grows by doubling.
class RotaryTables {
 public:
  kernels::RotaryTable Get(float theta, int32_t head_dim, int32_t num_positions) {
    if (theta != theta_ || head_dim != head_dim_ || num_positions > num_positions_) {
      theta_ = theta;
      head_dim_ = head_dim;
      num_positions_ = std::max(1024, 2 * num_positions);
      values_ = kernels::MakeRotaryValues(theta_, head_dim_, num_positions_);
    }
    return values_.table();
  }

 private:
  float theta_ = 0.0f;
  int32_t head_dim_ = 0;
  int32_t num_positions_ = 0;
  kernels::RotaryValues values_;
};

class CpuContext : public AttentionContext {
 public:
  explicit CpuContext(CpuKvStore* store) : store(store) {}

  // Points the spans at their blocks, once all of `blocks` are there.
  void Finish() {
    size_t next = 0;
    for (size_t i = 0; i < spans.size(); ++i) {
      spans[i].blocks = blocks.data() + next;
      next += static_cast<size_t>(num_blocks[i]);
      max_positions = std::max(max_positions, spans[i].start + spans[i].num_rows);
    }
  }
  void Clear() {
    spans.clear();
    blocks.clear();
    num_blocks.clear();
    max_positions = 0;
  }

  CpuKvStore* const store;  // null: dense
  bool causal = true;
  std::vector<AttentionSpan> spans;
  std::vector<int32_t> blocks;
  std::vector<int32_t> num_blocks;  // of each span
  int32_t max_positions = 0;
  RotaryTables rotary;
  AlignedBuffer dense_blocks;
};

}  // namespace

int64_t CpuBackend::KvBlockBytes(const KvStoreSpec& spec) const {
  return spec.num_layers * LayoutOf(spec, options_.kv_format).block_bytes();
}

std::unique_ptr<KvStore> CpuBackend::MakeKvStore(const KvStoreSpec& spec) const {
  return std::make_unique<CpuKvStore>(spec, options_.kv_format);
}

std::unique_ptr<AttentionContext> CpuBackend::MakeDenseContext() const {
  return std::make_unique<CpuContext>(nullptr);
}

std::unique_ptr<AttentionContext> CpuBackend::MakePagedContext(KvStore& store) const {
  return std::make_unique<CpuContext>(&static_cast<CpuKvStore&>(store));
}

void CpuBackend::PlanDense(const DenseSequences& dense,
                           Workspace&,
                           AttentionContext& context) const {
  auto& plan = static_cast<CpuContext&>(context);
  plan.Clear();
  plan.causal = dense.causal;
  for (size_t i = 0; i + 1 < dense.cu_seqlens.size(); ++i) {
    const int32_t rows = dense.cu_seqlens[i + 1] - dense.cu_seqlens[i];
    plan.spans.push_back({.first_row = dense.cu_seqlens[i], .num_rows = rows});
    plan.num_blocks.push_back((rows + kDenseBlockSize - 1) / kDenseBlockSize);
  }
  plan.blocks.resize(std::accumulate(plan.num_blocks.begin(), plan.num_blocks.end(), size_t{0}));
  std::iota(plan.blocks.begin(), plan.blocks.end(), 0);
  plan.Finish();
}

void CpuBackend::PlanPaged(std::span<const PagedSpan> spans,
                           Workspace&,
                           AttentionContext& context) const {
  auto& plan = static_cast<CpuContext&>(context);
  plan.Clear();
  const int32_t block_size = plan.store->layout().block_size;
  for (const PagedSpan& span : spans) {
    const int32_t end = span.start_position + span.num_tokens;
    const int32_t count = (end + block_size - 1) / block_size;
    plan.spans.push_back(
        {.first_row = span.first_row, .num_rows = span.num_tokens, .start = span.start_position});
    plan.num_blocks.push_back(count);
    plan.blocks.insert(plan.blocks.end(), span.blocks.begin(), span.blocks.begin() + count);
  }
  plan.Finish();
}

at::Tensor CpuBackend::Attend(const QkvHandle& handle,
                              const Qkv& qkv,
                              AttentionContext& context,
                              Workspace& workspace) const {
  const auto& impl = static_cast<const QkvImpl&>(handle);
  auto& plan = static_cast<CpuContext&>(context);
  auto& w = static_cast<CpuWorkspace&>(workspace);
  const int32_t head_dim = static_cast<int32_t>(impl.head_dim());
  const int32_t num_heads = static_cast<int32_t>(impl.num_heads());
  const int32_t num_kv_heads = static_cast<int32_t>(impl.num_kv_heads());
  KvLayout layout = {
      .num_kv_heads = num_kv_heads, .head_dim = head_dim, .block_size = kDenseBlockSize};
  std::byte* store = nullptr;
  if (plan.store != nullptr) {
    layout = plan.store->layout();
    store = plan.store->layer(impl.layer_idx);
  } else {
    plan.dense_blocks.Reserve(plan.blocks.size() * static_cast<size_t>(layout.block_bytes()));
    store = plan.dense_blocks.as<std::byte>();
  }
  const int64_t query_size = int64_t{num_heads} * head_dim;
  const int64_t kv_size = int64_t{num_kv_heads} * head_dim;
  kernels::RotateAndStore(
      options_.isa,
      w.threads,
      {.layout = layout,
       .store = store,
       .spans = plan.spans,
       .num_heads = num_heads,
       .query = qkv.query.mutable_data_ptr<float>(),
       .query_stride = query_size,
       .key = qkv.key.const_data_ptr<float>(),
       .key_stride = kv_size,
       .value = qkv.value.const_data_ptr<float>(),
       .value_stride = kv_size,
       .rotary = impl.rope_theta == 0.0f
                     ? kernels::RotaryTable{}
                     : plan.rotary.Get(impl.rope_theta, head_dim, plan.max_positions)});
  at::Tensor out = w.Floats({qkv.query.size(0), query_size});
  kernels::Attend(options_.isa,
                  w.threads,
                  {.layout = layout,
                   .num_heads = num_heads,
                   .causal = plan.causal,
                   .store = store,
                   .spans = plan.spans,
                   .query = qkv.query.const_data_ptr<float>(),
                   .query_stride = query_size,
                   .out = out.mutable_data_ptr<float>(),
                   .out_stride = query_size},
                  w.attention);
  return out;
}

}  // namespace parrot
