#include "model/kernels/isa.h"

#include <algorithm>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace parrot::kernels {
namespace {

// The log of a test run says what it has seen.
TEST(IsaTest, SaysWhatTrulyRanAndWhatWasEmulated) {
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    const std::vector<Isa> all = AllIsas();
    const bool native = std::find(all.begin(), all.end(), isa) != all.end();
    std::cout << "kernels for " << IsaName(isa) << (native ? ": ran\n" : ": emulated only\n");
  }
  EXPECT_FALSE(MachineName().empty());
}

TEST(IsaTest, NamesAreReadBackButEmulatedOnesAreForTestsOnly) {
  for (const Isa isa : AllIsas()) {
    EXPECT_EQ(ParseIsa(IsaName(isa)), IsEmulated(isa) ? std::nullopt : std::optional<Isa>(isa));
  }
  EXPECT_EQ(ParseIsa(""), std::nullopt);
  EXPECT_EQ(ParseIsa("AVX2"), std::nullopt);
}

TEST(IsaTest, TheBestIsANativeOneAndTilesAreTheBest) {
  const std::vector<Isa> native = NativeIsas();
  EXPECT_TRUE(std::is_sorted(native.begin(), native.end()));
  ASSERT_EQ(BestIsa().has_value(), !native.empty());
  if (native.empty()) return;
  EXPECT_NE(std::find(native.begin(), native.end(), *BestIsa()), native.end());
  EXPECT_TRUE(native.back() == Isa::kAvx512Bf16 || *BestIsa() == native.back());
}

TEST(IsaTest, EmulatedOnesStandForNativeOnes) {
  for (const Isa isa : NativeIsas()) {
    EXPECT_EQ(IsaName(EmulatedOf(isa)), "emulated-" + std::string(IsaName(isa)));
  }
}

}  // namespace
}  // namespace parrot::kernels
