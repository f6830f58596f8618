// How the next token of one sequence is chosen. Plain data; validated by the front end.
#ifndef PARROT_MODEL_API_SAMPLING_PARAMS_H_
#define PARROT_MODEL_API_SAMPLING_PARAMS_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "model/api/token.h"
#include "model/api/token_scripts.h"

namespace parrot {

struct SamplingParams {
  // 0 is greedy (the largest logit; the lowest id among equals). Front ends map anything below 1e-5
  // to 0. Range [0, 2].
  float temperature = 0.0f;
  int32_t top_k = 0;   // keep the k largest; 0 keeps all
  float top_p = 1.0f;  // keep the smallest set whose probability reaches it; (0, 1]
  float min_p = 0.0f;  // keep p >= min_p * max p; [0, 1]
  // Draws come from a counter-based generator of (seed, position), so they do not depend on batch
  // mates. Answer i of a request with n of them draws with the request's seed + i, modulo 2^64, as
  // a request of its own with that seed would.
  uint64_t seed = 0;
  int32_t sequence_idx = 0;  // i
  // Logits are changed in this order, before temperature, top_k, top_p and min_p: the repetition
  // penalty divides positive logits and multiplies negative ones of every token of the prompt and
  // the answer; presence and frequency are taken from those of the answer, once and once for each
  // time; biases are added; then the bias of the language lock.
  float repetition_penalty = 1.0f;  // (0, 10]
  float presence_penalty = 0.0f;    // [-2, 2]
  float frequency_penalty = 0.0f;   // [-2, 2]
  std::vector<std::pair<TokenId, float>> logit_bias;
  // Bans win over everything, the lock over biases: only where it would leave no token at all does
  // it give way.
  std::optional<LanguageLock> language_lock;
  // These cannot be drawn as one of the first min_tokens tokens of the answer: what would end it.
  int32_t min_tokens = 0;
  std::vector<TokenId> late_token_ids;
  // The first tokens of the answer are these, whatever their logits are; their log-probabilities
  // are reported as those of drawn ones.
  std::vector<TokenId> forced_token_ids;
  // -1: none; k >= 0: the chosen token's and the k largest, of the distribution before any of the
  // above.
  int32_t num_logprobs = -1;
  // The same for each text token of the prompt but the first, given everything before it: of
  // sequence 0 (LogitsUse::kScore).
  int32_t num_prompt_logprobs = -1;
};

}  // namespace parrot

#endif  // PARROT_MODEL_API_SAMPLING_PARAMS_H_
