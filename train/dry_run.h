// What a run would take, from the configuration alone: memory by part, compute by step and by run,
// for each stage, and which devices it fits. Nothing is allocated. Stateless.
#ifndef PARROT_TRAIN_DRY_RUN_H_
#define PARROT_TRAIN_DRY_RUN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/api/model_config.h"
#include "train/train_options.h"

namespace parrot {

// Bytes and floating-point operations of one process.
struct RunForecast {
  double weights = 0;      // in the compute dtype
  double masters = 0;      // fp32 copies of what is trained; 0 when computing in fp32
  double gradients = 0;    // fp32 sums, and those of the micro-batches under way
  double moments = 0;      // AdamW's two
  double activations = 0;  // kept for the backward passes under way, and logits
  double total() const { return weights + masters + gradients + moments + activations; }

  double trained_parameters = 0;
  double flops_per_step = 0;  // forward, backward, and what is computed again
};

// A sample is taken to be as long as it may be: options.max_length rows, one picture, half of its
// text learned.
RunForecast ForecastRun(const ModelConfig& config, const StageOptions& options);

// The table that --dry-run prints: this stage first, then the other of the two stages, for a
// picture of the whole recipe. `num_samples` 0: unknown.
std::string DryRunReport(const ModelConfig& config,
                         const StageOptions& options,
                         int64_t num_samples);

}  // namespace parrot

#endif  // PARROT_TRAIN_DRY_RUN_H_
