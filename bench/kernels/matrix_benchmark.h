// Products with packed weights, at every shape of a model: rows packed, product, activation.
#ifndef PARROT_BENCH_KERNELS_MATRIX_BENCHMARK_H_
#define PARROT_BENCH_KERNELS_MATRIX_BENCHMARK_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/kernels/roofline.h"
#include "bench/measure/report.h"
#include "model/api/model_config.h"
#include "model/kernels/gemm.h"
#include "model/kernels/isa.h"

namespace parrot {

// "fp32", "bf16", "int8", "int8-g128", "int4-g32", "int4-g128".
std::vector<std::string> WeightEncodingNames();
std::optional<kernels::WeightEncoding> ParseWeightEncoding(std::string_view name);

// One matrix of a model, and with how many rows of activations it is used.
struct MatrixCase {
  std::string name;
  int64_t out_features = 0;
  int64_t in_features = 0;
  bool gate_up = false;
  std::vector<int64_t> rows;
};
// `rows` of the language model's (few rows for its head); as many as an image has for the tower's,
// projector's and experts'.
std::vector<MatrixCase> MatricesOf(const ModelConfig& config, const std::vector<int64_t>& rows);

// Appends a row for each number of rows. Weights in so many copies that they come from memory.
struct MatrixRun {
  std::string model;
  std::string encoding;  // of WeightEncodingNames()
  kernels::Isa isa = kernels::Isa::kAvx2;
};
void MeasureMatrix(const MatrixCase& matrix,
                   const MatrixRun& run,
                   Roofline& roofline,
                   Table& table);
Table EmptyMatrixTable();
// Of such a table: the lowest and the median share of the limit by instruction set, weights and
// rows.
Table SummaryOf(const Table& matrices);

}  // namespace parrot

#endif  // PARROT_BENCH_KERNELS_MATRIX_BENCHMARK_H_
