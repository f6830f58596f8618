// Identifier types of the model's contract. Distinct names for readers; all are plain int32_t.
#ifndef PARROT_MODEL_API_TOKEN_H_
#define PARROT_MODEL_API_TOKEN_H_

#include <cstdint>

namespace parrot {

using TokenId = int32_t;  // index into the vocabulary
using BlockId = int32_t;  // index into the paged KV cache
using SlotId = int32_t;   // row that one running sequence holds from its first step to its last

// Stands for one visual token (one row of V) in a list of token ids. The reference's placeholder.
inline constexpr TokenId kVisualToken = -200;

}  // namespace parrot

#endif  // PARROT_MODEL_API_TOKEN_H_
