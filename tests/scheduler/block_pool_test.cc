#include "scheduler/block_pool.h"

#include <algorithm>
#include <cstdint>
#include <random>
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
  EXPECT_EQ(pool.num_cached(), 0);
  EXPECT_EQ(pool.CheckIntegrity(), absl::OkStatus());
}

TEST(BlockPoolTest, AllocatesAllOrNothing) {
  BlockPool pool(3);
  std::vector<BlockId> blocks;
  std::vector<BlockId> evicted;
  EXPECT_FALSE(pool.Allocate(4, &blocks, &evicted));
  EXPECT_TRUE(blocks.empty());
  EXPECT_TRUE(pool.Allocate(0, &blocks, &evicted));
  EXPECT_TRUE(pool.Allocate(3, &blocks, &evicted));
  EXPECT_THAT(blocks, testing::UnorderedElementsAre(0, 1, 2));
  EXPECT_FALSE(pool.Allocate(1, &blocks, &evicted));
  EXPECT_EQ(pool.num_used(), 3);
  EXPECT_TRUE(evicted.empty());
}

TEST(BlockPoolTest, ABlockIsFreeWhenItsLastOwnerReleasesIt) {
  BlockPool pool(2);
  std::vector<BlockId> blocks;
  std::vector<BlockId> evicted;
  ASSERT_TRUE(pool.Allocate(1, &blocks, &evicted));
  pool.AddRef(blocks[0]);
  pool.Release(blocks[0]);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.ref_count(blocks[0]), 1);
  pool.Release(blocks);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_EQ(pool.ref_count(blocks[0]), 0);
  EXPECT_EQ(pool.CheckIntegrity(), absl::OkStatus());
}

TEST(BlockPoolTest, AKeptBlockIsCachedWhenNobodyOwnsItAndMayBeOwnedAgain) {
  BlockPool pool(1);
  std::vector<BlockId> blocks;
  std::vector<BlockId> evicted;
  ASSERT_TRUE(pool.Allocate(1, &blocks, &evicted));
  pool.Keep(0);
  EXPECT_EQ(pool.num_cached(), 0) << "it has an owner";
  pool.Release(0);
  EXPECT_EQ(pool.num_cached(), 1);
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_EQ(pool.num_available(), 1);
  pool.AddRef(0);
  EXPECT_EQ(pool.num_used(), 1);
  EXPECT_EQ(pool.num_cached(), 0);
  pool.Release(0);
  pool.Unkeep(0);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.CheckIntegrity(), absl::OkStatus());
}

TEST(BlockPoolTest, TakesFreeBlocksFirstAndThenTheLongestUnowned) {
  BlockPool pool(4);
  std::vector<BlockId> blocks;
  std::vector<BlockId> evicted;
  ASSERT_TRUE(pool.Allocate(4, &blocks, &evicted));
  for (const BlockId block : {2, 0, 3}) pool.Keep(block);
  for (const BlockId block : {2, 0, 3, 1}) pool.Release(block);
  blocks.clear();
  ASSERT_TRUE(pool.Allocate(3, &blocks, &evicted));
  EXPECT_THAT(blocks, testing::ElementsAre(1, 2, 0));
  EXPECT_THAT(evicted, testing::ElementsAre(2, 0));
  EXPECT_EQ(pool.num_evictions(), 2);
  EXPECT_FALSE(pool.is_kept(2)) << "its contents are lost";
  EXPECT_TRUE(pool.is_kept(3));
}

TEST(BlockPoolTest, ATableIsEvictedFromItsTail) {
  BlockPool pool(3);
  std::vector<BlockId> blocks;
  std::vector<BlockId> evicted;
  ASSERT_TRUE(pool.Allocate(3, &blocks, &evicted));
  const std::vector<BlockId> table = blocks;
  for (const BlockId block : table) pool.Keep(block);
  pool.Release(table);
  blocks.clear();
  ASSERT_TRUE(pool.Allocate(2, &blocks, &evicted));
  EXPECT_THAT(evicted, testing::ElementsAre(table[2], table[1]));
}

TEST(BlockPoolDeathTest, RefusesToReleaseWhatIsNobodys) {
  BlockPool pool(1);
  EXPECT_DEATH(pool.Release(0), "block 0 is nobody's");
  EXPECT_DEATH(pool.AddRef(0), "block 0 is free");
  EXPECT_DEATH(pool.Keep(0), "block 0 is free");
  EXPECT_DEATH(pool.Release(1), "block 1");
}

// The plainest possible pool: what each block is, and a list of the cached ones.
struct TwinPool {
  explicit TwinPool(int32_t num_blocks) : owners(num_blocks, 0), kept(num_blocks, false) {}

  int32_t num_blocks() const { return static_cast<int32_t>(owners.size()); }
  int32_t num_used() const {
    return static_cast<int32_t>(
        std::count_if(owners.begin(), owners.end(), [](int32_t count) { return count > 0; }));
  }
  int32_t num_cached() const { return static_cast<int32_t>(cached.size()); }
  int32_t num_free() const { return num_blocks() - num_used() - num_cached(); }
  bool is_free(BlockId block) const { return owners[block] == 0 && !kept[block]; }

  void AddRef(BlockId block) {
    if (owners[block]++ == 0) std::erase(cached, block);
  }
  void Release(BlockId block) {
    if (--owners[block] == 0 && kept[block]) cached.push_back(block);
  }
  void Unkeep(BlockId block) {
    kept[block] = false;
    std::erase(cached, block);
  }

  std::vector<int32_t> owners;
  std::vector<bool> kept;
  std::vector<BlockId> cached;  // longest unowned first
};

class TwinPools {
 public:
  explicit TwinPools(uint32_t seed)
      : random_(seed), twin_(Pick(1, 40)), pool_(twin_.num_blocks()) {}

  void OneOperation() {
    const int32_t choice = Pick(0, 9);
    if (choice <= 2) {
      Allocate(Pick(0, 6));
    } else if (choice == 3) {
      ReleaseTable();
    } else {
      const BlockId block = Pick(0, twin_.num_blocks() - 1);
      if (choice <= 5) {
        Release(block);
      } else if (!twin_.is_free(block)) {
        Touch(block, choice);
      }
    }
    Compare();
  }

 private:
  int32_t Pick(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random_() % static_cast<uint32_t>(high - low + 1));
  }

  void Allocate(int32_t count) {
    std::vector<BlockId> taken;
    std::vector<BlockId> evicted;
    const int32_t num_free = twin_.num_free();
    const bool fits = count <= num_free + twin_.num_cached();
    ASSERT_EQ(pool_.Allocate(count, &taken, &evicted), fits);
    ASSERT_EQ(taken.size(), fits ? static_cast<size_t>(count) : 0);
    for (int32_t i = 0; i < static_cast<int32_t>(taken.size()); ++i) {
      if (i < num_free) {
        ASSERT_TRUE(twin_.is_free(taken[i])) << "block " << taken[i];
      } else {
        ASSERT_EQ(taken[i], twin_.cached.front());
        ASSERT_EQ(evicted.at(i - num_free), taken[i]);
        twin_.Unkeep(taken[i]);
      }
      twin_.AddRef(taken[i]);
    }
    ASSERT_EQ(static_cast<int32_t>(evicted.size()), fits ? std::max(count - num_free, 0) : 0);
  }

  void Release(BlockId block) {
    if (twin_.owners[block] == 0) return;
    pool_.Release(block);
    twin_.Release(block);
  }

  // A few owned blocks at once, in any order.
  void ReleaseTable() {
    std::vector<BlockId> table;
    for (BlockId block = Pick(0, 3); block < twin_.num_blocks(); block += Pick(1, 9)) {
      if (twin_.owners[block] > 0) table.push_back(block);
    }
    std::shuffle(table.begin(), table.end(), random_);
    pool_.Release(table);
    for (auto it = table.rbegin(); it != table.rend(); ++it) twin_.Release(*it);
  }

  void Touch(BlockId block, int32_t choice) {
    if (choice == 6) {
      pool_.AddRef(block);
      twin_.AddRef(block);
    } else if (choice <= 8) {
      pool_.Keep(block);
      twin_.kept[block] = true;
    } else {
      pool_.Unkeep(block);
      twin_.Unkeep(block);
    }
  }

  void Compare() {
    ASSERT_EQ(pool_.num_used(), twin_.num_used());
    ASSERT_EQ(pool_.num_cached(), twin_.num_cached());
    ASSERT_EQ(pool_.num_free(), twin_.num_free());
    for (BlockId block = 0; block < twin_.num_blocks(); ++block) {
      ASSERT_EQ(pool_.ref_count(block), twin_.owners[block]);
      ASSERT_EQ(pool_.is_kept(block), twin_.kept[block]);
    }
    ASSERT_EQ(pool_.CheckIntegrity(), absl::OkStatus());
  }

  std::mt19937 random_;
  TwinPool twin_;
  BlockPool pool_;
};

TEST(BlockPoolTest, AgreesWithANaiveTwinForAMillionOperations) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    TwinPools pools(seed);
    for (int i = 0; i < 10'000; ++i) {
      ASSERT_NO_FATAL_FAILURE(pools.OneOperation()) << "operation " << i;
    }
  }
}

}  // namespace
}  // namespace parrot
