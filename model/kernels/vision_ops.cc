#include "model/kernels/vision_ops.h"

#include <algorithm>
#include <cmath>

#include "model/kernels/row_functions.h"

namespace parrot::kernels {
namespace {

// scores -> softmax(scores), in place is allowed.
void Softmax(const float* scores, int64_t n, float* out) {
  const float largest = *std::max_element(scores, scores + n);
  float sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) sum += out[i] = std::exp(scores[i] - largest);
  for (int64_t i = 0; i < n; ++i) out[i] /= sum;
}

// One row of patches of one image.
void PatchRow(const PatchCall& call, int64_t image, int64_t patch_y) {
  const int64_t side = call.size / call.patch, patch = call.patch;
  const int64_t row_size = 3 * patch * patch;
  for (int64_t patch_x = 0; patch_x < side; ++patch_x) {
    float* row = call.rows + ((image * side + patch_y) * side + patch_x) * row_size;
    for (int64_t y = 0; y < patch; ++y) {
      const uint8_t* pixels =
          call.pixels +
          ((image * call.size + patch_y * patch + y) * call.size + patch_x * patch) * 3;
      for (int64_t c = 0; c < 3; ++c) {
        const float* table = call.normalization + c * 256;
        float* out = row + (c * patch + y) * patch;
        for (int64_t x = 0; x < patch; ++x) out[x] = table[pixels[x * 3 + c]];
      }
    }
  }
}

}  // namespace

void PatchRows(WorkerPool& pool, const PatchCall& call) {
  const int64_t side = call.size / call.patch;
  pool.Run(call.num_images * side,
           [&](int64_t task, int) { PatchRow(call, task / side, task % side); });
}

void AddPositions(Isa isa, WorkerPool& pool, const PositionCall& call) {
  constexpr int64_t kRowsPerTask = 32;
  const RowFunctions& functions = RowFunctionsOf(isa);
  const int64_t tokens = call.num_patches + 1, rows = call.num_images * tokens;
  pool.Run((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (int64_t row = task * kRowsPerTask; row < end; ++row) {
      const int64_t image = row / tokens, token = row % tokens;
      const float* x = token == 0
                           ? call.class_row
                           : call.patches + (image * call.num_patches + token - 1) * call.hidden;
      functions.add(
          x, call.positions + token * call.hidden, call.hidden, call.tokens + row * call.hidden);
    }
  });
}

void Route(Isa isa, WorkerPool& pool, const RouteCall& call) {
  constexpr int64_t kRowsPerTask = 32, kColumnsPerTask = 256;
  const RowFunctions& functions = RowFunctionsOf(isa);
  const int64_t hidden = call.hidden;
  const float scale = std::sqrt(static_cast<float>(hidden));
  pool.Run((call.text_size + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
    const int64_t end = std::min(call.text_size, (task + 1) * kRowsPerTask);
    for (int64_t t = task * kRowsPerTask; t < end; ++t) {
      call.attention[t] = functions.dot(call.class_row, call.text + t * hidden, hidden) / scale;
    }
  });
  Softmax(call.attention, call.text_size, call.attention);
  pool.Run((hidden + kColumnsPerTask - 1) / kColumnsPerTask, [&](int64_t task, int) {
    const int64_t begin = task * kColumnsPerTask;
    functions.weighted_sum(call.attention,
                           call.text_size,
                           call.text + begin,
                           hidden,
                           0.0f,
                           nullptr,
                           std::min(kColumnsPerTask, hidden - begin),
                           call.attended + begin);
  });
  for (int64_t i = 0; i < call.num_experts; ++i) {
    call.logits[i] = functions.dot(call.attended, call.router + i * hidden, hidden);
  }
  Softmax(call.logits, call.num_experts, call.weights);
}

void CombineExperts(Isa isa, WorkerPool& pool, const CombineCall& call) {
  constexpr int64_t kRowsPerTask = 8;
  const RowFunctions& functions = RowFunctionsOf(isa);
  pool.Run((call.rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
    const int64_t end = std::min(call.rows, (task + 1) * kRowsPerTask);
    for (int64_t row = task * kRowsPerTask; row < end; ++row) {
      const int64_t offset = row * call.hidden;
      functions.weighted_sum(call.weights,
                             call.num_experts,
                             call.outputs + offset,
                             call.expert_stride,
                             call.residual_weight,
                             call.features == nullptr ? nullptr : call.features + offset,
                             call.hidden,
                             call.out + offset);
    }
  });
}

}  // namespace parrot::kernels
