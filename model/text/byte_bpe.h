// Byte-pair encoding over bytes: starts from one token per byte and applies the merge of lowest
// rank (leftmost of equals) until none applies. O(n log n) in the piece's bytes on any input, no
// recursion. Immutable after construction, thread-safe: callers bring their own scratch space.
#ifndef PARROT_MODEL_TEXT_BYTE_BPE_H_
#define PARROT_MODEL_TEXT_BYTE_BPE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "model/api/token.h"

namespace parrot {

class ByteBpe {
 public:
  struct Merge {
    TokenId left = 0;
    TokenId right = 0;
    TokenId result = 0;
  };

  // Buffers of one Encode call at a time, kept between calls to save allocations.
  struct Scratch {
    struct Symbol {
      TokenId id;
      int32_t prev;  // -1: none
      int32_t next;  // -1: none
    };
    std::vector<Symbol> symbols;
    std::vector<uint64_t> heap;  // rank << 32 | index of the left symbol; a min-heap
  };

  // `merges` in order of rank; the pairs are distinct. REQUIRES: fewer than 2^31 merges.
  ByteBpe(const std::array<TokenId, 256>& byte_tokens, std::span<const Merge> merges);

  // Appends the tokens of `piece`. REQUIRES: piece.size() < 2^31.
  void Encode(std::string_view piece, Scratch* scratch, std::vector<TokenId>* out) const;

 private:
  struct Slot {
    uint64_t pair = 0;  // left << 32 | right
    int32_t rank = -1;  // -1: empty
    TokenId result = 0;
  };

  static uint64_t PairKey(TokenId left, TokenId right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) |
           static_cast<uint32_t>(right);
  }
  size_t SlotIndex(uint64_t pair) const;
  // The slot of the pair, or nullptr if no merge joins it.
  const Slot* Find(TokenId left, TokenId right) const;
  // Queues the merge of symbol `left` with its successor, if there is one.
  void Queue(int32_t left, Scratch* scratch) const;

  std::array<TokenId, 256> byte_tokens_;
  // Open addressing with linear probing, at most half full; the size is 1 << (64 - shift_).
  std::vector<Slot> slots_;
  int shift_ = 0;
};

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_BYTE_BPE_H_
