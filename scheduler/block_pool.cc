#include "scheduler/block_pool.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace parrot {

BlockPool::BlockPool(int32_t num_blocks) {
  PARROT_CHECK(num_blocks >= 0) << num_blocks;
  ref_counts_.assign(num_blocks, 0);
  free_.reserve(num_blocks);
  for (BlockId block = num_blocks - 1; block >= 0; --block) free_.push_back(block);
}

bool BlockPool::Allocate(int32_t count, std::vector<BlockId>* blocks) {
  PARROT_CHECK(count >= 0) << count;
  if (count > num_free()) return false;
  blocks->reserve(blocks->size() + count);
  for (int32_t i = 0; i < count; ++i) {
    const BlockId block = free_.back();
    free_.pop_back();
    ref_counts_[block] = 1;
    blocks->push_back(block);
  }
  num_used_ += count;
  return true;
}

void BlockPool::AddRef(BlockId block) {
  PARROT_CHECK(ref_count(block) > 0) << "block " << block << " is free";
  ++ref_counts_[block];
}

void BlockPool::Release(BlockId block) {
  PARROT_CHECK(ref_count(block) > 0) << "block " << block << " is free";
  if (--ref_counts_[block] > 0) return;
  free_.push_back(block);
  --num_used_;
}

void BlockPool::Release(const std::vector<BlockId>& blocks) {
  // Last to first, so that the next taker gets them in the same order.
  for (auto it = blocks.rbegin(); it != blocks.rend(); ++it) Release(*it);
}

int32_t BlockPool::ref_count(BlockId block) const {
  PARROT_CHECK(block >= 0 && block < num_blocks()) << "block " << block;
  return ref_counts_[block];
}

absl::Status BlockPool::CheckIntegrity() const {
  if (num_free() + num_used() + num_cached() != num_blocks()) {
    return absl::InternalError(absl::StrCat(num_free(),
                                            " free, ",
                                            num_used(),
                                            " used, ",
                                            num_cached(),
                                            " cached of ",
                                            num_blocks(),
                                            " blocks"));
  }
  std::vector<bool> is_free(num_blocks(), false);
  for (const BlockId block : free_) {
    if (is_free[block]) return absl::InternalError(absl::StrCat("block ", block, " is free twice"));
    is_free[block] = true;
  }
  for (BlockId block = 0; block < num_blocks(); ++block) {
    if (ref_counts_[block] < 0 || (ref_counts_[block] == 0) != is_free[block]) {
      return absl::InternalError(
          absl::StrCat("block ", block, " has ", ref_counts_[block], " owners"));
    }
  }
  return absl::OkStatus();
}

}  // namespace parrot
