#include "base/check.h"

#include "gtest/gtest.h"

namespace parrot {
namespace {

TEST(CheckTest, PassesSilentlyAndEvaluatesOnce) {
  int evaluations = 0;
  PARROT_CHECK(++evaluations > 0) << "never printed";
  EXPECT_EQ(evaluations, 1);
}

TEST(CheckDeathTest, FailureAbortsWithConditionAndMessage) {
  EXPECT_DEATH(PARROT_CHECK(1 + 1 == 3) << "block " << 7,
               "CHECK failed at check_test.cc:.*1 \\+ 1 == 3.*block 7");
}

}  // namespace
}  // namespace parrot
