// A steady decode step allocates nothing on the heap.
#include <cstdint>
#include <memory>

#include "bench/decode_steps/allocation_counter.h"
#include "bench/decode_steps/decode_steps.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

TEST(SteadyStepTest, AllocatesNothing) {
  DecodeSteps steps(/*num_sequences=*/16, /*prompt_tokens=*/100, /*max_steps=*/400);
  for (int i = 0; i < 100; ++i) steps.Step();
  const int64_t before = NumAllocations();
  // Every sequence fills several blocks, takes new ones and has full ones kept.
  for (int i = 0; i < 200; ++i) steps.Step();
  EXPECT_EQ(NumAllocations() - before, 0);
  EXPECT_EQ(steps.num_spans(), 16);
}

TEST(SteadyStepTest, CountsAllocations) {
  const int64_t before = NumAllocations();
  const auto number = std::make_unique<int>(1);
  EXPECT_EQ(NumAllocations() - before, *number);
}

}  // namespace
}  // namespace parrot
