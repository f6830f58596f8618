// What the kernels of every kind do with a task besides the sums themselves; see simd_emulated.h
// for who includes this.
#ifndef PARROT_MODEL_KERNELS_GEMM_TASK_IMPL_H_
#define PARROT_MODEL_KERNELS_GEMM_TASK_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"
#include "model/kernels/gemm_rows_impl.h"
#include "model/kernels/vector_math.h"

namespace parrot::kernels::internal {

// Where the weights of input feature k (of a group's start, with groups) of a panel are: the first
// ones' scales before them.
template <typename V>
const std::byte* WeightsAt(const MatrixView& w, int64_t panel, int64_t k) {
  const std::byte* p = w.data + panel * w.panel_bytes;
  return w.grouped ? p + k / w.group * w.group_bytes : p + k * (w.step_bytes / kStep);
}

// One vector of the product, columns [column, column + lanes) of row m, on its way out.
template <typename V>
void Finish(const Epilogue& e, int64_t columns, int64_t m, int64_t column, typename V::F y) {
  const int64_t left = columns - column;
  if (left <= 0) return;
  const int n = left < V::kLanes ? static_cast<int>(left) : V::kLanes;
  if (e.bias != nullptr) y = V::Add(y, LoadFirst<V>(e.bias + column, n));
  if (e.activation == GemmActivation::kGelu) y = Gelu<V>(y);
  if (e.activation == GemmActivation::kQuickGelu) y = Silu<V>(y, 1.702f);
  if (e.row_scale != nullptr) y = V::Mul(y, V::Set(e.row_scale[m]));
  if (e.residual != nullptr) {
    const float* residual = e.residual + m * e.residual_stride + column;
    y = V::Fma(V::Set(e.residual_scale), LoadFirst<V>(residual, n), y);
  }
  StoreFirst<V>(e.out + m * e.out_stride + column, y, n);
}

// Row m of the task's columns, of which c has the sums.
template <typename V>
void FinishRow(const GemmTask& task, int64_t m, const float* c) {
  const MatrixView& w = task.weights;
  for (int64_t p = task.first_panel; p < task.first_panel + task.num_panels; ++p) {
    typename V::F y0 = V::Load(c), y1 = V::Load(c + V::kLanes);
    c += 2 * V::kLanes;
    if (!w.grouped && w.scale_bytes != 0) {
      const float* scales = reinterpret_cast<const float*>(w.data + p * w.panel_bytes);
      y0 = V::Mul(y0, V::Load(scales));
      y1 = V::Mul(y1, V::Load(scales + V::kLanes));
    }
    if (w.order == PanelOrder::kGateUp) {
      y0 = V::Mul(Silu<V>(y0), y1);
      Finish<V>(*task.epilogue, w.columns, m, p * V::kLanes, y0);
    } else {
      Finish<V>(*task.epilogue, w.columns, m, 2 * p * V::kLanes, y0);
      Finish<V>(*task.epilogue, w.columns, m, (2 * p + 1) * V::kLanes, y1);
    }
  }
}

template <typename V>
void ZeroSums(const GemmTask& task) {
  const int64_t size = task.num_blocks * task.rows.block_rows * task.num_panels * 2 * V::kLanes;
  for (int64_t i = 0; i < size; i += V::kLanes) V::Store(task.sums + i, V::Zero());
}

template <typename V>
void FinishTask(const GemmTask& task) {
  const int64_t row_size = task.num_panels * 2 * V::kLanes;
  for (int64_t i = 0; i < task.num_blocks; ++i) {
    const int64_t block = task.first_block + i, rows = task.rows.rows_of(block);
    const float* c = task.sums + i * task.rows.block_rows * row_size;
    for (int64_t r = 0; r < rows; ++r, c += row_size) {
      FinishRow<V>(task, task.rows.first_row(block) + r, c);
    }
  }
}

}  // namespace parrot::kernels::internal

#endif  // PARROT_MODEL_KERNELS_GEMM_TASK_IMPL_H_
