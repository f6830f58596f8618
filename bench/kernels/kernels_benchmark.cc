#include "bench/kernels/kernels_benchmark.h"

#include <algorithm>
#include <utility>

#include "bench/kernels/attention_benchmark.h"
#include "bench/kernels/matrix_benchmark.h"
#include "bench/model_sizes/model_sizes.h"
#include "model/api/model_config.h"

namespace parrot {

std::vector<Table> RunKernelsBenchmark(const KernelsBenchmark& benchmark) {
  const auto is_wanted = [&](const std::string& name) {
    return benchmark.only.empty() ||
           std::count(benchmark.only.begin(), benchmark.only.end(), name) > 0;
  };
  Roofline roofline(benchmark.roofline);
  Table matrices = EmptyMatrixTable(), attentions = EmptyAttentionTable();
  for (const std::string& model : benchmark.models) {
    const ModelConfig config = *ConfigOfModelSize(model);
    for (const kernels::Isa isa : benchmark.isas) {
      for (const MatrixCase& matrix : MatricesOf(config, benchmark.rows)) {
        if (!is_wanted(matrix.name)) continue;
        for (const std::string& encoding : benchmark.encodings) {
          MeasureMatrix(
              matrix, {.model = model, .encoding = encoding, .isa = isa}, roofline, matrices);
        }
      }
      for (const AttentionCase& attention : AttentionsOf(config)) {
        if (is_wanted(attention.name))
          MeasureAttention(attention, model, isa, roofline, attentions);
      }
    }
  }
  std::vector<Table> tables;
  if (!matrices.rows.empty()) {
    if (benchmark.summary) tables.push_back(SummaryOf(matrices));
    matrices.json_alone = benchmark.summary;
    tables.push_back(std::move(matrices));
  }
  if (!attentions.rows.empty()) tables.push_back(std::move(attentions));
  return tables;
}

}  // namespace parrot
