#include "model/text/byte_bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/check.h"

namespace parrot {

ByteBpe::ByteBpe(const std::array<TokenId, 256>& byte_tokens, std::span<const Merge> merges)
    : byte_tokens_(byte_tokens) {
  const int bits = std::bit_width(2 * merges.size() + 1);
  slots_.resize(size_t{1} << bits);
  shift_ = 64 - bits;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    const uint64_t pair = PairKey(merge.left, merge.right);
    size_t index = SlotIndex(pair);
    while (slots_[index].rank >= 0) {
      PARROT_CHECK(slots_[index].pair != pair) << "duplicate merge " << rank;
      index = (index + 1) & (slots_.size() - 1);
    }
    slots_[index] = {pair, static_cast<int32_t>(rank), merge.result};
  }
}

size_t ByteBpe::SlotIndex(uint64_t pair) const {
  // Fibonacci hashing; the xor brings the left id into the low half.
  return ((pair ^ (pair >> 29)) * 0x9E3779B97F4A7C15u) >> shift_;
}

const ByteBpe::Slot* ByteBpe::Find(TokenId left, TokenId right) const {
  const uint64_t pair = PairKey(left, right);
  for (size_t index = SlotIndex(pair);; index = (index + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[index];
    if (slot.rank < 0) return nullptr;
    if (slot.pair == pair) return &slot;
  }
}

void ByteBpe::Queue(int32_t left, Scratch* scratch) const {
  const Scratch::Symbol& symbol = scratch->symbols[static_cast<size_t>(left)];
  if (symbol.next < 0) return;
  const Slot* slot = Find(symbol.id, scratch->symbols[static_cast<size_t>(symbol.next)].id);
  if (slot == nullptr) return;
  scratch->heap.push_back((static_cast<uint64_t>(static_cast<uint32_t>(slot->rank)) << 32) |
                          static_cast<uint32_t>(left));
}

void ByteBpe::Encode(std::string_view piece, Scratch* scratch, std::vector<TokenId>* out) const {
  constexpr TokenId kMergedAway = -1;
  const auto size = static_cast<int32_t>(piece.size());
  std::vector<Scratch::Symbol>& symbols = scratch->symbols;
  std::vector<uint64_t>& heap = scratch->heap;
  symbols.clear();
  heap.clear();
  for (int32_t i = 0; i < size; ++i) {
    const auto byte = static_cast<uint8_t>(piece[static_cast<size_t>(i)]);
    symbols.push_back({byte_tokens_[byte], i - 1, i + 1 < size ? i + 1 : -1});
  }
  for (int32_t i = 0; i < size; ++i) Queue(i, scratch);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto queue = [&](int32_t left) {
    const size_t before = heap.size();
    Queue(left, scratch);
    if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto rank = static_cast<int32_t>(heap.back() >> 32);
    const auto left = static_cast<int32_t>(heap.back() & 0xFFFFFFFFu);
    heap.pop_back();
    Scratch::Symbol& symbol = symbols[static_cast<size_t>(left)];
    if (symbol.id == kMergedAway || symbol.next < 0) continue;
    Scratch::Symbol& right = symbols[static_cast<size_t>(symbol.next)];
    // An entry is stale when one of its two symbols has changed since it was queued.
    const Slot* slot = Find(symbol.id, right.id);
    if (slot == nullptr || slot->rank != rank) continue;
    symbol.id = slot->result;
    symbol.next = right.next;
    right.id = kMergedAway;
    if (symbol.next >= 0) symbols[static_cast<size_t>(symbol.next)].prev = left;
    if (symbol.prev >= 0) queue(symbol.prev);
    queue(left);
  }
  for (int32_t i = 0; i >= 0 && i < size; i = symbols[static_cast<size_t>(i)].next) {
    out->push_back(symbols[static_cast<size_t>(i)].id);
  }
}

}  // namespace parrot
