// A simulation that finds nothing proves little unless it finds what is there: each mutant of the
// scheduler (mutants.h) must be caught, and the sound one must not.
#include <cstdint>
#include <iostream>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "tests/scheduler/mutants.h"
#include "tests/scheduler/simulation.h"

namespace parrot {
namespace {

constexpr uint64_t kNumSeeds = 200;

class SimulationMutantsTest : public testing::TestWithParam<Mutant> {};

TEST_P(SimulationMutantsTest, IsCaught) {
  int64_t num_mutations = 0;
  for (uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    const SimulationResult result = RunSimulation({.seed = seed, .mutant = GetParam()});
    num_mutations += result.num_mutations;
    if (result.status.ok()) continue;
    EXPECT_GT(result.num_mutations, 0) << result.status;
    std::cout << MutantName(GetParam()) << ": seed " << seed << ", after " << result.num_mutations
              << " faults: " << result.status.message() << "\n";
    return;
  }
  ADD_FAILURE() << "nothing caught " << num_mutations << " faults";
}

std::string NameOf(const testing::TestParamInfo<Mutant>& info) {
  std::string name;
  bool upper = true;
  for (const char* c = MutantName(info.param); *c != '\0'; ++c) {
    if (*c >= 'a' && *c <= 'z') {
      name += upper ? static_cast<char>(*c - 'a' + 'A') : *c;
      upper = false;
    } else {
      upper = *c == ' ' || upper;
    }
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Scheduler, SimulationMutantsTest, testing::ValuesIn(AllMutants()), NameOf);

TEST(SimulationMutantsTest, ThereAreMoreThanTenAndEachHasItsName) {
  std::set<std::string> names;
  for (const Mutant mutant : AllMutants()) names.insert(MutantName(mutant));
  EXPECT_EQ(names.size(), AllMutants().size());
  EXPECT_GE(names.size(), 10u);
}

TEST(SimulationMutantsTest, TheSoundSchedulerPassesTheSameSeeds) {
  for (uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    EXPECT_EQ(RunSimulation({.seed = seed}).status, absl::OkStatus());
  }
}

}  // namespace
}  // namespace parrot
