// BlockPool: which KV blocks of one worker are free, how many owners each used one has, and which
// are kept for their contents. It holds numbers, not memory: the worker owns the tensors and obeys
// the ids.
//
// A block that nobody owns is *free*, or *cached* when somebody said Keep: free to take too, but
// after all free ones, and the longest unowned first. Invariant: num_free() + num_used() +
// num_cached() == num_blocks().
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

  int32_t num_blocks() const { return static_cast<int32_t>(blocks_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_used() const { return num_used_; }
  int32_t num_cached() const { return num_cached_; }
  int32_t num_available() const { return num_free() + num_cached(); }
  // Cached blocks whose contents were lost to new ones, since the start.
  int64_t num_evictions() const { return num_evictions_; }

  // Appends `count` blocks, each with one owner, to `blocks`; or false, and nothing changed, when
  // fewer are available. Those that were cached are appended to `evicted` too: their contents are
  // lost. REQUIRES: count >= 0.
  [[nodiscard]] bool Allocate(int32_t count,
                              std::vector<BlockId>* blocks,
                              std::vector<BlockId>* evicted);
  // One more owner of a used or cached block.
  void AddRef(BlockId block);
  // One owner less; the block is free (or cached) when that was the last. REQUIRES: the block is
  // used. The caller makes sure that no step in flight writes it.
  void Release(BlockId block);
  // Last to first: of one sequence's blocks the tail is evicted before the head.
  void Release(const std::vector<BlockId>& blocks);
  // Whether the block is cached, not free, once nobody owns it. REQUIRES: it is not free.
  void Keep(BlockId block);
  void Unkeep(BlockId block);

  // Number of owners; 0 for a free or cached block.
  int32_t ref_count(BlockId block) const { return Get(block).ref_count; }

  bool is_kept(BlockId block) const { return Get(block).kept; }

  // INTERNAL with the broken invariant. Linear in num_blocks(): for tests and idle moments.
  [[nodiscard]] absl::Status CheckIntegrity() const;

 private:
  static constexpr BlockId kNone = -1;
  struct Block {
    int32_t ref_count = 0;
    bool kept = false;
    // Neighbours in the list of cached blocks.
    BlockId older = kNone;
    BlockId newer = kNone;
  };

  const Block& Get(BlockId block) const;
  Block& Get(BlockId block);
  void AppendCached(BlockId block);
  void RemoveCached(BlockId block);

  std::vector<Block> blocks_;
  std::vector<BlockId> free_;  // taken from the back: a block just freed is still warm
  BlockId oldest_cached_ = kNone;
  BlockId newest_cached_ = kNone;
  int32_t num_cached_ = 0;
  int32_t num_used_ = 0;
  int64_t num_evictions_ = 0;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_BLOCK_POOL_H_
