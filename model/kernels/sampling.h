// Rows of logits: the largest, log-probabilities, draws from what top-k, top-p and min-p keep,
// without a full sort. One row at a time: a row's result depends on that row only. The rules are
// those of model/backend/backend.h (SampleRow); tokens less likely than e^-256 of the likeliest are
// never drawn. Thread-safe.
#ifndef PARROT_MODEL_KERNELS_SAMPLING_H_
#define PARROT_MODEL_KERNELS_SAMPLING_H_

#include <cstdint>
#include <span>
#include <vector>

#include "model/kernels/isa.h"

namespace parrot::kernels {

// The largest value, the lowest index among equals; -1 if a value is NaN or infinite upwards, or
// all are minus infinity. `finite`: every value is a number.
struct Largest {
  int32_t index = -1;
  float value = 0.0f;
  bool finite = false;
};
Largest FindLargest(Isa isa, std::span<const float> logits);

// log(sum(exp(x))) in double precision. REQUIRES: FindLargest gave `largest`.
double LogSumExp(Isa isa, std::span<const float> logits, float largest);

struct ScoredToken {
  float logit = 0.0f;
  int32_t token = 0;
};

struct DrawRule {
  float temperature = 1.0f;  // > 0
  int32_t top_k = 0;         // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  double uniform = 0.0;  // [0, 1)
};

// Memory of the draws; grows to the vocabulary and is kept. Confined to one draw at a time.
struct SamplingScratch {
  std::vector<ScoredToken> candidates;
  std::vector<double> probabilities;
};

// The first token, by id, at which the cumulative probability of the kept set exceeds `uniform` of
// its total. REQUIRES: FindLargest gave an index.
int32_t Draw(Isa isa,
             std::span<const float> logits,
             const DrawRule& rule,
             SamplingScratch& scratch);

// The k largest, largest first, the lower id first among equals; fewer when there are fewer.
void FindTop(std::span<const float> logits, int32_t k, std::vector<ScoredToken>& top);

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_SAMPLING_H_
