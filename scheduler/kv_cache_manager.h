// KvCacheManager: the KV blocks of one worker. Who holds which (BlockPool), which prefixes they
// hold (PrefixCache), and how a sequence gets the first of them: by a known prefix, or from another
// answer to the same request, whose prompt is the same.
//
// Copy-on-write. Full blocks of computed positions are shared and never written again. A block that
// is not full belongs to one sequence; who forks gets a copy of it, made by the worker before the
// spans of the same step (StepInput::block_copies).
//
// Confined to the engine thread. Steady decode steps allocate nothing.
#ifndef PARROT_SCHEDULER_KV_CACHE_MANAGER_H_
#define PARROT_SCHEDULER_KV_CACHE_MANAGER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/api/step.h"
#include "scheduler/block_pool.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/sequence.h"

namespace parrot {

struct KvCacheOptions {
  int32_t num_blocks = 0;
  int32_t block_size = 1;    // tokens
  bool has_experts = false;  // visual tokens depend on the routing
  bool enable_prefix_caching = true;
  std::string model_revision;  // part of every prefix key
};

class KvCacheManager {
 public:
  explicit KvCacheManager(const KvCacheOptions& options);
  KvCacheManager(const KvCacheManager&) = delete;
  KvCacheManager& operator=(const KvCacheManager&) = delete;

  // Gives a sequence that holds nothing the blocks of its longest known prefix, if besides them
  // those for the rest of its tokens and `num_promised` more are available; else false, and nothing
  // changed. At least one token stays to be computed: its logits are wanted. A sequence that needs
  // log-probabilities of its prompt finds nothing.
  [[nodiscard]] bool Start(Sequence* sequence, int64_t num_promised);
  // The same from `source`, another sequence of the request that has computed the prompt: all but
  // the prompt's last token. `copy`: set when the last of these blocks is not full and must be
  // copied. REQUIRES: CanFork(source, *sequence).
  [[nodiscard]] bool Fork(const Sequence& source,
                          Sequence* sequence,
                          int64_t num_promised,
                          std::optional<BlockCopy>* copy);
  static bool CanFork(const Sequence& source, const Sequence& sequence);

  // Blocks that the table lacks for positions [0, end).
  int64_t NumMissing(const Sequence& sequence, int64_t end) const;
  // Appends `count` blocks to the table. REQUIRES: pool().num_available() >= count.
  void Append(int32_t count, Sequence* sequence);
  // Offers the blocks that were filled since `num_computed_before` positions were computed as
  // prefixes.
  void OfferPrefix(Sequence* sequence, int32_t num_computed_before);
  // Takes all blocks back; those that hold a prefix stay until they are wanted, tail first. The
  // caller makes sure that no step in flight writes them.
  void Release(Sequence* sequence);
  // Forgets every prefix.
  void Flush();

  // The expert weights of the image whose last visual token is the `nth` such in the block.
  // REQUIRES: the block holds a prefix.
  const std::vector<float>& routing(BlockId block, size_t nth) const {
    return prefixes_.routing(block)[nth];
  }
  int32_t block_size() const { return options_.block_size; }
  const BlockPool& pool() const { return pool_; }
  int64_t num_query_tokens() const { return num_query_tokens_; }  // that looked for a prefix
  int64_t num_hit_tokens() const { return num_hit_tokens_; }      // of these, found

  // INTERNAL with the broken invariant, when `holders` are all sequences that hold blocks.
  [[nodiscard]] absl::Status CheckIntegrity(const std::vector<const Sequence*>& holders) const;

 private:
  bool UsesPrefixes(const Sequence& sequence) const;
  // Whether a sequence of `num_tokens` tokens may start with the blocks of `shared_`.
  bool HasRoom(int32_t num_tokens, int64_t num_promised) const;
  void TakeShared(Sequence* sequence);

  const KvCacheOptions options_;
  BlockPool pool_;
  PrefixKeyMaker key_maker_;
  PrefixCache prefixes_;
  int64_t num_query_tokens_ = 0;
  int64_t num_hit_tokens_ = 0;
  std::vector<BlockId> shared_;   // reused by one call
  std::vector<BlockId> evicted_;  // reused by one call
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_KV_CACHE_MANAGER_H_
