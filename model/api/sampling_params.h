// How the next token of one sequence is chosen. Plain data; validated by the front end.
#ifndef PARROT_MODEL_API_SAMPLING_PARAMS_H_
#define PARROT_MODEL_API_SAMPLING_PARAMS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "model/api/token.h"

namespace parrot {

struct SamplingParams {
  // 0 is greedy (the largest logit; the lowest id among equals). Front ends map anything below 1e-5
  // to 0. Range [0, 2].
  float temperature = 0.0f;
  int32_t top_k = 0;   // keep the k largest; 0 keeps all
  float top_p = 1.0f;  // keep the smallest set whose probability reaches it; (0, 1]
  float min_p = 0.0f;  // keep p >= min_p * max p; [0, 1]
  // Draws come from a counter-based generator of (seed, sequence index, position), so they do not
  // depend on batch mates.
  uint64_t seed = 0;
  int32_t sequence_idx = 0;  // which of the n samples of a request this is
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::vector<std::pair<TokenId, float>> logit_bias;
  int32_t num_logprobs = -1;  // -1: none; k >= 0: the chosen token's and the k largest
};

}  // namespace parrot

#endif  // PARROT_MODEL_API_SAMPLING_PARAMS_H_
