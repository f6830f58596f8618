// PrefixCache: which full KV blocks hold which prefix.
//
// The keys and values of a position depend on every token before it, and those of a visual token
// and all that follow on the image *and* on whatever decided how its experts were weighed: for
// Parrot the text of the whole prompt. So the key of a block is a SHA-256 chained over
//   - the model's revision and the tenant,
//   - the key of the block before,
//   - the block's tokens,
//   - for each image that has visual tokens in the block: its content hash and where its rows
//     begin; in the block where its first row lies also the routing fingerprint (the routing text,
//     or the caller's weights).
// Two equal keys mean equal contents; a lookup compares all 256 bits.
//
// Confined to the engine thread. Find and Insert of blocks without images allocate nothing.
#ifndef PARROT_SCHEDULER_PREFIX_CACHE_H_
#define PARROT_SCHEDULER_PREFIX_CACHE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/hash.h"
#include "model/api/token.h"
#include "scheduler/sequence.h"

namespace parrot {

// Makes the keys of a sequence's full blocks.
class PrefixKeyMaker {
 public:
  // A model without experts has visual tokens that depend on the image alone.
  PrefixKeyMaker(std::string model_revision, int32_t block_size, bool has_experts)
      : model_revision_(std::move(model_revision)),
        block_size_(block_size),
        has_experts_(has_experts) {}

  // Extends `keys` to all blocks that tokens [0, num_tokens) fill. REQUIRES: num_tokens <=
  // sequence.num_tokens(); `keys` came from the same sequence.
  void Extend(const Sequence& sequence, int32_t num_tokens, std::vector<Sha256Digest>* keys);

 private:
  Sha256Digest RootKey(const Request& request) const;
  Sha256Digest RoutingFingerprint(const Request& request, const PlacedImage& image) const;
  void AppendImages(const Request& request, int32_t begin, int32_t end);

  const std::string model_revision_;
  const int32_t block_size_;
  const bool has_experts_;
  std::string buffer_;        // what one key is the hash of
  std::vector<TokenId> ids_;  // of one block
};

class PrefixCache {
 public:
  explicit PrefixCache(int32_t num_blocks) : entries_(num_blocks) { by_key_.reserve(num_blocks); }

  // The block that holds the prefix; -1 when none does.
  BlockId Find(const Sha256Digest& key) const;
  // False, and nothing changed, when another block holds it. `routing`: the expert weights of each
  // image whose last visual token lies in the block, in order of position.
  bool Insert(const Sha256Digest& key, BlockId block, std::vector<std::vector<float>> routing);
  // As they were inserted. REQUIRES: the block is in the cache.
  const std::vector<std::vector<float>>& routing(BlockId block) const;
  bool Contains(BlockId block) const { return entries_[block].present; }
  // Forgets a block. No-op for one that is not there.
  void Erase(BlockId block);
  int32_t size() const { return static_cast<int32_t>(by_key_.size()); }

 private:
  struct Entry {
    bool present = false;
    Sha256Digest key;
    std::vector<std::vector<float>> routing;
  };

  absl::flat_hash_map<Sha256Digest, BlockId> by_key_;
  std::vector<Entry> entries_;  // by block
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_PREFIX_CACHE_H_
