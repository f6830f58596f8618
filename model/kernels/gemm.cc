#include "model/kernels/gemm.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"

namespace parrot::kernels {
namespace {

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return DivideUp(a, b) * b; }

// Panels of a task, at most: the streams of weights that a thread reads when the rows are few.
constexpr int64_t kMaxPanels = 4;
// So that threads finish nearly together.
constexpr int64_t kTasksPerThread = 8;

}  // namespace

Activations ActivationsOf(Isa isa, WeightFormat format) {
  const bool has_pairs = isa == Isa::kAvx512Bf16 || isa == Isa::kEmulatedAvx512Bf16 ||
                         isa == Isa::kAmx || isa == Isa::kEmulatedAmx;
  return has_pairs && format != WeightFormat::kFloat32 ? Activations::kBFloat16
                                                       : Activations::kFloat32;
}

const GemmKernels& GemmKernelsOf(Isa isa, Activations activations) {
  const bool are_pairs = activations == Activations::kBFloat16;
  switch (isa) {
    case Isa::kEmulatedAvx2:
      return kGemmEmulated8;
    case Isa::kEmulatedAvx512:
      return kGemmEmulated16;
    case Isa::kEmulatedAvx512Bf16:
      return are_pairs ? kGemmEmulatedBf16 : kGemmEmulated16;
    case Isa::kEmulatedAmx:
      return are_pairs ? kGemmEmulatedAmx : kGemmEmulated16;
    case Isa::kAvx2:
      return kGemmAvx2;
    case Isa::kAvx512:
      return kGemmAvx512;
    case Isa::kAvx512Bf16:
      return are_pairs ? kGemmAvx512Bf16 : kGemmAvx512;
    case Isa::kAmx:
      return are_pairs ? kGemmAmx : kGemmAvx512;
  }
  return kGemmEmulated8;
}

RowsView::RowsView(const PackedRows& rows)
    : data(rows.data_.as<std::byte>()), in_features(rows.in_features()) {
  const GemmKernels& kernels = GemmKernelsOf(rows.isa_, rows.activations_);
  padded_in = RoundUp(in_features, std::max<int64_t>(kStep, kernels.unit));
  runs = DivideUp(in_features, 4 * kRun) * 4;
  blocks = DivideUp(rows.rows(), kernels.max_rows);
  if (blocks == 0) return;
  least_rows = rows.rows() / blocks;
  larger_blocks = rows.rows() % blocks;
  block_rows = RoundUp(rows_of(0), kernels.row_step);
  const int64_t item_bytes = rows.activations_ == Activations::kBFloat16 ? 2 : 4;
  block_bytes = RoundUp(block_rows * padded_in * item_bytes, 64);
  sums = reinterpret_cast<const float*>(data + blocks * block_bytes);
}

void PackedRows::Pack(WorkerPool& pool,
                      int64_t rows,
                      int64_t in_features,
                      Activations activations,
                      const Source& source) {
  rows_ = rows;
  in_features_ = in_features;
  activations_ = activations;
  RowsView view(*this);
  data_.Reserve(view.blocks *
                (view.block_bytes + view.block_sums() * static_cast<int64_t>(sizeof(float))));
  view = RowsView(*this);
  std::byte* data = data_.as<std::byte>();
  auto* sums = reinterpret_cast<float*>(data + view.blocks * view.block_bytes);
  const GemmKernels& kernels = GemmKernelsOf(isa_, activations);
  pool.Run(view.blocks, [&](int64_t block, int) {
    kernels.pack(source,
                 view.first_row(block),
                 view.rows_of(block),
                 view,
                 data + block * view.block_bytes,
                 sums + block * view.block_sums());
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
  const GemmKernels& kernels = GemmKernelsOf(isa, Activations::kFloat32);
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
  const GemmKernels& kernels = GemmKernelsOf(parts.front().weights->isa(), a.activations());
  const int64_t chunks = DivideUp(rows.blocks, kernels.chunk_rows / kernels.max_rows);
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

  const int64_t chunk_rows = chunk * rows.block_rows;
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
    const int64_t next_panel = (i + pool.num_threads()) / num_chunks * group;
    kernels.multiply({.rows = rows,
                      .weights = weights,
                      .first_in = part->first_in,
                      .first_block = first_block,
                      .num_blocks = std::min(chunk, rows.blocks - first_block),
                      .first_panel = first_panel,
                      .num_panels = std::min(group, weights.panels - first_panel),
                      .next_panel = next_panel < weights.panels ? next_panel : first_panel,
                      .epilogue = &part->epilogue,
                      .sums = scratch.data_.as<float>() + thread * sums});
  });
}

}  // namespace parrot::kernels
