#include "model/kernels/gemm.h"

#include <algorithm>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"

namespace parrot::kernels {
namespace {

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows of a task: their activations of one span of input features stay in the second-level cache.
constexpr int64_t kChunkRows = 192;
// Panels of a task, at most: the streams of weights that a thread reads when the rows are few.
constexpr int64_t kMaxPanels = 4;
// So that threads finish nearly together.
constexpr int64_t kTasksPerThread = 8;

}  // namespace

const GemmKernels& GemmKernelsOf(Isa isa) {
  switch (isa) {
    case Isa::kEmulatedAvx2:
      return kGemmEmulated8;
    case Isa::kEmulatedAvx512:
    case Isa::kEmulatedAmx:
      return kGemmEmulated16;
    case Isa::kAvx2:
      return kGemmAvx2;
    case Isa::kAvx512:
    case Isa::kAmx:
      return kGemmAvx512;
  }
  return kGemmEmulated8;
}

RowsView::RowsView(const PackedRows& rows)
    : in_features(rows.in_features()), padded_in(DivideUp(in_features, kStep) * kStep) {
  runs = DivideUp(in_features, 4 * kRun) * 4;
  blocks = DivideUp(rows.rows(), GemmKernelsOf(rows.isa_).max_rows);
  if (blocks == 0) return;
  least_rows = rows.rows() / blocks;
  larger_blocks = rows.rows() % blocks;
  data = rows.data_.as<float>();
  sums = data + rows.rows() * padded_in;
}

void PackedRows::Pack(WorkerPool& pool, int64_t rows, int64_t in_features, const Source& source) {
  rows_ = rows;
  in_features_ = in_features;
  RowsView view(*this);
  data_.Reserve(rows * (view.padded_in + view.runs) * sizeof(float));
  view = RowsView(*this);
  float* data = data_.as<float>();
  float* sums = data + rows * view.padded_in;
  const GemmKernels& kernels = GemmKernelsOf(isa_);
  pool.Run(view.blocks, [&](int64_t block, int) {
    const int64_t first = view.first_row(block);
    kernels.pack(source,
                 first,
                 view.rows_of(block),
                 view,
                 data + first * view.padded_in,
                 sums + first * view.runs);
  });
}

void Norm(Isa isa,
          WorkerPool& pool,
          int64_t rows,
          int64_t size,
          const PackedRows::Source& source,
          float* out,
          int64_t out_stride) {
  constexpr int64_t kRows = 8;
  const GemmKernels& kernels = GemmKernelsOf(isa);
  pool.Run(DivideUp(rows, kRows), [&](int64_t task, int) {
    for (int64_t row = task * kRows; row < std::min(rows, (task + 1) * kRows); ++row) {
      kernels.norm_row(source, row, size, out + row * out_stride);
    }
  });
}

void Gemm(WorkerPool& pool,
          const PackedRows& a,
          std::span<const GemmPart> parts,
          GemmScratch& scratch) {
  if (parts.empty() || a.rows() == 0) return;
  const RowsView rows(a);
  const GemmKernels& kernels = GemmKernelsOf(parts.front().weights->isa());
  const int64_t chunks = DivideUp(rows.blocks, std::max<int64_t>(1, kChunkRows / kernels.max_rows));
  const int64_t chunk = DivideUp(rows.blocks, chunks);  // row blocks of a task
  int64_t group = kMaxPanels;                           // panels of a task
  const auto tasks_of = [&](const MatrixView& weights) {
    return DivideUp(rows.blocks, chunk) * DivideUp(weights.panels, group);
  };
  const auto all_tasks = [&] {
    int64_t tasks = 0;
    for (const GemmPart& part : parts) tasks += tasks_of(MatrixView(*part.weights));
    return tasks;
  };
  while (group > 1 && all_tasks() < kTasksPerThread * pool.num_threads()) group /= 2;

  const int64_t chunk_rows = std::min(rows.blocks, chunk) * (rows.least_rows + 1);
  const int64_t sums = chunk_rows * group * 2 * kernels.lanes;
  scratch.data_.Reserve(sums * pool.num_threads() * sizeof(float));
  pool.Run(all_tasks(), [&](int64_t i, int thread) {
    const GemmPart* part = parts.data();
    while (i >= tasks_of(MatrixView(*part->weights))) {
      i -= tasks_of(MatrixView(*part->weights));
      ++part;
    }
    const MatrixView weights(*part->weights);
    // Chunks of rows fastest: they share the weights that one of them has brought from memory.
    const int64_t num_chunks = DivideUp(rows.blocks, chunk);
    const int64_t first_block = i % num_chunks * chunk;
    const int64_t first_panel = i / num_chunks * group;
    kernels.multiply({.rows = rows,
                      .weights = weights,
                      .first_in = part->first_in,
                      .first_block = first_block,
                      .num_blocks = std::min(chunk, rows.blocks - first_block),
                      .first_panel = first_panel,
                      .num_panels = std::min(group, weights.panels - first_panel),
                      .epilogue = &part->epilogue,
                      .sums = scratch.data_.as<float>() + thread * sums});
  });
}

}  // namespace parrot::kernels
