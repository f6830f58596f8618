#include "scheduler/block_pool.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/block_table.h"

namespace parrot {
namespace {

TEST(BlockTableTest, RoundsTheNumberOfBlocksUp) {
  EXPECT_EQ(BlockTable::NumBlocksFor(0, 32), 0);
  EXPECT_EQ(BlockTable::NumBlocksFor(1, 32), 1);
  EXPECT_EQ(BlockTable::NumBlocksFor(32, 32), 1);
  EXPECT_EQ(BlockTable::NumBlocksFor(33, 32), 2);
  EXPECT_EQ(BlockTable::NumBlocksFor(int64_t{4} << 30, 1), int64_t{4} << 30);
}

TEST(BlockPoolTest, StartsFree) {
  const BlockPool pool(5);
  EXPECT_EQ(pool.num_blocks(), 5);
  EXPECT_EQ(pool.num_free(), 5);
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_EQ(pool.CheckIntegrity(), absl::OkStatus());
}

TEST(BlockPoolTest, AllocatesAllOrNothing) {
  BlockPool pool(3);
  std::vector<BlockId> blocks;
  EXPECT_FALSE(pool.Allocate(4, &blocks));
  EXPECT_TRUE(blocks.empty());
  EXPECT_TRUE(pool.Allocate(0, &blocks));
  EXPECT_TRUE(pool.Allocate(3, &blocks));
  EXPECT_THAT(blocks, testing::UnorderedElementsAre(0, 1, 2));
  EXPECT_FALSE(pool.Allocate(1, &blocks));
  EXPECT_EQ(pool.num_used(), 3);
}

TEST(BlockPoolTest, ABlockIsFreeWhenItsLastOwnerReleasesIt) {
  BlockPool pool(2);
  std::vector<BlockId> blocks;
  ASSERT_TRUE(pool.Allocate(1, &blocks));
  pool.AddRef(blocks[0]);
  pool.Release(blocks[0]);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.ref_count(blocks[0]), 1);
  pool.Release(blocks);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_EQ(pool.ref_count(blocks[0]), 0);
  EXPECT_EQ(pool.CheckIntegrity(), absl::OkStatus());
}

TEST(BlockPoolDeathTest, RefusesToReleaseWhatIsFree) {
  BlockPool pool(1);
  EXPECT_DEATH(pool.Release(0), "block 0 is free");
  EXPECT_DEATH(pool.AddRef(0), "block 0 is free");
  EXPECT_DEATH(pool.Release(1), "block 1");
}

// The pool against the plainest possible twin: a map from block to owners.
TEST(BlockPoolTest, AgreesWithANaiveTwin) {
  int64_t num_operations = 0;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const int32_t num_blocks = 1 + static_cast<int32_t>(random() % 64);
    BlockPool pool(num_blocks);
    std::map<BlockId, int32_t> owners;
    std::vector<BlockId> held;  // one entry per owner
    for (int step = 0; step < 10'000; ++step, ++num_operations) {
      const uint32_t choice = random() % 8;
      if (choice < 3) {
        const auto count = static_cast<int32_t>(random() % 6);
        std::vector<BlockId> taken;
        const bool fits = count <= num_blocks - static_cast<int32_t>(owners.size());
        ASSERT_EQ(pool.Allocate(count, &taken), fits);
        ASSERT_EQ(taken.size(), fits ? static_cast<size_t>(count) : 0);
        for (const BlockId block : taken) {
          ASSERT_TRUE(block >= 0 && block < num_blocks);
          ASSERT_TRUE(owners.emplace(block, 1).second) << "block " << block << " given twice";
          held.push_back(block);
        }
      } else if (!held.empty()) {
        const size_t i = random() % held.size();
        const BlockId block = held[i];
        if (choice == 3) {
          pool.AddRef(block);
          ++owners[block];
          held.push_back(block);
        } else {
          pool.Release(block);
          if (--owners[block] == 0) owners.erase(block);
          held[i] = held.back();
          held.pop_back();
        }
        ASSERT_EQ(pool.ref_count(block), owners.contains(block) ? owners[block] : 0);
      }
      ASSERT_EQ(pool.num_used(), static_cast<int32_t>(owners.size()));
      ASSERT_EQ(pool.num_free() + pool.num_used() + pool.num_cached(), num_blocks);
      ASSERT_EQ(pool.CheckIntegrity(), absl::OkStatus());
    }
  }
  EXPECT_GE(num_operations, 400'000);
}

}  // namespace
}  // namespace parrot
