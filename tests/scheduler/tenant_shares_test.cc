#include "scheduler/tenant_shares.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>

#include "gtest/gtest.h"

namespace parrot {
namespace {

TEST(TenantSharesTest, CountsTheTokensOfEach) {
  TenantShares shares;
  EXPECT_EQ(shares.served("a"), 0);
  shares.Enter("a");
  shares.Enter("b");
  shares.Charge("a", 7);
  shares.Charge("b", 2);
  shares.Charge("a", 1);
  EXPECT_EQ(shares.served("a"), 8);
  EXPECT_EQ(shares.served("b"), 2);
  EXPECT_EQ(shares.num_tenants(), 2);
}

TEST(TenantSharesTest, ANewcomerStartsLevelWithTheLeastServed) {
  TenantShares shares;
  shares.Enter("a");
  shares.Enter("b");
  shares.Charge("a", 100);
  shares.Charge("b", 60);
  shares.Enter("c");
  EXPECT_EQ(shares.served("c"), 60) << "its pause saved up nothing";
}

TEST(TenantSharesTest, NobodyGainsByLeavingAndComingBack) {
  TenantShares shares;
  shares.Enter("a");
  shares.Enter("b");
  shares.Charge("a", 100);
  shares.Leave("a");
  shares.Enter("a");
  EXPECT_EQ(shares.served("a"), 100);
  EXPECT_EQ(shares.served("b"), 0);
}

TEST(TenantSharesTest, ForgetsThoseThatLeftWithNoMoreThanTheOthers) {
  TenantShares shares;
  shares.Enter("a");
  shares.Enter("b");
  shares.Enter("b");
  shares.Charge("a", 5);
  shares.Charge("b", 9);
  shares.Leave("a");
  EXPECT_EQ(shares.num_tenants(), 1);
  shares.Leave("b");
  EXPECT_EQ(shares.num_tenants(), 1) << "it has another sequence";
  shares.Leave("b");
  EXPECT_EQ(shares.num_tenants(), 0);
}

TEST(TenantSharesTest, WhatIsRememberedIsBoundedHoweverManyNamesComeAndGo) {
  TenantShares shares;
  shares.Enter("least served");
  for (int i = 0; i < 12'000; ++i) {
    const std::string name = "tenant " + std::to_string(i);
    shares.Enter(name);
    shares.Charge(name, 1 + i % 7);
    shares.Leave(name);
    ASSERT_LE(shares.num_tenants(), 10'002);
  }
  EXPECT_EQ(shares.served("least served"), 0);
}

TEST(TenantSharesDeathTest, RefusesToLeaveTwice) {
  TenantShares shares;
  EXPECT_DEATH(shares.Leave("a"), "");
  EXPECT_DEATH(shares.Charge("a", 1), "");
}

// The plainest possible twin: it forgets nobody while anybody is there.
class TwinShares {
 public:
  explicit TwinShares(uint32_t seed) : random_(seed) {}

  void OneOperation() {
    const std::string name(1, static_cast<char>('a' + random_() % 6));
    Twin& twin = twins_[name];
    switch (random_() % 6) {
      case 0:
      case 1:
        shares_.Enter(name);
        if (twin.num_live == 0 && num_live() > 0) twin.served = std::max(twin.served, Least());
        ++twin.num_live;
        break;
      case 2:
      case 3:
        if (twin.num_live == 0) break;
        shares_.Leave(name);
        --twin.num_live;
        if (num_live() == 0) twins_.clear();
        break;
      default: {
        if (twin.num_live == 0) break;
        const auto tokens = static_cast<int64_t>(random_() % 20);
        shares_.Charge(name, tokens);
        twin.served += tokens;
      }
    }
    int32_t num_here = 0;
    for (const auto& [other, t] : twins_) {
      if (t.num_live == 0) continue;
      ++num_here;
      ASSERT_EQ(shares_.served(other), t.served) << "tenant " << other;
    }
    ASSERT_GE(shares_.num_tenants(), num_here);
    ASSERT_LE(shares_.num_tenants(), 6);
    if (num_here == 0) {
      ASSERT_EQ(shares_.num_tenants(), 0);
    }
  }

 private:
  struct Twin {
    int32_t num_live = 0;
    int64_t served = 0;
  };
  int32_t num_live() const {
    int32_t count = 0;
    for (const auto& [name, twin] : twins_) count += twin.num_live;
    return count;
  }
  int64_t Least() const {
    int64_t least = INT64_MAX;
    for (const auto& [name, twin] : twins_) {
      if (twin.num_live > 0) least = std::min(least, twin.served);
    }
    return least;
  }

  std::mt19937 random_;
  TenantShares shares_;
  std::map<std::string, Twin> twins_;
};

TEST(TenantSharesTest, AgreesWithANaiveTwinForAMillionOperations) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    TwinShares shares(seed);
    for (int i = 0; i < 10'000; ++i) {
      ASSERT_NO_FATAL_FAILURE(shares.OneOperation()) << "operation " << i;
    }
  }
}

}  // namespace
}  // namespace parrot
