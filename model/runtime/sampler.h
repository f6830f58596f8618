// Sampler: SamplingParams and positions in, RowResults out. The draws themselves are the backend's;
// the random numbers come from here (counter_rng.h). Confined to the worker's thread.
#ifndef PARROT_MODEL_RUNTIME_SAMPLER_H_
#define PARROT_MODEL_RUNTIME_SAMPLER_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/api/step.h"
#include "model/api/token_scripts.h"
#include "model/backend/backend.h"

namespace parrot {

// One row of logits and what is wanted of it.
struct SamplerRequest {
  SlotId slot = -1;
  LogitsUse use = LogitsUse::kSample;
  TokenId target = -1;                       // kScore
  int32_t next_position = 0;                 // of the token that is drawn
  const SamplingParams* sampling = nullptr;  // borrowed during the call
  // Tokens by position so far, and how many of them are the prompt's. For penalties and the
  // language lock; kVisualToken does not count.
  std::span<const TokenId> tokens;
  int32_t num_prompt_tokens = 0;
};

class Sampler {
 public:
  // Ids >= vocab_size are never drawn. `backend` and `scripts` outlive the sampler; without scripts
  // (null) no request may have a language lock.
  Sampler(const Backend& backend, int32_t vocab_size, const TokenScripts* scripts)
      : backend_(backend), vocab_size_(vocab_size), scripts_(scripts) {}

  // logits [requests, vocab_rows] fp32. Waits for the device. A row whose logits are not all finite
  // gives token -1.
  std::vector<RowResult> Sample(const at::Tensor& logits,
                                std::span<const SamplerRequest> requests,
                                Workspace& workspace);

 private:
  // What the lock allows after the request's answer so far, [vocab_size] bool on the device;
  // undefined: nothing, so there is no lock.
  at::Tensor AllowedTokens(const SamplerRequest& request);

  const Backend& backend_;
  const int32_t vocab_size_;
  const TokenScripts* const scripts_;
  // By script, between code points, where most tokens are drawn; made when first needed.
  std::array<at::Tensor, kNumScripts> allowed_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_SAMPLER_H_
