// KvCache: the paged keys and values of one worker, and how large they are. Which block holds what
// is the scheduler's business; this obeys block ids. Confined to the worker's thread.
#ifndef PARROT_MODEL_RUNTIME_KV_CACHE_H_
#define PARROT_MODEL_RUNTIME_KV_CACHE_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/backend/backend.h"
#include "model/nn/parrot_model.h"

namespace parrot {

class KvCache {
 public:
  // As many blocks of `block_size` tokens as fit `memory_bytes`. INVALID_ARGUMENT when not one
  // does, or block_size is below 1.
  static absl::StatusOr<std::unique_ptr<KvCache>> Create(const ParrotModel& model,
                                                         int64_t memory_bytes,
                                                         int32_t block_size);

  int32_t num_blocks() const { return num_blocks_; }
  int32_t block_size() const { return block_size_; }
  KvStore& store() { return *store_; }
  // INTERNAL for a block that does not exist.
  absl::Status CheckBlock(BlockId block) const;

 private:
  KvCache(int32_t num_blocks, int32_t block_size, std::unique_ptr<KvStore> store)
      : num_blocks_(num_blocks), block_size_(block_size), store_(std::move(store)) {}

  const int32_t num_blocks_;
  const int32_t block_size_;
  const std::unique_ptr<KvStore> store_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_KV_CACHE_H_
