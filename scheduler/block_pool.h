// BlockPool: which KV blocks of one worker are free, and how many owners each used one has. It
// holds numbers, not memory: the worker owns the tensors and obeys the ids.
//
// Invariant: num_free() + num_used() + num_cached() == num_blocks(). A block is free exactly when
// nobody owns it. Cached blocks (free to take, but with contents worth finding) come with the
// prefix cache; until then num_cached() is 0.
//
// Confined to the engine thread. No allocation after construction.
#ifndef PARROT_SCHEDULER_BLOCK_POOL_H_
#define PARROT_SCHEDULER_BLOCK_POOL_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "model/api/token.h"

namespace parrot {

class BlockPool {
 public:
  // REQUIRES: num_blocks >= 0.
  explicit BlockPool(int32_t num_blocks);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  int32_t num_blocks() const { return static_cast<int32_t>(ref_counts_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_used() const { return num_used_; }
  int32_t num_cached() const { return 0; }

  // Appends `count` blocks, each with one owner, to `blocks`; or false, and nothing changed, when
  // fewer are free. REQUIRES: count >= 0.
  [[nodiscard]] bool Allocate(int32_t count, std::vector<BlockId>* blocks);
  // One more owner of a used block.
  void AddRef(BlockId block);
  // One owner less; the block is free when that was the last. REQUIRES: the block is used. The
  // caller makes sure that no step in flight reads or writes it.
  void Release(BlockId block);
  void Release(const std::vector<BlockId>& blocks);

  // Number of owners; 0 for a free block.
  int32_t ref_count(BlockId block) const;

  // INTERNAL with the broken invariant. Linear in num_blocks(): for tests and idle moments.
  [[nodiscard]] absl::Status CheckIntegrity() const;

 private:
  std::vector<int32_t> ref_counts_;  // by block
  std::vector<BlockId> free_;        // taken from the back: a block just freed is still warm
  int32_t num_used_ = 0;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_BLOCK_POOL_H_
