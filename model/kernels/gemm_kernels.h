// What gemm.cc asks of one instruction set, and the layouts that both sides share. Plain data only:
// sources compiled with an instruction set's flags include it.
#ifndef PARROT_MODEL_KERNELS_GEMM_KERNELS_H_
#define PARROT_MODEL_KERNELS_GEMM_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm.h"

namespace parrot::kernels {

// Input features are padded to kStep (with zeros), and sums of activations are kept for runs of
// kRun of them: groups are 1 or 4 runs.
inline constexpr int64_t kStep = 4;
inline constexpr int64_t kRun = 32;

// Activations. Block b holds rows [first_row(b), first_row(b) + rows_of(b)): all blocks have nearly
// the same number of rows, at most the kernels' max_rows. A block is [padded_in / unit][rows][unit]
// for the kernels' unit of input features. Kernels with tiles have whole tiles of rows,
// `block_rows` in each block, of which the last ones are zeros.
struct RowsView {
  RowsView() = default;
  explicit RowsView(const PackedRows& rows);

  const std::byte* data = nullptr;  // [block][block_bytes]
  // [block][runs + runs / 4][block_rows], of them [runs][rows of the block] over kRun input
  // features each, then [runs / 4][rows of the block] over four times as many.
  const float* sums = nullptr;
  int64_t in_features = 0;
  int64_t padded_in = 0;
  int64_t runs = 0;  // a multiple of 4
  int64_t blocks = 0;
  int64_t block_rows = 0;  // room for rows in a block
  int64_t block_bytes = 0;
  int64_t least_rows = 0;     // of a block
  int64_t larger_blocks = 0;  // the first ones; they have a row more

  // Always inline: the linker must not keep a copy that needs AVX-512.
  [[gnu::always_inline]] int64_t rows_of(int64_t block) const {
    return least_rows + (block < larger_blocks ? 1 : 0);
  }
  [[gnu::always_inline]] int64_t first_row(int64_t block) const {
    return block * least_rows + (block < larger_blocks ? block : larger_blocks);
  }
  [[gnu::always_inline]] int64_t block_sums() const { return (runs + runs / 4) * block_rows; }
  // Of groups of so many input features, from feature k on: [group][rows of the block].
  [[gnu::always_inline]] const float* SumsAt(int64_t block, int64_t group, int64_t k) const {
    const int64_t first = group > kRun ? runs : 0;
    return sums + block * block_sums() + (first + k / group) * rows_of(block);
  }
};

// Weights. A panel is a sequence of groups (one, without group_size); a group is its scales, then
// its input features one after the other. Per panel and input feature, lane j of vector v (0, 1):
//   fp32  [v][j]        bf16  word j, low half v = 0, high half v = 1         int8  [v][j]
//   int4  four input features i at a time: word j, nibble 2 i + v
// and per panel and pair of input features (i = 0, 1), where activations are bfloat16:
//   bf16  [v][j][i]     int8  [v][j][i]
//   int4  two pairs p at a time: 16-bit word [j][i], nibble 2 p + v
// Scales: int8 fp32 [v][j]; int4 word j of [v]: low half zero point, high half scale, bfloat16 both
// (not in pairs, for v = 1, whose nibbles count 16-fold: 16 * zero and scale / 16).
struct MatrixView {
  MatrixView() = default;
  explicit MatrixView(const PackedMatrix& matrix);

  const std::byte* data = nullptr;
  WeightFormat format = WeightFormat::kFloat32;
  PanelOrder order = PanelOrder::kPlain;
  bool pairs = false;
  int64_t lanes = 0;
  int64_t group = 0;        // input features of a group
  bool grouped = false;     // false: the scale, if any, is applied at the end
  int64_t scale_bytes = 0;  // of a group of a panel
  int64_t step_bytes = 0;   // of kStep input features of a panel
  int64_t group_bytes = 0;  // scales and weights
  int64_t panel_bytes = 0;
  int64_t panels = 0;
  int64_t columns = 0;  // of the product
};

// One task: panels [first_panel, + num_panels) times row blocks [first_block, + num_blocks).
struct GemmTask {
  RowsView rows;
  MatrixView weights;
  int64_t first_in = 0;
  int64_t first_block = 0;
  int64_t num_blocks = 0;
  int64_t first_panel = 0;
  int64_t num_panels = 0;
  int64_t next_panel = 0;  // that the thread is likely to begin its next task with
  const Epilogue* epilogue = nullptr;
  float* sums = nullptr;  // [num_blocks][block_rows][num_panels][2 * lanes], the thread's own
};

struct GemmKernels {
  int lanes = 0;
  int max_rows = 0;    // of a block
  int row_step = 1;    // blocks have room for a multiple of so many rows
  int chunk_rows = 0;  // of a task: their activations of one span stay in the second-level cache
  int unit = 1;        // input features of a row side by side
  // Rows [first_row, + num_rows) of the source to a block and its sums.
  void (*pack)(const PackedRows::Source& source,
               int64_t first_row,
               int64_t num_rows,
               const RowsView& view,
               std::byte* block,
               float* sums) = nullptr;
  void (*norm_row)(const PackedRows::Source& source,
                   int64_t row,
                   int64_t size,
                   float* out) = nullptr;
  void (*multiply)(const GemmTask& task) = nullptr;
};

const GemmKernels& GemmKernelsOf(Isa isa, Activations activations);

// Of floats; of pairs in registers; of pairs in tiles.
extern const GemmKernels kGemmAvx2, kGemmAvx512, kGemmEmulated8, kGemmEmulated16;
extern const GemmKernels kGemmAvx512Bf16, kGemmEmulatedBf16;
extern const GemmKernels kGemmAmx, kGemmEmulatedAmx;

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_GEMM_KERNELS_H_
