// parrot-bench kernels: each kernel by itself, at the shapes of whole models.
#ifndef PARROT_BENCH_KERNELS_KERNELS_BENCHMARK_H_
#define PARROT_BENCH_KERNELS_KERNELS_BENCHMARK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "bench/kernels/roofline.h"
#include "bench/measure/report.h"
#include "model/kernels/isa.h"

namespace parrot {

struct KernelsBenchmark {
  std::vector<std::string> models;     // of ModelSizeNames()
  std::vector<std::string> encodings;  // of WeightEncodingNames()
  std::vector<kernels::Isa> isas;      // of NativeIsas()
  std::vector<int64_t> rows;           // of activations in the language model's products
  std::vector<std::string> only;       // matrices and attentions by name; empty: all
  bool summary = false;                // products by share of their limits, not one by one
  Roofline::Options roofline;
};

// Progress goes to stderr.
std::vector<Table> RunKernelsBenchmark(const KernelsBenchmark& benchmark);

}  // namespace parrot

#endif  // PARROT_BENCH_KERNELS_KERNELS_BENCHMARK_H_
