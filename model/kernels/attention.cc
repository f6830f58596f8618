// Which tiles there are, and who computes them.
#include "model/kernels/attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>

#include "model/kernels/attention_kernels.h"

namespace parrot::kernels {
namespace {

constexpr int64_t kSplitPositions = 256;
// Tile rows of a prefill tile, about: widening keys and values costs a tenth of the products, and
// queries and states stay in the second-level cache.
constexpr int64_t kTileRows = 8 * kGroupRows;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t AlignUp(int64_t bytes) { return CeilDiv(bytes, 64) * 64; }

int64_t ElementBytes(KvFormat format) {
  switch (format) {
    case KvFormat::kFloat32:
      return 4;
    case KvFormat::kBFloat16:
      return 2;
    case KvFormat::kInt8:
      return 1;
  }
  __builtin_unreachable();
}

// A tile to be computed. Few rows with many keys are computed split by split: the tasks of a key
// head then leave their states side by side, and whoever finishes last merges them.
struct Task {
  AttentionTile tile;
  int32_t splits = 1;   // tasks of this head
  int32_t first = 0;    // the first of them
  int64_t states = -1;  // of this one, in floats from the shared states; -1: it has the whole head
};

struct TaskCounts {
  int64_t tasks = 0;
  int64_t states = 0;  // floats
  int64_t rows = 0;    // of the largest tile
};

// Tasks of some rows of a span, to `tasks` unless that is null.
void AddTasks(const AttentionShape& shape,
              const AttentionCall& call,
              AttentionTile tile,
              bool by_split,
              TaskCounts& counts,
              Task* tasks) {
  const AttentionSpan& span = tile.span;
  const int64_t keys = span.start + (call.causal ? tile.first_row + tile.num_rows : span.num_rows);
  const int32_t splits =
      static_cast<int32_t>(CeilDiv(keys, shape.blocks_per_split * shape.block_size));
  by_split = by_split && splits > 1;
  const int64_t rows = tile.num_rows * shape.group;
  counts.rows = std::max(counts.rows, rows);
  for (tile.kv_head = 0; tile.kv_head < call.layout.num_kv_heads; ++tile.kv_head) {
    const int32_t first = static_cast<int32_t>(counts.tasks);
    for (int32_t i = 0; i < (by_split ? splits : 1); ++i) {
      tile.first_split = i;
      tile.end_split = by_split ? i + 1 : splits;
      if (tasks != nullptr) {
        tasks[counts.tasks] = {.tile = tile,
                               .splits = by_split ? splits : 1,
                               .first = first,
                               .states = by_split ? counts.states : -1};
      }
      ++counts.tasks;
      if (by_split) counts.states += rows * shape.state_size();
    }
  }
}

// All tasks of a call, the longest first.
TaskCounts PlanTasks(const AttentionShape& shape, const AttentionCall& call, Task* tasks) {
  TaskCounts counts;
  const auto has_few_rows = [&](const AttentionSpan& span) {
    return span.num_rows * shape.group <= kGroupRows;
  };
  for (const AttentionSpan& span : call.spans) {
    if (has_few_rows(span)) continue;
    const int64_t tiles = CeilDiv(span.num_rows, std::max<int64_t>(1, kTileRows / shape.group));
    for (int64_t i = tiles - 1; i >= 0; --i) {
      const int32_t begin = static_cast<int32_t>(span.num_rows * i / tiles);
      const int32_t end = static_cast<int32_t>(span.num_rows * (i + 1) / tiles);
      AddTasks(shape,
               call,
               {.span = span, .first_row = begin, .num_rows = end - begin},
               /*by_split=*/false,
               counts,
               tasks);
    }
  }
  for (const AttentionSpan& span : call.spans) {
    if (!has_few_rows(span) || span.num_rows == 0) continue;
    AddTasks(
        shape, call, {.span = span, .num_rows = span.num_rows}, /*by_split=*/true, counts, tasks);
  }
  return counts;
}

}  // namespace

int64_t KvLayout::values_offset() const {
  return AlignUp(head_dim * key_lanes() * ElementBytes(format));
}

int64_t KvLayout::scales_offset() const {
  return values_offset() + AlignUp(block_size * value_lanes() * ElementBytes(format));
}

int64_t KvLayout::head_bytes() const {
  const int64_t scale_bytes =
      format == KvFormat::kInt8 ? 2 * key_lanes() * static_cast<int64_t>(sizeof(float)) : 0;
  return scales_offset() + scale_bytes;
}

int64_t KvLayout::block_bytes() const { return num_kv_heads * head_bytes(); }

AttentionShape::AttentionShape(const AttentionCall& call)
    : head_dim(call.layout.head_dim),
      key_lanes(call.layout.key_lanes()),
      value_lanes(call.layout.value_lanes()),
      block_size(call.layout.block_size),
      blocks_per_split(std::max<int64_t>(1, kSplitPositions / block_size)),
      group(call.num_heads / call.layout.num_kv_heads),
      values_offset(call.layout.values_offset()),
      scales_offset(call.layout.scales_offset()),
      head_bytes(call.layout.head_bytes()),
      block_bytes(call.layout.block_bytes()),
      format(call.layout.format),
      causal(call.causal),
      query_scale(1.0f / std::sqrt(static_cast<float>(head_dim))),
      store(call.store),
      query(call.query),
      query_stride(call.query_stride),
      out(call.out),
      out_stride(call.out_stride) {}

int64_t AttentionShape::scratch_size(int64_t rows) const {
  return (CeilDiv(rows, kGroupRows) * kGroupRows + 2 * kKeyRun) * value_lanes + rows * state_size();
}

void Attend(Isa isa, WorkerPool& pool, const AttentionCall& call, AlignedBuffer& scratch) {
  const AttentionShape shape(call);
  const TaskCounts counts = PlanTasks(shape, call, nullptr);
  // [tasks][finished splits of each][shared states][threads]: states of a tile, the kernel's own
  const int64_t task_bytes = AlignUp(counts.tasks * static_cast<int64_t>(sizeof(Task)));
  const int64_t count_bytes = AlignUp(counts.tasks * static_cast<int64_t>(sizeof(int32_t)));
  const int64_t tile_states = counts.rows * shape.state_size();
  const int64_t thread_floats = tile_states + shape.scratch_size(counts.rows);
  scratch.Reserve(task_bytes + count_bytes +
                  sizeof(float) * (counts.states + thread_floats * pool.num_threads()));
  std::byte* memory = scratch.as<std::byte>();
  Task* tasks = reinterpret_cast<Task*>(memory);
  int32_t* finished = reinterpret_cast<int32_t*>(memory + task_bytes);
  float* shared_states = reinterpret_cast<float*>(memory + task_bytes + count_bytes);
  PlanTasks(shape, call, tasks);
  std::fill_n(finished, counts.tasks, 0);

  const AttentionKernels& kernels = AttentionKernelsOf(isa);
  pool.Run(counts.tasks, [&](int64_t i, int thread) {
    const Task& task = tasks[i];
    float* own = shared_states + counts.states + thread * thread_floats;
    float* states = task.states < 0 ? own : shared_states + task.states;
    kernels.attend(shape, task.tile, states, own + tile_states);
    if (task.splits > 1) {
      if (std::atomic_ref(finished[task.first]).fetch_add(1) + 1 < task.splits) return;
      const int64_t rows = task.tile.num_rows * shape.group;
      states = shared_states + tasks[task.first].states;
      for (int32_t split = 1; split < task.splits; ++split) {
        kernels.merge(shape, rows, states + split * rows * shape.state_size(), states);
      }
    }
    kernels.finish(shape, task.tile, states);
  });
}

}  // namespace parrot::kernels
