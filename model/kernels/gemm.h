// Matrix products with packed weights: out = epilogue(a W^T), W [out_features, in_features].
//
// Weights are packed once. A panel is 2 * lanes output features, for all input features side by
// side: [panels][in_features][2 * lanes], so a product reads them front to back. Activations are
// packed for each product: blocks of rows, [block][in_features][rows of the block]; the norm before
// the matrix may be part of that. kAvx512Bf16 and kAmx multiply pairs of bfloat16 unless weights
// are fp32: there activations are rounded to it, and both have pairs of input features innermost.
//
// One sum, one order. For every number of rows and of threads, an output is
//   without groups:  s = fma(a[k], w[k], s) over k, first to last, from 0; then times the scale
//   with groups:     the same s over each group, and group by group, total = fma(scale, s, total);
//                    int4: total = fma(scale, s - zero * (sum of the group's a[k]), total)
// where w[k] is the stored number (bf16, int8 and int4 are exact in bfloat16). Of a pair, vdpbf16ps
// adds the product of the odd k first. Tiles (tdpbf16ps) add 32 input features at a time to s: the
// sum of their even products plus that of the odd ones; every call has the same such runs, from the
// first input feature on, and few rows are a tile with rows of zeros. Tiles cannot scale within a
// sum: with groups, w[k] is the weight itself, scale * (q - zero), rounded to bfloat16 (by at most
// 1/256 of it).
// So a row's result does not depend, bit by bit, on its batch mates, on the number of rows in the
// call or on the threads.
//
// Formats: fp32; bf16; int8, symmetric, one fp32 scale per output feature and group; int4,
// asymmetric, w = scale * (q - zero), one scale and zero point (0..15) likewise, as bfloat16: in
// groups of 32 they are 1 of 5 bits per weight. Groups are runs of in_features.
//
// PackedMatrix is immutable after the last Add and may be shared by threads; PackedRows and the
// products belong to the thread that owns the WorkerPool.
#ifndef PARROT_MODEL_KERNELS_GEMM_H_
#define PARROT_MODEL_KERNELS_GEMM_H_

#include <cstdint>
#include <span>
#include <vector>

#include "model/kernels/aligned_buffer.h"
#include "model/kernels/isa.h"
#include "model/kernels/worker_pool.h"

namespace parrot::kernels {

enum class WeightFormat { kFloat32, kBFloat16, kInt8, kInt4 };

// How weights are stored. group_size 0: one scale per output feature (int8 only).
struct WeightEncoding {
  WeightFormat format = WeightFormat::kFloat32;
  int32_t group_size = 0;  // int8: 0, 32 or 128; int4: 32 or 128; else 0
};

// Element types of tensors as they come from files.
enum class SourceType { kFloat32, kBFloat16, kFloat16 };

// kGateUp: features [0, out / 2) are gates, the others ups, interleaved in the panels so that an
// epilogue holds silu(gate) * up in registers; the product then has out / 2 columns.
enum class PanelOrder { kPlain, kGateUp };

struct MatrixShape {
  int64_t out_features = 0;
  int64_t in_features = 0;
  WeightEncoding encoding;
  PanelOrder order = PanelOrder::kPlain;
};

// What a product multiplies weights by.
enum class Activations { kFloat32, kBFloat16 };
Activations ActivationsOf(Isa isa, WeightFormat format);

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Allocates; values are 0 until they are added. REQUIRES: for kGateUp, out_features is even.
  // in_features that are no multiple of the group are padded with zeros inside.
  PackedMatrix(const MatrixShape& shape, Isa isa);
  // In `memory` of BytesOf(shape, isa): zeros, or all of a matrix that was packed before.
  PackedMatrix(const MatrixShape& shape, Isa isa, AlignedBuffer memory);
  static int64_t BytesOf(const MatrixShape& shape, Isa isa);

  // Sets W[first_out + i, first_in + k] = values[i * stride + k] for i < num_out, k < num_in.
  // Quantises: with groups, [first_in, first_in + num_in) covers whole groups (the last one of the
  // matrix may be short); without, all of in_features. Each place is set once. Calls for the same
  // input features may run at the same time when each begins and ends between panels: at a multiple
  // of kAddStep, counted from the first gate or up for kGateUp.
  static constexpr int64_t kAddStep = 32;
  void Add(const void* values,
           SourceType type,
           int64_t stride,
           int64_t first_out,
           int64_t num_out,
           int64_t first_in,
           int64_t num_in);

  const MatrixShape& shape() const { return shape_; }
  Isa isa() const { return isa_; }
  Activations activations() const { return ActivationsOf(isa_, shape_.encoding.format); }
  int64_t bytes() const { return static_cast<int64_t>(data_.size()); }
  // W[out, :] as the products see it, to `row` [in_features]. For embeddings that are the head as
  // well, and for errors of quantisation.
  void ReadRow(int64_t out, float* row) const;

 private:
  friend struct MatrixView;
  MatrixShape shape_;
  Isa isa_ = Isa::kEmulatedAvx2;
  AlignedBuffer data_;
};

// Of the bytes that a PackedMatrix holds. One more with every change of their order or values:
// files of packed weights depend on it.
inline constexpr int32_t kPackedLayoutVersion = 2;

enum class NormOf { kNone, kRms, kLayer };

// Rows of activations in the order in which products read them. Grows to the largest call and keeps
// its memory.
class PackedRows {
 public:
  explicit PackedRows(Isa isa) : isa_(isa) {}

  // x[m * stride + k], m < rows, k < in_features. With a norm, its value instead of x:
  //   kRms:   x / sqrt(mean(x^2) + eps) * weight
  //   kLayer: (x - mean) / sqrt(var + eps) * weight + bias
  struct Source {
    const float* x = nullptr;
    int64_t stride = 0;
    const int32_t* row_index = nullptr;  // not null: row m is x + row_index[m] * stride
    NormOf norm = NormOf::kNone;
    const float* norm_weight = nullptr;  // [in_features]
    const float* norm_bias = nullptr;
    float eps = 0.0f;
  };
  // For products with matrices that take such activations.
  void Pack(WorkerPool& pool,
            int64_t rows,
            int64_t in_features,
            Activations activations,
            const Source& source);

  int64_t rows() const { return rows_; }
  int64_t in_features() const { return in_features_; }
  Activations activations() const { return activations_; }

 private:
  friend struct RowsView;
  Isa isa_;
  int64_t rows_ = 0;
  int64_t in_features_ = 0;
  Activations activations_ = Activations::kFloat32;
  AlignedBuffer data_;
};

// The same norms, row by row, to out[m * out_stride + k]. In place is allowed.
void Norm(Isa isa,
          WorkerPool& pool,
          int64_t rows,
          int64_t size,
          const PackedRows::Source& source,
          float* out,
          int64_t out_stride);

enum class GemmActivation { kNone, kGelu, kQuickGelu, kSiluMul };

// What happens to y = (a W^T)[m, n] on its way out, in this order.
struct Epilogue {
  const float* bias = nullptr;                        // [out_features] + bias[n]; not with kSiluMul
  GemmActivation activation = GemmActivation::kNone;  // kSiluMul: needs kGateUp
  const float* row_scale = nullptr;                   // [rows] times row_scale[m]
  const float* residual = nullptr;                    // + residual_scale * residual[m, n]
  int64_t residual_stride = 0;
  float residual_scale = 1.0f;
  float* out = nullptr;  // out[m * out_stride + n]; may be `residual`
  int64_t out_stride = 0;
};

// One of several products that share their rows: their matrices take the same activations.
// [first_in, first_in + a.in_features()) of the matrix's input features take part: whole groups,
// and from an even one on.
struct GemmPart {
  const PackedMatrix* weights = nullptr;
  int64_t first_in = 0;
  Epilogue epilogue;
};

// Runs all parts as one piece of work. `scratch` grows to what the threads need and keeps it.
class GemmScratch {
 public:
  GemmScratch() = default;

 private:
  friend void Gemm(WorkerPool&, const PackedRows&, std::span<const GemmPart>, GemmScratch&);
  AlignedBuffer data_;
};
void Gemm(WorkerPool& pool,
          const PackedRows& a,
          std::span<const GemmPart> parts,
          GemmScratch& scratch);

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_GEMM_H_
