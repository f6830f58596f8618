// What the vision path needs beside products, norms and attention: patches, positions, the router
// and the mixture of experts. Plain functions over rows of floats; a row's result depends on its
// own data only, in one order of sums, whatever the number of threads. Confined to the thread that
// owns the WorkerPool.
#ifndef PARROT_MODEL_KERNELS_VISION_OPS_H_
#define PARROT_MODEL_KERNELS_VISION_OPS_H_

#include <cstdint>

#include "model/kernels/isa.h"
#include "model/kernels/worker_pool.h"

namespace parrot::kernels {

// rows[n * patches + p, (c * patch + y) * patch + x] =
//   normalization[c][pixels[n, p's y, p's x, c]], patches = (size / patch)^2, row by row.
struct PatchCall {
  const uint8_t* pixels = nullptr;  // [images, size, size, 3]
  int64_t num_images = 0;
  int64_t size = 0;  // a multiple of `patch`
  int64_t patch = 0;
  const float* normalization = nullptr;  // [3][256]
  float* rows = nullptr;                 // [images * patches, 3 * patch * patch]
};
void PatchRows(WorkerPool& pool, const PatchCall& call);

// tokens[n, 0] = class_row + positions[0]; tokens[n, 1 + p] = patches[n, p] + positions[1 + p].
struct PositionCall {
  const float* patches = nullptr;  // [images, num_patches, hidden]
  int64_t num_images = 0;
  int64_t num_patches = 0;
  int64_t hidden = 0;
  const float* class_row = nullptr;  // [hidden]
  const float* positions = nullptr;  // [1 + num_patches, hidden]
  float* tokens = nullptr;           // [images, 1 + num_patches, hidden]
};
void AddPositions(Isa isa, WorkerPool& pool, const PositionCall& call);

// The routing of one image by its text, all outputs wanted:
//   attention = softmax(c X^T / sqrt(hidden)); attended = attention X;
//   logits = W_r attended; weights = softmax(logits)
struct RouteCall {
  const float* class_row = nullptr;  // c [hidden]
  const float* text = nullptr;       // X [text_size, hidden], text_size >= 1
  int64_t text_size = 0;
  int64_t hidden = 0;
  const float* router = nullptr;  // W_r [experts, hidden]
  int64_t num_experts = 0;
  float* attention = nullptr;  // [text_size]
  float* attended = nullptr;   // [hidden]
  float* logits = nullptr;     // [experts]
  float* weights = nullptr;    // [experts]
};
void Route(Isa isa, WorkerPool& pool, const RouteCall& call);

// out[row] = sum_i weights[i] * outputs[i, row], first expert to last, + residual_weight *
// features[row].
struct CombineCall {
  int64_t rows = 0;
  int64_t hidden = 0;
  int64_t num_experts = 0;
  const float* outputs = nullptr;  // expert i, row r: outputs + i * expert_stride + r * hidden
  int64_t expert_stride = 0;
  const float* weights = nullptr;   // [experts]
  const float* features = nullptr;  // [rows, hidden]; null: none
  float residual_weight = 0.0f;
  float* out = nullptr;  // [rows, hidden]
};
void CombineExperts(Isa isa, WorkerPool& pool, const CombineCall& call);

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_VISION_OPS_H_
