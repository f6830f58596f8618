// parrot-bench engine: a whole model of random weights through the real runner, from a step's input
// to its output: no scheduler, no server, no image decoding. Steps go to the ModelExecutor
// directly.
//
// Figures; docs/performance.md says more:
//   load_s, loaded_gib, peak_gib         loading; resident memory after it, and at most
//   vision_ms, vision_4_ms, projector_ms stages of one image; the tower of four in one step
//   moe_ms                               router and experts of one image
//   known_image_ms, cached_question_ms   visual tokens of a known image: features kept; experts too
//   prefill_N                            tokens/s of a prompt of N
//   ttft_ms                              a question about a new image, to its first token
//   decode_N                             tokens/s of N sequences together, behind a full cache
//   prefill_N_held, decode_N_held        with holds_core: the same while another process computes
//                                        on one core; and as a share (%) of what the cores' time
//                                        that it left would have done alone: ..._held_share
#ifndef PARROT_BENCH_ENGINE_ENGINE_BENCHMARK_H_
#define PARROT_BENCH_ENGINE_ENGINE_BENCHMARK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bench/measure/measure.h"
#include "bench/measure/report.h"
#include "model/runtime/model_runner_factory.h"

namespace parrot {

struct EngineBenchmark {
  std::string model;          // of ModelSizeNames()
  ModelRunnerOptions runner;  // slots, caches and token budget are the benchmark's own
  RepeatOptions repeats;
  double sample_seconds = 1.0;  // of decode steps in one repeat
  std::vector<int32_t> prompt_tokens = {512, 641};
  std::vector<int32_t> batches = {1, 4, 16};  // sequences that decode together
  int32_t context_tokens = 641;               // in the cache of each of them
  bool holds_core = false;
};

Table EmptyEngineTable();
// Appends the model's figures. Errors are CreateModelRunner's and those of its steps. Progress goes
// to stderr.
absl::Status RunEngineBenchmark(const EngineBenchmark& benchmark, Table& table);

}  // namespace parrot

#endif  // PARROT_BENCH_ENGINE_ENGINE_BENCHMARK_H_
