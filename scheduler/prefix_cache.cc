#include "scheduler/prefix_cache.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace parrot {
namespace {

template <typename T>
void AppendRaw(const T* values, size_t count, std::string* out) {
  out->append(reinterpret_cast<const char*>(values), count * sizeof(T));
}

void AppendDigest(const Sha256Digest& digest, std::string* out) {
  AppendRaw(digest.bytes.data(), digest.bytes.size(), out);
}

template <typename T>
std::string_view Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace

Sha256Digest PrefixKeyMaker::RootKey(const Request& request) const {
  Sha256 hash;
  hash.UpdateSized("parrot prefix");
  hash.UpdateSized(model_revision_);
  hash.UpdateSized(request.tenant);
  return hash.Finish();
}

Sha256Digest PrefixKeyMaker::RoutingFingerprint(const Request& request,
                                                const PlacedImage& image) const {
  Sha256 hash;
  if (image.routing == RoutingSource::kZeros) {
    hash.UpdateSized("zeros");
  } else if (!has_experts_) {
    hash.UpdateSized("features");
  } else if (image.routing == RoutingSource::kWeights) {
    hash.UpdateSized("weights");
    hash.UpdateSized(Bytes(image.weights));
  } else {
    hash.UpdateSized("text");
    hash.UpdateSized(Bytes(request.text_ids));
  }
  return hash.Finish();
}

void PrefixKeyMaker::AppendImages(const Request& request, int32_t begin, int32_t end) {
  for (const PlacedImage& image : request.images) {
    if (image.position >= end || image.position + image.num_tokens <= begin) continue;
    // At most one of the two is above 0; together they place the rows exactly.
    const int32_t place[] = {std::max(0, image.position - begin),
                             std::max(0, begin - image.position)};
    AppendRaw(place, 2, &buffer_);
    AppendDigest(image.image.hash, &buffer_);
    if (image.position >= begin) AppendDigest(RoutingFingerprint(request, image), &buffer_);
  }
}

void PrefixKeyMaker::Extend(const Sequence& sequence,
                            int32_t num_tokens,
                            std::vector<Sha256Digest>* keys) {
  const Request& request = sequence.request();
  const int32_t num_blocks = num_tokens / block_size_;
  for (auto block = static_cast<int32_t>(keys->size()); block < num_blocks; ++block) {
    const int32_t begin = block * block_size_;
    buffer_.clear();
    AppendDigest(block == 0 ? RootKey(request) : keys->back(), &buffer_);
    ids_.clear();
    sequence.CopyTokens(begin, block_size_, &ids_);
    AppendRaw(ids_.data(), ids_.size(), &buffer_);
    if (begin < sequence.num_prompt_tokens()) AppendImages(request, begin, begin + block_size_);
    keys->push_back(Sha256Of(buffer_));
  }
}

BlockId PrefixCache::Find(const Sha256Digest& key) const {
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? -1 : it->second;
}

bool PrefixCache::Insert(const Sha256Digest& key,
                         BlockId block,
                         std::vector<std::vector<float>> routing) {
  Entry& entry = entries_[block];
  PARROT_CHECK(!entry.present) << "block " << block << " holds another prefix";
  if (!by_key_.emplace(key, block).second) return false;
  entry = {.present = true, .key = key, .routing = std::move(routing)};
  return true;
}

const std::vector<std::vector<float>>& PrefixCache::routing(BlockId block) const {
  PARROT_CHECK(entries_[block].present);
  return entries_[block].routing;
}

void PrefixCache::Erase(BlockId block) {
  Entry& entry = entries_[block];
  if (!entry.present) return;
  by_key_.erase(entry.key);
  entry = {};
}

}  // namespace parrot
