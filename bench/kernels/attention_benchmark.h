// Attention over stored keys and values: decoding one token behind a long context, a whole prompt,
// and all rows of an image.
#ifndef PARROT_BENCH_KERNELS_ATTENTION_BENCHMARK_H_
#define PARROT_BENCH_KERNELS_ATTENTION_BENCHMARK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "bench/kernels/roofline.h"
#include "bench/measure/report.h"
#include "model/api/model_config.h"
#include "model/kernels/attention.h"
#include "model/kernels/isa.h"

namespace parrot {

struct AttentionCase {
  std::string name;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  bool causal = true;
  int32_t num_sequences = 1;
  int32_t start = 0;     // positions that are stored already
  int32_t num_rows = 1;  // that each sequence computes
  std::vector<kernels::KvFormat> formats;
};
// Decode with 1 and 16 sequences of 641 tokens, a prompt of 641, an image.
std::vector<AttentionCase> AttentionsOf(const ModelConfig& config);

// Appends a row for each format. Keys and values of so many layers take turns that they come from
// memory.
void MeasureAttention(const AttentionCase& attention,
                      const std::string& model,
                      kernels::Isa isa,
                      Roofline& roofline,
                      Table& table);
Table EmptyAttentionTable();

}  // namespace parrot

#endif  // PARROT_BENCH_KERNELS_ATTENTION_BENCHMARK_H_
