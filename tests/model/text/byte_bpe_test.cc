#include "model/text/byte_bpe.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace parrot {
namespace {

std::array<TokenId, 256> IdentityBytes() {
  std::array<TokenId, 256> ids{};
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i);
  return ids;
}

std::vector<TokenId> Encode(const ByteBpe& bpe, std::string_view piece) {
  ByteBpe::Scratch scratch;
  std::vector<TokenId> ids;
  bpe.Encode(piece, &scratch, &ids);
  return ids;
}

// The definition: merge the pair of lowest rank, the leftmost of equals, until there is none.
std::vector<TokenId> NaiveEncode(const std::vector<ByteBpe::Merge>& merges,
                                 std::string_view piece) {
  std::map<std::pair<TokenId, TokenId>, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) ranks[{merges[i].left, merges[i].right}] = i;
  std::vector<TokenId> ids;
  for (const char c : piece) ids.push_back(static_cast<uint8_t>(c));
  while (true) {
    size_t best_rank = merges.size();
    size_t best = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto it = ranks.find({ids[i], ids[i + 1]});
      if (it != ranks.end() && it->second < best_rank) {
        best_rank = it->second;
        best = i;
      }
    }
    if (best_rank == merges.size()) return ids;
    ids[best] = merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<long>(best) + 1);
  }
}

TEST(ByteBpeTest, WithoutMergesGivesOneTokenPerByte) {
  const ByteBpe bpe(IdentityBytes(), {});
  EXPECT_EQ(Encode(bpe, "ab\xFF"), (std::vector<TokenId>{'a', 'b', 255}));
  EXPECT_TRUE(Encode(bpe, "").empty());
}

TEST(ByteBpeTest, LowerRankWinsOverPositionAndLeftmostWinsAmongEquals) {
  const std::vector<ByteBpe::Merge> merges = {{'b', 'c', 300}, {'a', 'b', 301}, {'a', 'a', 302}};
  const ByteBpe bpe(IdentityBytes(), merges);
  EXPECT_EQ(Encode(bpe, "abc"), (std::vector<TokenId>{'a', 300}));
  EXPECT_EQ(Encode(bpe, "aaa"), (std::vector<TokenId>{302, 'a'}));
}

TEST(ByteBpeTest, EqualsTheDefinitionOnRandomMergesAndTexts) {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    std::mt19937 random(seed);
    std::vector<ByteBpe::Merge> merges;
    std::map<std::pair<TokenId, TokenId>, bool> seen;
    std::vector<TokenId> known = {'a', 'b', 'c'};
    for (int i = 0; i < 60; ++i) {
      const TokenId left = known[random() % known.size()];
      const TokenId right = known[random() % known.size()];
      if (seen[{left, right}]) continue;
      seen[{left, right}] = true;
      // Results repeat now and then: two merges may give the same token.
      const bool fresh = random() % 8 != 0 || merges.empty();
      const TokenId result =
          fresh ? static_cast<TokenId>(300 + i) : merges[random() % merges.size()].result;
      merges.push_back({left, right, result});
      known.push_back(result);
    }
    std::shuffle(merges.begin(), merges.end(), random);
    const ByteBpe bpe(IdentityBytes(), merges);
    ByteBpe::Scratch scratch;
    for (int i = 0; i < 50; ++i) {
      std::string piece(random() % 60, ' ');
      for (char& c : piece) c = "abc"[random() % 3];
      std::vector<TokenId> ids;
      bpe.Encode(piece, &scratch, &ids);
      ASSERT_EQ(ids, NaiveEncode(merges, piece)) << "seed " << seed << " piece " << piece;
    }
  }
}

// A quadratic merge would need 10^12 steps here.
TEST(ByteBpeTest, MergesAPieceOfAMegabyte) {
  std::vector<ByteBpe::Merge> merges;
  TokenId previous = 'a';
  for (TokenId id = 300; id < 310; ++id) {
    merges.push_back({previous, previous, id});
    previous = id;
  }
  const ByteBpe bpe(IdentityBytes(), merges);
  constexpr size_t kSize = size_t{1} << 20;
  EXPECT_EQ(Encode(bpe, std::string(kSize, 'a')), std::vector<TokenId>(kSize >> 10, TokenId{309}));
}

}  // namespace
}  // namespace parrot
