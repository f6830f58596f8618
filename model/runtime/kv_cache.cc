#include "model/runtime/kv_cache.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/runtime/device.h"

namespace parrot {

absl::StatusOr<std::unique_ptr<KvCache>> KvCache::Create(const ParrotModel& model,
                                                         int64_t memory_bytes,
                                                         int32_t block_size) {
  if (block_size < 1) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       "a KV block holds at least one token",
                       {.reason = "INVALID_OPTION",
                        .field = "block_size",
                        .value = std::to_string(block_size),
                        .limit = ">= 1"});
  }
  const LanguageConfig& language = model.config().language;
  KvStoreSpec spec = {.num_layers = language.num_layers,
                      .num_kv_heads = static_cast<int32_t>(model.language().num_kv_heads()),
                      .head_dim = language.head_dim(),
                      .block_size = block_size};
  const int64_t block_bytes = model.backend().KvBlockBytes(spec);
  const int64_t num_blocks = std::min<int64_t>(memory_bytes / block_bytes,
                                               std::numeric_limits<int32_t>::max() / block_size);
  if (num_blocks < 1) {
    return ErrorStatus(
        absl::StatusCode::kInvalidArgument,
        "the KV cache is smaller than one block of " + std::to_string(block_bytes) + " bytes",
        {.reason = "INVALID_OPTION",
         .field = "kv_cache_memory_bytes",
         .value = std::to_string(memory_bytes),
         .limit = ">= " + std::to_string(block_bytes)});
  }
  std::unique_ptr<KvStore> store;
  RETURN_IF_ERROR(CatchTorchErrors("allocating the KV cache", [&] {
    spec.num_blocks = static_cast<int32_t>(num_blocks);
    store = model.backend().MakeKvStore(spec);
    return absl::OkStatus();
  }));
  return std::unique_ptr<KvCache>(
      new KvCache(static_cast<int32_t>(num_blocks), block_size, std::move(store)));
}

absl::Status KvCache::CheckBlock(BlockId block) const {
  if (block >= 0 && block < num_blocks_) return absl::OkStatus();
  return ErrorStatus(absl::StatusCode::kInternal,
                     "a step names a KV block that does not exist",
                     {.reason = "MALFORMED_STEP",
                      .value = std::to_string(block),
                      .limit = std::to_string(num_blocks_)});
}

}  // namespace parrot
