#include "scheduler/kv_cache_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "scheduler/block_table.h"

namespace parrot {

KvCacheManager::KvCacheManager(const KvCacheOptions& options)
    : options_(options),
      pool_(options.num_blocks),
      key_maker_(options.model_revision, options.block_size, options.has_experts),
      prefixes_(options.num_blocks) {}

bool KvCacheManager::UsesPrefixes(const Sequence& sequence) const {
  return options_.enable_prefix_caching && sequence.request().use_prefix_cache;
}

bool KvCacheManager::Start(Sequence* sequence, int64_t num_promised) {
  const int32_t num_tokens = sequence->num_tokens();
  // A position that is not computed has no logits.
  const bool looks = UsesPrefixes(*sequence) && !sequence->needs_prompt_logprobs();
  shared_.clear();
  if (looks) {
    key_maker_.Extend(*sequence, num_tokens, &sequence->block_keys());
    const int32_t most = (num_tokens - 1) / options_.block_size;
    for (int32_t i = 0; i < most; ++i) {
      const BlockId block = prefixes_.Find(sequence->block_keys()[i]);
      if (block < 0) break;
      shared_.push_back(block);
    }
  }
  if (!HasRoom(num_tokens, num_promised)) return false;
  TakeShared(sequence);
  const int32_t num_hits = static_cast<int32_t>(shared_.size()) * options_.block_size;
  sequence->TakeCachedTokens(num_hits);
  if (looks) {
    num_query_tokens_ += num_tokens;
    num_hit_tokens_ += num_hits;
  }
  return true;
}

bool KvCacheManager::CanFork(const Sequence& source, const Sequence& sequence) {
  return source.key() == sequence.key() && source.state() == SequenceState::kRunning &&
         !source.is_spoiled() && source.num_computed_tokens() >= source.num_prompt_tokens() &&
         sequence.num_generated_tokens() == 0;
}

bool KvCacheManager::Fork(const Sequence& source,
                          Sequence* sequence,
                          int64_t num_promised,
                          std::optional<BlockCopy>* copy) {
  PARROT_CHECK(CanFork(source, *sequence));
  const std::vector<BlockId>& blocks = source.blocks().ids();
  const int32_t num_computed = sequence->num_prompt_tokens() - 1;
  const int32_t num_full = num_computed / options_.block_size;
  shared_.assign(blocks.begin(), blocks.begin() + num_full);
  if (!HasRoom(sequence->num_prompt_tokens(), num_promised)) return false;
  TakeShared(sequence);
  if (num_computed % options_.block_size > 0) {
    Append(1, sequence);
    *copy = {.source = blocks[num_full], .destination = sequence->blocks().ids().back()};
  }
  sequence->TakeCachedTokens(num_computed);
  return true;
}

bool KvCacheManager::HasRoom(int32_t num_tokens, int64_t num_promised) const {
  const auto num_unowned = std::count_if(shared_.begin(), shared_.end(), [this](BlockId block) {
    return pool_.ref_count(block) == 0;
  });
  const int64_t num_missing = BlockTable::NumBlocksFor(num_tokens, options_.block_size) -
                              static_cast<int64_t>(shared_.size());
  return num_missing + num_unowned + num_promised <= pool_.num_available();
}

void KvCacheManager::TakeShared(Sequence* sequence) {
  const int64_t max_blocks =
      BlockTable::NumBlocksFor(sequence->max_positions(), options_.block_size);
  sequence->block_keys().reserve(max_blocks);
  std::vector<BlockId>* table = sequence->blocks().mutable_ids();
  table->reserve(max_blocks);
  for (const BlockId block : shared_) pool_.AddRef(block);
  table->assign(shared_.begin(), shared_.end());
}

int64_t KvCacheManager::NumMissing(const Sequence& sequence, int64_t end) const {
  const auto num_taken = static_cast<int64_t>(sequence.blocks().ids().size());
  return std::max<int64_t>(BlockTable::NumBlocksFor(end, options_.block_size) - num_taken, 0);
}

void KvCacheManager::Append(int32_t count, Sequence* sequence) {
  evicted_.clear();
  const bool allocated = pool_.Allocate(count, sequence->blocks().mutable_ids(), &evicted_);
  PARROT_CHECK(allocated);
  for (const BlockId block : evicted_) prefixes_.Erase(block);
}

void KvCacheManager::OfferPrefix(Sequence* sequence, int32_t num_computed_before) {
  const int32_t first = num_computed_before / options_.block_size;
  const int32_t end = sequence->num_computed_tokens() / options_.block_size;
  if (first >= end || !UsesPrefixes(*sequence)) return;
  key_maker_.Extend(*sequence, sequence->num_computed_tokens(), &sequence->block_keys());
  const std::vector<PlacedImage>& images = sequence->request().images;
  for (int32_t i = first; i < end; ++i) {
    std::vector<std::vector<float>> routing;
    for (size_t image = 0; image < images.size(); ++image) {
      const int32_t last = images[image].position + images[image].num_tokens - 1;
      if (last / options_.block_size == i) routing.push_back(sequence->visuals()[image].weights);
    }
    const BlockId block = sequence->blocks().ids()[i];
    if (prefixes_.Insert(sequence->block_keys()[i], block, std::move(routing))) pool_.Keep(block);
  }
}

void KvCacheManager::Release(Sequence* sequence) {
  pool_.Release(sequence->blocks().ids());
  sequence->blocks().Clear();
}

void KvCacheManager::Flush() {
  for (BlockId block = 0; block < pool_.num_blocks(); ++block) {
    if (!prefixes_.Contains(block)) continue;
    prefixes_.Erase(block);
    pool_.Unkeep(block);
  }
}

absl::Status KvCacheManager::CheckIntegrity(const std::vector<const Sequence*>& holders) const {
  RETURN_IF_ERROR(pool_.CheckIntegrity());
  std::vector<int32_t> num_owners(pool_.num_blocks(), 0);
  for (const Sequence* sequence : holders) {
    const std::vector<BlockId>& table = sequence->blocks().ids();
    // Only what is computed and full may be shared.
    const auto num_full = static_cast<size_t>(sequence->num_computed_tokens()) /
                          static_cast<size_t>(options_.block_size);
    for (size_t i = 0; i < table.size(); ++i) {
      ++num_owners[table[i]];
      if (i >= num_full && pool_.ref_count(table[i]) != 1) {
        return absl::InternalError(
            absl::StrCat("block ", table[i], " is shared and still written"));
      }
    }
  }
  for (BlockId block = 0; block < pool_.num_blocks(); ++block) {
    if (pool_.ref_count(block) != num_owners[block]) {
      return absl::InternalError(absl::StrCat("block ",
                                              block,
                                              " has ",
                                              pool_.ref_count(block),
                                              " owners, and is in ",
                                              num_owners[block],
                                              " tables"));
    }
    if (pool_.ref_count(block) == 0 && pool_.is_kept(block) != prefixes_.Contains(block)) {
      return absl::InternalError(absl::StrCat("block ", block, " is kept for nothing"));
    }
  }
  return absl::OkStatus();
}

}  // namespace parrot
