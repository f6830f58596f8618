#include "scheduler/block_pool.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace parrot {

BlockPool::BlockPool(int32_t num_blocks) {
  PARROT_CHECK(num_blocks >= 0) << num_blocks;
  blocks_.resize(num_blocks);
  free_.reserve(num_blocks);
  for (BlockId block = num_blocks - 1; block >= 0; --block) free_.push_back(block);
}

const BlockPool::Block& BlockPool::Get(BlockId block) const {
  PARROT_CHECK(block >= 0 && block < num_blocks()) << "block " << block;
  return blocks_[block];
}

BlockPool::Block& BlockPool::Get(BlockId block) {
  PARROT_CHECK(block >= 0 && block < num_blocks()) << "block " << block;
  return blocks_[block];
}

bool BlockPool::Allocate(int32_t count,
                         std::vector<BlockId>* blocks,
                         std::vector<BlockId>* evicted) {
  PARROT_CHECK(count >= 0) << count;
  if (count > num_available()) return false;
  for (int32_t i = 0; i < count; ++i) {
    BlockId block = oldest_cached_;
    if (!free_.empty()) {
      block = free_.back();
      free_.pop_back();
    } else {
      RemoveCached(block);
      blocks_[block].kept = false;
      evicted->push_back(block);
      ++num_evictions_;
    }
    blocks_[block].ref_count = 1;
    blocks->push_back(block);
  }
  num_used_ += count;
  return true;
}

void BlockPool::AddRef(BlockId block) {
  Block& entry = Get(block);
  if (entry.ref_count == 0) {
    PARROT_CHECK(entry.kept) << "block " << block << " is free";
    RemoveCached(block);
    ++num_used_;
  }
  ++entry.ref_count;
}

void BlockPool::Release(BlockId block) {
  Block& entry = Get(block);
  PARROT_CHECK(entry.ref_count > 0) << "block " << block << " is nobody's";
  if (--entry.ref_count > 0) return;
  --num_used_;
  if (entry.kept) {
    AppendCached(block);
  } else {
    free_.push_back(block);
  }
}

void BlockPool::Release(const std::vector<BlockId>& blocks) {
  for (auto it = blocks.rbegin(); it != blocks.rend(); ++it) Release(*it);
}

void BlockPool::Keep(BlockId block) {
  Block& entry = Get(block);
  PARROT_CHECK(entry.ref_count > 0 || entry.kept) << "block " << block << " is free";
  entry.kept = true;
}

void BlockPool::Unkeep(BlockId block) {
  Block& entry = Get(block);
  if (!entry.kept) return;
  entry.kept = false;
  if (entry.ref_count > 0) return;
  RemoveCached(block);
  free_.push_back(block);
}

void BlockPool::AppendCached(BlockId block) {
  Block& entry = blocks_[block];
  entry.older = newest_cached_;
  entry.newer = kNone;
  (newest_cached_ == kNone ? oldest_cached_ : blocks_[newest_cached_].newer) = block;
  newest_cached_ = block;
  ++num_cached_;
}

void BlockPool::RemoveCached(BlockId block) {
  const Block& entry = blocks_[block];
  (entry.older == kNone ? oldest_cached_ : blocks_[entry.older].newer) = entry.newer;
  (entry.newer == kNone ? newest_cached_ : blocks_[entry.newer].older) = entry.older;
  --num_cached_;
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
  std::vector<bool> is_unowned(num_blocks(), false);
  const auto visit = [&](BlockId block) {
    const bool first_visit = !is_unowned[block];
    is_unowned[block] = true;
    return first_visit;
  };
  for (const BlockId block : free_) {
    if (!visit(block)) return absl::InternalError(absl::StrCat("block ", block, " is free twice"));
    if (blocks_[block].kept) {
      return absl::InternalError(absl::StrCat("block ", block, " is free, yet kept"));
    }
  }
  int32_t num_listed = 0;
  for (BlockId block = oldest_cached_; block != kNone; block = blocks_[block].newer) {
    if (!visit(block) || !blocks_[block].kept || ++num_listed > num_cached()) {
      return absl::InternalError(absl::StrCat("block ", block, " is wrongly listed as cached"));
    }
  }
  for (BlockId block = 0; block < num_blocks(); ++block) {
    if (blocks_[block].ref_count < 0 || (blocks_[block].ref_count == 0) != is_unowned[block]) {
      return absl::InternalError(
          absl::StrCat("block ", block, " has ", blocks_[block].ref_count, " owners"));
    }
  }
  return absl::OkStatus();
}

}  // namespace parrot
