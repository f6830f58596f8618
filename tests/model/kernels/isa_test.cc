#include "model/kernels/isa.h"

#include <algorithm>
#include <iostream>
#include <optional>
#include <vector>

#include "gtest/gtest.h"

namespace parrot::kernels {
namespace {

// The log of a test run says what it has seen.
TEST(IsaTest, SaysWhatTrulyRanAndWhatWasEmulated) {
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
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

TEST(IsaTest, TheBestIsTheLastNativeOne) {
  const std::vector<Isa> native = NativeIsas();
  EXPECT_TRUE(std::is_sorted(native.begin(), native.end()));
  EXPECT_EQ(BestIsa(), native.empty() ? std::nullopt : std::optional<Isa>(native.back()));
}

}  // namespace
}  // namespace parrot::kernels
