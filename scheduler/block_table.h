// BlockTable: the KV blocks of one sequence in order of position. Position p lives in block
// ids()[p / block_size], offset p % block_size. It names blocks and owns none: whoever fills it
// takes from and returns to the BlockPool.
//
// Confined to the engine thread.
#ifndef PARROT_SCHEDULER_BLOCK_TABLE_H_
#define PARROT_SCHEDULER_BLOCK_TABLE_H_

#include <cstdint>
#include <vector>

#include "model/api/token.h"

namespace parrot {

class BlockTable {
 public:
  // Blocks that `num_tokens` positions take. 64 bits: the numbers are a client's.
  static int64_t NumBlocksFor(int64_t num_tokens, int32_t block_size) {
    return (num_tokens + block_size - 1) / block_size;
  }

  const std::vector<BlockId>& ids() const { return ids_; }
  std::vector<BlockId>* mutable_ids() { return &ids_; }
  void Clear() { ids_.clear(); }

 private:
  std::vector<BlockId> ids_;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_BLOCK_TABLE_H_
